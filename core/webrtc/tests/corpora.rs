//! What the fuzzers found worth keeping, once more: `tests/fuzz` is where it comes from.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used)]

#[path = "../../../tests/fuzz/judge.rs"]
mod judge;

use std::path::Path;

fn replay(target: &str, judge: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus").join(target);
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        judge(&std::fs::read(entry.unwrap().path()).unwrap());
        files += 1;
    }
    assert!(files > 0, "there is no corpus for {target}");
}

#[test]
fn frames() {
    replay("frame", judge::frame);
}

#[test]
fn signalling() {
    replay("signal", judge::signal);
}

#[test]
fn descriptions() {
    replay("description", judge::description);
}
