//! The journal: the coordinator's events and its ledger, in a log that only this process writes.
//!
//! Enters: the machine's events and the ledger entries that a settled round writes, in one durable
//! transaction. Leaves: the same, for the machine to be rebuilt from. Refuses a journal of another run's or
//! version's making.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use tributary_ledger::Entry;
use tributary_log::{List, Log, Url, rows};
use tributary_protocol::coordinator::Event;
use tributary_protocol::spec::RunSpec;

/// An open journal. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Journal(Arc<dyn Log>);

impl Journal {
    /// Opens the journal of a state folder, or on the server that `url` names.
    pub(crate) fn open(state: &Path, url: Option<&Url>) -> anyhow::Result<Self> {
        Ok(Self(tributary_log::open(state, url)?.into()))
    }

    /// The run that the journal is about and its data folder, once they are known.
    pub(crate) fn run(&self) -> anyhow::Result<Option<(RunSpec, PathBuf)>> {
        self.0.about()?.map(|bytes| self.decode(&bytes)).transpose()
    }

    /// Makes this the journal of `run`, whose data lies in `data`.
    pub(crate) fn begin(&self, run: &RunSpec, data: &Path) -> anyhow::Result<()> {
        Ok(self.0.set_about(&postcard::to_stdvec(&(run, data))?)?)
    }

    /// Every event, oldest first.
    pub(crate) fn events(&self) -> anyhow::Result<Vec<Event>> {
        rows(&*self.0, List::Events, 0).map(|row| self.decode(&row?)).collect()
    }

    /// Every ledger entry, oldest first.
    pub(crate) fn entries(&self) -> anyhow::Result<Vec<Entry>> {
        let entry = |row: Result<Vec<u8>, _>| Entry::from_bytes(&row?).context("the ledger is damaged");
        rows(&*self.0, List::Entries, 0).map(entry).collect()
    }

    /// Up to `most` entries' bytes, beginning with number `from`.
    pub(crate) fn entry_bytes(&self, from: u64, most: usize) -> anyhow::Result<Vec<Vec<u8>>> {
        Ok(self.0.read(List::Entries, from, most)?)
    }

    /// Writes events and entries at the end, all or none of them. On return they are on the disk.
    pub(crate) fn append(&self, events: &[&Event], entries: &[&Entry]) -> anyhow::Result<()> {
        let events: Result<Vec<_>, _> = events.iter().map(postcard::to_stdvec).collect();
        let entries: Vec<_> = entries.iter().map(|entry| entry.to_bytes()).collect();
        Ok(self.0.append(&events?, &entries)?)
    }

    fn decode<T: serde::de::DeserializeOwned>(&self, bytes: &[u8]) -> anyhow::Result<T> {
        postcard::from_bytes(bytes).with_context(|| {
            format!("{} was written by another version of this program; go on with that version", self.0.name())
        })
    }
}
