//! Training data: from folders of text to shards named by hash.
//!
//! Enters: .txt files, and .jsonl files with a "text" field a line. Leaves: `DIR/manifest.json` and
//! `DIR/blobs/HASH`, the same bytes for the same input. Skips, by name: files of other kinds, empty
//! ones, and text that the bytes tokenizer cannot hold. Refuses: a broken .jsonl line. Memory stays
//! bounded by a shard, whatever the size of the input.

mod find;
mod shards;
mod text;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tributary_protocol::data::{DataManifest, Source};
use tributary_protocol::spec::Tokenizer;
use tributary_protocol::{BlobRef, Hash};

use crate::cli::ImportArgs;
use crate::files;
use crate::output::Output;
use find::Candidate;
use shards::Sharder;
use text::{Bad, Piece};

/// The manifest's name in a data folder.
pub(crate) const MANIFEST: &str = "manifest.json";
/// The folder of shards in a data folder.
pub(crate) const BLOBS: &str = "blobs";

/// Skipped files that are named on a terminal; the rest are counted.
const NAMED: usize = 20;

/// One file that was passed over.
struct Skipped {
    name: String,
    why: String,
}

/// `tributary data import`.
pub(crate) fn import(args: &ImportArgs) -> anyhow::Result<()> {
    let blobs = args.out.join(BLOBS);
    fs::create_dir_all(&blobs).map_err(|e| files::trouble("make the folder", &blobs, &e))?;
    files::sweep(&blobs).map_err(|e| files::trouble("clean the folder", &blobs, &e))?;
    let mut skipped = Vec::new();
    let heldout = find::find(&args.heldout, &args.out, &mut skipped)?;
    let mut train = find::find(&args.paths, &args.out, &mut skipped)?;
    train.retain(|file| heldout.iter().all(|held| held.real != file.real));

    // Every file is read twice: first to know whether it may enter, so that no half of a bad file
    // lands in a shard.
    let bytes = train.iter().chain(&heldout).map(|file| file.bytes).sum::<u64>() * 2;
    let bar = progress(bytes);
    let heldout = scan(heldout, &[], &bar, &mut skipped)?;
    let train = scan(train, &heldout, &bar, &mut skipped)?;
    let heldout_shards = shard(&heldout, &blobs, "held-out text", &bar)?;
    let train_shards = shard(&train, &blobs, "text", &bar)?;
    bar.finish_and_clear();
    skipped.sort_by(|a, b| (&a.name, &a.why).cmp(&(&b.name, &b.why)));
    if train_shards.is_empty() {
        say_skipped(&skipped);
        bail!("found no text to train on: name .txt or .jsonl files, or folders that hold some");
    }
    let source = |heldout: bool| {
        move |(file, text): &(Candidate, BlobRef)| Source { name: file.name.clone(), text: *text, heldout }
    };
    let manifest = DataManifest {
        version: 1,
        name: args.name.clone(),
        tokenizer: Tokenizer::Bytes,
        sources: train.iter().map(source(false)).chain(heldout.iter().map(source(true))).collect(),
        train: train_shards,
        heldout: heldout_shards,
    };
    manifest.check(Tokenizer::Bytes, (shards::LEAST / 2) as u32).map_err(anyhow::Error::msg)?;
    write_manifest(args, &manifest, &skipped)
}

fn write_manifest(args: &ImportArgs, manifest: &DataManifest, skipped: &[Skipped]) -> anyhow::Result<()> {
    let mut bytes = serde_json::to_vec_pretty(manifest).context("the manifest has no JSON form")?;
    bytes.push(b'\n');
    let path = args.out.join(MANIFEST);
    files::write(&path, &bytes).map_err(|e| files::trouble("write", &path, &e))?;
    let sum = |shards: &[BlobRef]| shards.iter().map(|shard| shard.bytes).sum::<u64>();
    let (train, heldout) = (sum(&manifest.train), sum(&manifest.heldout));
    say_skipped(skipped);
    Output::new().event(
        || {
            let skipped: Vec<_> = skipped.iter().map(|s| json!({"file": s.name, "why": s.why})).collect();
            json!({
                "event": "imported", "manifest": path, "hash": BlobRef::of(&bytes).hash,
                "train_bytes": train, "train_shards": manifest.train.len(),
                "heldout_bytes": heldout, "heldout_shards": manifest.heldout.len(),
                "sources": manifest.sources.len(), "skipped": skipped,
            })
        },
        || {
            format!(
                "{}: {} files, {train} tokens to train on in {} shards, {heldout} held out in {}; {} files skipped",
                path.display(),
                manifest.sources.len(),
                manifest.train.len(),
                manifest.heldout.len(),
                skipped.len()
            )
        },
    );
    Ok(())
}

