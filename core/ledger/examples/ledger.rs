//! Measures a log: verifying all of it from a file, and proofs about it. Prints one line of JSON.
//! `cargo run --release -p tributary-ledger --example ledger -- 1000000`
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock, a file and the process's memory")]

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use sha2::{Digest as _, Sha256};
use tributary_ledger::{Book, Digest, Entry, Finding, Key, Rule, Verdict, verify_consistency, verify_inclusion};

/// In a process of its own with this first argument and a file, the file's log is verified: the memory that it took
/// to make it must not count.
const VERIFY: &str = "verify";
/// Contributors of a round.
const CONTRIBUTORS: u64 = 100;
/// One in so many updates is run again.
const REPLAYED: u64 = 10;
/// Bytes of a contributor's signed promise and of a signed manifest.
const SIGNED: usize = 256;
/// How often a log is verified.
const TIMES: u32 = 5;
/// Proofs of each kind that are timed.
const PROOFS: u64 = 10_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, path] = &arguments[..]
        && command == VERIFY
    {
        println!("{}", verify(Path::new(path))?);
        return Ok(());
    }
    let entries = arguments.first().map_or(Ok(1_000_000), |entries| entries.parse())?;
    let path = std::env::temp_dir().join(format!("tributary-ledger-{}", std::process::id()));
    let measured = measure(entries, &path);
    std::fs::remove_file(&path)?;
    println!("{}", measured?);
    Ok(())
}

fn measure(entries: u64, path: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let book = write(entries, path)?;
    let proofs = proofs(&book)?;
    let child = Command::new(std::env::current_exe()?).arg(VERIFY).arg(path).output()?;
    if !child.status.success() {
        return Err(String::from_utf8_lossy(&child.stderr).into());
    }
    let verified = String::from_utf8(child.stdout)?;
    Ok(format!("{{\"entries\":{},{},{proofs}}}", book.len(), verified.trim()))
}

/// Whole rounds of entries, at least so many, each after its length.
fn write(entries: u64, path: &Path) -> Result<Book, Box<dyn std::error::Error>> {
    let mut file = BufWriter::new(File::create(path)?);
    let mut book = Book::default();
    let mut add = |book: &mut Book, entry: &Entry| -> Result<(), Box<dyn std::error::Error>> {
        book.append(entry)?;
        let bytes = entry.to_bytes();
        file.write_all(&u32::try_from(bytes.len())?.to_le_bytes())?;
        Ok(file.write_all(&bytes)?)
    };
    let rule = Rule { pool: 1_000_000, witness_ppm: 120_000, settle: 3, hold: 100, relink: 4_320 };
    add(&mut book, &Entry::Run { run: [1; 32], coordinator: [2; 32], rule })?;
    for round in 0.. {
        for entry in batch(round) {
            add(&mut book, &entry)?;
        }
        for entry in book.settlement(round, digest(round + 1), digest(!round))? {
            add(&mut book, &entry)?;
        }
        if book.len() >= entries {
            break;
        }
    }
    file.flush()?;
    Ok(book)
}

/// A round up to its payments.
fn batch(round: u64) -> Vec<Entry> {
    let tokens = |n: u64| 1_000 + n * 37 + round % 11;
    let everybody = |entry: &dyn Fn(u64) -> Entry| (0..CONTRIBUTORS).map(entry).collect::<Vec<_>>();
    let judged = |n| Verdict::Counted { tokens: tokens(n), quality: 900_000 + n as u32 };
    let opened = Entry::Opened { round, seed: digest(round ^ 7), base: digest(round), signed: vec![3; SIGNED] };
    let submitted = everybody(&|n| {
        let (update, signed) = (digest(round << 32 | n), vec![n as u8; SIGNED]);
        Entry::Submitted { origin: round, who: key(n), update, tokens: tokens(n), signed }
    });
    let judged = everybody(&|n| Entry::Judged { origin: round, who: key(n), verdict: judged(n) });
    let replayed = (0..CONTRIBUTORS).filter(|n| (n + round).is_multiple_of(REPLAYED)).map(|n| {
        let by = key((n + 1) % CONTRIBUTORS);
        Entry::Replayed { origin: round, who: key(n), by, tokens: tokens(n) / 8, finding: Finding::Same }
    });
    [opened].into_iter().chain(submitted).chain(judged).chain(replayed).collect()
}

