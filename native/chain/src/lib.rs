//! From the ledger to a chain: what an operator does there, each step so that it can be stopped anywhere and begun again.
//!
//! Enters: a log, a key and a node's address. Leaves: contracts that are deployed once, each epoch's root submitted once,
//! fees paid in, and what a wallet that is a contract says of a signature. Refuses: a chain other than the deployment's, contracts of another run, and to submit where the chain
//! already says something else.
//!
//! [`Node`] asks, [`Key`] signs, [`Sender`] sends a transaction once however often it is asked to, [`Deployment`] is what
//! a deployment left behind, and [`close`] makes epochs out of a log.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod close;
mod consent;
mod deploy;
mod error;
mod key;
mod node;
mod send;
mod tx;

pub use close::close;
pub use deploy::{Deployment, Status, Submission, Terms};
pub use error::ChainError;
pub use key::Key;
pub use node::Node;
pub use send::{Purpose, Sender, Sent};
