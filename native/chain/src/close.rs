//! Epochs out of a log.

use std::collections::BTreeMap;

use tributary_ledger::{
    Book, Credits, Digest, Distributor, Entry, PayoutTree, Payouts, Wallet, checksummed, keccak256,
};

use crate::ChainError;

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

    /// The tree for a contract; None where nobody has earned anything.
    pub fn tree(&self, at: &Distributor) -> Option<PayoutTree> {
        PayoutTree::new(at, &self.sums)
    }
}

/// The run of a log, and its epochs of so many rounds that have closed.
pub fn close<B: AsRef<[u8]>>(
    log: impl IntoIterator<Item = B>,
    rounds: u64,
) -> Result<(Digest, Vec<Epoch>), ChainError> {
    let (mut book, mut payouts, mut epochs) = (Book::default(), Payouts::new(rounds)?, Vec::new());
    for bytes in log {
        let settled = matches!(Entry::from_bytes(bytes.as_ref()), Ok(Entry::Settled { .. }));
        book.append_bytes(bytes.as_ref())?;
        if settled && payouts.settled(book.ledger())? {
            let (number, sums) = (payouts.epochs() - 1, payouts.wallets().clone());
            epochs.push(Epoch { number, sums, log: book.tree().root() });
        }
    }
    Ok((book.ledger().run().unwrap_or_default(), epochs))
}
