//! The same bits everywhere: random inputs through the fold, the state hash and the update format, and
//! what comes out compared with what a native program once got (`golden/fold.txt`). Runs natively with
//! the other tests and in a browser by `wasm-pack test --headless --chrome core/protocol`.
//!
//! After a wanted change of a format, `TRIBUTARY_BLESS=1 cargo test -p tributary-protocol --test parity`
//! writes the file anew.
#![allow(clippy::unwrap_used)]

use tributary_protocol::Hash;
use tributary_protocol::fold::{Term, apply, f32_from_le, f32_to_le, fold, norm, state_hash};
use tributary_protocol::spec::{Outer, UpdateFormat};
use tributary_protocol::update;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::{wasm_bindgen_test as test, wasm_bindgen_test_configure};

#[cfg(target_arch = "wasm32")]
wasm_bindgen_test_configure!(run_in_browser);

const CASES: u64 = 100;
const GOLDEN: &str = include_str!("golden/fold.txt");

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, below: u64) -> u64 {
        self.bits() % below
    }

    /// From 0 to below 1, in steps of 2^-24: exact in f32.
    fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 24) as f32
    }

    /// A value as training makes them, or one at the edge of f32. At most 1e30, so that no sum leaves
    /// f32: NaN is the one value whose bits differ between machines, and the format refuses it.
    fn value(&mut self) -> f32 {
        match self.below(16) {
            0 => f32::from_bits(self.bits() as u32 & 0x807f_ffff),
            1 => (self.unit() - 0.5) * 1e30,
            2 => (self.unit() - 0.5) * 1e-30,
            3 => [0.0, -0.0, f32::MIN_POSITIVE, 1e30, -1e30][self.below(5) as usize],
            _ => (self.unit() - 0.5) * 0.1,
        }
    }

    fn values(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.value()).collect()
    }
}

/// What one case comes to: the step, the momentum, the new base, the bytes, the norms.
fn line(case: u64) -> String {
    let mut random = Random(case);
    // Around the fold's block of 4096 values, and far from it.
    let len = match random.below(4) {
        0 => 4094 + random.below(5),
        1 => 8000 + random.below(2000),
        _ => 1 + random.below(600),
    } as usize;
    let updates: Vec<_> = (0..random.below(9)).map(|_| random.values(len)).collect();
    let format = UpdateFormat::F32;
    let sent: Vec<_> = updates.iter().map(|values| update::encode(format, values)).collect();
    let received: Vec<_> = sent.iter().map(|bytes| update::decode(format, bytes, len as u64).unwrap()).collect();
    let terms: Vec<_> = received
        .iter()
        .map(|values| Term { weight: random.unit(), clip: [1.0, random.unit()][random.below(2) as usize], values })
        .collect();
    let (rate, outer) = (random.unit(), Outer { lr: vec![], momentum: random.unit() });
    let (mut momentum, mut base) = (random.values(len), random.values(len));
    let step = fold(&terms, &mut momentum, &outer, rate);
    // As a contributor gets it.
    let step = update::decode(format, &update::encode(format, &step), len as u64).unwrap();
    apply(&mut base, &step);
    let name = state_hash(&base);
    assert_eq!(name, Hash::of(&f32_to_le(&base)));
    assert_eq!(f32_to_le(&f32_from_le(&f32_to_le(&base))), f32_to_le(&base));
    let norms: Vec<u8> = received.iter().flat_map(|values| norm(values).to_bits().to_le_bytes()).collect();
    let hashes = [state_hash(&step), state_hash(&momentum), name, Hash::of(&sent.concat()), Hash::of(&norms)];
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
                # step, momentum, new base, updates as sent, their norms\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/fold.txt");
    std::fs::write(path, format!("{head}{}\n", lines.join("\n"))).unwrap();
    true
}
