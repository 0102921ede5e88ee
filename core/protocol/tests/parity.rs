//! The same bits everywhere: random inputs through the fold, the state hash and the update format, and
//! what comes out compared with what a native program once got (`golden/fold.txt`). Runs natively with
//! the other tests and in a browser by `wasm-pack test --headless --chrome core/protocol`.
//!
//! After a wanted change of a format, `TRIBUTARY_BLESS=1 cargo test -p tributary-protocol --test parity`
//! writes the file anew.
#![allow(clippy::unwrap_used)]

mod common;

use common::Random;
use tributary_protocol::Hash;
use tributary_protocol::fold::{Clip, OuterState, Term, apply, f32_from_le, f32_to_le, fold, state_hash};
use tributary_protocol::spec::{Average, Coding, Outer, UpdateFormat};
use tributary_protocol::update::{compress, decode, encode};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::{wasm_bindgen_test as test, wasm_bindgen_test_configure};

#[cfg(target_arch = "wasm32")]
wasm_bindgen_test_configure!(run_in_browser);

const CASES: u64 = 100;
const GOLDEN: &str = include_str!("golden/fold.txt");

/// A form of updates; a third are f32.
fn format(random: &mut Random) -> UpdateFormat {
    let keep = [1, 64, 100 + random.below(3000) as u16, 4096][random.below(4) as usize];
    let coding = Coding { keep, bits: 1 + random.below(8) as u8 };
    if random.below(3) == 0 { UpdateFormat::F32 } else { UpdateFormat::Coded(coding) }
}

/// What one case comes to: the step, the outer state, the new base, the bytes, the norms.
fn line(case: u64) -> String {
    let mut random = Random(case);
    // Around the fold's block of 4096 values, and far from it.
    let len = match random.below(4) {
        0 => 4094 + random.below(5),
        1 => 8000 + random.below(2000),
        _ => 1 + random.below(600),
    } as usize;
    let updates: Vec<_> = (0..random.below(9)).map(|_| compress(&random.values(len), format(&mut random))).collect();
    let sent: Vec<_> = updates.iter().map(encode).collect();
    let received: Vec<_> = updates
        .iter()
        .zip(&sent)
        .map(|(update, bytes)| decode(&[update.format()], bytes, len as u64).unwrap())
        .collect();
    assert_eq!(received, updates);
    let half = len.div_ceil(2);
    let layout = [0..half, half..len];
    let clips: Vec<Vec<Clip>> = received
        .iter()
        .map(|_| (0..random.below(3) as u16).map(|tensor| Clip { tensor, factor: random.unit() }).collect())
        .collect();
    let terms: Vec<_> =
        received.iter().zip(&clips).map(|(update, clips)| Term { weight: random.unit(), clips, update }).collect();
    let average = [Average::All, Average::Senders][random.below(2) as usize];
    let rate = random.unit();
    let outer = Outer { lr: vec![], momentum: [0.0, random.unit()][random.below(2) as usize], average };
    let mut state = OuterState { momentum: random.values(len), residual: random.values(len) };
    let mut base = random.values(len);
    let step = fold(&terms, &layout, &mut state, &outer, rate, format(&mut random));
    // As a contributor gets it.
    let bytes = encode(&step);
    let step = decode(&[step.format()], &bytes, len as u64).unwrap();
    apply(&mut base, &step);
    let name = state_hash(&base);
    assert_eq!(name, Hash::of(&f32_to_le(&base)));
    assert_eq!(f32_to_le(&f32_from_le(&f32_to_le(&base))), f32_to_le(&base));
    let norms: Vec<u8> = received
        .iter()
        .flat_map(|update| update.norms(&layout))
        .flat_map(|norm| norm.to_bits().to_le_bytes())
        .collect();
    let state = Hash::of(&state.to_bytes());
    let hashes = [Hash::of(&bytes), state, name, Hash::of(&sent.concat()), Hash::of(&norms)];
    let columns: Vec<_> = hashes.iter().map(|hash| hash.to_string()[..16].to_owned()).collect();
    format!("{case} {len} {} {}", terms.len(), columns.join(" "))
}

#[test]
fn every_machine_gets_the_same_bits() {
    let lines: Vec<_> = (0..CASES).map(line).collect();
    if bless(&lines) {
        return;
    }
    let golden: Vec<_> = GOLDEN.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(golden.len(), lines.len(), "golden/fold.txt holds another number of cases");
    for (got, expected) in lines.iter().zip(golden) {
        assert_eq!(got, expected, "these bits are not those of the machine that wrote golden/fold.txt");
    }
}

/// Writes the golden file if that is asked for; in a browser nobody can ask.
#[allow(clippy::disallowed_methods, reason = "a test that writes its own golden file needs to be told so")]
fn bless(lines: &[String]) -> bool {
    if std::env::var_os("TRIBUTARY_BLESS").is_none() {
        return false;
    }
    let head = "# case, values, terms; then the first 16 hex digits of the hashes of\n\
                # step's bytes, outer state, new base, updates as sent, their norms\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/fold.txt");
    std::fs::write(path, format!("{head}{}\n", lines.join("\n"))).unwrap();
    true
}
