//! The fold over entries: what follows from what, and who holds what.

use std::collections::BTreeMap;

use crate::account::Account;
use crate::batch::Batch;
use crate::entry::{Finding, Place, Verdict};
use crate::reward::Payment;
use crate::wallets::{Payee, Wallets};
use crate::{Balance, Code, Credits, Digest, Entry, Key, LedgerError, LinkError, MAX_AGE, Rule, Wallet, work};

/// Everything that follows from a log so far. It holds what can still matter: accounts, wallets, and the submissions
/// of the last [`Rule::hold`] rounds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    run: Option<Run>,
    newest: Option<u64>,
    /// The state that the newest settled round ended with.
    state: Option<Digest>,
    batch: Option<Batch>,
    submissions: BTreeMap<(u64, Key), Submission>,
    accounts: BTreeMap<Key, Account>,
    wallets: Wallets,
    total: Credits,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    run: Digest,
    coordinator: Key,
    rule: Rule,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Submission {
    tokens: u64,
    judged: bool,
    /// Something was found about it that is not [`Finding::Same`].
    wrong: Option<Finding>,
    replayed_by: Vec<(Key, Finding)>,
}

impl Ledger {
    /// Folds a whole log.
    pub fn replay<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Result<Self, LedgerError> {
        let mut ledger = Self::default();
        entries.into_iter().try_for_each(|entry| ledger.append(entry))?;
        Ok(ledger)
    }

    /// Folds one more entry in; on refusal nothing has changed.
    pub fn append(&mut self, entry: &Entry) -> Result<(), LedgerError> {
        if let Entry::Run { run, coordinator, rule } = *entry {
            return self.begin(Run { run, coordinator, rule });
        }
        let run = self.run.ok_or(LedgerError::NoRun)?;
        let (got, after) = (entry.place(), self.place());
        if let Entry::Opened { round, base, .. } = *entry {
            return self.open(round, &base);
        }
        let Some(batch) = self.batch.as_mut().filter(|_| got >= after) else {
            return Err(LedgerError::Order { after, got });
        };
        let round = batch.round;
        match *entry {
            Entry::Run { .. } | Entry::Opened { .. } => {}
            Entry::Linked { who, wallet, ref proof } => {
                let linked = self.wallets.link(run.rule.relink, round, who, wallet, proof);
                linked.map_err(|why| LedgerError::Link { who, why })?;
            }
            Entry::Submitted { origin, who, tokens, .. } => self.submit(&run, round, origin, who, tokens)?,
            Entry::Judged { origin, who, verdict } => self.judge(origin, who, verdict)?,
            Entry::Replayed { origin, who, by, tokens, finding } => {
                self.replayed(&run, (origin, who), by, tokens, finding)?;
            }
            Entry::Forfeited { who, origin, code } => self.forfeit(&run.rule, origin, who, code)?,
            Entry::Paid { round: of, who, work, witness, amount } => {
                if of != round {
                    return Err(LedgerError::Round { expected: round, got: of });
                }
                let total = self.total.checked_add(amount).ok_or(LedgerError::Overflow)?;
                batch.pay(&run.rule, &Payment { who, work, witness, amount })?;
                self.accounts.entry(who).or_default().pay(&run.rule, round, amount);
                self.total = total;
            }
            Entry::Settled { round: of, next, work, witness, paid, .. } => {
                if of != round {
                    return Err(LedgerError::Round { expected: round, got: of });
                }
                let rest = batch.rest(&run.rule);
                if let Some(payment) = rest.left.front() {
                    return Err(LedgerError::Unpaid { who: payment.who, round });
                }
                if rest.sums != (work, witness, paid) {
                    return Err(LedgerError::Sums(round));
                }
                self.settle(&run.rule, round, next);
                return Ok(());
            }
        }
        if let Some(batch) = &mut self.batch {
            batch.place = got;
        }
        Ok(())
    }

    /// The payments and the end of the open batch, as far as they are not written yet: the only entries that it
    /// can be settled with. Refuses another round than the open one's.
    pub fn settlement(&self, round: u64, next: Digest, fold: Digest) -> Result<Vec<Entry>, LedgerError> {
        let run = self.run.ok_or(LedgerError::NoRun)?;
        match &self.batch {
            Some(batch) if batch.round == round => Ok(batch.rest(&run.rule).entries(round, next, fold)),
            Some(batch) => Err(LedgerError::Round { expected: batch.round, got: round }),
            None => Err(LedgerError::Round { expected: self.next_round(), got: round }),
        }
    }

