//! Which chunk is asked of which source, and when.
//!
//! Enters: what the sources have, what came, and the time. Leaves: chunks to ask for, and sources to
//! drop. Refuses: chunks outside the blob, chunks that nobody asked for, and news that is none.
//!
//! Peers before the origin: the origin, which everyone asks, is asked only for what it offers (a part
//! that it offers to nobody else) or what no other source has. If too little comes that way it is asked
//! for more, each second for twice as much, so that its copy always serves in the end.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use tributary_protocol::mix::mix;

use crate::bitmap::Bitmap;

/// Chunks asked of one source and not yet received: 4 MiB, which fills 320 Mbit/s at 100 ms and is all
/// that a receiver without back-pressure ever has to hold for one source.
pub(crate) const MOST_ASKED: usize = 64;

/// Chunks asked of a source that has shown nothing yet: 256 KiB, more than which a source that turns
/// out slow would block.
const FIRST_ASKED: usize = 4;

/// How often the plan is looked at as a whole.
pub(crate) const TICK: Duration = Duration::from_secs(1);

/// How long other sources may take to answer before the origin alone is asked for everything.
const ALONE: Duration = Duration::from_secs(1);

/// Chunks a second, of peers and of what the origin offers, below which the origin is asked for more:
/// 2 Mbit/s, less than what a link that is worth having carries.
const FLOOR: u32 = 4;

/// Chunks that the origin is then asked for beyond its offers, at first and at most. At first few, since
/// one slow moment can strike all peers of a swarm together.
const HURRY: (u32, u32) = (4, 64);

/// A source from which nothing comes for so long is dropped, if others go on. The slowest link that
/// keeps up with a round carries a chunk in half of this.
const STALLED: Duration = Duration::from_secs(4);

/// What a source still owes may take so long while another one that has it is idle.
const TAIL: Duration = Duration::from_secs(2);

/// What a source is to this fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A linked peer.
    Peer,
    /// Who surely has it. Patient: it was told that there are peers to ask, and offers a part.
    Origin { patient: bool },
}

/// The number of a source: one peer has another one with each stream.
pub(crate) type Key = u32;

struct Source {
    role: Role,
    has: Bitmap,
    /// What it ever offered, and what of that is to come from it.
    heard: Bitmap,
    offered: Bitmap,
    /// What it was asked for and has not sent yet, and whether that was beyond its offers.
    asked: Vec<(u32, bool)>,
    window: usize,
    /// Chunks that came since the last tick, and by the second of late.
    came: u32,
    rate: f64,
    /// When something last came of what it was asked for.
    last: Duration,
    /// Since when it has been asked for something.
    busy: Duration,
}

/// The plan of one fetch. All times are since its beginning.
pub(crate) struct Plan {
    have: Bitmap,
    asked: Bitmap,
    chunks: u32,
    /// How many peers have each chunk.
    copies: Vec<u16>,
    sources: BTreeMap<Key, Source>,
    seed: u64,
    /// When there last was a peer that answers.
    company: Duration,
    /// When a chunk last came.
    progress: Duration,
    /// Chunks since the last tick that came from peers or were offered.
    useful: u32,
    /// Chunks that the origin may still be asked for beyond its offers, and how many next time.
    hurry: u32,
    step: u32,
}

impl Plan {
    /// A plan for the chunks that are missing in `have`. The seed makes its order another than that of
    /// other nodes, so that they get different chunks and can exchange them.
    pub(crate) fn new(have: Bitmap, chunks: u32, seed: u64) -> Self {
        Self {
            have,
            asked: Bitmap::new(chunks),
            chunks,
            copies: vec![0; chunks as usize],
            sources: BTreeMap::new(),
            seed,
            company: Duration::ZERO,
            progress: Duration::ZERO,
            useful: 0,
            hurry: 0,
            step: HURRY.0,
        }
    }

    /// Whether everything is here.
    pub(crate) fn is_done(&self) -> bool {
        self.have.is_full()
    }

    /// When a chunk last came.
    pub(crate) fn progress(&self) -> Duration {
        self.progress
    }

