//! The round, without a clock, a network or a random generator.
//!
//! Enters: messages, time and randomness as arguments. Leaves: messages, jobs for the trainer,
//! journal events and views as values. Refuses: whatever is malformed, foreign, late, replayed or
//! over a stated bound, each with a reason that can be shown to a person.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod assign;
pub mod backup;
pub mod blob;
pub mod check;
pub mod contributor;
pub mod coordinator;
pub mod data;
pub mod fold;
mod id;
pub mod job;
pub mod limits;
pub mod links;
pub mod message;
pub mod mix;
mod sign;
pub mod sketch;
pub mod spec;
pub mod update;
pub mod view;

pub use blob::BlobRef;
pub use id::{Hash, Id, ParseIdError};
pub use sign::{Identity, SignError, Signable, Signed};

/// The version of everything that crosses a wire. A peer that speaks another is told so.
pub const PROTOCOL_VERSION: u16 = 6;

/// Milliseconds on the caller's clock. Only differences mean anything here.
pub type Millis = u64;
