//! Credits: append-only entries, balances as a fold over them, and the reward rule.
//!
//! Enters: the accepted work of one settled round and the round's pool. Leaves: entries, and
//! balances folded from entries. Refuses: an entry for a round that is already settled or out of
//! order, and sums that would overflow. A balance is never stored as truth.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod entry;
mod reward;

pub use entry::{Entry, Ledger, LedgerError};
pub use reward::{Share, split};

/// A contributor's identity: its Ed25519 public key.
pub type Key = [u8; 32];

/// Credits in their smallest unit. One round's pool is a whole number of these.
pub type Credits = u64;
