//! What can go wrong with a log, in words that say what to do.

use std::io::{Error, ErrorKind};

/// A log cannot be used. `name` is the file's or the server's.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Somebody else writes it.
    #[error(
        "{name} is in use by another `tributary serve`; stop that one, or name another with --state or in the \
         configuration (a server notices within half a minute that the machine of its last writer is gone)"
    )]
    InUse {
        /// Whose.
        name: String,
    },
    /// No room.
    #[error("cannot write {name}: the disk is full; free some space and start again, what was settled is kept")]
    Full {
        /// Whose.
        name: String,
    },
    /// Not allowed.
    #[error("cannot use {name}: permission denied; use a folder that this user may write, or change its owner")]
    Denied {
        /// Whose.
        name: String,
    },
    /// Not reached.
    #[error("cannot reach {name}: {why}; check the URL in the configuration and that the server runs and lets us in")]
    Unreachable {
        /// Whose.
        name: String,
        /// The server's or the system's words.
        why: String,
    },
    /// A file and a server.
    #[error(
        "the configuration names a server for the log, and the state folder has one already ({file}); take the URL \
         out to go on with the file, or name another folder with --state to begin anew on the server"
    )]
    Two {
        /// The file.
        file: String,
    },
    /// Not a URL.
    #[error(
        "the log's URL in the configuration is not one of PostgreSQL's; it looks like \
         postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
    )]
    Url,
    /// Anything else.
    #[error("{name} cannot be used ({why}); stop, and put back a copy of it if it happens again")]
    Broken {
        /// Whose.
        name: String,
        /// The store's words.
        why: String,
    },
}

impl LogError {
    /// Every one is: a coordinator that cannot write down what happened must not let it happen.
    pub fn is_fatal(&self) -> bool {
        true
    }

    /// Of the file system.
    pub(crate) fn io(name: &str, error: &Error) -> Self {
        let name = name.to_owned();
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full { name },
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Self::Denied { name },
            _ => Self::Broken { name, why: error.to_string() },
        }
    }

    /// Of a server that was reached.
    pub(crate) fn server(name: &str, error: &postgres::Error) -> Self {
        use postgres::error::SqlState;
        let name = name.to_owned();
        match error.code() {
            Some(code) if *code == SqlState::LOCK_NOT_AVAILABLE => Self::InUse { name },
            Some(code) if *code == SqlState::DISK_FULL => Self::Full { name },
            Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => Self::Denied { name },
            _ => Self::Broken { name, why: words(error) },
        }
    }

    /// Of a server that was not.
    pub(crate) fn connection(name: &str, error: &postgres::Error) -> Self {
        Self::Unreachable { name: name.to_owned(), why: words(error) }
    }
}

/// What the server said, or what was underneath: the crate's own words are "db error" and the like.
fn words(error: &postgres::Error) -> String {
    use std::error::Error as _;
    match (error.as_db_error(), error.source()) {
        (Some(server), _) => server.message().to_owned(),
        (None, Some(below)) => below.to_string(),
        (None, None) => error.to_string(),
    }
}