    /// Whether any peer has answered and is still there.
    pub(crate) fn has_company(&self) -> bool {
        self.sources.values().any(|source| source.role == Role::Peer)
    }

    /// A source has answered: it has these.
    pub(crate) fn join(&mut self, key: Key, role: Role, has: Bitmap, now: Duration) {
        if role == Role::Peer {
            has.iter().for_each(|index| self.copies[index as usize] += 1);
            self.company = now;
        } else {
            // What was missed while the origin did not answer is no reason for haste.
            (self.hurry, self.step) = (0, HURRY.0);
        }
        let (heard, offered) = (Bitmap::new(self.chunks), Bitmap::new(self.chunks));
        let (window, last) = (FIRST_ASKED, now);
        self.sources.insert(
            key,
            Source { role, has, heard, offered, asked: Vec::new(), window, came: 0, rate: 0.0, last, busy: now },
        );
    }

    /// A source is gone, or is to go; what it owes is free for others.
    pub(crate) fn leave(&mut self, key: Key, now: Duration) {
        let Some(source) = self.sources.remove(&key) else { return };
        source.asked.iter().for_each(|(index, _)| self.asked.remove(*index));
        if source.role == Role::Peer {
            source.has.iter().for_each(|index| self.copies[index as usize] -= 1);
            self.company = now;
        }
    }

    /// A source says that it has more. Says whether that is news, as it must be.
    pub(crate) fn has(&mut self, key: Key, range: Range<u32>) -> bool {
        let Some(source) = self.sources.get_mut(&key) else { return true };
        if range.end > self.chunks {
            return false;
        }
        let new = source.has.insert_all(range);
        if source.role == Role::Peer {
            new.iter().for_each(|index| self.copies[*index as usize] += 1);
        }
        !new.is_empty()
    }

    /// The origin offers these. Returns those that are here, on their way, or to be had from a peer;
    /// `None` if the offer is not allowed.
    pub(crate) fn offer(&mut self, key: Key, range: Range<u32>) -> Option<Vec<u32>> {
        let Some(source) = self.sources.get_mut(&key) else { return Some(Vec::new()) };
        let may = source.role == Role::Origin { patient: true } && range.end <= self.chunks;
        if !may || source.heard.insert_all(range.clone()).is_empty() {
            return None;
        }
        // What the origin was asked for beyond its offers is on its way from there.
        let own = |index: u32| source.asked.iter().any(|(asked, _)| *asked == index);
        let (needed, useless): (Vec<u32>, Vec<u32>) = range.partition(|index| {
            let got = self.have.contains(*index) || self.asked.contains(*index) || self.copies[*index as usize] > 0;
            own(*index) || !got
        });
        for index in needed {
            source.offered.insert(index);
        }
        Some(useless)
    }

    /// What to ask this source for now, ascending. `None`: it was dropped.
    pub(crate) fn want(&mut self, key: Key, now: Duration) -> Option<Vec<u32>> {
        let others = self.sources.len() > 1;
        let company = self.has_company();
        let source = self.sources.get(&key)?;
        let room = source.window.saturating_sub(source.asked.len());
        if room < source.window.div_ceil(4) {
            return Some(Vec::new());
        }
        let alone = match source.role {
            Role::Peer => true,
            Role::Origin { patient } => !company && (!patient || now >= self.company + ALONE),
        };
        let beyond = |index: u32| match source.role {
            Role::Peer => false,
            _ if alone => false,
            Role::Origin { patient: true } => !source.offered.contains(index),
            Role::Origin { patient: false } => self.copies[index as usize] > 0,
        };
        // What the origin offers is to come from there, or it would hold it back for nothing.
        let offered = self.sources.values().find(|other| other.role != source.role).map(|origin| &origin.offered);
        let missing = (0..self.chunks).filter(|index| {
            let reserved = source.role == Role::Peer && offered.is_some_and(|offered| offered.contains(*index));
            !reserved && !self.have.contains(*index) && !self.asked.contains(*index)
        });
        let mut choice: Vec<_> = missing
            .filter(|index| source.has.contains(*index))
            .map(|index| (beyond(index), if others { self.rank(index) } else { (0, 0) }, index))
            .filter(|(beyond, ..)| !beyond || self.hurry > 0)
            .collect();
        if choice.len() > room {
            choice.select_nth_unstable(room);
            choice.truncate(room);
        }
        choice.sort_unstable();
        let hurried = choice.iter().filter(|(beyond, ..)| *beyond).count();
        choice.truncate(choice.len() - hurried.saturating_sub(self.hurry as usize));
        let source = self.sources.get_mut(&key)?;
        if source.asked.is_empty() {
            (source.busy, source.last) = (now, now);
        }
        for (beyond, _, index) in &choice {
            self.hurry -= u32::from(*beyond);
            self.asked.insert(*index);
            source.asked.push((*index, *beyond));
        }
        let mut wanted: Vec<u32> = choice.into_iter().map(|(.., index)| index).collect();
        wanted.sort_unstable();
        Some(wanted)
    }

