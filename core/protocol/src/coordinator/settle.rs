//! A round's end in the books: one batch of entries, from which anyone can recompute what it paid, and the
//! receipts for those whom it paid.
//!
//! Enters: the manifest, findings, what was promised, refused and linked since the last round; or a batch of the journal.
//! Leaves: entries, the signed checkpoint, receipts. Refuses a batch that the ledger's rule does not give.

use std::collections::BTreeMap;

use tributary_ledger::{Book, BookError, Checkpoint, Code, Entry, Key, Rule, Verdict as Judgement};

use super::referee::Found;
use super::updates::Name;
use super::{Coordinator, RestoreError};
use crate::message::{Commit, FoldManifest, Reason, Receipt, RoundManifest, ToContributor};
use crate::spec::RunSpec;
use crate::{Id, Signed};

/// What the next batch has to say, in the order in which it happened. As much as one round can have.
#[derive(Debug, Default)]
pub(super) struct Docket {
    submitted: Vec<(Name, Signed<Commit>)>,
    refused: BTreeMap<Name, Code>,
}

impl Docket {
    pub(super) fn submit(&mut self, name: Name, commit: Signed<Commit>) {
        self.submitted.push((name, commit));
    }

    pub(super) fn refuse(&mut self, name: Name, why: Reason) {
        self.refused.insert(name, why.code());
    }

    /// A round goes again: what was made for it never was.
    pub(super) fn void(&mut self, round: u64) {
        self.submitted.retain(|((_, origin), _)| *origin != round);
        self.refused.retain(|(_, origin), _| *origin != round);
    }
}

/// What a run's spec says of money.
pub fn rule(spec: &RunSpec) -> Rule {
    /// Long enough to notice over a weekend that somebody else has the identity.
    const RELINK_SECONDS: u32 = 72 * 60 * 60;
    let (pool, check) = (spec.reward.pool, &spec.check);
    let relink = RELINK_SECONDS.div_ceil(spec.round.seconds.max(1));
    Rule { pool, witness_ppm: check.witness_ppm(), settle: check.settle, hold: check.hold, relink }
}

impl Reason {
    /// Its number in the ledger.
    pub fn code(self) -> Code {
        match self {
            Reason::Forged | Reason::WrongRound => Code::Other,
            Reason::WrongBase => Code::Base,
            Reason::Late => Code::Late,
            Reason::Twice => Code::Twice,
            Reason::Tokens => Code::Tokens,
            Reason::Loss => Code::Loss,
            Reason::Full => Code::Full,
            Reason::Unavailable => Code::Unavailable,
            Reason::Malformed => Code::Malformed,
            Reason::Norm => Code::Norm,
            Reason::Copied => Code::Copied,
            Reason::Useless => Code::Useless,
            Reason::Struck => Code::Forfeited,
        }
    }

    /// The reason of a number.
    fn of(code: Code) -> Self {
        match code {
            Code::Other => Reason::WrongRound,
            Code::Base => Reason::WrongBase,
            Code::Late => Reason::Late,
            Code::Twice => Reason::Twice,
            Code::Tokens => Reason::Tokens,
            Code::Loss => Reason::Loss,
            Code::Full => Reason::Full,
            Code::Unavailable => Reason::Unavailable,
            Code::Malformed => Reason::Malformed,
            Code::Norm => Reason::Norm,
            Code::Copied => Reason::Copied,
            Code::Useless => Reason::Useless,
            Code::Trace | Code::Different | Code::Missing | Code::Forfeited | Code::Vouched => Reason::Struck,
        }
    }
}

