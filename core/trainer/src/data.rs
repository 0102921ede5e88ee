//! The training data of a round: windows of tokens from the shards that the assignment names.
//!
//! Enters: shards by hash. Leaves: batches, and the names of the shards that are wanted next.
//! Refuses: shards that the manifest doesn't name, and bytes that aren't what their name says.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tributary_protocol::assign::Assignment;
use tributary_protocol::data::DataManifest;
use tributary_protocol::spec::{RunSpec, Tokenizer};
use tributary_protocol::{BlobRef, Hash, Id};

/// Shards held at once: at the usual size and bound, 32 MiB of a tab's memory.
const KEPT: usize = 8;

/// Shards ahead of the current one that are asked for.
const AHEAD: u32 = 2;

/// Milliseconds after which a shard that did not come is asked for again.
const ASK_AGAIN_MS: u64 = 10_000;

/// A batch on the CPU: `[batch, seq]` tokens and the tokens that follow each.
pub struct Batch {
    /// The tokens.
    pub tokens: Vec<i32>,
    /// What follows each.
    pub targets: Vec<i32>,
}

impl Batch {
    /// Cuts windows of `seq + 1` tokens.
    pub(crate) fn of<'a>(windows: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let (mut tokens, mut targets) = (Vec::new(), Vec::new());
        for window in windows {
            tokens.extend(window[..window.len() - 1].iter().map(|&byte| i32::from(byte)));
            targets.extend(window[1..].iter().map(|&byte| i32::from(byte)));
        }
        Self { tokens, targets }
    }
}

/// Where in its data a contributor is.
pub struct Feed {
    train: Vec<BlobRef>,
    me: Id,
    batch: usize,
    /// Tokens a window: a sequence and the token after.
    window: usize,
    place: Option<(Assignment, Place)>,
    /// Where to go on as soon as the shards for it are here.
    next: Option<(Assignment, Place)>,
    /// The rounds of the two.
    rounds: [u64; 2],
    /// Newest last.
    shards: VecDeque<(Hash, Bytes)>,
    asked: BTreeMap<Hash, u64>,
}

/// A place in the data of one round: what has been read so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The seed of the round whose assignment is read.
    pub seed: Hash,
    /// Which of its shards.
    pub nth: u32,
    /// Windows of that shard that have been read.
    pub window: u32,
}

impl Feed {
    /// The data of `manifest`, JSON, for `me`. Refuses a manifest that the run can't be trained on.
    pub fn new(spec: &RunSpec, manifest: &[u8], me: Id) -> Result<Self, String> {
        let manifest: DataManifest =
            serde_json::from_slice(manifest).map_err(|error| format!("the data manifest is not readable: {error}"))?;
        let Tokenizer::Bytes = spec.tokenizer;
        manifest.check(spec.tokenizer, spec.inner.seq)?;
        Ok(Self {
            train: manifest.train,
            me,
            batch: spec.inner.batch as usize,
            window: spec.inner.seq as usize + 1,
            place: None,
            next: None,
            rounds: [0; 2],
            shards: VecDeque::new(),
            asked: BTreeMap::new(),
        })
    }

    /// Goes to the data of the round with this seed; stays where it is if it is there already.
    pub fn enter(&mut self, seed: Hash) {
        if self.place().is_none_or(|place| place.seed != seed) {
            self.go(Place { seed, nth: 0, window: 0 });
        }
    }

    /// Goes to a place.
    pub(crate) fn go(&mut self, place: Place) {
        self.place = Some((Assignment::new(&place.seed, &self.me), place));
        self.next = None;
        self.asked.clear();
    }

    /// The same as [`Self::enter`], but what is here of the round before is read on until [`Self::turn`] finds the first
    /// shards of this one. What is older is not: whoever runs the work again would take it for somebody else's.
    pub(crate) fn prepare(&mut self, round: u64, seed: Hash) {
        let begin = Place { seed, nth: 0, window: 0 };
        if round > self.rounds[0] + 1 {
            self.place = None;
        }
        self.rounds[1] = round;
        self.next = match self.place() {
            Some(place) if place.seed == seed => None,
            _ => Some((Assignment::new(&seed, &self.me), begin)),
        };
    }

    /// Goes where [`Self::prepare`] said if nothing is missing there for a batch, or if there is nothing to read before:
    /// the seed of that round.
    pub(crate) fn turn(&mut self) -> Option<Hash> {
        if self.place.is_some() && !self.missing_at(self.next.as_ref()?).is_empty() {
            return None;
        }
        self.place = Some(self.next.take()?);
        self.rounds[0] = self.rounds[1];
        self.place().map(|place| place.seed)
    }

    /// Where the next batch begins; `None` before the first round.
    pub(crate) fn place(&self) -> Option<Place> {
        self.place.as_ref().map(|(_, place)| *place)
    }

