//! What every log must do, tried with each kind. PostgreSQL's part needs a server: its URL is in `TRIBUTARY_POSTGRES`
//! (`cargo xtask test --only postgres` starts one), and without it that part says that it was skipped.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use ::postgres::{Client, NoTls};
use tempfile::TempDir;
use tributary_log::{List, Log, LogError, PAGE, Url, rows};

/// A server for tests, by a user who may make schemas.
const SERVER: &str = "TRIBUTARY_POSTGRES";
/// Names the log to the process that [`what_a_killed_process_appended_is_there_whole`] kills.
const VICTIM: &str = "TRIBUTARY_LOG_VICTIM";

/// Where a test's log is.
enum Place {
    File(TempDir),
    Postgres(String),
}

impl Place {
    fn file() -> Option<Self> {
        Some(Self::File(tempfile::tempdir().unwrap()))
    }

    /// A schema of its own, so that tests run beside each other.
    fn postgres() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let Ok(url) = std::env::var(SERVER) else {
            println!("skipped: {SERVER} names no server; `cargo xtask test --only postgres` starts one");
            return None;
        };
        let schema = format!("test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut client = Client::connect(&url, NoTls).unwrap();
        client.batch_execute(&format!("CREATE SCHEMA {schema}")).unwrap();
        let separator = if url.contains('?') { '&' } else { '?' };
        Some(Self::Postgres(format!("{url}{separator}options=-csearch_path%3D{schema}")))
    }

    fn open(&self) -> Result<Box<dyn Log>, LogError> {
        match self {
            Self::File(dir) => tributary_log::open(dir.path(), None),
            Self::Postgres(url) => tributary_log::open("/nowhere".as_ref(), Some(&url.clone().into())),
        }
    }

    /// For another process.
    fn to_text(&self) -> String {
        match self {
            Self::File(dir) => dir.path().to_str().unwrap().to_owned(),
            Self::Postgres(url) => url.clone(),
        }
    }

    fn open_text(text: &str) -> Result<Box<dyn Log>, LogError> {
        let url = text.starts_with("postgres").then(|| Url::from(text.to_owned()));
        tributary_log::open(text.as_ref(), url.as_ref())
    }
}

macro_rules! with_each_kind {
    ($($test:ident)*) => {
        mod file {
            $(#[test] fn $test() { super::Place::file().iter().for_each(super::$test); })*
        }
        mod postgres {
            $(#[test] fn $test() { super::Place::postgres().iter().for_each(super::$test); })*
        }
    };
}

with_each_kind! {
    what_was_appended_is_read_in_order_after_reopening
    long_lists_are_read_in_pages
    one_writer_holds_it
    what_a_killed_process_appended_is_there_whole
    it_can_be_used_where_an_event_loop_runs
}

fn some(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn all(log: &dyn Log, of: List) -> Vec<Vec<u8>> {
    rows(log, of, 0).map(Result::unwrap).collect()
}

fn what_was_appended_is_read_in_order_after_reopening(place: &Place) {
    let log = place.open().unwrap();
    assert_eq!((log.about().unwrap(), log.len(List::Events).unwrap(), log.len(List::Entries).unwrap()), (None, 0, 0));
    assert!(all(&*log, List::Events).is_empty());
    log.set_about(b"a run").unwrap();
    log.append(&some(&["opened"]), &[]).unwrap();
    log.append(&[], &[]).unwrap();
    log.append(&some(&["settled", "opened"]), &some(&["", "paid"])).unwrap();
    log.set_about(b"the run").unwrap();
    drop(log);
    let log = place.open().unwrap();
    assert_eq!(log.about().unwrap().as_deref(), Some(&b"the run"[..]));
    assert_eq!(all(&*log, List::Events), some(&["opened", "settled", "opened"]));
    assert_eq!(all(&*log, List::Entries), some(&["", "paid"]));
    assert_eq!((log.len(List::Events).unwrap(), log.len(List::Entries).unwrap()), (3, 2));
}

fn long_lists_are_read_in_pages(place: &Place) {
    let log = place.open().unwrap();
    let written: Vec<Vec<u8>> = (0..3 * PAGE as u32).map(|n| n.to_le_bytes().repeat(n as usize % 50)).collect();
    let (first, rest) = written.split_at(PAGE - 1);
    log.append(&[], first).unwrap();
    assert_eq!(all(&*log, List::Entries), first);
    log.append(&[], rest).unwrap();
    for from in [0, 1, PAGE - 1, PAGE, 2 * PAGE + 7, 3 * PAGE, 3 * PAGE + 1] {
        let found: Vec<_> = rows(&*log, List::Entries, from as u64).map(Result::unwrap).collect();
        assert_eq!(found, written.get(from..).unwrap_or_default(), "from {from}");
    }
    assert_eq!(log.read(List::Entries, 5, 2).unwrap(), written[5..7]);
    assert!(log.read(List::Entries, u64::MAX, usize::MAX).unwrap().is_empty());
}

fn one_writer_holds_it(place: &Place) {
    let held = place.open().unwrap();
    let error = place.open().unwrap_err();
    assert!(matches!(error, LogError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("in use by another"), "{error}");
    drop(held);
    place.open().unwrap();
}

/// The batch that the victim appends at the nth time: three events and two entries.
fn batch(n: u64) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let row = |list: u64| [n, list].map(u64::to_le_bytes).concat().repeat(1 + n as usize % 300);
    ((0..3).map(row).collect(), (3..5).map(row).collect())
}

fn what_a_killed_process_appended_is_there_whole(place: &Place) {
    let mut least = 0;
    for round in 0..12 {
        let mut victim = Command::new(std::env::current_exe().unwrap());
        victim.args(["--exact", "victim", "--nocapture"]).env(VICTIM, place.to_text());
        let mut victim = victim.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(victim.stdout.take().unwrap()).lines().map(Result::unwrap);
        // It goes on appending while it is killed.
        let told = lines.filter_map(|line| line.strip_prefix("appended ")?.parse::<u64>().ok()).take(round * 3 + 1);
        least = told.last().expect("the victim appended").max(least) + 1;
        victim.kill().unwrap();
        victim.wait().unwrap();
        let log = place.open().unwrap();
        let batches = log.len(List::Entries).unwrap() / 2;
        assert!(batches >= least, "{batches} batches of {least} that were on the disk");
        let (events, entries): (Vec<_>, Vec<_>) = (0..batches).map(batch).unzip();
        // In words, because there is too much of it to be printed.
        assert!(all(&*log, List::Events) == events.concat(), "the events are not those of {batches} whole batches");
        assert!(all(&*log, List::Entries) == entries.concat(), "the entries are not those of {batches} whole batches");
    }
}

/// Appends until it is killed; by itself it is no test.
#[test]
fn victim() {
    /// It ends by itself if nobody kills it.
    const MOST: u64 = 20_000;
    let Ok(place) = std::env::var(VICTIM) else { return };
    let log = Place::open_text(&place).unwrap();
    let first = log.len(List::Entries).unwrap() / 2;
    // So that what the test runner prints before stands on a line of its own.
    println!();
    for n in first..first + MOST {
        let (events, entries) = batch(n);
        log.append(&events, &entries).unwrap();
        println!("appended {n}");
    }
}

fn it_can_be_used_where_an_event_loop_runs(place: &Place) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let log = place.open().unwrap();
        log.append(&some(&["opened"]), &[]).unwrap();
        assert_eq!(all(&*log, List::Events), some(&["opened"]));
    });
}

