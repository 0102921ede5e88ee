//! The coordinator's journal: append-only events, and the coordinator they restore.

use serde::{Deserialize, Serialize};
use tributary_ledger::Entry;

use super::referee::Standing;
use super::round::{Round, Stage};
use super::updates::Updates;
use super::{Coordinator, Output};
use crate::message::{Commit, Evaluation, FoldManifest, RoundManifest};
use crate::spec::RunSpec;
use crate::{BlobRef, Hash, Id, Identity, SignError, Signed};

/// One event. What was announced to contributors is in the journal before they hear of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// The first event: the run and its first weights.
    Genesis {
        /// The run.
        run: Hash,
        /// The weights.
        base: BlobRef,
    },
    /// A round was opened, or opened again.
    Opened(Signed<RoundManifest>),
    /// A commit was taken.
    Committed {
        /// Whose.
        from: Id,
        /// The commit.
        commit: Signed<Commit>,
    },
    /// A round folded, and with it paid: the ledger's next batch goes with it.
    Settled {
        /// What it became.
        fold: Signed<FoldManifest>,
        /// The outer momentum after it.
        momentum: BlobRef,
        /// What is known of contributors now, where that has changed.
        standings: Vec<(Id, Standing)>,
    },
    /// A base was evaluated.
    Evaluated(Evaluation),
    /// A contributor named its wallet, which the next settled round writes into the log.
    Linked {
        /// A [`tributary_ledger::LinkProof`]'s bytes.
        proof: Vec<u8>,
    },
}

impl Coordinator {
    /// The coordinator that wrote these events and entries, in their order. Outputs of [`Coordinator::poll`]
    /// then ask again for whatever was under way.
    pub fn restore(
        identity: Identity,
        spec: RunSpec,
        events: impl IntoIterator<Item = Event>,
        entries: impl IntoIterator<Item = Entry>,
    ) -> Result<Self, RestoreError> {
        let run = spec.id();
        let (mut events, mut entries) = (events.into_iter(), entries.into_iter());
        let base = match events.next() {
            Some(Event::Genesis { run: of, base }) if of == run => base,
            Some(Event::Genesis { run: of, .. }) => return Err(RestoreError::Run { journal: of, spec: run }),
            _ => return Err(RestoreError::NoGenesis),
        };
        let mut machine = Self {
            identity,
            updates: Updates::new(&spec),
            spec,
            run,
            round: 0,
            base,
            momentum: None,
            stage: Stage::Idle,
            peers: Default::default(),
            refusals: Default::default(),
            book: Default::default(),
            indices: Default::default(),
            signed: None,
            docket: Default::default(),
            referee: Default::default(),
            past: Default::default(),
            evaluations: Default::default(),
            roster_at: 0,
            roster_cursor: None,
            linking: Default::default(),
            queue: Default::default(),
            out: Default::default(),
            stats: Default::default(),
        };
        for (index, event) in events.enumerate() {
            machine.replay(index as u64 + 1, event, &mut entries)?;
        }
        if entries.next().is_some() {
            return Err(RestoreError::Entries);
        }
        machine.sign_book();
        for (name, update) in machine.updates.fetching() {
            machine.fetch(name, update);
        }
        machine.draw_again();
        if !machine.evaluations.iter().any(|evaluation| evaluation.round == machine.round) {
            machine.out.push_back(Output::Evaluate { round: machine.round, base: machine.base });
        }
        Ok(machine)
    }

    fn replay(
        &mut self,
        index: u64,
        event: Event,
        entries: &mut impl Iterator<Item = Entry>,
    ) -> Result<(), RestoreError> {
        let me = self.identity.id();
        let out_of_place = RestoreError::OutOfPlace(index);
        match event {
            Event::Genesis { .. } => return Err(out_of_place),
            Event::Opened(signed) => {
                let manifest = signed.open(&me)?;
                if manifest.round != self.round || manifest.base != self.base.hash {
                    return Err(out_of_place);
                }
                // Opened again: what was made for it before is void.
                self.updates.void(self.round);
                self.docket.void(self.round);
                self.opened(Round::restore(&self.spec, signed, manifest));
            }
            Event::Committed { from, commit: signed } => {
                let commit = signed.open(&from)?;
                if self.updates.base(commit.round) != Some(commit.base) {
                    return Err(out_of_place);
                }
                self.docket.submit((from, commit.round), signed);
                self.updates.restore(from, commit);
            }
            Event::Settled { fold, momentum, standings } => {
                let manifest = fold.open(&me)?;
                if manifest.round != self.round || manifest.base != self.base.hash {
                    return Err(out_of_place);
                }
                let Stage::Open(_) = std::mem::take(&mut self.stage) else { return Err(out_of_place) };
                self.read_batch(entries)?;
                self.settle(&manifest, momentum, standings);
            }
            Event::Evaluated(evaluation) => self.keep(evaluation),
            Event::Linked { proof } => self.queue.push(proof).map_err(|_| out_of_place)?,
        }
        Ok(())
    }
}

/// Why a journal does not restore a coordinator. Every case is fatal: going on would fork the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Empty, or cut off at the front.
    #[error("the journal does not begin with a run")]
    NoGenesis,
    /// Another run's.
    #[error(
        "the journal is run {journal}'s and run.toml now says run {spec}: use another state folder, or the run.toml it was made with"
    )]
    Run {
        /// The journal's.
        journal: Hash,
        /// The configured one.
        spec: Hash,
    },
    /// An event that does not follow from the ones before it.
    #[error("event {0} of the journal does not follow from the events before it: the file is damaged")]
    OutOfPlace(u64),
    /// An event that somebody else signed.
    #[error(
        "the journal has an event that this coordinator did not sign: {0}; is the identity file the one it was made with?"
    )]
    Signature(#[from] SignError),
    /// Entries that do not add up.
    #[error("the ledger does not add up: {0}; put back a copy of the state folder")]
    Book(#[from] tributary_ledger::BookError),
    /// More or fewer entries than settled rounds.
    #[error("the ledger does not end where the journal does; put back a copy of the state folder")]
    Entries,
}
