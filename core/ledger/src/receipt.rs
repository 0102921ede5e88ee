//! Receipts: what a contributor is shown about its pay of a round, and checks by itself.
//!
//! Enters: entries with proofs, the run's rule, a checkpoint whose signature the caller has checked. Leaves: what was
//! earned. Refuses: entries that are not in the log, of others or of two rounds, and an amount that is not what the
//! numbers give.

use serde::{Deserialize, Serialize};

use crate::{Checkpoint, Credits, Digest, Entry, EntryError, Key, ProofError, Rule, leaf_hash, verify_inclusion};

/// An entry with the proof that it is in a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proven {
    /// Its place in the log, from 0.
    pub index: u64,
    /// Its bytes.
    pub entry: Vec<u8>,
    /// The hashes that lead to the root.
    pub path: Vec<Digest>,
}

impl Proven {
    /// The entry, if it is in the checkpoint's log.
    pub fn verify(&self, checkpoint: &Checkpoint) -> Result<Entry, ReceiptError> {
        let Checkpoint { size, root, .. } = checkpoint;
        verify_inclusion(&leaf_hash(&self.entry), self.index, *size, &self.path, root)?;
        Ok(Entry::from_bytes(&self.entry)?)
    }
}

/// What shows a contributor how a round settled and what it was paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The round's [`Entry::Settled`].
    pub settled: Proven,
    /// The contributor's [`Entry::Paid`] of that round, if it earned anything.
    pub paid: Option<Proven>,
}

/// What a receipt says, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Earned {
    /// The round.
    pub round: u64,
    /// The contributor's work, in tokens × quality.
    pub work: u64,
    /// Tokens that it ran again as a witness.
    pub witness: u64,
    /// Its credits.
    pub amount: Credits,
    /// Everybody's work.
    pub all_work: u64,
    /// Tokens that all witnesses ran again.
    pub all_witness: u64,
}

/// Why a receipt shows nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// Not in the log.
    #[error("the receipt's entry is not in the log: {0}")]
    Proof(#[from] ProofError),
    /// In the log, and no entry.
    #[error("the log's entry cannot be read: {0}")]
    Entry(#[from] EntryError),
    /// Another kind of entry, another contributor's or another round's.
    #[error("the receipt shows another entry than the round's end and this contributor's pay for it")]
    Foreign,
    /// Not what the numbers give.
    #[error("the round paid {amount} credits, and the rule gives {least} to {most} for that work")]
    Amount {
        /// Paid.
        amount: Credits,
        /// The least that the rule gives.
        least: Credits,
        /// The most.
        most: Credits,
    },
}

impl Receipt {
    /// What `who` earned. The amount must be what the rule gives for its numbers and the round's; whose the last unit
    /// of each part of the pool is depends on everybody's numbers, so there it may be one or the other.
    pub fn check(&self, who: &Key, rule: &Rule, checkpoint: &Checkpoint) -> Result<Earned, ReceiptError> {
        let Entry::Settled { round, work: all_work, witness: all_witness, paid, .. } =
            self.settled.verify(checkpoint)?
        else {
            return Err(ReceiptError::Foreign);
        };
        let nothing = Earned { round, work: 0, witness: 0, amount: 0, all_work, all_witness };
        let Some(own) = &self.paid else { return Ok(nothing) };
        let earned = match own.verify(checkpoint)? {
            Entry::Paid { round: of, who: whose, work, witness, amount }
                if of == round && whose == *who && own.index < self.settled.index =>
            {
                Earned { work, witness, amount, ..nothing }
            }
            _ => return Err(ReceiptError::Foreign),
        };
        let (for_work, for_witness) = rule.parts(all_witness);
        let (least, most) = sum(due(for_work, earned.work, all_work), due(for_witness, earned.witness, all_witness));
        let numbers = earned.work <= all_work && earned.witness <= all_witness && earned.amount <= paid;
        if !numbers || earned.amount < least || earned.amount > most {
            return Err(ReceiptError::Amount { amount: earned.amount, least, most });
        }
        Ok(earned)
    }
}

/// The least and the most that a share of `part` in proportion to `own` of `all` can be.
fn due(part: Credits, own: u64, all: u64) -> (Credits, Credits) {
    let product = u128::from(part) * u128::from(own.min(all));
    let all = u128::from(all.max(1));
    // At most `part`, so both fit.
    ((product / all) as Credits, product.div_ceil(all) as Credits)
}

/// Both at once: the parts of one pool, so the sums fit.
fn sum(a: (Credits, Credits), b: (Credits, Credits)) -> (Credits, Credits) {
    (a.0 + b.0, a.1 + b.1)
}
