//! The coordinator's whole log, read and recomputed by the page itself.
//!
//! Enters: the signed checkpoint, the log's entries up to it as they come, and the checkpoint that this browser remembers.
//! Leaves: what a contributor holds and which wallet it is paid to, and the epochs that have closed. Refuses a checkpoint
//! that the coordinator did not sign and a log in which anything does not follow.

use serde::{Deserialize, Serialize};
use tributary_ledger::{Book, Checkpoint, Epochs, checksummed, frames};
use tributary_protocol::{Hash, Id, Signed};
use tsify::Tsify;

use super::WalletError;

/// The log so far.
#[derive(Debug)]
pub(crate) struct Log {
    coordinator: Id,
    run: Hash,
    /// What is to be read, as the coordinator signed it.
    checkpoint: Option<Checkpoint>,
    pub(crate) epochs: Epochs,
}

/// What the log says about a contributor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Tsify)]
#[tsify(large_number_types_as_bigints)]
pub struct AccountView {
    /// The newest settled round.
    #[tsify(type = "bigint")]
    pub round: u64,
    /// Credits of rounds whose checks may go on.
    #[tsify(type = "bigint")]
    pub provisional: u64,
    /// Of rounds whose checks have ended.
    #[tsify(type = "bigint")]
    pub verified: u64,
    /// That nothing can take back.
    #[tsify(type = "bigint")]
    pub r#final: u64,
    /// The wallet that is paid now.
    pub wallet: Option<PaidTo>,
    /// The wallet that takes its place later.
    pub pending: Option<PaidTo>,
    /// Entries of the log.
    #[tsify(type = "bigint")]
    pub size: u64,
}

/// A wallet that is paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Tsify)]
#[tsify(large_number_types_as_bigints)]
pub struct PaidTo {
    /// Its address.
    pub address: String,
    /// From which round on.
    #[tsify(type = "bigint")]
    pub from: u64,
}

impl Log {
    /// Of a run and who keeps its log; `rounds`: those of the contract's epochs, where there is a contract.
    pub(crate) fn new(run: &str, coordinator: &str, rounds: Option<u64>) -> Result<Self, WalletError> {
        Ok(Self {
            run: run.parse().map_err(|_| WalletError::Coordinator("run id"))?,
            coordinator: coordinator.parse().map_err(|_| WalletError::Coordinator("peer id"))?,
            checkpoint: None,
            // Without a contract no epoch ever closes.
            epochs: Epochs::new(rounds.unwrap_or(u64::MAX))?,
        })
    }

    fn open(&self, signed: &[u8]) -> Result<Checkpoint, WalletError> {
        let signed: Signed<Checkpoint> =
            postcard::from_bytes(signed).map_err(|_| WalletError::Coordinator("checkpoint"))?;
        let checkpoint = signed.open(&self.coordinator).map_err(|why| WalletError::Unsigned(why.to_string()))?;
        if checkpoint.run != self.run.0 {
            return Err(WalletError::Unsigned("it is about another run".to_owned()));
        }
        Ok(checkpoint)
    }

    /// From now on the log is to be read up to this checkpoint.
    pub(crate) fn read_to(&mut self, signed: &[u8]) -> Result<(), WalletError> {
        self.checkpoint = Some(self.open(signed)?);
        Ok(())
    }

    /// The entry that is to be fetched next; none if all are here.
    pub(crate) fn missing(&self) -> Option<u64> {
        let here = self.book().len();
        self.checkpoint.is_some_and(|checkpoint| here < checkpoint.size).then_some(here)
    }

    /// Takes entries from the next one on. What was written after the checkpoint is left out.
    pub(crate) fn push(&mut self, page: &[u8]) -> Result<(), WalletError> {
        let (shown, size) = (self.book().len(), self.checkpoint.map_or(0, |checkpoint| checkpoint.size));
        let rows = frames(page)?;
        if rows.is_empty() && shown < size {
            return Err(WalletError::Missing { shown, size });
        }
        let wanted = usize::try_from(size.saturating_sub(shown)).unwrap_or(usize::MAX);
        rows.into_iter().take(wanted).try_for_each(|row| Ok(self.epochs.append_bytes(row)?))
    }

    /// Whether the log is the one that the coordinator signed, and whether it continues what is remembered. What is
    /// remembered of another run or coordinator is nothing to go by.
    pub(crate) fn ticks(&self, remembered: Option<&[u8]>) -> (bool, bool) {
        let is = |checkpoint: &Checkpoint| self.book().check(checkpoint).is_ok();
        let remembered = remembered.and_then(|signed| self.open(signed).ok());
        (self.missing().is_none() && self.checkpoint.as_ref().is_some_and(is), remembered.as_ref().is_none_or(is))
    }

    /// What a contributor holds.
    pub(crate) fn account(&self, peer: &str) -> Result<AccountView, WalletError> {
        let who: Id = peer.parse().map_err(|_| WalletError::Peer(peer.to_owned()))?;
        let ledger = self.book().ledger();
        let (round, balance) = (ledger.newest_round().unwrap_or_default(), ledger.balance(&who.0));
        let to = |(wallet, from)| PaidTo { address: checksummed(wallet), from };
        let last = ledger.wallet(&who.0);
        let pending = last.filter(|(_, from)| *from > round + 1);
        let now = ledger.payee(&who.0, round + 1).map(|wallet| match last {
            Some((newest, from)) if pending.is_none() => (newest, from),
            _ => (wallet, 0),
        });
        Ok(AccountView {
            round,
            provisional: balance.provisional,
            verified: balance.verified,
            r#final: balance.r#final,
            wallet: now.map(to),
            pending: pending.map(to),
            size: self.book().len(),
        })
    }

    pub(crate) fn run(&self) -> Hash {
        self.run
    }

    fn book(&self) -> &Book {
        self.epochs.book()
    }
}
