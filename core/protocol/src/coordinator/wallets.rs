//! Wallets that contributors name, on their way into the log.
//!
//! Enters: proofs that a contributor and a wallet belong together. Leaves: a journal event of each that is taken and, with
//! the next settled round, its entry. Refuses what the log would refuse, texts of another time, contributors that nobody
//! here knows, a second link of one contributor in one round, and more in one round than are written with it.

use tributary_ledger::{BookError, Entry, LedgerError, LinkError, LinkMessage, LinkProof, LinkedBy, Payee, Wallet};

use super::{Coordinator, Event, Output};
use crate::limits::MAX_QUEUED_LINKS;
use crate::{Id, Millis};

/// Milliseconds by which a text may be ahead of the coordinator's clock. One far ahead would make all later ones old.
const AHEAD_MS: Millis = 60_000;

/// Links that are in the journal and not yet in the log, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Queue(Vec<Queued>);

#[derive(Debug)]
struct Queued {
    who: Id,
    wallet: Wallet,
    by: LinkedBy,
    proof: Vec<u8>,
}

impl Queue {
    /// Takes a proof over from the journal.
    pub(super) fn push(&mut self, proof: Vec<u8>) -> Result<(), LinkError> {
        let (said, message) = read(&proof)?;
        self.0.push(Queued { who: Id(message.peer), wallet: message.wallet, by: said.wallet.by(), proof });
        Ok(())
    }

    /// A round has settled: whatever waited is written, or never will be.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    fn of(&self, who: &Id) -> Option<&Queued> {
        self.0.iter().find(|queued| queued.who == *who)
    }
}

/// Why a link is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkRefusal {
    /// The log would refuse it.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Its text has ended, or is of the future.
    #[error("the signed text is good for five minutes and those are over, or have not begun: sign a new one")]
    Time,
    /// There is one of this contributor.
    #[error("another wallet of this contributor waits for the next settled round: name a new one after that")]
    Queued,
    /// Too many links.
    #[error("as many wallets as a round writes down wait for the next one: try again after that")]
    Full,
    /// Nobody knows the contributor.
    #[error("this contributor is not known here yet: let it train first, then link its wallet")]
    Unknown,
}

/// Where a contributor's earnings go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The newest settled round.
    pub round: Option<u64>,
    /// The wallet that is paid now.
    pub wallet: Option<Payee>,
    /// The one that takes its place.
    pub pending: Option<Payee>,
    /// The one that is in the journal and not yet in the log.
    pub queued: Option<(Wallet, LinkedBy)>,
}

impl Coordinator {
    /// Takes a link, which is in the log with the next settled round; what it then comes to. To be acknowledged when
    /// what [`Coordinator::poll`] gives next is durable.
    pub fn link(&mut self, now: Millis, proof: &[u8]) -> Result<Payee, LinkRefusal> {
        let payee = self.check_link(now, proof)?;
        self.queue.push(proof.to_vec())?;
        self.journal(Event::Linked { proof: proof.to_vec() });
        Ok(payee)
    }

    /// What [`Coordinator::link`] would come to now; nothing changes.
    pub fn check_link(&self, now: Millis, proof: &[u8]) -> Result<Payee, LinkRefusal> {
        let (_, message) = read(proof)?;
        let who = Id(message.peer);
        if message.expires.saturating_mul(1000) <= now || message.issued.saturating_mul(1000) > now + AHEAD_MS {
            return Err(LinkRefusal::Time);
        }
        let ledger = self.book.ledger();
        if !self.peers.contains_key(&who) && ledger.balance(&who.0).paid() == 0 && ledger.payees(&who.0).is_empty() {
            return Err(LinkRefusal::Unknown);
        }
        if self.queue.of(&who).is_some() {
            return Err(LinkRefusal::Queued);
        }
        if self.queue.0.len() >= MAX_QUEUED_LINKS {
            return Err(LinkRefusal::Full);
        }
        Ok(ledger.check_link(self.round, &who.0, &message.wallet, proof)?)
    }

    /// Where a contributor's earnings go.
    pub fn account(&self, who: &Id) -> Account {
        let ledger = self.book.ledger();
        let payees = ledger.payees(&who.0);
        let wallet = payees.iter().rev().find(|payee| payee.from <= self.round).copied();
        let pending = payees.last().filter(|payee| payee.from > self.round).copied();
        let queued = self.queue.of(who).map(|queued| (queued.wallet, queued.by));
        Account { round: ledger.newest_round(), wallet, pending, queued }
    }

    /// Writes what waits into the open batch; the entries. What the log refuses after all is left out and said, so that
    /// no link can keep a round from settling.
    pub(super) fn write_links(&mut self) -> Result<Vec<Entry>, BookError> {
        let mut entries = Vec::new();
        for Queued { who, wallet, proof, .. } in std::mem::take(&mut self.queue).0 {
            let entry = Entry::Linked { who: who.0, wallet, proof };
            match self.book.append(&entry) {
                Ok(_) => entries.push(entry),
                Err(BookError::Ledger { why: LedgerError::Link { why, .. }, .. }) => {
                    self.out.push_back(Output::Unlinked { who, why });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(entries)
    }
}

fn read(proof: &[u8]) -> Result<(LinkProof, LinkMessage), LinkError> {
    let said = LinkProof::from_bytes(proof)?;
    let message = LinkMessage::parse(&said.message)?;
    Ok((said, message))
}
