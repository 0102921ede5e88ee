//! From balances to what each wallet has earned: the fold over epochs.
//!
//! Enters: the ledger, each time that a round has settled. Leaves: at the end of each epoch every wallet's sum since the
//! run began, which never falls. Refuses a ledger that was not shown the rounds one after the other.
//!
//! An epoch is a number of rounds that the contract on the chain fixes: the log is the same whatever they are, so they
//! belong to who pays and not to the run.

use std::collections::BTreeMap;

use crate::{Credits, Key, Ledger};

/// The address of an account or a contract on an Ethereum chain.
pub type Wallet = [u8; 20];

/// What wallets have earned when the last epoch closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payouts {
    rounds: u64,
    epochs: u64,
    next_round: u64,
    /// What of each contributor's final credits went to a wallet.
    assigned: BTreeMap<Key, Credits>,
    wallets: BTreeMap<Wallet, Credits>,
}

/// Why an epoch cannot be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PayoutError {
    /// Epochs have no rounds.
    #[error("an epoch has at least one round")]
    NoRounds,
    /// The newest settled round is not the one after the last that was shown.
    #[error(
        "payouts were computed up to round {expected}, and the ledger is at another: begin with the log's first round"
    )]
    Round {
        /// The round that must have settled now.
        expected: u64,
    },
}

impl Payouts {
    /// Before the first epoch, of so many rounds each.
    pub fn new(rounds: u64) -> Result<Self, PayoutError> {
        if rounds == 0 {
            return Err(PayoutError::NoRounds);
        }
        Ok(Self { rounds, epochs: 0, next_round: 0, assigned: BTreeMap::new(), wallets: BTreeMap::new() })
    }

    /// To be called after every settled round; tells whether the round ended an epoch, whose sums are in
    /// [`Payouts::wallets`] then.
    pub fn settled(&mut self, ledger: &Ledger) -> Result<bool, PayoutError> {
        let round = self.next_round;
        if ledger.newest_round() != Some(round) || !ledger.is_settled() {
            return Err(PayoutError::Round { expected: round });
        }
        self.next_round += 1;
        let ends = self.next_round.is_multiple_of(self.rounds);
        if ends {
            self.close(ledger);
            self.epochs += 1;
        }
        Ok(ends)
    }

    /// Epochs that have closed.
    pub fn epochs(&self) -> u64 {
        self.epochs
    }

    /// What each wallet has earned since the run began. A wallet that has earned nothing is not there.
    pub fn wallets(&self) -> &BTreeMap<Wallet, Credits> {
        &self.wallets
    }

    /// Gives what became final to the wallets. Whoever has none keeps it under its key, for when it has.
    fn close(&mut self, ledger: &Ledger) {
        // A wallet that took another's place since the epoch began is paid from the next on.
        let began = self.epochs * self.rounds;
        for (who, balance) in ledger.balances() {
            let assigned = self.assigned.entry(*who).or_default();
            // What is final stays so, and sums of some credits are at most the ledger's total, which is checked.
            let new = balance.r#final.saturating_sub(*assigned);
            if let Some(wallet) = ledger.payee(who, began).filter(|_| new > 0) {
                *self.wallets.entry(*wallet).or_default() += new;
                *assigned += new;
            }
        }
    }
}
