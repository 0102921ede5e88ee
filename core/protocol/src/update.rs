//! The bytes of an update (a contributor's pseudo-gradient) and of a step (what a round folded).
//!
//! Layout, little-endian: magic `TRBU`, u16 version (1), u16 format (0 = dense f32), u32 count,
//! then `count` f32. Refuses anything else, a foreign count, and values that are not finite.

use bytes::{BufMut, Bytes, BytesMut};

use crate::spec::UpdateFormat;

const MAGIC: &[u8; 4] = b"TRBU";
const VERSION: u16 = 1;
const HEADER: usize = 12;

/// Encodes dense values.
pub fn encode(format: UpdateFormat, values: &[f32]) -> Bytes {
    let mut out = BytesMut::with_capacity(HEADER + values.len() * 4);
    out.put_slice(MAGIC);
    out.put_u16_le(VERSION);
    match format {
        UpdateFormat::F32 => out.put_u16_le(0),
    }
    // A model has at most MAX_PARAMS = 2^27 parameters.
    out.put_u32_le(values.len() as u32);
    values.iter().for_each(|&value| out.put_f32_le(value));
    out.freeze()
}

/// How many bytes an update of `count` values may have.
pub fn max_bytes(format: UpdateFormat, count: u64) -> u64 {
    match format {
        UpdateFormat::F32 => HEADER as u64 + count * 4,
    }
}

/// Decodes `count` values.
pub fn decode(format: UpdateFormat, bytes: &[u8], count: u64) -> Result<Vec<f32>, BadUpdate> {
    if bytes.len() < HEADER || &bytes[..4] != MAGIC {
        return Err(BadUpdate::NotAnUpdate);
    }
    let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    if u16_at(4) != VERSION {
        return Err(BadUpdate::Version(u16_at(4)));
    }
    match (format, u16_at(6)) {
        (UpdateFormat::F32, 0) => {}
        (_, other) => return Err(BadUpdate::Format(other)),
    }
    let got = u64::from(u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]));
    if got != count {
        return Err(BadUpdate::Count { expected: count, got });
    }
    if bytes.len() as u64 != max_bytes(format, count) {
        return Err(BadUpdate::Length);
    }
    let values = crate::fold::f32_from_le(&bytes[HEADER..]);
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(values),
        Some(at) => Err(BadUpdate::NotFinite(at)),
    }
}

/// Why bytes are not an update of this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadUpdate {
    /// No header.
    #[error("the bytes are not an update")]
    NotAnUpdate,
    /// Another version of the format.
    #[error("update format version {0} is not known here")]
    Version(u16),
    /// Another format than the run's.
    #[error("update format {0} is not this run's")]
    Format(u16),
    /// An update for another model.
    #[error("the update has {got} values, the model {expected}")]
    Count {
        /// The model's.
        expected: u64,
        /// The update's.
        got: u64,
    },
    /// Truncated, or with a tail.
    #[error("the update's length does not fit its count")]
    Length,
    /// NaN or infinity.
    #[error("value {0} of the update is not finite")]
    NotFinite(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_decodes_and_all_else_is_refused() {
        let format = UpdateFormat::F32;
        let values = [1.5, -0.0, f32::MIN_POSITIVE / 2.0, f32::MAX];
        let good = encode(format, &values);
        assert_eq!(decode(format, &good, 4).unwrap().map_bits(), values.to_vec().map_bits());
        assert_eq!(decode(format, &good, 5), Err(BadUpdate::Count { expected: 5, got: 4 }));
        assert_eq!(decode(format, &encode(format, &[1.0, f32::NAN]), 2), Err(BadUpdate::NotFinite(1)));
        for len in 0..good.len() {
            assert!(decode(format, &good[..len], 4).is_err(), "{len}");
        }
        assert_eq!(decode(format, &[&good[..], &[0]].concat(), 4), Err(BadUpdate::Length));
        for (at, error) in [(0, BadUpdate::NotAnUpdate), (4, BadUpdate::Version(0)), (6, BadUpdate::Format(1))] {
            let mut bad = good.to_vec();
            bad[at] ^= 1;
            assert_eq!(decode(format, &bad, 4), Err(error));
        }
    }

    trait Bits {
        fn map_bits(self) -> Vec<u32>;
    }
    impl Bits for Vec<f32> {
        fn map_bits(self) -> Vec<u32> {
            self.into_iter().map(f32::to_bits).collect()
        }
    }
}
