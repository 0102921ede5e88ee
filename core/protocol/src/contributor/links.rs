//! The links to other contributors: which there should be, which there are, and when to try again.
//!
//! Enters: whom the coordinator names, and what became of the links. Leaves: whom to dial and whom to
//! leave. A link that fails is tried again less and less often, one that is lost too; training needs
//! none of them, because the coordinator has everything that they carry.

use std::collections::BTreeMap;

use super::back_off::BackOff;
use crate::limits::MAX_LINKS;
use crate::links::dials;
use crate::view::LinksView;
use crate::{Id, Millis};

/// Milliseconds after which a dial that nothing was heard of has failed. A handshake that takes longer
/// is given up by the transport itself.
const DIAL_MS: Millis = 45_000;

/// Milliseconds that a link is kept when the coordinator doesn't name it any more. After a restart
/// its contributors come back over as long as the longest back-off, and the first of them are named
/// few others.
const LINGER_MS: Millis = 90_000;

/// Failures in a row after which a link is left alone for [`REST_MS`]: between networks that let no
/// direct link through, more attempts only cost the relay.
const TRIES: u32 = 5;
/// Milliseconds. A network that changed is noticed within this time.
const REST_MS: Millis = 600_000;

/// Milliseconds that a link must have been up so that its loss isn't counted as a failure of the link.
const STEADY_MS: Millis = 30_000;

/// Milliseconds after the coordinator's welcome in which it names the links.
const NAMED_MS: Millis = 3_000;

/// Milliseconds after the welcome within which a direct path comes up, or doesn't.
const HOPE_MS: Millis = 10_000;

/// The links, wanted and not; at most [`MAX_LINKS`] of either.
#[derive(Debug)]
pub(super) struct Links {
    me: Id,
    coordinator: Id,
    jitter: u64,
    peers: BTreeMap<Id, Entry>,
    /// Why the newest failure failed.
    why: Option<String>,
    /// When the coordinator's welcome came, and whether it has named the links since.
    welcome: Option<(Millis, bool)>,
}

#[derive(Debug)]
struct Entry {
    state: State,
    /// When to leave it; `None`: it is wanted.
    leave_at: Option<Millis>,
    failures: u32,
    back_off: BackOff,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The other one dials.
    Awaited,
    DueAt(Millis),
    Dialling {
        until: Millis,
    },
    Up {
        since: Millis,
    },
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Dial(Id),
    Leave(Id),
}

impl Links {
    pub(super) fn new(me: Id, coordinator: Id, jitter: u64) -> Self {
        Self { me, coordinator, jitter, peers: BTreeMap::new(), why: None, welcome: None }
    }

    /// The coordinator is there, and will name them.
    pub(super) fn welcomed(&mut self, now: Millis) {
        self.welcome = Some((now, false));
    }

    /// Until when a first link may still come up, so that what is large need not come from the coordinator.
    pub(super) fn hope(&self) -> Option<Millis> {
        let (at, named) = self.welcome?;
        let untried = |entry: &Entry| entry.leave_at.is_none() && entry.failures == 0;
        match (self.any_up(), named) {
            (true, _) => None,
            (false, false) => Some(at + NAMED_MS),
            (false, true) => self.peers.values().any(untried).then_some(at + HOPE_MS),
        }
    }

    /// The coordinator names all that there should be.
    pub(super) fn named(&mut self, now: Millis, peers: &[Id]) {
        if let Some((_, named)) = &mut self.welcome {
            *named = true;
        }
        self.peers.retain(|id, entry| {
            let up = matches!(entry.state, State::Up { .. });
            if !peers.contains(id) && entry.leave_at.is_none() {
                entry.leave_at = Some(now + LINGER_MS);
            }
            up || entry.leave_at.is_none()
        });
        for &id in peers.iter().filter(|id| **id != self.me && **id != self.coordinator) {
            let entry = self.peers.entry(id).or_insert_with(|| Entry::new(self.jitter, now, &self.me, &id));
            entry.leave_at = None;
        }
        self.bound(now);
    }

    /// A link is up, wanted or not: the other one may have heard of it first.
    pub(super) fn linked(&mut self, now: Millis, peer: Id) {
        let entry = self.peers.entry(peer).or_insert_with(|| {
            let leave_at = Some(now + LINGER_MS);
            Entry { leave_at, ..Entry::new(self.jitter, now, &self.me, &peer) }
        });
        entry.state = State::Up { since: now };
        self.bound(now);
    }

    /// A link is down, or there is none after all.
    pub(super) fn unlinked(&mut self, now: Millis, peer: Id, why: String) {
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        if entry.leave_at.is_some() {
            self.peers.remove(&peer);
            return;
        }
        entry.failed(now, dials(&self.me, &peer));
        self.why = Some(why);
    }

