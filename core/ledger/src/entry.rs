//! Entries and the fold over them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Credits, Key, Share};

/// One line of the ledger: a settled round's credit to one contributor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The settled round.
    pub round: u64,
    /// Who is credited.
    pub who: Key,
    /// Accepted tokens.
    pub tokens: u64,
    /// Credits.
    pub amount: Credits,
}

impl Entry {
    /// The entry that pays `share` for `round`.
    pub fn new(round: u64, share: Share) -> Self {
        Self { round, who: share.who, tokens: share.tokens, amount: share.amount }
    }
}

/// Why an entry was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// Rounds settle once, in order.
    #[error("round {got} comes after round {last} in the ledger, which is settled already")]
    OutOfOrder {
        /// The newest round with an entry.
        last: u64,
        /// The round of the refused entry.
        got: u64,
    },
    /// A contributor is paid once a round.
    #[error("round {0} already pays this contributor")]
    PaidTwice(u64),
    /// The sum does not fit.
    #[error("credits overflow 64 bits")]
    Overflow,
}

impl LedgerError {
    /// An entry that is refused means a log that is not ours: nothing to go on with.
    pub fn is_fatal(&self) -> bool {
        true
    }
}

/// Balances, folded from entries in the order they were written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    balances: BTreeMap<Key, Balance>,
    newest: Option<u64>,
    total: Credits,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Balance {
    credits: Credits,
    last_round: u64,
}

impl Ledger {
    /// Folds a whole log.
    pub fn replay<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Result<Self, LedgerError> {
        let mut ledger = Self::default();
        for entry in entries {
            ledger.append(entry)?;
        }
        Ok(ledger)
    }

    /// Folds one more entry in; on refusal nothing has changed.
    pub fn append(&mut self, entry: &Entry) -> Result<(), LedgerError> {
        if let Some(last) = self.newest
            && entry.round < last
        {
            return Err(LedgerError::OutOfOrder { last, got: entry.round });
        }
        let before = self.balances.get(&entry.who).copied();
        if before.is_some_and(|balance| balance.last_round == entry.round) {
            return Err(LedgerError::PaidTwice(entry.round));
        }
        let total = self.total.checked_add(entry.amount).ok_or(LedgerError::Overflow)?;
        // No balance can exceed the total, so this addition cannot overflow.
        let credits = before.unwrap_or_default().credits + entry.amount;
        self.balances.insert(entry.who, Balance { credits, last_round: entry.round });
        self.total = total;
        self.newest = Some(entry.round);
        Ok(())
    }

    /// What `who` holds.
    pub fn balance(&self, who: &Key) -> Credits {
        self.balances.get(who).map_or(0, |balance| balance.credits)
    }

    /// Everything ever paid.
    pub fn total(&self) -> Credits {
        self.total
    }

    /// Every contributor that was ever paid, with its balance, by key.
    pub fn balances(&self) -> impl Iterator<Item = (&Key, Credits)> {
        self.balances.iter().map(|(who, balance)| (who, balance.credits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(round: u64, who: u8, amount: Credits) -> Entry {
        Entry { round, who: [who; 32], tokens: 1, amount }
    }

    #[test]
    fn balances_fold_and_refusals_change_nothing() {
        let mut ledger = Ledger::replay(&[entry(1, 1, 5), entry(1, 2, 7), entry(2, 1, 3)]).unwrap();
        assert_eq!((ledger.balance(&[1; 32]), ledger.balance(&[2; 32]), ledger.total()), (8, 7, 15));
        let before = ledger.clone();
        assert_eq!(ledger.append(&entry(2, 1, 1)), Err(LedgerError::PaidTwice(2)));
        assert_eq!(ledger.append(&entry(1, 3, 1)), Err(LedgerError::OutOfOrder { last: 2, got: 1 }));
        assert_eq!(ledger.append(&entry(3, 1, u64::MAX)), Err(LedgerError::Overflow));
        assert_eq!(ledger, before);
    }
}
