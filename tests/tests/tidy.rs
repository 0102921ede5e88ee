//! The rules that keep the code readable: who may use whom, where `cfg(target…)` may stand, how long
//! a file may get. Each says, where it fails, what to do.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Lines of a source file; the aim is 150, and over 400 is rare.
const MOST_LINES: usize = 500;

/// Files that may be longer, and why.
const LONG: [(&str, &str); 0] = [];

/// Our crates, and which of our crates each may use.
const USES: [(&str, &[&str]); 14] = [
    ("tributary-ledger", &[]),
    ("tributary-chain", &["tributary-ledger"]),
    ("tributary-log", &[]),
    ("tributary-protocol", &["tributary-ledger"]),
    ("tributary-trainer", &["tributary-protocol"]),
    ("tributary-webrtc", &[]),
    ("tributary-swarm", &["tributary-protocol", "tributary-webrtc"]),
    ("tributary-peer", &["tributary-protocol", "tributary-swarm"]),
    (
        "tributary",
        &[
            "tributary-chain",
            "tributary-ledger",
            "tributary-log",
            "tributary-peer",
            "tributary-protocol",
            "tributary-swarm",
            "tributary-trainer",
            "tributary-webrtc",
        ],
    ),
    ("tributary-web-net", &["tributary-ledger", "tributary-peer", "tributary-protocol", "tributary-swarm"]),
    ("tributary-web-trainer", &["tributary-protocol", "tributary-trainer"]),
    ("tributary-tests", &["tributary-ledger", "tributary-protocol"]),
    ("tributary-tests-webrtc", &["tributary-webrtc"]),
    ("xtask", &[]),
];

/// What the pure crates may use besides: serde, postcard, hashes, signatures and their bare necessities;
/// the last two only to name views in TypeScript.
const PURE: [(&str, &[&str]); 2] = [
    ("tributary-ledger", &["bs58", "ed25519-dalek", "k256", "postcard", "serde", "sha2", "sha3", "thiserror"]),
    (
        "tributary-protocol",
        &["blake3", "bs58", "bytes", "ed25519-dalek", "postcard", "serde", "thiserror", "tsify?", "wasm-bindgen?"],
    ),
];

/// What a crate must not reach, however many crates lie between.
const UNREACHABLE: [(&str, &[&str]); 7] = [
    ("tributary-ledger", &["burn", "libp2p", "tokio", "alloy", "web-sys"]),
    ("tributary-protocol", &["burn", "libp2p", "tokio", "alloy", "rand_chacha"]),
    ("tributary-trainer", &["libp2p", "alloy"]),
    ("tributary-webrtc", &["burn", "wgpu", "alloy"]),
    ("tributary-swarm", &["burn", "wgpu", "alloy"]),
    ("tributary-peer", &["burn", "wgpu", "alloy"]),
    ("tributary-web-net", &["burn", "wgpu", "alloy"]),
];

