//! The journal: what happened, in order, in one file that only this process writes.
//!
//! Enters: the machine's events and the ledger entries that a settled round writes, in one durable
//! transaction. Leaves: the same, for the machine to be rebuilt from and balances to be folded from.
//! Nothing is ever changed or removed. Refuses a journal of another run and one that is in use.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition};
use serde::{Serialize, de::DeserializeOwned};
use tributary_ledger::Entry;
use tributary_protocol::spec::RunSpec;

use crate::files;

const FILE: &str = "journal.redb";
/// Facts about the journal itself.
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
/// Sequence number to an event's postcard bytes.
const EVENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("events");
/// Sequence number to an entry's postcard bytes.
const ENTRIES: TableDefinition<u64, &[u8]> = TableDefinition::new("entries");

/// The [`META`] key of the run that the journal is about, and of where its data lies.
const RUN: &str = "run v1";

/// Bytes of pages kept in memory: the journal is written at its end and read once.
const CACHE: usize = 8 * 1024 * 1024;

/// An open journal.
#[derive(Debug)]
pub(crate) struct Journal {
    db: Database,
    path: PathBuf,
}

impl Journal {
    /// Opens the journal of a state folder, making it if need be.
    pub(crate) fn open(state: &Path) -> anyhow::Result<Self> {
        let path = state.join(FILE);
        let db = match Database::builder().set_cache_size(CACHE).create(&path) {
            Ok(db) => db,
            Err(DatabaseError::DatabaseAlreadyOpen) => bail!(
                "the state folder {} is in use by another `tributary serve`; stop that one, or name another folder with --state",
                state.display()
            ),
            Err(DatabaseError::Storage(StorageError::Io(error))) => {
                return Err(files::trouble("open the journal", &path, &error));
            }
            Err(error) => bail!(
                "the journal {} cannot be opened ({error}); put back a copy of the state folder, or begin anew with another --state",
                path.display()
            ),
        };
        Ok(Self { db, path })
    }

    /// The run that the journal is about and its data folder, once they are known.
    pub(crate) fn run(&self) -> anyhow::Result<Option<(RunSpec, PathBuf)>> {
        let read = self.db.begin_read().map_err(|e| self.failed(e))?;
        let table = match read.open_table(META) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(self.failed(error)),
        };
        table.get(RUN).map_err(|e| self.failed(e))?.map(|bytes| self.decode(bytes.value())).transpose()
    }

    /// Makes this the journal of `run`, whose data lies in `data`.
    pub(crate) fn begin(&self, run: &RunSpec, data: &Path) -> anyhow::Result<()> {
        let bytes = postcard::to_stdvec(&(run, data))?;
        let write = self.db.begin_write().map_err(|e| self.failed(e))?;
        write
            .open_table(META)
            .map_err(|e| self.failed(e))?
            .insert(RUN, bytes.as_slice())
            .map_err(|e| self.failed(e))?;
        write.commit().map_err(|e| self.failed(e))
    }

    /// Every event, oldest first.
    pub(crate) fn events<T: DeserializeOwned>(&self) -> anyhow::Result<Vec<T>> {
        self.all(EVENTS)
    }

    /// Every ledger entry, oldest first.
    pub(crate) fn entries(&self) -> anyhow::Result<Vec<Entry>> {
        self.all(ENTRIES)
    }

    /// Writes events and entries at the end, all or none of them. On return they are on the disk.
    pub(crate) fn append<T: Serialize>(&self, events: &[T], entries: &[Entry]) -> anyhow::Result<()> {
        let write = self.db.begin_write().map_err(|e| self.failed(e))?;
        {
            let mut table = write.open_table(EVENTS).map_err(|e| self.failed(e))?;
            self.push(&mut table, events)?;
            let mut table = write.open_table(ENTRIES).map_err(|e| self.failed(e))?;
            self.push(&mut table, entries)?;
        }
        write.commit().map_err(|e| self.failed(e))
    }

    fn push<T: Serialize>(&self, table: &mut redb::Table<'_, u64, &'static [u8]>, values: &[T]) -> anyhow::Result<()> {
        let last = table.last().map_err(|e| self.failed(e))?.map(|(seq, _)| seq.value());
        for (seq, value) in (last.map_or(0, |last| last + 1)..).zip(values) {
            table.insert(seq, postcard::to_stdvec(value)?.as_slice()).map_err(|e| self.failed(e))?;
        }
        Ok(())
    }

    fn all<T: DeserializeOwned>(&self, of: TableDefinition<'_, u64, &'static [u8]>) -> anyhow::Result<Vec<T>> {
        let read = self.db.begin_read().map_err(|e| self.failed(e))?;
        let table = match read.open_table(of) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(self.failed(error)),
        };
        let mut values = Vec::new();
        for row in table.iter().map_err(|e| self.failed(e))? {
            let (_, bytes) = row.map_err(|e| self.failed(e))?;
            values.push(self.decode(bytes.value())?);
        }
        Ok(values)
    }

    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> anyhow::Result<T> {
        postcard::from_bytes(bytes).with_context(|| {
            format!(
                "the journal {} was written by another version of this program; go on with that version",
                self.path.display()
            )
        })
    }

    fn failed(&self, error: impl Into<redb::Error>) -> anyhow::Error {
        match error.into() {
            redb::Error::Io(error) => files::trouble("use the journal", &self.path, &error),
            error => anyhow::anyhow!(
                "the journal {} cannot be used ({error}); stop, and put back a copy of the state folder if it happens again",
                self.path.display()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(round: u64) -> Entry {
        Entry { round, who: [7; 32], tokens: 10, amount: 5 }
    }

    #[test]
    fn what_was_written_is_read_in_order_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        assert_eq!((journal.run().unwrap(), journal.events::<String>().unwrap()), (None, vec![]));
        journal.append(&["opened".to_owned()], &[]).unwrap();
        journal.append(&["settled".to_owned(), "opened".to_owned()], &[entry(0)]).unwrap();
        drop(journal);
        let journal = Journal::open(dir.path()).unwrap();
        assert_eq!(journal.events::<String>().unwrap(), ["opened", "settled", "opened"]);
        assert_eq!(journal.entries().unwrap(), [entry(0)]);
    }

    #[test]
    fn one_process_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let _held = Journal::open(dir.path()).unwrap();
        let error = Journal::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("in use by another"), "{error}");
    }
}
