//! What this contributor was paid, checked by itself.
//!
//! Enters: receipts, and checkpoints that other contributors hold. Leaves: what a person is shown of them, and the
//! checkpoint to remember. Refuses, and from then on says so: a log that was rewritten, an entry that is not in it,
//! an amount that the rule does not give, and a second history that somebody else was told.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use tributary_ledger::{Checkpoint, Rule};

use crate::message::{Held, Receipt};
use crate::view::{EarningsView, ProofView, ReceiptRow};
use crate::{Hash, Id, Signed};

/// Checkpoints that are kept, by round, to compare with others': half an hour of the shortest usual rounds.
const KEPT: usize = 64;

/// Receipts that are shown.
const SHOWN: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    newest: Option<Signed<Checkpoint>>,
    known: BTreeMap<u64, Checkpoint>,
    held: Held,
    shown: VecDeque<ReceiptRow>,
    /// Why the log is not to be trusted. Nothing makes that good again.
    bad: Option<String>,
    /// The newest fold's round and what it pays this contributor.
    due: Option<(u64, u64)>,
}

/// Whose word counts, about what.
pub(super) struct Terms {
    pub(super) coordinator: Id,
    pub(super) run: Hash,
    pub(super) rule: Rule,
    pub(super) me: Id,
}

impl Receipts {
    /// What an earlier session remembered. Another coordinator's is nothing to go by.
    pub(super) fn recall(bytes: &[u8], coordinator: &Id) -> Self {
        let signed: Option<Signed<Checkpoint>> = postcard::from_bytes(bytes).ok();
        let Some(signed) = signed else { return Self::default() };
        let Ok(checkpoint) = signed.open(coordinator) else { return Self::default() };
        Self { newest: Some(signed), known: [(checkpoint.round, checkpoint)].into(), ..Self::default() }
    }

    /// The run is known: what was remembered of another one is nothing to go by either.
    pub(super) fn of_run(&mut self, run: &Hash) {
        if self.known.values().any(|checkpoint| checkpoint.run != run.0) {
            *self = Self::default();
        }
    }

    /// Entries of the log at the remembered checkpoint.
    pub(super) fn seen(&self) -> Option<u64> {
        self.known.last_key_value().map(|(_, checkpoint)| checkpoint.size)
    }

    /// A fold that pays this contributor so much.
    pub(super) fn due(&mut self, round: u64, amount: u64) {
        self.due = Some((round, amount));
    }

    /// Checks a receipt. Returns the checkpoint to remember from now on.
    pub(super) fn take(&mut self, terms: &Terms, receipt: &Receipt) -> Option<Bytes> {
        match self.check(terms, receipt) {
            Ok(row) => {
                self.held = receipt.held;
                if let Some(row) = row {
                    self.shown.retain(|known| known.round != row.round);
                    self.shown.push_front(row);
                    self.shown.truncate(SHOWN);
                }
                self.newest = Some(receipt.checkpoint.clone());
                Some(postcard::to_stdvec(&receipt.checkpoint).expect("a checkpoint has a finite serde form").into())
            }
            Err(why) => {
                self.bad.get_or_insert(why);
                None
            }
        }
    }

    fn check(&mut self, terms: &Terms, receipt: &Receipt) -> Result<Option<ReceiptRow>, String> {
        let signed = receipt.checkpoint.open(&terms.coordinator);
        let checkpoint = signed.map_err(|why| format!("The coordinator's receipt is not validly signed ({why})."))?;
        if checkpoint.run != terms.run.0 {
            return Err("The coordinator's receipt is about another run.".to_owned());
        }
        if let Some((_, remembered)) = self.known.last_key_value() {
            let continues = checkpoint.continues(remembered, &receipt.continues);
            continues.map_err(|why| format!("The coordinator has changed its ledger: {why}."))?;
        }
        let earned = receipt.receipt.check(&terms.me.0, &terms.rule, &checkpoint);
        let earned = earned.map_err(|why| format!("The coordinator's receipt does not hold: {why}."))?;
        let due = self.due.filter(|(round, _)| *round == earned.round && earned.witness == 0);
        if let Some((round, due)) = due.filter(|(_, due)| *due != earned.amount) {
            let paid = earned.amount;
            return Err(format!("Round {round} gave this contributor {due} credits and the ledger pays {paid}."));
        }
        self.known.insert(checkpoint.round, checkpoint);
        while self.known.len() > KEPT {
            self.known.pop_first();
        }
        let row = ReceiptRow { round: earned.round, amount: earned.amount, work: earned.work, all: earned.all_work };
        Ok((earned.amount > 0).then_some(row))
    }

    /// The newest checkpoint, for other contributors to compare with theirs.
    pub(super) fn newest(&self) -> Option<&Signed<Checkpoint>> {
        self.newest.as_ref()
    }

    /// Compares with the checkpoint that somebody else holds. What the coordinator did not sign says nothing.
    pub(super) fn compare(&mut self, terms: &Terms, from: &Id, theirs: &Signed<Checkpoint>) {
        let Ok(theirs) = theirs.open(&terms.coordinator) else { return };
        if theirs.run != terms.run.0 {
            return;
        }
        if let Some(ours) = self.known.get(&theirs.round).filter(|ours| **ours != theirs) {
            let (round, from) = (ours.round, from.to_string());
            self.bad.get_or_insert(format!(
                "The coordinator signed two different ledgers for round {round}: one for you and one for {from}."
            ));
        }
    }

    pub(super) fn view(&self) -> EarningsView {
        let Held { provisional, verified, r#final, forfeited } = self.held;
        let proof = match (&self.bad, self.known.last_key_value()) {
            (Some(why), _) => ProofView::Bad { why: why.clone() },
            (None, Some((round, checkpoint))) => ProofView::Good { round: *round, size: checkpoint.size },
            (None, None) => ProofView::None,
        };
        let receipts = self.shown.iter().copied().collect();
        EarningsView { provisional, verified, r#final, forfeited, proof, receipts }
    }
}
