//! The batch of the round that is being written.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::entry::Place;
use crate::reward::{Payment, payments};
use crate::{Credits, Digest, Entry, Key, LedgerError, Rule};

/// What a batch says so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Its round.
    pub(crate) round: u64,
    /// The place of its last entry.
    pub(crate) place: Place,
    works: Tally,
    witnesses: Tally,
    forfeited: BTreeSet<Key>,
    due: Option<Due>,
}

impl Batch {
    /// The batch of a round that was just opened.
    pub(crate) fn new(round: u64) -> Self {
        let (works, witnesses) = (Tally::default(), Tally::default());
        Self { round, place: Place::Opened, works, witnesses, forfeited: BTreeSet::new(), due: None }
    }

    /// Counts work.
    pub(crate) fn worked(&mut self, who: &Key, work: u64) -> Result<(), LedgerError> {
        self.works.add(who, work)
    }

    /// Counts tokens that a witness ran again.
    pub(crate) fn witnessed(&mut self, by: &Key, tokens: u64) -> Result<(), LedgerError> {
        self.witnesses.add(by, tokens)
    }

    /// Strikes out everything that this round would pay to `who`; false if it did before.
    pub(crate) fn forfeit(&mut self, who: &Key) -> bool {
        self.forfeited.insert(*who)
    }

    /// What the rule gives for it, whatever of that is written already.
    pub(crate) fn due(&self, rule: &Rule) -> Due {
        let list = |tally: &Tally| tally.without(&self.forfeited);
        Due::new(payments(rule, &list(&self.works), &list(&self.witnesses)))
    }

    /// Takes a payment off what is due, if it is the next. On refusal nothing has changed.
    pub(crate) fn pay(&mut self, rule: &Rule, payment: &Payment) -> Result<(), LedgerError> {
        let mut due = self.due.take();
        let is_next = due.get_or_insert_with(|| self.due(rule)).left.front() == Some(payment);
        if is_next && let Some(due) = &mut due {
            due.left.pop_front();
        }
        // Only a batch that has paid something keeps the list.
        self.due = due.filter(|_| is_next || self.place == Place::Paid);
        if is_next { Ok(()) } else { Err(LedgerError::Pay { who: payment.who, round: self.round }) }
    }

    /// What is left to be paid, and the sums.
    pub(crate) fn rest(&self, rule: &Rule) -> Due {
        self.due.clone().unwrap_or_else(|| self.due(rule))
    }
}

/// A number for each contributor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Tally {
    by: BTreeMap<Key, u64>,
    sum: u64,
}

impl Tally {
    /// Adds to one of them; refuses sums over all that do not fit, so that none of one does.
    fn add(&mut self, who: &Key, number: u64) -> Result<(), LedgerError> {
        self.sum = self.sum.checked_add(number).ok_or(LedgerError::Overflow)?;
        *self.by.entry(*who).or_default() += number;
        Ok(())
    }

    fn without(&self, these: &BTreeSet<Key>) -> BTreeMap<Key, u64> {
        self.by.iter().filter(|(who, _)| !these.contains(*who)).map(|(who, number)| (*who, *number)).collect()
    }
}

/// What a batch has to pay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Due {
    /// Payments that are not written yet, in their order.
    pub(crate) left: VecDeque<Payment>,
    /// The work, tokens run again and credits of all of them.
    pub(crate) sums: (u64, u64, Credits),
}

impl Due {
    fn new(payments: Vec<Payment>) -> Self {
        let sum = |of: fn(&Payment) -> u64| payments.iter().map(of).sum();
        let sums = (sum(|p| p.work), sum(|p| p.witness), sum(|p| p.amount));
        Self { left: payments.into(), sums }
    }

    /// The entries that settle the round.
    pub(crate) fn entries(self, round: u64, next: Digest, fold: Digest) -> Vec<Entry> {
        let (work, witness, paid) = self.sums;
        let pay = |Payment { who, work, witness, amount }| Entry::Paid { round, who, work, witness, amount };
        let settled = Entry::Settled { round, next, fold, work, witness, paid };
        self.left.into_iter().map(pay).chain([settled]).collect()
    }
}
