//! The form of updates: exact, small, one byte string an update, and nothing else is taken.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../../tests/fuzz/judge_update.rs"]
mod judge;

use common::Random;
use proptest::prelude::*;
use tributary_protocol::spec::{Coding, UpdateFormat};
use tributary_protocol::update::{BadUpdate, Update, compress, decode, encode, max_bytes};

fn coded(keep: u16, bits: u8) -> UpdateFormat {
    UpdateFormat::Coded(Coding { keep, bits })
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Chunks of very different sizes and shapes, some of them zero.
fn world(seed: u64, count: usize) -> Vec<f32> {
    let mut random = Random(seed);
    let mut values = Vec::with_capacity(count);
    while values.len() < count {
        let len = (count - values.len()).min(1 + random.below(6000) as usize);
        let size = [0.0, 1.0, 1e-6, 1e-44, 3e4, 1e30][random.below(6) as usize];
        let wild = random.below(8) == 0;
        values.extend((0..len).map(|_| if wild { random.value() } else { random.heavy() * size }));
    }
    values
}

fn any_format() -> impl Strategy<Value = UpdateFormat> {
    let keep = prop_oneof![1..=4096_u16, Just(64), Just(4096), Just(1)];
    prop_oneof![1 => Just(UpdateFormat::F32), 9 => (keep, 1..=8_u8).prop_map(|(keep, bits)| coded(keep, bits))]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(debug_assertions) { 100 } else { 2000 }, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_compressed_is_what_is_decoded(seed: u64, count in 1..20_000_usize, format in any_format()) {
        let values = world(seed, count);
        let update = compress(&values, format);
        let bytes = encode(&update);
        prop_assert!(bytes.len() as u64 <= max_bytes(format, count as u64), "{} bytes", bytes.len());
        let decoded = decode(&[format], &bytes, count as u64).unwrap();
        prop_assert_eq!(bits(&decoded.values()), bits(&update.values()));
        prop_assert_eq!(&decoded, &update);
        prop_assert_eq!(encode(&decoded), bytes);
        // Every value is finite, the coordinates ascend, and the rest and the update make up the values.
        let mut rest = values.clone();
        update.take_from(&mut rest);
        let mut before = None;
        for (at, value) in update.entries() {
            prop_assert!(value.is_finite() && before < Some(at));
            prop_assert_eq!(rest[at].to_bits(), (values[at] - value).to_bits());
            (before, rest[at]) = (Some(at), values[at]);
        }
        prop_assert_eq!(bits(&rest), bits(&values));
    }

    #[test]
    fn bytes_that_were_changed_are_another_update_or_none(
        seed: u64, count in 1..9000_usize, format in any_format(), flips in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..4),
    ) {
        let mut bytes = encode(&compress(&world(seed, count), format)).to_vec();
        for (at, flip) in flips {
            // Often among the first, where everything has its meaning.
            let end = if flip % 2 == 0 { bytes.len() } else { bytes.len().min(64) };
            bytes[at.index(end)] ^= flip;
        }
        if let Ok(update) = decode(&[format], &bytes, count as u64) {
            prop_assert!(update.entries().all(|(at, value)| at < count && value.is_finite()));
            prop_assert_eq!(encode(&update), bytes);
        }
    }

    #[test]
    fn whatever_comes_is_decoded_or_refused(bytes: Vec<u8>, count in 1..9000_u64, keep in 1..=4096_u16, width in 1..=8_u8) {
        let mut update = b"TRBU\x02\0\x01\0".to_vec();
        update.extend((count as u32).to_le_bytes());
        update.extend(keep.to_le_bytes());
        update.push(width);
        update.extend(bytes);
        if let Ok(update) = decode(&[coded(keep, width)], &update, count) {
            prop_assert!(update.entries().all(|(at, value)| at < count as usize && value.is_finite()));
        }
    }
}

/// Bits of a whole file over the chunks it is of.
fn bits_a_chunk(values: &[f32], format: UpdateFormat) -> f64 {
    encode(&compress(values, format)).len() as f64 * 8.0 / (values.len() as f64 / 4096.0)
}

