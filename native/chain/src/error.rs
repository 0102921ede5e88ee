//! What can go wrong between the ledger and a chain.

use std::path::PathBuf;

use tributary_ledger::{BookError, PayoutError};

/// Each says what happened and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The node does not answer.
    #[error(
        "the chain's node at {url} does not answer ({why}): check its address and that it runs, then try again; nothing is lost"
    )]
    Unreachable {
        /// Its address.
        url: String,
        /// What failed.
        why: String,
    },
    /// The node answers something else than it should.
    #[error("the chain's node gave an answer to {method} that cannot be: {answer}; try another node")]
    Answer {
        /// What was asked.
        method: String,
        /// The beginning of what it said.
        answer: String,
    },
    /// The node refused, for instance because the contract would.
    #[error("the chain refused {method}: {why}")]
    Refused {
        /// What was asked.
        method: String,
        /// Its reason; a contract's error by its name where it is one of ours.
        why: String,
    },
    /// A transaction is in a block and did nothing.
    #[error(
        "transaction {0} was included and reverted: it cost its gas and changed nothing; look at it in an explorer"
    )]
    Reverted(String),
    /// A transaction is in no block yet.
    #[error(
        "transaction {0} is in no block yet: run the same command again later, it goes on with this transaction and raises its fee"
    )]
    Waiting(String),
    /// Something else was sent in a payment's place, or the node is behind.
    #[error(
        "another transaction of this account took the place of {0}, or the node is behind: run the same command again in a minute, and if it stays so look at the account in an explorer; where nothing was paid, pay under another name"
    )]
    UsedUp(String),
    /// Another chain than the deployment's.
    #[error("the node is of chain {got}, and the contracts are on chain {expected}: use a node of that chain")]
    Chain {
        /// The deployment's.
        expected: u64,
        /// The node's.
        got: u64,
    },
    /// The deployment's address has no contract: a reorganisation took it away, or the file is of another chain.
    #[error("there is no contract at {0} any more: if the chain was reorganised, run `tributary chain deploy` again")]
    NoContract(String),
    /// A contract for another run.
    #[error("the contract at {0} pays another run than this log is about")]
    Run(String),
    /// The chain has another root for this epoch.
    #[error(
        "epoch {0} has another root on the chain than this log gives: somebody else submitted it, or the log was changed; do not go on"
    )]
    OtherRoot(u64),
    /// The chain has an epoch that has not closed in this log.
    #[error(
        "epoch {0} waits on the chain and has not closed in this log: fetch the newest log, and if it stays so the root is made up: veto it with --epoch {0}"
    )]
    Ahead(u64),
    /// There is nothing that could be submitted.
    #[error("no epoch has closed that is not submitted: the next one closes with round {0}")]
    NothingToSubmit(u64),
    /// No key, or a bad one.
    #[error("{0}")]
    Key(String),
    /// A file that cannot be read or written.
    #[error("{path}: {why}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The log is not what it should be.
    #[error(transparent)]
    Book(#[from] BookError),
    /// Epochs cannot be made of it.
    #[error(transparent)]
    Payout(#[from] PayoutError),
}

impl ChainError {
    /// Whether trying again cannot help.
    pub fn is_fatal(&self) -> bool {
        !matches!(self, Self::Unreachable { .. } | Self::Waiting(_) | Self::NothingToSubmit(_))
    }
}