/// Where `cfg` may ask for the target: the platform seams, and a test that runs on both.
const PLATFORM: [&str; 8] = [
    "core/protocol/tests/",
    "core/swarm/src/transport",
    "core/trainer/src/device",
    "core/webrtc/",
    "native/",
    // A peer for both targets.
    "tests/webrtc/",
    "web/",
    // Which file name a program has on Windows.
    "xtask/",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Our files that end so, by their path from the root.
fn files(end: &str) -> Vec<(String, String)> {
    fn walk(root: &Path, dir: &Path, end: &str, found: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let from_root = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
            let generated = ["target", "node_modules", "dist"].contains(&&*name) || from_root == "www/src/wasm";
            if path.is_dir() && !name.starts_with('.') && !generated {
                walk(root, &path, end, found);
            } else if path.is_file() && name.ends_with(end) {
                found.push((from_root, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    walk(&root(), &root(), end, &mut found);
    assert!(!found.is_empty(), "no file ends in {end}: the walk is broken");
    found
}

/// The workspace's packages as cargo sees them; nothing is fetched.
fn packages() -> Vec<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["metadata", "--format-version", "1", "--no-deps", "--offline"];
    let output = Command::new(cargo).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// The names of a package's dependencies; `?` marks those that a feature turns on. Tests may use what
/// they like.
fn dependencies(package: &Value) -> BTreeSet<String> {
    let all = package["dependencies"].as_array().unwrap().iter();
    let shipped = all.filter(|dependency| dependency["kind"] != "dev");
    shipped
        .map(|dependency| {
            let optional = if dependency["optional"] == true { "?" } else { "" };
            format!("{}{optional}", dependency["name"].as_str().unwrap())
        })
        .collect()
}

#[test]
fn crates_use_whom_they_may() {
    let packages = packages();
    let allowed: BTreeMap<_, _> = USES.into_iter().collect();
    let pure: BTreeMap<_, _> = PURE.into_iter().collect();
    let ours: BTreeSet<_> = packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
    assert_eq!(ours, allowed.keys().copied().collect(), "a crate is new or gone: say in USES whom it may use");
    for package in &packages {
        let name = package["name"].as_str().unwrap();
        for dependency in dependencies(package) {
            if ours.contains(&*dependency) {
                assert!(allowed[name].contains(&&*dependency), "{name} must not use {dependency}: see ARCHITECTURE.md");
            } else if let Some(pure) = pure.get(name) {
                assert!(pure.contains(&&*dependency), "{name} is pure and must not use {dependency}");
            }
        }
    }
}

#[test]
fn crates_do_not_reach_what_they_must_not() {
    let lock: toml::Table = std::fs::read_to_string(root().join("Cargo.lock")).unwrap().parse().unwrap();
    let mut edges: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in lock["package"].as_array().unwrap() {
        // Versions are left out: one that is reached in any version is reached.
        let on = package.get("dependencies").and_then(toml::Value::as_array).into_iter().flatten();
        let on = on.map(|name| name.as_str().unwrap().split(' ').next().unwrap().to_owned());
        edges.entry(package["name"].as_str().unwrap().to_owned()).or_default().extend(on);
    }
    // The lock file doesn't tell tests' dependencies from others, so our own edges come from cargo.
    for package in packages() {
        let shipped = dependencies(&package).into_iter().map(|name| name.trim_end_matches('?').to_owned());
        edges.insert(package["name"].as_str().unwrap().to_owned(), shipped.collect());
    }
    for (from, forbidden) in UNREACHABLE {
        let mut reached = BTreeSet::new();
        let mut todo = vec![from.to_owned()];
        while let Some(name) = todo.pop() {
            if reached.insert(name.clone()) {
                todo.extend(edges.get(&name).into_iter().flatten().cloned());
            }
        }
        assert!(reached.len() > 2, "{from} reaches nothing: the walk is broken");
        for what in forbidden {
            let family = format!("{what}-");
            let found = reached.iter().find(|name| *name == what || name.starts_with(&family));
            assert_eq!(found, None, "{from} reaches {what}, which belongs to another crate");
        }
    }
}

#[test]
fn targets_are_told_apart_at_the_platform_seams_only() {
    for (path, text) in files(".rs") {
        let asks = |line: &&str| {
            let words = ["target_", "target_family", "unix", "windows", "wasm"];
            (line.contains("cfg(") || line.contains("cfg!(") || line.contains("cfg_attr("))
                && words.iter().any(|word| line.contains(word))
        };
        if path == "tests/tests/tidy.rs" || PLATFORM.iter().any(|seam| path.starts_with(seam)) {
            continue;
        }
        if let Some(line) = text.lines().find(asks) {
            panic!("{path}: `{}` belongs into one of {PLATFORM:?}", line.trim());
        }
    }
}

#[test]
fn the_pure_crates_read_no_clock_no_chance_and_no_machine() {
    let forbidden = [
        "Instant",
        "SystemTime",
        "rand::",
        "getrandom",
        "std::env",
        "std::fs",
        "std::net",
        "std::thread",
        "mul_add",
        "HashMap",
        "HashSet",
    ];
    let mut looked = 0;
    for (path, text) in files(".rs") {
        if !path.starts_with("core/protocol/src/") && !path.starts_with("core/ledger/src/") {
            continue;
        }
        looked += 1;
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let found = forbidden.iter().find(|word| code.contains(**word));
            assert_eq!(found, None, "{path}:{}: time and chance are arguments here", number + 1);
        }
    }
    assert!(looked > 15, "{looked} files");
}

#[test]
fn files_are_short_enough_to_be_read() {
    for end in [".rs", ".ts"] {
        for (path, text) in files(end) {
            let lines = text.lines().count();
            let excused = LONG.iter().any(|(long, _)| *long == path);
            assert!(lines <= MOST_LINES || excused, "{path} has {lines} lines: split it by what a reader looks for");
        }
    }
    for (long, why) in LONG {
        assert!(root().join(long).exists() && !why.is_empty(), "{long} is excused and not there");
    }
}

#[test]
fn nothing_is_left_for_later() {
    for end in [".rs", ".ts"] {
        for (path, text) in files(end) {
            if path == "tests/tests/tidy.rs" {
                continue;
            }
            for (number, line) in text.lines().enumerate() {
                let found =
                    ["todo!", "unimplemented!", "dbg!", "TODO", "FIXME", "XXX"].iter().find(|w| line.contains(**w));
                assert_eq!(found, None, "{path}:{}: do it, or write it into an issue", number + 1);
            }
        }
    }
}

#[test]
fn every_crate_obeys_the_workspace() {
    for (path, text) in files("Cargo.toml") {
        let manifest: toml::Table = text.parse().unwrap();
        // The fuzzers are a workspace of their own.
        let Some(package) = manifest.get("package").filter(|_| !manifest.contains_key("workspace")) else { continue };
        let inherits = |table: Option<&toml::Value>| table.and_then(|t| t.get("workspace")) == Some(&true.into());
        assert!(inherits(manifest.get("lints")), "{path}: `[lints] workspace = true` is missing");
        for key in ["edition", "license", "publish", "rust-version", "version"] {
            assert!(inherits(package.get(key)), "{path}: `{key}.workspace = true` is missing");
        }
        assert!(package.get("description").is_some(), "{path}: a description is missing");
    }
}

/// What a page says to type must be there to be typed.
#[test]
fn the_commands_in_the_documents_exist() {
    let xtask = std::fs::read_to_string(root().join("xtask/src/main.rs")).unwrap();
    let mut seen = 0;
    for page in ["README.md", "ARCHITECTURE.md"] {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        for (at, found) in text.match_indices("cargo xtask ") {
            let rest: String = text[at + found.len()..].chars().take_while(|c| !['`', '\n', '#'].contains(c)).collect();
            let mut words = rest.split_whitespace();
            let Some(command) = words.next().map(|word| word.trim_end_matches(['.', ',', ';', ')'])) else { continue };
            assert!(xtask.contains(&format!("[\"{command}\"")), "{page}: there is no `cargo xtask {command}`");
            for flag in words.filter(|word| word.starts_with("--")) {
                assert!(xtask.contains(flag), "{page}: `cargo xtask {command}` has no {flag}");
            }
            seen += 1;
        }
    }
    assert!(seen >= 2, "the documents name {seen} commands");
}
