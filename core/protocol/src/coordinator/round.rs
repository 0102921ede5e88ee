//! One round at the coordinator: commits, what became of their updates, and the plan of the fold.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::message::{Accepted, Commit, Reason, RoundManifest};
use crate::sign::Signable;
use crate::spec::{Outer, RunSpec};
use crate::{BlobRef, Hash, Id, Identity, Millis, Signed};

/// An update counts with at most this multiple of the round's median norm: enough room for a peer
/// that did many more steps than most, none for one whose update would drown the others.
const CLIP_TO_MEDIAN: f64 = 3.0;

/// Times an update is fetched from a contributor that stays connected.
const FETCHES: u32 = 3;

#[derive(Debug, Default)]
pub(super) enum Stage {
    /// Too few contributors to open a round.
    #[default]
    Idle,
    /// Training, then gathering.
    Open(Round),
    /// The driver folds.
    Folding(Folding),
}

#[derive(Debug)]
pub(super) struct Folding {
    pub(super) open: Round,
    pub(super) accepted: Vec<Accepted>,
}

#[derive(Debug)]
pub(super) struct Round {
    pub(super) manifest: RoundManifest,
    pub(super) signed: Signed<RoundManifest>,
    entries: BTreeMap<Id, Entry>,
    grace_ms: Millis,
    gathering: Gathering,
}

/// When gathering ends.
#[derive(Debug, Clone, Copy)]
enum Gathering {
    /// At this time, or before it once everybody's update is in.
    Until(Millis),
    /// The coordinator has just been restored and hasn't seen the clock.
    Resumed,
    /// At this time and not before it: contributors are finding their way back after a restart.
    Whole(Millis),
}

#[derive(Debug)]
struct Entry {
    commit: Commit,
    state: State,
}

#[derive(Debug)]
enum State {
    Fetching {
        attempt: u32,
    },
    /// The contributor left before its update was here.
    Stalled,
    Received {
        norm: f64,
    },
    Refused,
}

pub(super) enum Fetched {
    Accepted,
    Again(BlobRef),
    Refused(Reason),
    Nothing,
}

/// What to fold. The order is that of the ids, so any coordinator with the same accepted set gets
/// the same bits.
#[derive(Debug, Clone, PartialEq)]
pub struct FoldPlan {
    /// The round.
    pub round: u64,
    /// The weights to add the step to.
    pub base: BlobRef,
    /// The outer momentum; `None`: zeros.
    pub momentum: Option<BlobRef>,
    /// The updates, in order.
    pub accepted: Vec<Accepted>,
    /// The outer optimiser.
    pub outer: Outer,
}

/// What a seed is derived from. The coordinator's signature over it is deterministic (Ed25519) and
/// nobody else can foresee it.
#[derive(Serialize, Deserialize)]
struct SeedBasis {
    run: Hash,
    round: u64,
    base: Hash,
    opened_ms: Millis,
}

impl Signable for SeedBasis {
    const CONTEXT: &'static str = "tributary seed v1";
}

impl Round {
    pub(super) fn open(identity: &Identity, spec: &RunSpec, run: Hash, round: u64, base: Hash, now: Millis) -> Self {
        let basis = SeedBasis { run, round, base, opened_ms: now };
        let seed =
            Hash::of(&postcard::to_stdvec(&Signed::new(identity, &basis)).expect("a signature has a serde form"));
        let deadline_ms = now + Millis::from(spec.round.seconds) * 1000;
        let manifest = RoundManifest { run, round, base, seed, deadline_ms, pool: spec.reward.pool };
        let mut round = Self::restore(spec, Signed::new(identity, &manifest), manifest);
        round.gathering = Gathering::Until(deadline_ms + round.grace_ms);
        round
    }

    pub(super) fn restore(spec: &RunSpec, signed: Signed<RoundManifest>, manifest: RoundManifest) -> Self {
        let grace_ms = Millis::from(spec.round.grace) * 1000;
        Self { manifest, signed, entries: BTreeMap::new(), grace_ms, gathering: Gathering::Resumed }
    }

    /// Puts a commit from the journal back; its update is fetched again, from the store if it is
    /// there.
    pub(super) fn restore_commit(&mut self, from: Id, commit: Commit) -> BlobRef {
        let update = commit.update;
        self.entries.insert(from, Entry { commit, state: State::Fetching { attempt: 1 } });
        update
    }

    /// Takes a commit: `Some(update)` when it is new and its update must be fetched.
    pub(super) fn admit(
        &mut self,
        now: Millis,
        from: Id,
        commit: &Commit,
        max_bytes: u64,
    ) -> Result<Option<BlobRef>, Reason> {
        if commit.round < self.manifest.round {
            return Err(Reason::Late);
        }
        commit.check(&self.manifest, max_bytes)?;
        match self.entries.get(&from) {
            Some(entry) if entry.commit.update == commit.update => return Ok(None),
            Some(_) => return Err(Reason::Twice),
            None => {}
        }
        if let Gathering::Until(until) | Gathering::Whole(until) = self.gathering
            && now >= until
        {
            return Err(Reason::Late);
        }
        if self.entries.len() >= crate::limits::MAX_CONTRIBUTORS {
            return Err(Reason::Full);
        }
        let state = State::Fetching { attempt: 1 };
        self.entries.insert(from, Entry { commit: commit.clone(), state });
        Ok(Some(commit.update))
    }

