//! `tributary ledger verify`: recomputes every balance from a log that nobody need be trusted for.
//!
//! Enters: a coordinator's URL, a file that was saved from one, or a coordinator's state folder. Leaves: what
//! everyone holds. Refuses a log of which any byte was changed, an entry that was dropped, added or moved, pay that
//! the rule does not give, work that its contributor did not sign, and a checkpoint that is not the log's.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::json;
use tributary_ledger::{Book, Checkpoint, Entry, frame_all, frames};
use tributary_protocol::message::{Commit, RoundManifest};
use tributary_protocol::{Hash, Id, Signable, Signed};

use crate::cli::LedgerVerifyArgs;
use crate::files;
use crate::output::Output;
use crate::serve::Journal;

/// How long a coordinator may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of one page of a log, with room.
const MOST_PAGE: u64 = 64 * 1024 * 1024;

/// A log and the signed checkpoint that came with it, if one did.
struct Log {
    checkpoint: Option<Signed<Checkpoint>>,
    entries: Vec<Vec<u8>>,
}

/// Verifies and prints.
pub(crate) fn verify(args: &LedgerVerifyArgs) -> anyhow::Result<()> {
    let log = load(&args.log)?;
    if let Some(path) = &args.save {
        files::write(path, &to_bytes(&log)).map_err(|e| files::trouble("save the log to", path, &e))?;
    }
    let remembered = args.remembered.as_deref().map(remembered).transpose()?;
    let book = check(&log, remembered.as_ref())?;
    show(&book, log.checkpoint.is_some());
    Ok(())
}

/// The entries of a log from wherever it is, with every signature checked.
pub(crate) fn entries(from: &str) -> anyhow::Result<Vec<Vec<u8>>> {
    let log = load(from)?;
    check(&log, None)?;
    Ok(log.entries)
}

fn load(from: &str) -> anyhow::Result<Log> {
    if from.starts_with("http://") || from.starts_with("https://") {
        return download(from.trim_end_matches('/'));
    }
    let path = Path::new(from);
    if path.is_dir() {
        let entries = Journal::open(path, None)?.entry_bytes(0, usize::MAX)?;
        return Ok(Log { checkpoint: None, entries });
    }
    let bytes = fs::read(path).map_err(|e| files::trouble("read the log", path, &e))?;
    from_bytes(&bytes).with_context(|| format!("{from} is not a saved log"))
}

/// Everything that can be checked.
fn check(log: &Log, remembered: Option<&Signed<Checkpoint>>) -> anyhow::Result<Book> {
    ensure!(!log.entries.is_empty(), "the log is empty: no round has settled yet, so there is nothing to verify");
    let book = Book::read(&log.entries, None).context("the log is not what it should be")?;
    let coordinator = Id(book.ledger().coordinator().context("the log does not say whose it is")?);
    for (index, bytes) in log.entries.iter().enumerate() {
        let entry = Entry::from_bytes(bytes)?;
        signatures(&entry, &coordinator).with_context(|| format!("entry {index}"))?;
    }
    for signed in log.checkpoint.iter().chain(remembered) {
        let checkpoint = signed.open(&coordinator).context("a checkpoint is not signed by the log's coordinator")?;
        book.check(&checkpoint).context("the log was rewritten, or shown differently to you")?;
    }
    if let (Some(signed), Some(last)) = (&log.checkpoint, book.checkpoint()) {
        let checkpoint = signed.open(&coordinator)?;
        ensure!(
            checkpoint == last,
            "the log ends at round {} and its checkpoint says {}",
            last.round,
            checkpoint.round
        );
    }
    Ok(book)
}

/// Whether what an entry says was said by those who must have.
fn signatures(entry: &Entry, coordinator: &Id) -> anyhow::Result<()> {
    match entry {
        Entry::Opened { round, seed, base, signed } => {
            let said: RoundManifest = open(signed, coordinator)?;
            let same = (said.round, said.seed.0, said.base.0) == (*round, *seed, *base);
            ensure!(same, "round {round} is not as the coordinator opened it");
        }
        Entry::Submitted { origin, who, update, tokens, signed } => {
            let said: Commit = open(signed, &Id(*who))?;
            let same = (said.round, said.update.hash.0, said.tokens) == (*origin, *update, *tokens);
            ensure!(same, "the work of {} for round {origin} is not what it promised", Id(*who));
        }
        _ => {}
    }
    Ok(())
}