    /// The run that the log is about.
    pub fn run(&self) -> Option<Digest> {
        self.run.map(|run| run.run)
    }

    /// Who keeps the log.
    pub fn coordinator(&self) -> Option<Key> {
        self.run.map(|run| run.coordinator)
    }

    /// How it pays.
    pub fn rule(&self) -> Option<Rule> {
        self.run.map(|run| run.rule)
    }

    /// The newest settled round.
    pub fn newest_round(&self) -> Option<u64> {
        self.newest
    }

    /// Whether the last entry ends a batch, as that of every log does that was written whole.
    pub fn is_settled(&self) -> bool {
        self.batch.is_none()
    }

    /// Whether somebody ran work of `who` for a round again, or it was not shown.
    pub fn is_replayed(&self, origin: u64, who: &Key) -> bool {
        self.submissions.get(&(origin, *who)).is_some_and(|submission| !submission.replayed_by.is_empty())
    }

    /// What `who` holds.
    pub fn balance(&self, who: &Key) -> Balance {
        self.accounts.get(who).map_or_else(Balance::default, |account| self.balance_of(account))
    }

    /// Every contributor that was ever paid, with its balance, by key.
    pub fn balances(&self) -> impl Iterator<Item = (&Key, Balance)> {
        self.accounts.iter().map(|(who, account)| (who, self.balance_of(account)))
    }

    /// Everything ever paid, forfeited or not: the sum of all balances' parts.
    pub fn total(&self) -> Credits {
        self.total
    }

    /// The wallet that `who` named last, and the round from which on it is in force.
    pub fn wallet(&self, who: &Key) -> Option<(&Wallet, u64)> {
        self.payees(who).last().map(|last| (&last.wallet, last.from))
    }

    /// The wallets that `who` named, oldest first, without those that gave way before they were in force.
    pub fn payees(&self, who: &Key) -> &[Payee] {
        self.wallets.all(who)
    }

    /// What an [`Entry::Linked`] in the batch of `round` would come to; nothing changes.
    pub fn check_link(&self, round: u64, who: &Key, wallet: &Wallet, proof: &[u8]) -> Result<Payee, LinkError> {
        // Without a run there are no wallets yet that another could take the place of.
        let relink = self.run.map_or(0, |run| run.rule.relink);
        self.wallets.check(relink, round, who, wallet, proof)
    }

    /// The wallet that an epoch which began with `round` is paid to.
    pub fn payee(&self, who: &Key, round: u64) -> Option<&Wallet> {
        self.wallets.at(who, round)
    }

    fn balance_of(&self, account: &Account) -> Balance {
        self.run.map_or_else(Balance::default, |run| account.balance(&run.rule, self.newest))
    }

    fn next_round(&self) -> u64 {
        self.newest.map_or(0, |newest| newest + 1)
    }

    /// The place in a batch of the last entry.
    fn place(&self) -> Place {
        match (&self.batch, self.newest) {
            (Some(batch), _) => batch.place,
            (None, Some(_)) => Place::Settled,
            (None, None) => Place::Run,
        }
    }

    fn begin(&mut self, run: Run) -> Result<(), LedgerError> {
        if self.run.is_some() {
            return Err(LedgerError::Order { after: self.place(), got: Place::Run });
        }
        run.rule.check().map_err(LedgerError::Rule)?;
        self.run = Some(run);
        Ok(())
    }

    fn open(&mut self, round: u64, base: &Digest) -> Result<(), LedgerError> {
        if self.batch.is_some() {
            return Err(LedgerError::Order { after: self.place(), got: Place::Opened });
        }
        if round != self.next_round() {
            return Err(LedgerError::Round { expected: self.next_round(), got: round });
        }
        if self.state.as_ref().is_some_and(|state| state != base) {
            return Err(LedgerError::Base(round));
        }
        self.batch = Some(Batch::new(round));
        Ok(())
    }

