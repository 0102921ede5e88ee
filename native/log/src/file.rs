//! A log in one file of the state folder, which only this process has open.

use std::fmt;
use std::path::{Path, PathBuf};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageError};
use redb::{ReadTransaction, Table, TableDefinition, TableError};

use crate::{List, Log, LogError};

/// In the state folder.
const FILE: &str = "journal.redb";
/// Facts about the log itself.
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
/// Number to an event's bytes.
const EVENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("events");
/// Number to an entry's bytes.
const ENTRIES: TableDefinition<u64, &[u8]> = TableDefinition::new("entries");
/// The [`META`] key of [`Log::about`].
const ABOUT: &str = "run v1";

/// Bytes of pages kept in memory: the log is written at its end and read once.
const CACHE: usize = 8 * 1024 * 1024;

/// A log in a redb file.
pub struct FileLog {
    db: Database,
    name: String,
}

impl FileLog {
    /// Opens the log of a state folder, making it if need be.
    pub fn open(state: &Path) -> Result<Self, LogError> {
        let path = Self::path(state);
        let name = format!("the journal {}", path.display());
        match Database::builder().set_cache_size(CACHE).create(&path) {
            Ok(db) => Ok(Self { db, name }),
            Err(DatabaseError::DatabaseAlreadyOpen) => {
                Err(LogError::InUse { name: format!("the state folder {}", state.display()) })
            }
            Err(DatabaseError::Storage(StorageError::Io(error))) => Err(LogError::io(&name, &error)),
            Err(error) => Err(LogError::Broken { name, why: error.to_string() }),
        }
    }

    /// Where the log of a state folder is.
    pub(crate) fn path(state: &Path) -> PathBuf {
        state.join(FILE)
    }

    /// With a table as it is now; nothing where it was never written.
    fn with<K: redb::Key + 'static, T: Default>(
        &self,
        table: TableDefinition<'_, K, &'static [u8]>,
        read: impl FnOnce(redb::ReadOnlyTable<K, &'static [u8]>) -> Result<T, StorageError>,
    ) -> Result<T, LogError> {
        let now: ReadTransaction = self.db.begin_read().map_err(|e| self.failed(e))?;
        match now.open_table(table) {
            Ok(table) => read(table).map_err(|e| self.failed(e)),
            Err(TableError::TableDoesNotExist(_)) => Ok(T::default()),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn failed(&self, error: impl Into<redb::Error>) -> LogError {
        match error.into() {
            redb::Error::Io(error) => LogError::io(&self.name, &error),
            error => LogError::Broken { name: self.name.clone(), why: error.to_string() },
        }
    }
}

fn table(of: List) -> TableDefinition<'static, u64, &'static [u8]> {
    match of {
        List::Events => EVENTS,
        List::Entries => ENTRIES,
    }
}

fn push(table: &mut Table<'_, u64, &'static [u8]>, rows: &[Vec<u8>]) -> Result<(), StorageError> {
    let last = table.last()?.map(|(number, _)| number.value());
    for (number, row) in (last.map_or(0, |last| last + 1)..).zip(rows) {
        table.insert(number, row.as_slice())?;
    }
    Ok(())
}

impl Log for FileLog {
    fn name(&self) -> &str {
        &self.name
    }

    fn about(&self) -> Result<Option<Vec<u8>>, LogError> {
        self.with(META, |table| Ok(table.get(ABOUT)?.map(|about| about.value().to_vec())))
    }

    fn set_about(&self, about: &[u8]) -> Result<(), LogError> {
        let write = self.db.begin_write().map_err(|e| self.failed(e))?;
        write.open_table(META).map_err(|e| self.failed(e))?.insert(ABOUT, about).map_err(|e| self.failed(e))?;
        write.commit().map_err(|e| self.failed(e))
    }

    fn len(&self, of: List) -> Result<u64, LogError> {
        self.with(table(of), |table| table.len())
    }

    fn read(&self, of: List, from: u64, most: usize) -> Result<Vec<Vec<u8>>, LogError> {
        self.with(table(of), |table| table.range(from..)?.take(most).map(|row| Ok(row?.1.value().to_vec())).collect())
    }

    fn append(&self, events: &[Vec<u8>], entries: &[Vec<u8>]) -> Result<(), LogError> {
        let write = self.db.begin_write().map_err(|e| self.failed(e))?;
        for (of, rows) in [(List::Events, events), (List::Entries, entries)] {
            let mut table = write.open_table(table(of)).map_err(|e| self.failed(e))?;
            push(&mut table, rows).map_err(|e| self.failed(e))?;
        }
        write.commit().map_err(|e| self.failed(e))
    }
}

impl fmt::Debug for FileLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileLog({})", self.name)
    }
}
