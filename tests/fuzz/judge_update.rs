//! What must hold for any bytes that come as an update; the fuzz target and an ordinary test over its corpus
//! both ask this.

use tributary_protocol::spec::{Coding, UpdateFormat};
use tributary_protocol::update::{decode, encode, max_bytes};

/// Values of the largest model that is tried: some chunks and a part of one.
const MOST: u32 = 20_000;

/// An update of the form and for the model that it says it is of, as far as there can be such.
pub(crate) fn update(bytes: &[u8]) {
    let part = |at: usize| bytes.get(at..at + 4).and_then(|part| <[u8; 4]>::try_from(part).ok()).unwrap_or_default();
    let count = u32::from_le_bytes(part(8)).min(MOST);
    let [a, b, bits, _] = part(12);
    let coding = Coding { keep: u16::from_le_bytes([a, b]).clamp(1, 4096), bits: bits.clamp(1, 8) };
    for format in [UpdateFormat::F32, UpdateFormat::Coded(coding)] {
        let Ok(update) = decode(&[format], bytes, count.into()) else { continue };
        assert!(bytes.len() as u64 <= max_bytes(format, count.into()));
        let mut before = None;
        for (at, value) in update.entries() {
            assert!(value.is_finite() && at < count as usize && before < Some(at), "value {at} is {value}");
            before = Some(at);
        }
        assert_eq!(encode(&update), bytes, "two byte strings say the same");
    }
}
