//! A log in three tables of a PostgreSQL database, which are made if need be.
//!
//! The tables are in the first schema of the connection's search path, so one database holds several logs. The
//! connection is not encrypted: it belongs on one machine, in a private network or in a tunnel.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use postgres::config::Host;
use postgres::{Client, Config, Error, NoTls};

use crate::{List, Log, LogError, Url};

/// How long a server may take to let us in, and its machine to acknowledge what was sent.
const PATIENCE: Duration = Duration::from_secs(10);

/// What each connection begins with: commits are on the disk when they are answered, whatever the server's default;
/// a writer whose machine is gone is given up within half a minute; and one that was just killed is waited for, since
/// its server process may still be writing. The lock is one number for each schema; the other names this program.
const BEGIN: &str = "
    SET synchronous_commit = on;
    SET tcp_keepalives_idle = 10;
    SET tcp_keepalives_interval = 5;
    SET tcp_keepalives_count = 3;
    SET lock_timeout = '3s';
    SELECT pg_advisory_lock(1416775234, hashtext(current_schema()));
    CREATE TABLE IF NOT EXISTS tributary_meta (key text PRIMARY KEY, value bytea NOT NULL);
    CREATE TABLE IF NOT EXISTS tributary_events (number bigint PRIMARY KEY, body bytea NOT NULL);
    CREATE TABLE IF NOT EXISTS tributary_entries (number bigint PRIMARY KEY, body bytea NOT NULL);";

/// The key of [`Log::about`] in `tributary_meta`.
const ABOUT: &str = "run v1";

/// A log on a PostgreSQL server.
pub struct PostgresLog {
    /// Taken by [`Drop`] alone.
    client: Mutex<Option<Client>>,
    name: String,
}

impl PostgresLog {
    /// Opens the log that a URL names, making its tables if need be.
    pub fn open(url: &Url) -> Result<Self, LogError> {
        // Not its error's words: they quote the URL.
        let mut config: Config = url.0.parse().map_err(|_| LogError::Url)?;
        config.application_name("tributary").tcp_user_timeout(PATIENCE).keepalives_idle(PATIENCE);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(PATIENCE);
        }
        let name = name(&config);
        let client = elsewhere(|| {
            let mut client = config.connect(NoTls).map_err(|e| LogError::connection(&name, &e))?;
            client.batch_execute(BEGIN).map_err(|e| LogError::server(&name, &e))?;
            Ok(client)
        })?;
        Ok(Self { client: Mutex::new(Some(client)), name })
    }

    fn with<T: Send>(&self, work: impl FnOnce(&mut Client) -> Result<T, Error> + Send) -> Result<T, LogError> {
        // A panic elsewhere leaves a connection that says itself whether it is of use.
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = || LogError::Broken { name: self.name.clone(), why: "the connection is closed".into() };
        let client = client.as_mut().ok_or_else(gone)?;
        elsewhere(|| work(client).map_err(|e| LogError::server(&self.name, &e)))
    }
}

/// Runs it on a thread of its own: the client runs an event loop, which it must not where another one runs already.
fn elsewhere<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Server and database, without the password.
fn name(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        #[cfg(unix)]
        Some(Host::Unix(path)) => path.display().to_string(),
        None => config.get_hostaddrs().first().map_or("localhost".into(), ToString::to_string),
    };
    let database = config.get_dbname().or(config.get_user()).unwrap_or_default();
    format!("the database {database} on the PostgreSQL server {host}")
}

fn table(of: List) -> &'static str {
    match of {
        List::Events => "tributary_events",
        List::Entries => "tributary_entries",
    }
}

impl Log for PostgresLog {
    fn name(&self) -> &str {
        &self.name
    }

    fn about(&self) -> Result<Option<Vec<u8>>, LogError> {
        let query = "SELECT value FROM tributary_meta WHERE key = $1";
        self.with(|client| client.query_opt(query, &[&ABOUT])?.map(|row| row.try_get(0)).transpose())
    }

    fn set_about(&self, about: &[u8]) -> Result<(), LogError> {
        let query = "INSERT INTO tributary_meta (key, value) VALUES ($1, $2)
            ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        self.with(|client| client.execute(query, &[&ABOUT, &about]).map(drop))
    }

    fn len(&self, of: List) -> Result<u64, LogError> {
        let query = format!("SELECT coalesce(max(number) + 1, 0) FROM {}", table(of));
        // Numbers are counted from 0, and PostgreSQL has no unsigned ones.
        self.with(|client| Ok(client.query_one(&query, &[])?.try_get::<_, i64>(0)? as u64))
    }

    fn read(&self, of: List, from: u64, most: usize) -> Result<Vec<Vec<u8>>, LogError> {
        let query = format!("SELECT body FROM {} WHERE number >= $1 ORDER BY number LIMIT $2", table(of));
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let (from, most) = (number(from), number(most as u64));
        self.with(|client| client.query(&query, &[&from, &most])?.iter().map(|row| row.try_get(0)).collect())
    }

    fn append(&self, events: &[Vec<u8>], entries: &[Vec<u8>]) -> Result<(), LogError> {
        self.with(|client| {
            let mut transaction = client.transaction()?;
            for (of, rows) in [(List::Events, events), (List::Entries, entries)] {
                if !rows.is_empty() {
                    transaction.execute(&insert(of), &[&rows])?;
                }
            }
            transaction.commit()
        })
    }
}

/// Adds the rows of one parameter at the end.
fn insert(of: List) -> String {
    let table = table(of);
    format!(
        "INSERT INTO {table} (number, body)
            SELECT (SELECT coalesce(max(number), -1) FROM {table}) + place, body
            FROM unnest($1::bytea[]) WITH ORDINALITY AS added (body, place)"
    )
}

impl Drop for PostgresLog {
    fn drop(&mut self) {
        let client = self.client.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        elsewhere(|| drop(client));
    }
}

impl fmt::Debug for PostgresLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresLog({})", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for url in [
            // Nobody listens on port 1.
            "postgresql://operator:hunter2@127.0.0.1:1/tributary?connect_timeout=1",
            "host=127.0.0.1 port=1 user=operator password=hunter2 dbname=tributary",
            "postgresql://operator:hunter2@127.0.0.1:port/tributary",
            "postgresql://operator:hunter2",
        ] {
            let url = Url::from(url.to_owned());
            let error = PostgresLog::open(&url).unwrap_err();
            let shown = format!("{url:?} {error} {error:?}");
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(error.to_string().contains("URL"), "what to do: {shown}");
        }
    }

    #[test]
    fn a_server_has_a_name() {
        for (url, expected) in [
            ("postgresql://me:secret@db.example:5433/runs", "the database runs on the PostgreSQL server db.example"),
            ("postgresql://me@%2Frun%2Fpostgresql", "the database me on the PostgreSQL server /run/postgresql"),
        ] {
            assert_eq!(name(&url.parse().unwrap()), expected);
        }
    }
}