fn digest(number: u64) -> Digest {
    Sha256::digest(number.to_le_bytes()).into()
}

fn key(number: u64) -> Key {
    digest(!number << 1)
}

/// The entries of a file, one at a time.
fn read(path: &Path, mut with: impl FnMut(&[u8])) -> io::Result<()> {
    let mut file = BufReader::new(File::open(path)?);
    let (mut length, mut bytes) = ([0; 4], Vec::new());
    while file.read_exact(&mut length).is_ok() {
        bytes.resize(u32::from_le_bytes(length) as usize, 0);
        file.read_exact(&mut bytes)?;
        with(&bytes);
    }
    Ok(())
}

/// Reads a log: to hash all its bytes at once, and to verify it. Of several times the best counts, because other
/// programs can only make it worse.
fn verify(path: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let (mut hashed, mut verified, mut bytes, mut peak) = (f64::MAX, f64::MAX, 0, None);
    for _ in 0..TIMES {
        let (mut hasher, start) = (Sha256::new(), Instant::now());
        bytes = 0;
        read(path, |entry| {
            hasher.update(entry);
            bytes += entry.len();
        })?;
        std::hint::black_box(hasher.finalize());
        hashed = hashed.min(start.elapsed().as_secs_f64());

        let (before, mut book, mut refused) = (resident("VmRSS:")?, Book::default(), None);
        let start = Instant::now();
        read(path, |entry| refused = refused.take().or(book.append_bytes(entry).err()))?;
        verified = verified.min(start.elapsed().as_secs_f64());
        if let Some(refused) = refused {
            return Err(refused.into());
        }
        // The first time: later ones find what it left.
        peak = peak.or(Some(resident("VmHWM:")? - before));
    }
    let (peak, ratio) = (peak.unwrap_or(0.0), verified / hashed);
    let times = format!("\"verify_s\":{verified:.3},\"sha256_s\":{hashed:.3},\"ratio_sha256\":{ratio:.2}");
    Ok(format!("\"bytes\":{bytes},{times},\"peak_mib\":{peak:.1}"))
}

/// A line of the process's state in MiB (Linux).
fn resident(name: &str) -> io::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.map(|kib| kib / 1024.0).ok_or_else(|| io::Error::other("the system does not say how much memory is used"))
}

/// Makes and verifies proofs of both kinds all over the log.
fn proofs(book: &Book) -> Result<String, Box<dyn std::error::Error>> {
    let (tree, size, root) = (book.tree(), book.len(), book.tree().root());
    let places: Vec<u64> = (0..PROOFS).map(|n| n * 7_919 % (size - 1)).collect();
    let mut lines = Vec::new();
    let mut time = |name: &str, prove: &dyn Fn(u64) -> Option<Vec<Digest>>, verify: &dyn Fn(u64, &[Digest]) -> bool| {
        let start = Instant::now();
        let paths: Vec<_> = places.iter().filter_map(|&place| prove(place)).collect();
        let made = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let good = places.iter().zip(&paths).filter(|(place, path)| verify(**place, path)).count();
        let verified = start.elapsed().as_secs_f64();
        let us = |seconds: f64| seconds * 1e6 / places.len() as f64;
        let most = paths.iter().map(Vec::len).max().unwrap_or(0) * size_of::<Digest>();
        let times = format!("\"{name}_us\":{:.2},\"{name}_verify_us\":{:.2}", us(made), us(verified));
        lines.push(format!("\"{name}_bytes\":{most},{times}"));
        if good == places.len() { Ok(()) } else { Err(format!("{name}: a proof was refused")) }
    };
    time("inclusion", &|index| tree.inclusion(index, size), &|index, path| {
        tree.leaf(index).is_some_and(|leaf| verify_inclusion(leaf, index, size, path, &root).is_ok())
    })?;
    time("consistency", &|index| tree.consistency(index + 1, size), &|index, path| {
        let old = tree.root_at(index + 1);
        old.is_some_and(|old| verify_consistency(index + 1, &old, size, &root, path).is_ok())
    })?;
    Ok(lines.join(","))
}