#[test]
fn two_bits_of_one_in_64_take_a_215th_of_f32() {
    let mut random = Random(7);
    let count = 1 << 20;
    let normal: Vec<f32> = (0..count).map(|_| random.normal()).collect();
    let heavy: Vec<f32> = (0..count).map(|_| random.heavy()).collect();
    for (name, values) in [("normal", normal), ("heavy", heavy)] {
        let got = bits_a_chunk(&values, coded(64, 2));
        println!("{name}: {got:.1} bits a chunk, {:.1} times fewer than f32", 4096.0 * 32.0 / got);
        assert!(got <= 610.0, "{name}: {got} bits a chunk");
        // One bit a value: its place and its sign.
        assert!(bits_a_chunk(&values, coded(64, 1)) <= 552.0);
        // Four bits of all: entropy coding saves some.
        assert!(bits_a_chunk(&values, coded(4096, 4)) <= 4096.0 * 4.0);
    }
}

#[test]
fn more_values_and_bits_say_more() {
    let mut random = Random(3);
    let values: Vec<f32> = (0..100_000).map(|_| random.heavy()).collect();
    let square = |values: &[f32]| values.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>();
    let mut last = 1.0;
    for (keep, width) in [(64, 1), (64, 2), (256, 2), (1024, 3), (4096, 3), (4096, 4), (4096, 6), (4096, 8)] {
        let mut rest = values.clone();
        compress(&values, coded(keep, width)).take_from(&mut rest);
        let lost = square(&rest) / square(&values);
        println!(
            "keep {keep}, bits {width}: {:.4} of the square is lost, {:.1} bits a chunk",
            lost,
            bits_a_chunk(&values, coded(keep, width))
        );
        assert!(lost < last, "keep {keep}, bits {width}: {lost}");
        last = lost;
    }
    assert!(last < 2e-3);
}

#[test]
fn every_refusal_has_its_reason() {
    let values = world(11, 9000);
    let format = coded(64, 2);
    let good = encode(&compress(&values, format));
    let check = |at: usize, to: &[u8], expected: BadUpdate| {
        let mut bad = good.to_vec();
        bad[at..at + to.len()].copy_from_slice(to);
        assert_eq!(decode(&[format], &bad, 9000), Err(expected), "byte {at}");
    };
    check(0, b"X", BadUpdate::NotAnUpdate);
    check(4, &[1], BadUpdate::Version(1));
    check(6, &[2], BadUpdate::Kind(2));
    check(8, &[0], BadUpdate::Count { expected: 9000, got: 8960 });
    check(12, &[63], BadUpdate::Format);
    check(14, &[3], BadUpdate::Format);
    check(15, &[100], BadUpdate::Top);
    check(16, &(-0.0_f32).to_le_bytes(), BadUpdate::Level(0));
    check(16, &9000_f32.to_le_bytes(), BadUpdate::Level(0));
    check(20, &f32::NAN.to_le_bytes(), BadUpdate::Level(1));
    check(20, &0_f32.to_le_bytes(), BadUpdate::Level(1));
    for len in 0..good.len() {
        assert!(decode(&[format], &good[..len], 9000).is_err(), "{len}");
    }
    assert!(decode(&[format], &[&good[..], &[0; 4]].concat(), 9000).is_err());
    assert_eq!(decode(&[format], &[&good[..], &[0; 1 << 16]].concat(), 9000), Err(BadUpdate::Long));
    assert_eq!(decode(&[UpdateFormat::F32], &good, 9000), Err(BadUpdate::Format));
    assert!(decode(&[UpdateFormat::F32, format], &good, 9000).is_ok());

    // Code 0 occurs, code 1 does not, code 2 does; and the same with that zero written in two other bytes.
    let four = coded(4096, 2);
    let mut bytes = encode(&compress(&[1.0, 2.0, 2.0, 1.0], four)).to_vec();
    assert_eq!(bytes[25..32], [2, 0x88, 0, 0, 0, 0x88, 0]);
    assert!(decode(&[four], &bytes, 4).is_ok());
    bytes[28] = 0x80;
    assert_eq!(decode(&[four], &bytes, 4), Err(BadUpdate::Table));

    let dense = encode(&Update::dense(vec![1.0, f32::NAN]));
    assert_eq!(decode(&[UpdateFormat::F32], &dense, 2), Err(BadUpdate::NotFinite(1)));
    assert_eq!(decode(&[UpdateFormat::F32], &dense[..19], 2), Err(BadUpdate::Short));
    assert_eq!(decode(&[UpdateFormat::F32], &[&dense[..], &[0]].concat(), 2), Err(BadUpdate::Long));
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the corpus is read from the disk")]
fn what_a_fuzzer_found_worth_keeping_is_decoded_or_refused() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/update");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 4, "the corpus is gone");
    files.iter().for_each(|file| judge::update(&std::fs::read(file).unwrap()));
}
