//! Epochs out of a log.
//!
//! Enters: the log's entries in their order, and how many rounds make an epoch. Leaves: the log's book, and of each epoch
//! that has closed what a chain gets of it. Refuses what [`Book`] does.

use std::collections::BTreeMap;

use crate::{
    Book, BookError, Credits, Digest, Distributor, Entry, PayoutError, PayoutTree, Payouts, Wallet, checksummed,
    keccak256,
};

/// An epoch that has closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    /// From 0.
    pub number: u64,
    /// What each wallet has earned since the run began.
    pub sums: BTreeMap<Wallet, Credits>,
    /// The root of the log as it was then.
    pub log: Digest,
}

impl Epoch {
    /// The list that is published: a line for each wallet, address, comma, sum, by address.
    pub fn list(&self) -> String {
        self.sums.iter().map(|(wallet, sum)| format!("{},{sum}\n", checksummed(wallet))).collect()
    }

    /// The list's hash.
    pub fn data(&self) -> Digest {
        keccak256(self.list().as_bytes())
    }

    /// The tree for a contract; None where no wallet has earned anything.
    pub fn tree(&self, at: &Distributor) -> Option<PayoutTree> {
        PayoutTree::new(at, &self.sums)
    }

    /// The root for a contract. It takes one of every epoch, so one without payouts has a root too: the hash of its empty
    /// list, to which no proof leads.
    pub fn root(&self, at: &Distributor) -> Digest {
        self.tree(at).map_or_else(|| self.data(), |tree| tree.root())
    }
}

/// A log that is read, and its epochs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epochs {
    book: Book,
    payouts: Payouts,
    closed: Vec<Epoch>,
}

impl Epochs {
    /// Before the first entry; epochs of so many rounds.
    pub fn new(rounds: u64) -> Result<Self, PayoutError> {
        Ok(Self { book: Book::default(), payouts: Payouts::new(rounds)?, closed: Vec::new() })
    }

    /// Adds an entry's bytes. On refusal nothing has changed.
    pub fn append_bytes(&mut self, bytes: &[u8]) -> Result<(), BookError> {
        self.book.append_bytes(bytes)?;
        let settled = matches!(Entry::from_bytes(bytes), Ok(Entry::Settled { .. }));
        // It was shown every round that settled, which is all that it could refuse.
        if settled && self.payouts.settled(self.book.ledger()) == Ok(true) {
            let (number, sums) = (self.payouts.epochs() - 1, self.payouts.wallets().clone());
            self.closed.push(Epoch { number, sums, log: self.book.tree().root() });
        }
        Ok(())
    }

    /// The log.
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// The epochs that have closed, from the first on.
    pub fn closed(&self) -> &[Epoch] {
        &self.closed
    }
}
