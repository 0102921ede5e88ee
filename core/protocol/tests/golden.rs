//! The format's bytes as they were when it was laid down: whoever changes them breaks every peer that runs
//! another version, and must raise the format's version.
//!
//! After a wanted change, `TRIBUTARY_BLESS=1 cargo test -p tributary-protocol --test golden` writes the files
//! anew and prints the hashes.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "golden files are read and written")]

mod common;

use common::Random;
use tributary_protocol::fold::state_hash;
use tributary_protocol::spec::{Coding, UpdateFormat};
use tributary_protocol::update::{compress, decode, encode};

/// A file's name, the values that were kept of a chunk and their bits, how many values there are, and the
/// beginning of the hash of what they decode to.
const FILES: [(&str, u16, u8, usize, &str); 6] = [
    ("f32", 0, 0, 100, "be1946766de6f06d"),
    ("sparse", 64, 2, 10_000, "828bb9757f5b3a1c"),
    ("signs", 16, 1, 5_000, "379d026ecbdf07eb"),
    ("dense", 4096, 4, 5_000, "3080ecde05825efb"),
    ("first", 1024, 8, 4_100, "3d243cc22add37ca"),
    ("zero", 64, 2, 9_000, "4036af548c05f01f"),
];

fn values(name: &str, count: usize) -> Vec<f32> {
    let mut random = Random(count as u64);
    (0..count).map(|_| if name == "zero" { 0.0 } else { random.heavy() }).collect()
}

#[test]
fn the_format_is_what_it_was() {
    for (name, keep, bits, count, hash) in FILES {
        let format = if keep == 0 { UpdateFormat::F32 } else { UpdateFormat::Coded(Coding { keep, bits }) };
        let bytes = encode(&compress(&values(name, count), format));
        let path = format!("{}/tests/golden/{name}.bin", env!("CARGO_MANIFEST_DIR"));
        let got = state_hash(&decode(&[format], &bytes, count as u64).unwrap().values()).to_string();
        if std::env::var_os("TRIBUTARY_BLESS").is_some() {
            std::fs::write(&path, &bytes).unwrap();
            println!("{name}: {}", &got[..16]);
            continue;
        }
        let golden = std::fs::read(&path).unwrap();
        assert_eq!(golden, bytes, "{path} is not what is encoded now");
        assert_eq!(&got[..16], hash, "{path} decodes to other values");
    }
}