fn open<T: Signable>(bytes: &[u8], signer: &Id) -> anyhow::Result<T> {
    let signed: Signed<T> = postcard::from_bytes(bytes).context("its signed part is damaged")?;
    Ok(signed.open(signer)?)
}

fn show(book: &Book, signed: bool) {
    let ledger = book.ledger();
    let (entries, round) = (book.len(), ledger.newest_round().unwrap_or(0));
    let mut lines: Vec<_> = ledger.balances().map(|(who, balance)| (Id(*who), balance)).collect();
    lines.sort_by_key(|(who, balance)| (std::cmp::Reverse(balance.paid()), *who));
    let root = Hash(book.tree().root());
    Output::new().event(
        || {
            let balances: Vec<_> = lines
                .iter()
                .map(|(who, balance)| {
                    json!({
                        "peer": who, "provisional": balance.provisional, "verified": balance.verified,
                        "final": balance.r#final, "forfeited": balance.forfeited,
                    })
                })
                .collect();
            json!({
                "event": "verified", "entries": entries, "round": round, "root": root, "signed": signed,
                "total": ledger.total(), "balances": balances,
            })
        },
        || {
            let mut text = format!(
                "The ledger holds: {entries} entries up to round {round}, every balance recomputed, every signature checked.\n\
                 {:<54} {:>14} {:>14} {:>14} {:>14}",
                "contributor", "provisional", "verified", "final", "forfeited"
            );
            for (who, balance) in &lines {
                let (p, v, f, lost) = (balance.provisional, balance.verified, balance.r#final, balance.forfeited);
                text += &format!("\n{who:<54} {p:>14} {v:>14} {f:>14} {lost:>14}");
            }
            if !signed {
                text += "\nNo checkpoint came with it, so a log that was rewritten as a whole would not be noticed; verify the coordinator's URL for that.";
            }
            text
        },
    );
}

/// Reads the checkpoint first: what settles meanwhile is left out.
fn download(url: &str) -> anyhow::Result<Log> {
    let checkpoint: Signed<Checkpoint> = postcard::from_bytes(&get(&format!("{url}/api/checkpoint"))?)
        .context("the coordinator's checkpoint is not readable: it may be of another version")?;
    let size = checkpoint.open(&checkpoint.signer())?.size;
    let mut entries = Vec::new();
    while (entries.len() as u64) < size {
        let page = get(&format!("{url}/api/ledger?from={}", entries.len()))?;
        let page = frames(&page)?;
        if page.is_empty() {
            bail!("the coordinator shows {} entries and its checkpoint says {size}: some were dropped", entries.len());
        }
        entries.extend(page.into_iter().map(<[u8]>::to_vec));
    }
    entries.truncate(size as usize);
    Ok(Log { checkpoint: Some(checkpoint), entries })
}

fn get(url: &str) -> anyhow::Result<Vec<u8>> {
    let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).build());
    let answer = agent.get(url).call();
    let mut answer =
        answer.with_context(|| format!("{url} gives no ledger; check the address, and that a round has settled"))?;
    let mut bytes = Vec::new();
    answer.body_mut().as_reader().take(MOST_PAGE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A log as a file: the checkpoint's frame, which may be empty, then one of each entry.
fn to_bytes(log: &Log) -> Vec<u8> {
    let checkpoint = log.checkpoint.as_ref().and_then(|signed| postcard::to_stdvec(signed).ok()).unwrap_or_default();
    frame_all(std::iter::once(&checkpoint).chain(&log.entries))
}

fn from_bytes(bytes: &[u8]) -> anyhow::Result<Log> {
    let rows = frames(bytes)?;
    let (checkpoint, entries) = rows.split_first().context("it is empty")?;
    let checkpoint = if checkpoint.is_empty() { None } else { Some(postcard::from_bytes(checkpoint)?) };
    Ok(Log { checkpoint, entries: entries.iter().map(|row| row.to_vec()).collect() })
}

/// The checkpoint that a contributor keeps in its state folder.
fn remembered(path: &Path) -> anyhow::Result<Signed<Checkpoint>> {
    let bytes = fs::read(path).map_err(|e| files::trouble("read the checkpoint", path, &e))?;
    postcard::from_bytes(&bytes).with_context(|| format!("{} is not a checkpoint", path.display()))
}
