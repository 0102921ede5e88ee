//! How work is checked, and when what it earned is final.
//!
//! A contributor tells with each update how it got there: its *trace*, a list of *segments*, each from one
//! state that it wrote down to the next. The coordinator names a segment once the update is promised; the
//! contributor then shows that segment's *dossier*, and a *witness*, which is another contributor, or the coordinator
//! runs the segment again by a [`ReplayOrder`].
//!
//! Only numbers and names; [`crate::spec::RunSpec::check`] refuses the former where they make no sense,
//! [`crate::message::Commit::check`] a trace of no or too many segments, and [`ReplayOrder::is_bounded`] an order that
//! the coordinator cannot have written.

use serde::{Deserialize, Serialize};

pub use tributary_ledger::Finding;

use crate::message::Commit;
use crate::sign::Signable;
use crate::{BlobRef, Hash, Id};

/// Segments of a trace. Each costs its maker a state that it keeps for two rounds.
pub const MAX_SEGMENTS: u8 = 16;

/// The check's numbers: part of the run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Check {
    /// Rounds of a new contributor in which a segment is always run again.
    pub first: u32,
    /// The probability that one is in each round after those.
    pub rate: f32,
    /// Segments of a trace, at most [`MAX_SEGMENTS`].
    pub segments: u8,
    /// Rounds after its own in which what a round paid is provisional: as long as what is run again may take.
    pub settle: u32,
    /// Rounds after its own from which it is final. Until then proof of cheating forfeits it.
    pub hold: u32,
    /// The share of a round's pool for those who ran segments again, if anybody did.
    pub witness: f32,
    /// Tokens on which an update's effect is measured, half of them its maker's own data.
    pub score: u32,
}

impl Default for Check {
    /// At one replay in 16 rounds, whoever cheats in every segment of every round, such that a replay shows it, keeps
    /// `(1 − 1/16)^64 · 16`, a quarter of one round's pay, on average before it is caught for the first time; and
    /// then it loses the 64 rounds that are held.
    fn default() -> Self {
        Self { first: 3, rate: 1.0 / 16.0, segments: 4, settle: 4, hold: 64, witness: 0.05, score: 4096 }
    }
}

impl Check {
    /// The witnesses' share in millionths.
    pub fn witness_ppm(&self) -> u32 {
        (f64::from(self.witness) * 1e6) as u32
    }
}

/// What a commit says of the way to its update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceRef {
    /// The hash of the trace's bytes.
    pub hash: Hash,
    /// How many segments it has, from 1 to [`MAX_SEGMENTS`].
    pub segments: u8,
}

impl TraceRef {
    /// Whether there is a segment to run again, and not too many.
    pub fn is_bounded(&self) -> bool {
        (1..=MAX_SEGMENTS).contains(&self.segments)
    }
}

/// Rounds that a trace can reach back, and that are kept beyond those whose replays may be under way.
pub const TRACE_ROUNDS: u64 = 4;

/// Openings that an order names: with a round that goes again and again, the newest of them.
pub const MOST_PAST: usize = 64;

/// A segment to run again. Its blobs are the dossier, the update, and the bases and shards that the dossier names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplayOrder {
    /// Whose.
    pub who: Id,
    /// What it promised.
    pub commit: Commit,
    /// Which segment.
    pub segment: u8,
    /// The trace of its promise before, as far as that is known.
    pub before: Option<Hash>,
    /// What it shows.
    pub dossier: BlobRef,
    /// The commit's round and those before it, oldest first, as far as a trace can reach.
    pub rounds: Vec<PastRound>,
}

/// A round as whoever trained in it saw it. One that was opened again is here more than once.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PastRound {
    /// Its number.
    pub round: u64,
    /// Names its data.
    pub seed: Hash,
    /// What it was trained from.
    pub base: BlobRef,
}

impl Signable for ReplayOrder {
    const CONTEXT: &'static str = "tributary witness v1";
}

impl ReplayOrder {
    /// Whether nothing in it is larger than it can be.
    pub fn is_bounded(&self) -> bool {
        let mut blobs = self.rounds.iter().map(|past| past.base).chain([self.dossier, self.commit.update]);
        self.rounds.len() <= MOST_PAST
            && blobs.all(|blob| blob.is_bounded())
            && self.segment < self.commit.trace.segments
    }
}