    /// A contributor is back: the update to fetch that couldn't be fetched while it was away.
    pub(super) fn refetch(&mut self, from: &Id) -> Option<BlobRef> {
        let entry = self.entries.get_mut(from)?;
        let State::Stalled = entry.state else { return None };
        entry.state = State::Fetching { attempt: 1 };
        Some(entry.commit.update)
    }

    pub(super) fn fetched(&mut self, from: &Id, update: Hash, result: Result<f64, Reason>, online: bool) -> Fetched {
        let Some(entry) = self.entries.get_mut(from).filter(|entry| entry.commit.update.hash == update) else {
            return Fetched::Nothing;
        };
        let State::Fetching { attempt } = entry.state else { return Fetched::Nothing };
        match result {
            Ok(norm) => {
                entry.state = State::Received { norm };
                Fetched::Accepted
            }
            Err(Reason::Unavailable) if !online => {
                entry.state = State::Stalled;
                Fetched::Nothing
            }
            Err(Reason::Unavailable) if attempt < FETCHES => {
                entry.state = State::Fetching { attempt: attempt + 1 };
                Fetched::Again(entry.commit.update)
            }
            Err(reason) => {
                entry.state = State::Refused;
                Fetched::Refused(reason)
            }
        }
    }

    /// Whether nothing more is to be expected of a contributor.
    pub(super) fn is_resolved(&self, peer: &Id) -> bool {
        self.entries.get(peer).is_some_and(|entry| matches!(entry.state, State::Received { .. } | State::Refused))
    }

    pub(super) fn is_fetching(&self) -> bool {
        self.entries.values().any(|entry| matches!(entry.state, State::Fetching { .. } | State::Stalled))
    }

    /// Whether the round is to be closed: past the deadline with all updates in, or past the grace.
    pub(super) fn is_over(&mut self, now: Millis, all_in: impl FnOnce(&Self) -> bool) -> bool {
        let deadline = self.manifest.deadline_ms;
        match self.gathering {
            Gathering::Until(until) => now >= until || (now >= deadline && all_in(self)),
            Gathering::Whole(until) => now >= until,
            Gathering::Resumed => {
                self.gathering = Gathering::Whole(deadline.max(now) + self.grace_ms);
                false
            }
        }
    }

    pub(super) fn wake_at(&self, now: Millis) -> Millis {
        match self.gathering {
            Gathering::Until(_) if now < self.manifest.deadline_ms => self.manifest.deadline_ms,
            Gathering::Until(until) | Gathering::Whole(until) => until,
            Gathering::Resumed => now,
        }
    }

    /// The plan of the fold, and whose updates never came.
    pub(super) fn plan(&self, outer: Outer, base: BlobRef, momentum: Option<BlobRef>) -> (FoldPlan, Vec<Id>) {
        let received = || {
            self.entries.iter().filter_map(|(id, entry)| match entry.state {
                State::Received { norm } => Some((*id, &entry.commit, norm)),
                _ => None,
            })
        };
        let total: u64 = received().map(|(_, commit, _)| commit.tokens).sum();
        let median = median(received().map(|(_, _, norm)| norm).collect());
        let accepted = received()
            .map(|(peer, commit, norm)| Accepted {
                peer,
                update: commit.update,
                tokens: commit.tokens,
                weight: (commit.tokens as f64 / total as f64) as f32,
                clip: if norm > CLIP_TO_MEDIAN * median { (CLIP_TO_MEDIAN * median / norm) as f32 } else { 1.0 },
            })
            .collect();
        let missing = |entry: &Entry| matches!(entry.state, State::Fetching { .. } | State::Stalled);
        let unavailable = self.entries.iter().filter(|(_, entry)| missing(entry)).map(|(id, _)| *id).collect();
        (FoldPlan { round: self.manifest.round, base, momentum, accepted, outer }, unavailable)
    }
}

/// The lower median; 0 of nothing.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

impl Folding {
    pub(super) fn round(&self) -> u64 {
        self.open.manifest.round
    }

    pub(super) fn is_planned(&self, peer: &Id, update: &Hash) -> bool {
        self.accepted.iter().any(|accepted| accepted.peer == *peer && accepted.update.hash == *update)
    }
}

impl Stage {
    /// The round that takes commits.
    pub(super) fn open_round(&self) -> Option<&Round> {
        match self {
            Stage::Open(round) => Some(round),
            _ => None,
        }
    }

    pub(super) fn open_round_mut(&mut self) -> Option<&mut Round> {
        match self {
            Stage::Open(round) => Some(round),
            _ => None,
        }
    }

    /// The folding round, back to before the fold and without one contributor's update.
    pub(super) fn without(&mut self, round: u64, peer: &Id) -> Option<Round> {
        match std::mem::take(self) {
            Stage::Folding(mut folding) if folding.round() == round && folding.open.entries.contains_key(peer) => {
                if let Some(entry) = folding.open.entries.get_mut(peer) {
                    entry.state = State::Refused;
                }
                Some(folding.open)
            }
            other => {
                *self = other;
                None
            }
        }
    }
}