#[test]
fn a_folder_with_a_file_takes_no_server() {
    let dir = tempfile::tempdir().unwrap();
    tributary_log::open(dir.path(), None).unwrap().append(&some(&["opened"]), &[]).unwrap();
    let url = Url::from("postgresql://operator@127.0.0.1:1/tributary".to_owned());
    let error = tributary_log::open(dir.path(), Some(&url)).unwrap_err();
    assert!(matches!(error, LogError::Two { .. }), "{error}");
}

/// PostgreSQL alone can be made to refuse the second half of a batch.
#[test]
fn postgres_keeps_nothing_of_a_batch_that_it_refuses() {
    let Some(place) = Place::postgres() else { return };
    let log = place.open().unwrap();
    log.append(&some(&["opened"]), &some(&["short"])).unwrap();
    let Place::Postgres(url) = &place else { unreachable!("it is one") };
    let mut other = Client::connect(url, NoTls).unwrap();
    other.batch_execute("ALTER TABLE tributary_entries ADD CHECK (length(body) < 10)").unwrap();
    let error = log.append(&some(&["settled"]), &some(&["longer than ten"])).unwrap_err();
    assert!(matches!(error, LogError::Broken { .. }), "{error}");
    drop(log);
    let log = place.open().unwrap();
    assert_eq!((all(&*log, List::Events), all(&*log, List::Entries)), (some(&["opened"]), some(&["short"])));
}

/// A server that ends, or an administrator who ends the connection, ends the writer, in words.
#[test]
fn postgres_says_when_the_connection_is_gone() {
    let Some(place) = Place::postgres() else { return };
    let log = place.open().unwrap();
    let Place::Postgres(url) = &place else { unreachable!("it is one") };
    let mut other = Client::connect(url, NoTls).unwrap();
    let holder = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND
        objid = (SELECT hashtext(current_schema())::bigint & 4294967295)::oid";
    assert_eq!(other.query(holder, &[]).unwrap().len(), 1);
    let error = log.append(&some(&["opened"]), &[]).unwrap_err();
    assert!(error.is_fatal() && error.to_string().contains("PostgreSQL server"), "{error}");
    drop(log);
    assert_eq!(place.open().unwrap().len(List::Events).unwrap(), 0);
}
