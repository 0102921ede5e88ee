//! The ledger: what was judged and paid, as a log that anyone can check and nobody can rewrite unseen.
//!
//! Enters: entries, one batch for each settled round, and the numbers they are made of. Leaves: balances folded
//! from entries, the root of the RFC 6962 tree over them, proofs that an entry is in the log and that a log
//! only grew, and receipts. Refuses: an entry that does not follow from those before it, above all a payment that is
//! not what the rule gives. A balance is never stored as truth.
//!
//! [`Entry`] → [`Ledger`] (the fold) and [`Tree`] (the proofs) → [`Book`] (both) → [`Checkpoint`], [`Receipt`].
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod abi;
mod account;
mod batch;
mod book;
mod bytes;
mod checkpoint;
mod code;
mod entry;
mod epochs;
mod error;
mod frames;
mod ledger;
mod link;
mod payout;
mod payout_tree;
mod proof;
mod receipt;
mod reward;
mod rule;
mod siwe;
mod tree;
mod wallets;

pub use account::Balance;
pub use book::{Book, BookError};
pub use checkpoint::{Checkpoint, CheckpointError};
pub use code::Code;
pub use entry::{Entry, EntryError, Finding, MAX_ENTRY, Place, Verdict};
pub use epochs::{Epoch, Epochs};
pub use error::LedgerError;
pub use frames::{FrameError, frame_all, frames};
pub use ledger::Ledger;
pub use link::{LinkError, LinkProof, LinkedBy, MAX_PROOF, WalletProof, address_of, recover};
pub use payout::{PayoutError, Payouts, Wallet};
pub use payout_tree::{Distributor, MAX_PAYOUT_PROOF, PayoutTree, keccak256, payout_leaf, verify_payout};
pub use proof::{MAX_PATH, ProofError, empty_root, leaf_hash, verify_consistency, verify_inclusion};
pub use receipt::{Earned, Proven, Receipt, ReceiptError};
pub use reward::{PPM, Payment, Share, split, work};
pub use rule::{MAX_AGE, MAX_HOLD, Rule};
pub use siwe::{LinkMessage, MAX_MESSAGE, MESSAGE_SECONDS, MessageError, address, checksummed, personal_hash};
pub use tree::Tree;
pub use wallets::Payee;

/// A contributor's identity: its Ed25519 public key.
pub type Key = [u8; 32];

/// A SHA-256 hash of the tree, or a hash that names a run, a state, a seed or an update.
pub type Digest = [u8; 32];

/// Credits in their smallest unit. One round's pool is a whole number of these.
pub type Credits = u64;
