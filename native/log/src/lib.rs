//! Where a coordinator keeps what happened: events and ledger entries, in order, by one writer.
//!
//! Enters: bytes of events and of entries, in batches. Leaves: the same bytes, in pages. A batch that was appended is
//! on the disk, all of it, or, if the process or machine ended before, none of it. Nothing is ever changed or
//! removed. Refuses a second writer. [`FileLog`] is one file; [`PostgresLog`] is for operators who outgrow one machine.

mod error;
mod file;
mod postgres;

use std::fmt::{self, Debug};
use std::path::Path;

pub use error::LogError;
pub use file::FileLog;
pub use postgres::PostgresLog;

/// Rows that [`rows`] reads at a time: few enough to be held whatever is in them, enough that a server far away is
/// asked rarely.
pub const PAGE: usize = 256;

/// One of the two lists that a log holds. Both are numbered from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// What the coordinator's machine is restored from.
    Events,
    /// The ledger.
    Entries,
}

/// A log. Every error is the end of the writer: what was being appended is there whole or not at all, and
/// only opening the log again tells which.
pub trait Log: Debug + Send + Sync {
    /// What people know it by; without secrets.
    fn name(&self) -> &str;

    /// Bytes about the log itself: what run it is of.
    fn about(&self) -> Result<Option<Vec<u8>>, LogError>;

    /// Sets them.
    fn set_about(&self, about: &[u8]) -> Result<(), LogError>;

    /// How many rows a list has.
    fn len(&self, of: List) -> Result<u64, LogError>;

    /// Up to `most` rows of a list in their order, beginning with number `from`; fewer only at its end.
    fn read(&self, of: List, from: u64, most: usize) -> Result<Vec<Vec<u8>>, LogError>;

    /// Adds rows at the end of both lists. On return they are on the disk.
    fn append(&self, events: &[Vec<u8>], entries: &[Vec<u8>]) -> Result<(), LogError>;
}

/// Opens the log of a state folder: on the server that `url` names, if there is one, else in the folder's own file,
/// which is made if need be. Refuses a server where the folder has a file: the run in it would begin anew.
pub fn open(state: &Path, url: Option<&Url>) -> Result<Box<dyn Log>, LogError> {
    let Some(url) = url else { return Ok(Box::new(FileLog::open(state)?)) };
    let file = FileLog::path(state);
    if file.exists() {
        return Err(LogError::Two { file: file.display().to_string() });
    }
    Ok(Box::new(PostgresLog::open(url)?))
}

/// A server's URL, which may hold a password and so is never shown.
#[derive(Clone)]
pub struct Url(String);

impl From<String> for Url {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Url(not shown)")
    }
}

/// A list's rows from number `from` on, [`PAGE`] of them in memory at a time. Ends after an error.
pub fn rows(log: &dyn Log, of: List, from: u64) -> impl Iterator<Item = Result<Vec<u8>, LogError>> {
    let mut next = Some(from);
    let pages = std::iter::from_fn(move || {
        let from = next?;
        let page = log.read(of, from, PAGE);
        next = match &page {
            Ok(rows) if rows.len() == PAGE => Some(from + PAGE as u64),
            _ => None,
        };
        Some(match page {
            Ok(rows) => rows.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => vec![Err(error)],
        })
    });
    pages.flatten()
}