    /// Goes on by so many steps without reading them.
    pub(crate) fn skip(&mut self, steps: u32) {
        let mut windows = u64::from(steps) * self.batch as u64;
        let Some((assignment, place)) = &mut self.place else { return };
        while windows > 0 {
            let shard = self.train[assignment.shard(place.nth, self.train.len())];
            let left = windows_of(&shard, self.window).saturating_sub(place.window.into()).max(1);
            let read = windows.min(left);
            windows -= read;
            *place = place.after(read as u32, read == left);
        }
    }

    /// The shards to ask for now. Each is named again only if it stays away.
    pub fn wants(&mut self, now_ms: u64) -> Vec<BlobRef> {
        let Some((assignment, place)) = self.next.as_ref().or(self.place.as_ref()) else { return Vec::new() };
        let mut wants = Vec::new();
        for nth in place.nth..place.nth.saturating_add(AHEAD) {
            let shard = self.train[assignment.shard(nth, self.train.len())];
            let due = self.asked.get(&shard.hash).is_none_or(|&asked| now_ms.saturating_sub(asked) >= ASK_AGAIN_MS);
            if due && !self.shards.iter().any(|(hash, _)| *hash == shard.hash) {
                self.asked.insert(shard.hash, now_ms);
                wants.push(shard);
            }
        }
        wants
    }

    /// The shards that the next batch needs and that are not here.
    pub(crate) fn missing(&self) -> Vec<BlobRef> {
        self.place.as_ref().map(|at| self.missing_at(at)).unwrap_or_default()
    }

    fn missing_at(&self, (assignment, place): &(Assignment, Place)) -> Vec<BlobRef> {
        let (mut place, mut missing) = (*place, Vec::new());
        for _ in 0..self.batch {
            let shard = self.train[assignment.shard(place.nth, self.train.len())];
            if !missing.contains(&shard) && !self.shards.iter().any(|(hash, _)| *hash == shard.hash) {
                missing.push(shard);
            }
            place = place.after(1, u64::from(place.window) + 1 >= windows_of(&shard, self.window));
        }
        missing
    }

    /// Takes a shard. Says what is wrong with one that is not of use.
    pub fn accept(&mut self, hash: Hash, bytes: Bytes) -> Result<(), String> {
        self.asked.remove(&hash);
        if !self.train.iter().any(|shard| shard.hash == hash) {
            return Err(format!("shard {} is not in this run's data", hash.short()));
        }
        if Hash::of(&bytes) != hash {
            return Err(format!("shard {} came damaged and is fetched again", hash.short()));
        }
        self.shards.retain(|(held, _)| *held != hash);
        self.shards.push_back((hash, bytes));
        while self.shards.len() > KEPT {
            self.shards.pop_front();
        }
        Ok(())
    }

    /// The next batch, or `None` while a shard of it is missing.
    pub fn next(&mut self) -> Option<Batch> {
        let (assignment, mut place) = self.place.clone()?;
        let mut windows = Vec::with_capacity(self.batch);
        for _ in 0..self.batch {
            let shard = self.train[assignment.shard(place.nth, self.train.len())];
            let (_, bytes) = self.shards.iter().find(|(hash, _)| *hash == shard.hash)?;
            let (length, window) = (bytes.len() as u64, self.window as u64);
            let start = assignment.window(place.nth, place.window, length, window) as usize;
            windows.push(&bytes[start..start + self.window]);
            let is_last = u64::from(place.window) + 1 >= windows_of(&shard, self.window);
            place = place.after(1, is_last);
        }
        let batch = Batch::of(windows);
        self.place = Some((assignment, place));
        Some(batch)
    }
}

impl Place {
    /// The place after `windows` more of the same shard, or at the next shard's begin.
    fn after(self, windows: u32, is_last: bool) -> Self {
        match is_last {
            false => Self { window: self.window.saturating_add(windows), ..self },
            true => Self { nth: self.nth.wrapping_add(1), window: 0, ..self },
        }
    }
}