    fn submit(&mut self, run: &Run, round: u64, origin: u64, who: Key, tokens: u64) -> Result<(), LedgerError> {
        if origin > round || origin + run.rule.window() < round {
            return Err(LedgerError::Origin { round, origin });
        }
        if self.submissions.contains_key(&(origin, who)) {
            return Err(LedgerError::SubmittedTwice { who, origin });
        }
        let submission = Submission { tokens, judged: false, wrong: None, replayed_by: Vec::new() };
        self.submissions.insert((origin, who), submission);
        Ok(())
    }

    fn judge(&mut self, origin: u64, who: Key, verdict: Verdict) -> Result<(), LedgerError> {
        let submission = self.submissions.get_mut(&(origin, who)).ok_or(LedgerError::NotSubmitted { who, origin })?;
        if submission.judged {
            return Err(LedgerError::JudgedTwice { who, origin });
        }
        if let (Verdict::Counted { tokens, quality }, Some(batch)) = (verdict, &mut self.batch) {
            if tokens > submission.tokens || quality > crate::PPM {
                return Err(LedgerError::TooMuch { who, origin });
            }
            if origin + MAX_AGE < batch.round {
                return Err(LedgerError::TooOld { origin, round: batch.round });
            }
            batch.worked(&who, work(tokens, quality))?;
        }
        submission.judged = true;
        Ok(())
    }

    fn replayed(
        &mut self,
        run: &Run,
        (origin, who): (u64, Key),
        by: Key,
        tokens: u64,
        finding: Finding,
    ) -> Result<(), LedgerError> {
        let submission = self.submissions.get_mut(&(origin, who)).ok_or(LedgerError::NotSubmitted { who, origin })?;
        if by == who || submission.replayed_by.iter().any(|(known, _)| *known == by) {
            return Err(LedgerError::Witness { by, origin });
        }
        if tokens > submission.tokens {
            return Err(LedgerError::TooMuch { who, origin });
        }
        if by != run.coordinator
            && let Some(batch) = &mut self.batch
        {
            batch.witnessed(&by, tokens)?;
        }
        submission.replayed_by.push((by, finding));
        match finding {
            Finding::Same => self.accounts.entry(who).or_default().pass(origin),
            // Proof weighs more than silence.
            Finding::Missing if submission.wrong.is_some() => {}
            Finding::Missing | Finding::Different => submission.wrong = Some(finding),
        }
        Ok(())
    }

    fn forfeit(&mut self, rule: &Rule, origin: u64, who: Key, code: Code) -> Result<(), LedgerError> {
        // Proof takes everything; silence takes what nothing speaks for.
        let unproven = code == Code::Missing;
        let is_shown = match code {
            Code::Vouched => self.vouched(origin, &who),
            Code::Missing => self.found(origin, who) == Some(Finding::Missing),
            _ => self.found(origin, who) == Some(Finding::Different),
        };
        if !is_shown {
            return Err(LedgerError::NoReplay { who, origin });
        }
        if !self.batch.as_mut().is_some_and(|batch| batch.forfeit(&who)) {
            return Err(LedgerError::ForfeitedTwice(who));
        }
        if let Some(account) = self.accounts.get_mut(&who) {
            account.forfeit(rule, self.newest, unproven);
        }
        Ok(())
    }

    /// What is wrong with a contributor's work of a round.
    fn found(&self, origin: u64, who: Key) -> Option<Finding> {
        self.submissions.get(&(origin, who)).and_then(|submission| submission.wrong)
    }

    /// Whether a contributor found nothing wrong with work of a round that was proved wrong.
    fn vouched(&self, origin: u64, by: &Key) -> bool {
        self.submissions.range((origin, [0; 32])..=(origin, [0xff; 32])).any(|(_, submission)| {
            let wrong = submission.wrong == Some(Finding::Different);
            wrong && submission.replayed_by.contains(&(*by, Finding::Same))
        })
    }

    fn settle(&mut self, rule: &Rule, round: u64, next: Digest) {
        self.newest = Some(round);
        self.state = Some(next);
        self.batch = None;
        // About older ones nothing can be said any more.
        if let Some(oldest) = (round + 1).checked_sub(rule.window()) {
            self.submissions = self.submissions.split_off(&(oldest, [0; 32]));
        }
    }
}