/// Reads every file once and keeps those whose text may enter, with its hash.
fn scan(
    candidates: Vec<Candidate>,
    heldout: &[(Candidate, BlobRef)],
    bar: &ProgressBar,
    skipped: &mut Vec<Skipped>,
) -> anyhow::Result<Vec<(Candidate, BlobRef)>> {
    let mut kept = Vec::new();
    for file in candidates {
        match digest(&file, bar, &mut |_| Ok(())) {
            Ok(text) => match heldout.iter().find(|(_, held)| *held == text) {
                Some((held, _)) => {
                    skipped.push(Skipped {
                        name: file.name,
                        why: format!("has the same text as {}, which is held out", held.name),
                    });
                }
                None => kept.push((file, text)),
            },
            Err(Bad::Skip(why)) => skipped.push(Skipped { name: file.name, why }),
            Err(Bad::Refuse(error)) => return Err(error),
        }
    }
    kept.sort_by(|(a, x), (b, y)| (&a.name, x).cmp(&(&b.name, y)));
    Ok(kept)
}

/// The hash of a file's cleaned text, its documents joined by byte 0; every piece goes to `also`.
fn digest(file: &Candidate, bar: &ProgressBar, also: &mut text::Sink<'_>) -> Result<BlobRef, Bad> {
    let (mut hasher, mut bytes, mut between) = (blake3::Hasher::new(), 0u64, false);
    text::read(file, bar, &mut |piece| {
        match piece {
            Piece::Text(text) => {
                if std::mem::take(&mut between) {
                    hasher.update(&[0]);
                    bytes += 1;
                }
                hasher.update(text);
                bytes += text.len() as u64;
            }
            Piece::End => between = true,
        }
        also(piece)
    })?;
    if bytes == 0 {
        return Err(Bad::Skip("is empty".to_owned()));
    }
    Ok(BlobRef { hash: Hash(*hasher.finalize().as_bytes()), bytes })
}

/// Reads the kept files again, in order, into shards.
fn shard(kept: &[(Candidate, BlobRef)], blobs: &Path, what: &str, bar: &ProgressBar) -> anyhow::Result<Vec<BlobRef>> {
    let mut sharder = Sharder::new(blobs.to_path_buf());
    for (file, text) in kept {
        match digest(file, bar, &mut |piece| sharder.push(piece)) {
            Ok(again) if again == *text => {}
            Ok(_) | Err(Bad::Skip(_)) => bail!("{} changed while it was read; import again", file.name),
            Err(Bad::Refuse(error)) => return Err(error),
        }
    }
    sharder.finish(what)
}

fn say_skipped(skipped: &[Skipped]) {
    for Skipped { name, why } in skipped.iter().take(NAMED) {
        eprintln!("skipped {name}: {why}");
    }
    if let Some(more @ 1..) = skipped.len().checked_sub(NAMED) {
        eprintln!("skipped {more} more files");
    }
}

/// A bar for inputs that take a while; nothing for others, and nothing where stderr is no terminal.
fn progress(bytes: u64) -> ProgressBar {
    /// Below this an import is done before a person reads the bar.
    const BIG: u64 = 32 * 1024 * 1024;
    if bytes < BIG {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(bytes);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

/// The data folder of a manifest's path, and the manifest's bytes.
pub(crate) fn load_manifest(path: &Path) -> anyhow::Result<(PathBuf, DataManifest, Vec<u8>)> {
    let bytes = fs::read(path).map_err(|e| files::trouble("read the data manifest", path, &e))?;
    let manifest: DataManifest = serde_json::from_slice(&bytes).map_err(|e| {
        anyhow::anyhow!("{} is not a data manifest ({e}); make one with `tributary data import`", path.display())
    })?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((folder.to_path_buf(), manifest, bytes))
}