/// Windows that are read of a shard: as many as cover it once.
fn windows_of(shard: &BlobRef, window: usize) -> u64 {
    shard.bytes.saturating_sub(1).div_ceil(window as u64 - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(shards: &[Bytes]) -> (Feed, RunSpec) {
        let (spec, manifest) = crate::testing::run(shards);
        (Feed::new(&spec, &manifest, Id([7; 32])).unwrap(), spec)
    }

    #[test]
    fn asks_first_then_feeds_every_shard_and_asks_ahead() {
        let shards: Vec<Bytes> = (0..12u8).map(|i| Bytes::from(vec![i; 200])).collect();
        let (mut feed, spec) = feed(&shards);
        assert!(feed.wants(0).is_empty() && feed.next().is_none());
        feed.enter(Hash::of(b"round"));
        let mut seen = Vec::new();
        for now in 0..200 {
            for want in feed.wants(now) {
                let shard = shards.iter().find(|shard| Hash::of(shard) == want.hash).unwrap();
                feed.accept(want.hash, shard.clone()).unwrap();
            }
            let batch = feed.next().expect("what was asked for suffices");
            assert_eq!(batch.tokens.len(), (spec.inner.batch * spec.inner.seq) as usize);
            assert_eq!(batch.tokens, batch.targets);
            assert!(feed.shards.len() <= KEPT);
            seen.push(batch.tokens[0]);
        }
        seen.sort_unstable();
        seen.dedup();
        assert!(seen.len() > 8, "{seen:?}");
    }

    #[test]
    fn the_data_at_hand_is_read_on_until_the_next_rounds_is_here() {
        let shards: Vec<Bytes> = (0..40u8).map(|i| Bytes::from(vec![i; 200])).collect();
        let (mut feed, _) = feed(&shards);
        let bring = |feed: &mut Feed, now| {
            for want in feed.wants(now) {
                let shard = shards.iter().find(|shard| Hash::of(shard) == want.hash).unwrap();
                feed.accept(want.hash, shard.clone()).unwrap();
            }
        };
        let [first, second] = [b"first", b"other"].map(|name| Hash::of(name));
        feed.prepare(7, first);
        assert_eq!((feed.turn(), feed.turn()), (Some(first), None), "there is nothing else to read");
        bring(&mut feed, 0);
        feed.next().unwrap();
        feed.prepare(8, second);
        assert_eq!(feed.turn(), None);
        assert!(feed.next().is_some() && feed.place().unwrap().seed == first);
        bring(&mut feed, 1);
        assert_eq!(feed.turn(), Some(second));
        assert!(feed.next().is_some() && feed.place().unwrap().seed == second);
        // The same round again is no turn.
        feed.prepare(8, second);
        assert_eq!((feed.turn(), feed.place().unwrap().seed), (None, second));
        // What is older than the round before is not read, whether rounds were slept through or its shards stayed away.
        for rounds in [&[10][..], &[9, 10]] {
            let (mut feed, _) = self::feed(&shards);
            feed.prepare(8, second);
            feed.turn();
            bring(&mut feed, 0);
            assert!(feed.next().is_some());
            for round in rounds {
                feed.prepare(*round, Hash::of(&round.to_le_bytes()));
            }
            let newest = Hash::of(&10_u64.to_le_bytes());
            assert_eq!((feed.turn(), feed.place().unwrap().seed), (Some(newest), newest));
        }
    }

    #[test]
    fn missing_shards_are_asked_for_again_after_a_while_and_bad_ones_refused() {
        let shards = [Bytes::from(vec![1; 200])];
        let (mut feed, _) = feed(&shards);
        let hash = Hash::of(&shards[0]);
        feed.enter(Hash::of(b"round"));
        assert_eq!(feed.wants(5).len(), 1);
        assert_eq!(feed.wants(6), []);
        assert!(feed.accept(hash, Bytes::from_static(b"other")).is_err());
        assert_eq!(feed.wants(7).len(), 1);
        assert_eq!(feed.wants(7 + ASK_AGAIN_MS).len(), 1);
        assert!(feed.accept(Hash::of(b"other"), Bytes::from_static(b"other")).is_err());
        assert_eq!(feed.accept(hash, shards[0].clone()), Ok(()));
        assert_eq!(feed.wants(u64::MAX), []);
    }

    #[test]
    fn skipping_steps_leads_where_reading_them_does() {
        let shards: Vec<Bytes> = [100, 333, 200].map(|len| Bytes::from(vec![7; len])).into();
        let (mut read, _) = feed(&shards);
        let (mut skipped, _) = feed(&shards);
        for feed in [&mut read, &mut skipped] {
            feed.enter(Hash::of(b"round"));
        }
        shards.iter().for_each(|shard| read.accept(Hash::of(shard), shard.clone()).unwrap());
        for steps in [1, 2, 7, 30] {
            (0..steps).for_each(|_| assert!(read.next().is_some()));
            skipped.skip(steps);
            assert_eq!(read.place(), skipped.place(), "{steps}");
        }
        assert!(read.place().unwrap().nth > 5);
    }

    #[test]
    fn the_same_seed_gives_the_same_batches() {
        let text: Vec<u8> = (0..4000u32).map(|i| (i * i % 251) as u8).collect();
        let shards = [Bytes::from(text)];
        let batches = |seed: &[u8]| {
            let (mut feed, _) = feed(&shards);
            feed.accept(Hash::of(&shards[0]), shards[0].clone()).unwrap();
            feed.enter(Hash::of(seed));
            (0..5).map(|_| feed.next().unwrap().tokens).collect::<Vec<_>>()
        };
        assert_eq!(batches(b"a"), batches(b"a"));
        assert_ne!(batches(b"a"), batches(b"b"));
    }
}
