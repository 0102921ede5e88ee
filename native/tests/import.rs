//! `tributary data import`: the same bytes for the same text, and bad files by name.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::{last_json, output, path, refused};
use tributary_protocol::Hash;
use tributary_protocol::data::DataManifest;
use tributary_protocol::spec::Tokenizer;

/// A folder's files by relative path.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(dir: &Path, under: &str, into: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{under}{}", entry.file_name().to_str().unwrap());
            match entry.file_type().unwrap().is_dir() {
                true => walk(&entry.path(), &format!("{name}/"), into),
                false => drop(into.insert(name, fs::read(entry.path()).unwrap())),
            }
        }
    }
    let mut into = BTreeMap::new();
    walk(dir, "", &mut into);
    into
}

/// A folder with every kind of file.
fn texts(dir: &Path) -> String {
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.join("in").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    write("b.txt", "zweite Zeile – größer\r\n".repeat(30_000).as_bytes());
    write("a/deep.txt", "first of all\n".repeat(500).as_bytes());
    write("c.jsonl", "{\"text\":\"a document\", \"id\": 1}\n\n{\"text\":\"another\"}\n".repeat(400).as_bytes());
    write("held/out.txt", "never trained on\n".repeat(300).as_bytes());
    write("copy.txt", "never trained on\r\n".repeat(300).as_bytes());
    write("empty.txt", b"");
    write("latin.txt", b"caf\xE9");
    write("nul.txt", b"a\0b");
    write("image.png", b"\x89PNG");
    path(dir, "in")
}

#[test]
fn the_same_text_gives_the_same_bytes_and_bad_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (input, held) = (texts(dir.path()), path(dir.path(), "in/held/out.txt"));
    let run =
        |out: &str| last_json(&output(&["data", "import", &input, "--heldout", &held, "--out", out, "--name", "t"]));
    let (one, two) = (path(dir.path(), "one"), path(dir.path(), "two"));
    let said = run(&one);
    run(&two);
    let first = files(Path::new(&one));
    assert!(first == files(Path::new(&two)));
    // Over an older import, half of it damaged.
    let damaged = first.keys().find(|name| name.starts_with("blobs/")).unwrap();
    fs::write(Path::new(&one).join(damaged), b"damaged").unwrap();
    run(&one);
    assert!(first == files(Path::new(&one)));

    let skipped = said["skipped"].as_array().unwrap();
    for (file, why) in [
        ("copy.txt", "same text as out.txt"),
        ("empty.txt", "empty"),
        ("image.png", "neither .txt nor .jsonl"),
        ("latin.txt", "not UTF-8"),
        ("nul.txt", "NUL"),
    ] {
        let found = skipped.iter().find(|skipped| skipped["file"] == file).unwrap_or_else(|| panic!("{file}: {said}"));
        assert!(found["why"].as_str().unwrap().contains(why), "{found}");
    }
    assert_eq!(skipped.len(), 5, "{said}");

    let manifest: DataManifest = serde_json::from_slice(&first["manifest.json"]).unwrap();
    manifest.check(Tokenizer::Bytes, 1024).unwrap();
    let names: Vec<_> = manifest.sources.iter().map(|source| (source.name.as_str(), source.heldout)).collect();
    assert_eq!(names, [("a/deep.txt", false), ("b.txt", false), ("c.jsonl", false), ("out.txt", true)]);
    let blob = |hash: &Hash| first[&format!("blobs/{hash}")].clone();
    let train: Vec<u8> = manifest.train.iter().flat_map(|shard| blob(&shard.hash)).collect();
    let text =
        |heldout| manifest.sources.iter().filter(move |s| s.heldout == heldout).map(|s| s.text.bytes).sum::<u64>();
    assert_eq!(train.len() as u64, text(false) + 2, "a zero between each of the three files");
    assert!(train.starts_with(b"first of all\n") && !train.contains(&b'\r'));
    assert!(train.windows(20).any(|window| window == b"a document\0another\0a"));
    for shard in manifest.train.iter().chain(&manifest.heldout) {
        assert_eq!(Hash::of(&blob(&shard.hash)), shard.hash);
    }
    assert_eq!(manifest.heldout.iter().map(|shard| shard.bytes).sum::<u64>(), text(true));
}

#[test]
fn what_cannot_be_imported_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| path(dir.path(), name);
    fs::write(at("bad.jsonl"), "{\"text\":\"fine\"}\n{\"texts\":\"not\"}\n").unwrap();
    fs::write(at("short.txt"), "too short").unwrap();
    fs::write(at("file"), "").unwrap();
    let import = |from: &str, out: &str, words: &[&str]| {
        refused(&["data", "import", &at(from), "--out", &at(out), "--name", "t"], words);
    };
    import("bad.jsonl", "out", &["bad.jsonl: line 2, column", "missing field `text`"]);
    import("short.txt", "out", &["only 9 bytes", "2048"]);
    import("file", "out", &["found no text"]);
    import("nowhere", "out", &["nowhere", "no such file"]);
    import("short.txt", "file", &["a file stands where a folder is needed"]);
    assert!(!dir.path().join("out/manifest.json").exists(), "nothing was imported");
}
