//! A point of the log that the coordinator stands by.

use serde::{Deserialize, Serialize};

use crate::{Digest, ProofError, verify_consistency};

/// What a log was when a round had settled. The coordinator signs it; peers remember and compare them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The run.
    pub run: Digest,
    /// Entries.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Digest,
    /// The newest settled round.
    pub round: u64,
}

/// Why two checkpoints are not of one history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Another run's.
    #[error("the checkpoint is about another run")]
    Run,
    /// Fewer entries or rounds than remembered, or more of one and not of the other.
    #[error("the log has {size} entries up to round {round}, and it had {old_size} up to round {old_round} before")]
    Shrunk {
        /// Entries now.
        size: u64,
        /// Newest round now.
        round: u64,
        /// Entries before.
        old_size: u64,
        /// Newest round before.
        old_round: u64,
    },
    /// The log was rewritten, or the proof is not one.
    #[error("the log does not continue the one that is remembered: {0}")]
    Proof(#[from] ProofError),
}

impl Checkpoint {
    /// Whether this log continues the `older` one, of which `path` is the proof.
    pub fn continues(&self, older: &Checkpoint, path: &[Digest]) -> Result<(), CheckpointError> {
        if self.run != older.run {
            return Err(CheckpointError::Run);
        }
        // A settled round has entries and entries are of a settled round.
        if self.size.cmp(&older.size) != self.round.cmp(&older.round) || self.size < older.size {
            let (size, round, old_size, old_round) = (self.size, self.round, older.size, older.round);
            return Err(CheckpointError::Shrunk { size, round, old_size, old_round });
        }
        Ok(verify_consistency(older.size, &older.root, self.size, &self.root, path)?)
    }
}