    /// Leaves everybody.
    pub(super) fn close(&mut self) -> Vec<Id> {
        self.why = None;
        let peers = std::mem::take(&mut self.peers).into_iter();
        peers.filter(|(_, entry)| matches!(entry.state, State::Up { .. })).map(|(id, _)| id).collect()
    }

    /// What is to be done now. Dialling goes over the coordinator, so it waits while that is away.
    pub(super) fn due(&mut self, now: Millis, online: bool) -> Vec<Due> {
        let mut due = Vec::new();
        self.peers.retain(|id, entry| {
            let stays = entry.leave_at.is_none_or(|at| at > now);
            match entry.state {
                _ if !stays => due.push(Due::Leave(*id)),
                State::Dialling { until } if until <= now => {
                    entry.failed(now, true);
                    self.why = Some("the other side doesn't answer".to_owned());
                }
                State::DueAt(at) if at <= now && online => {
                    entry.state = State::Dialling { until: now + DIAL_MS };
                    due.push(Due::Dial(*id));
                }
                _ => {}
            }
            stays
        });
        due
    }

    pub(super) fn wake_at(&self, online: bool) -> Option<Millis> {
        let of = |entry: &Entry| {
            let state = match entry.state {
                State::DueAt(at) if online => Some(at),
                State::Dialling { until } => Some(until),
                _ => None,
            };
            [state, entry.leave_at].into_iter().flatten().min()
        };
        self.peers.values().filter_map(of).min()
    }

    pub(super) fn is_up(&self, peer: &Id) -> bool {
        self.peers.get(peer).is_some_and(|entry| matches!(entry.state, State::Up { .. }))
    }

    /// Whether a link is being made just now.
    pub(super) fn is_dialled(&self, peer: &Id) -> bool {
        self.peers.get(peer).is_some_and(|entry| matches!(entry.state, State::Dialling { .. }))
    }

    /// Whom there is a link with.
    pub(super) fn up(&self) -> impl Iterator<Item = Id> {
        self.peers.iter().filter(|(_, entry)| matches!(entry.state, State::Up { .. })).map(|(id, _)| *id)
    }

    pub(super) fn any_up(&self) -> bool {
        self.peers.values().any(|entry| matches!(entry.state, State::Up { .. }))
    }

    pub(super) fn view(&self) -> LinksView {
        let wanted = self.peers.iter().filter(|(_, entry)| entry.leave_at.is_none());
        let (all, up) = wanted.fold((0, 0), |(all, up), (id, _)| (all + 1, up + u32::from(self.is_up(id))));
        LinksView { up, wanted: all, why: self.why.clone().filter(|_| up < all) }
    }

    /// Of more unwanted links than [`MAX_LINKS`], those go first that would be left first.
    fn bound(&mut self, now: Millis) {
        let leaving = |(id, entry): (&Id, &Entry)| entry.leave_at.map(|at| (at, *id));
        let mut unwanted: Vec<_> = self.peers.iter().filter_map(leaving).collect();
        unwanted.sort_unstable();
        for (_, id) in unwanted.iter().take(unwanted.len().saturating_sub(MAX_LINKS)) {
            if let Some(entry) = self.peers.get_mut(id) {
                entry.leave_at = Some(now);
            }
        }
    }
}

impl Entry {
    fn new(jitter: u64, now: Millis, me: &Id, peer: &Id) -> Self {
        let mut back_off =
            BackOff::new(peer.0.iter().fold(jitter, |seed, byte| seed.rotate_left(8) ^ u64::from(*byte)));
        // Not at once: a thousand contributors that are named at one moment needn't meet the relay in it.
        let state = if dials(me, peer) { State::DueAt(now + back_off.next()) } else { State::Awaited };
        Self { state, leave_at: None, failures: 0, back_off }
    }

    fn failed(&mut self, now: Millis, dials: bool) {
        if let State::Up { since } = self.state
            && now >= since + STEADY_MS
        {
            self.failures = 0;
            self.back_off.reset();
        }
        self.failures += 1;
        self.state = if !dials {
            State::Awaited
        } else if self.failures.is_multiple_of(TRIES) {
            self.back_off.reset();
            State::DueAt(now + REST_MS)
        } else {
            State::DueAt(now + self.back_off.next())
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_link_is_hoped_for_as_long_as_it_may_come() {
        let [me, other, coordinator] = [1, 2, 9].map(|n| Id([n; 32]));
        let mut links = Links::new(me, coordinator, 7);
        assert_eq!(links.hope(), None, "nobody is there");
        links.welcomed(100);
        assert_eq!(links.hope(), Some(100 + NAMED_MS));
        links.named(200, &[]);
        assert_eq!(links.hope(), None, "alone");
        links.named(300, &[other]);
        assert_eq!(links.hope(), Some(100 + HOPE_MS));
        links.linked(400, other);
        assert_eq!(links.hope(), None, "it is up");
        links.unlinked(500, other, "lost".to_owned());
        assert_eq!(links.hope(), None, "that one comes back late, if at all");
    }
}