impl Coordinator {
    /// The entries that settle a round, written into the book.
    pub(super) fn write_batch(
        &mut self,
        opened: &RoundManifest,
        signed: &Signed<RoundManifest>,
        fold: &Signed<FoldManifest>,
        manifest: &FoldManifest,
        findings: &[Found],
    ) -> Result<Vec<Entry>, BookError> {
        let mut entries = Vec::new();
        if self.book.is_empty() {
            let (run, coordinator) = (self.run.0, self.identity.id().0);
            entries.push(Entry::Run { run, coordinator, rule: rule(&self.spec) });
        }
        let (round, seed, base) = (opened.round, opened.seed.0, opened.base.0);
        entries.push(Entry::Opened { round, seed, base, signed: bytes(signed) });
        self.indices.clear();
        for entry in &entries {
            self.book.append(entry)?;
        }
        entries.extend(self.write_links()?);
        let written = entries.len();
        let Docket { submitted, refused } = std::mem::take(&mut self.docket);
        for ((who, origin), commit) in &submitted {
            let Ok(said) = commit.open(who) else { continue };
            let (who, update) = (who.0, said.update.hash.0);
            entries.push(Entry::Submitted { origin: *origin, who, update, tokens: said.tokens, signed: bytes(commit) });
        }
        for accepted in &manifest.accepted {
            let verdict = Judgement::Counted { tokens: accepted.tokens, quality: accepted.quality };
            entries.push(Entry::Judged { origin: manifest.origin(accepted), who: accepted.peer.0, verdict });
        }
        for ((who, origin), code) in refused {
            entries.push(Entry::Judged { origin, who: who.0, verdict: Judgement::Refused(code) });
        }
        for found in findings {
            let Found { name: (who, origin), by, tokens, finding } = *found;
            entries.push(Entry::Replayed { origin, who: who.0, by: by.0, tokens, finding });
        }
        for (who, (origin, code)) in Found::wrong(findings) {
            entries.push(Entry::Forfeited { who: who.0, origin, code });
        }
        for entry in &entries[written..] {
            self.book.append(entry)?;
        }
        let index = self.book.len();
        let fold = crate::Hash::of(&bytes(fold)).0;
        let rest = self.book.settlement(round, manifest.next.hash.0, fold);
        let rest = rest.map_err(|why| BookError::Ledger { index, why })?;
        for entry in &rest {
            self.enter(entry)?;
        }
        entries.extend(rest);
        Ok(entries)
    }

    /// Writes an entry into the book, noting whose receipt it is.
    fn enter(&mut self, entry: &Entry) -> Result<(), BookError> {
        let index = self.book.append(entry)?;
        match entry {
            Entry::Opened { .. } => self.indices.clear(),
            Entry::Paid { who, .. } => {
                self.indices.insert(Some(*who), (index, entry.clone()));
            }
            Entry::Settled { .. } => {
                self.indices.insert(None, (index, entry.clone()));
            }
            _ => {}
        }
        Ok(())
    }

    /// Reads a batch from the journal.
    pub(super) fn read_batch(&mut self, entries: &mut impl Iterator<Item = Entry>) -> Result<(), RestoreError> {
        self.docket = Docket::default();
        for entry in entries {
            self.enter(&entry)?;
            match entry {
                Entry::Judged { origin, who, verdict: Judgement::Refused(code) } => {
                    self.updates.refuse((Id(who), origin), Reason::of(code));
                }
                Entry::Settled { .. } => {
                    self.queue.clear();
                    return Ok(());
                }
                _ => {}
            }
        }
        Err(RestoreError::Entries)
    }

    /// The newest state of the log, as the coordinator stands by it.
    pub fn checkpoint(&self) -> Option<&Signed<Checkpoint>> {
        self.signed.as_ref()
    }

    /// Signs what the log is now.
    pub(super) fn sign_book(&mut self) {
        self.signed = self.book.checkpoint().map(|checkpoint| Signed::new(&self.identity, &checkpoint));
    }

    /// Gives a contributor its receipt of the newest settled round, with the proof that the log still begins as
    /// when the contributor last heard of it.
    pub(super) fn send_receipt(&mut self, to: Id) {
        let Some(checkpoint) = self.signed.clone() else { return };
        let size = self.book.len();
        let Some(peer) = self.peers.get_mut(&to) else { return };
        let since = peer.seen;
        let continues = since.and_then(|since| self.book.tree().consistency(since, size)).unwrap_or_default();
        peer.seen = Some(size);
        let prove = |who: Option<Key>| {
            let (index, entry) = self.indices.get(&who)?;
            self.book.prove(*index, entry, size)
        };
        let Some(settled) = prove(None) else { return };
        let receipt = tributary_ledger::Receipt { settled, paid: prove(Some(to.0)) };
        let held = self.book.ledger().balance(&to.0);
        self.send(
            to,
            ToContributor::Receipt(Box::new(Receipt { checkpoint, since, continues, receipt, held: held.into() })),
        );
    }

    pub(super) fn send_receipts(&mut self) {
        let peers: Vec<_> = self.peers.keys().copied().collect();
        peers.into_iter().for_each(|peer| self.send_receipt(peer));
    }

    /// What was paid, by whom it was earned.
    pub fn book(&self) -> &Book {
        &self.book
    }
}

fn bytes<T: crate::Signable>(signed: &Signed<T>) -> Vec<u8> {
    postcard::to_stdvec(signed).expect("a signed value has a finite serde form")
}