    /// Rarest first; among equals an order that is each node's own.
    fn rank(&self, index: u32) -> (u16, u64) {
        (self.copies[index as usize], mix(self.seed ^ u64::from(index)))
    }

    /// Whether this source was asked for this chunk.
    pub(crate) fn is_asked(&self, key: Key, index: u32) -> bool {
        self.sources.get(&key).is_some_and(|source| source.asked.iter().any(|(asked, _)| *asked == index))
    }

    /// A chunk that was asked for came, and is right.
    pub(crate) fn came(&mut self, key: Key, index: u32, now: Duration) {
        let Some(source) = self.sources.get_mut(&key) else { return };
        let Some(place) = source.asked.iter().position(|(asked, _)| *asked == index) else { return };
        let (_, beyond) = source.asked.remove(place);
        self.useful += u32::from(!beyond);
        (source.last, self.progress) = (now, now);
        source.came += 1;
        source.window = (source.window + 1).min(MOST_ASKED);
        self.asked.remove(index);
        self.have.insert(index);
    }

    /// Once every [`TICK`]: the sources to drop, which are no longer asked, each with the reason.
    pub(crate) fn tick(&mut self, now: Duration, silence: Duration) -> Vec<(Key, &'static str)> {
        for source in self.sources.values_mut().filter(|source| !source.asked.is_empty()) {
            source.rate = (source.rate + f64::from(source.came)) / 2.0;
            source.came = 0;
            // What it delivers in two seconds, so that it never blocks more than that for long.
            source.window = source.window.min((2.0 * source.rate) as usize + 2).max(2);
        }
        let slow: Vec<_> = self
            .sources
            .iter()
            .filter_map(|(key, source)| Some((*key, self.trouble(*key, source, now, silence)?)))
            .collect();
        slow.iter().for_each(|(key, _)| self.leave(*key, now));
        if self.useful < FLOOR {
            self.hurry = self.step;
            self.step = (2 * self.step).min(HURRY.1);
        } else {
            (self.hurry, self.step) = (0, HURRY.0);
        }
        self.useful = 0;
        slow
    }

    /// Why a source is better dropped, if it is.
    fn trouble(&self, key: Key, source: &Source, now: Duration, silence: Duration) -> Option<&'static str> {
        if source.asked.is_empty() {
            return None;
        }
        let quiet = now.saturating_sub(source.last);
        if quiet >= silence {
            return Some("nothing comes from it");
        }
        let mut others = self.sources.iter().filter(|(other, _)| **other != key).map(|(_, other)| other);
        if quiet >= STALLED && now < self.progress + STALLED {
            return Some("it has stalled while others go on");
        }
        let owes = Duration::try_from_secs_f64(source.asked.len() as f64 / source.rate).unwrap_or(Duration::MAX);
        let idle =
            |other: &Source| other.asked.is_empty() && source.asked.iter().any(|(index, _)| other.has.contains(*index));
        let last = (now.saturating_sub(source.busy) >= TAIL && owes > TAIL && others.any(idle))
            .then_some("it is far slower than others that have the same");
        last.filter(|_| self.have.count() + self.asked.count() == self.chunks)
    }
}

#[cfg(test)]
mod tests;
