//! How fast updates are compressed, encoded, decoded and folded. Without a clock of its own, so that it runs
//! natively and in a browser.

use std::hint::black_box;

use tributary_protocol::fold::{OuterState, Term, fold};
use tributary_protocol::spec::{Average, Coding, Outer, UpdateFormat};
use tributary_protocol::update::{Update, compress, decode, encode};

/// Of every 4096 values 64, in two bits each.
pub(crate) const SPARSE: UpdateFormat = UpdateFormat::Coded(Coding { keep: 64, bits: 2 });

/// Updates of a round.
pub(crate) const CONTRIBUTORS: usize = 20;

/// Runs of each measurement, of which the median counts.
const RUNS: usize = 5;

/// What was measured. Rates are megabytes of f32 weights a second.
#[derive(Debug)]
pub(crate) struct Speeds {
    /// Parameters of the model.
    pub(crate) params: usize,
    /// Bytes of an encoded update.
    pub(crate) bytes: usize,
    /// A plain copy of the weights.
    pub(crate) copy: f64,
    /// From values to an update.
    pub(crate) compress: f64,
    /// From an update to bytes.
    pub(crate) encode: f64,
    /// From bytes to an update.
    pub(crate) decode: f64,
    /// Seconds to decode and fold 20 updates into a step that is compressed too.
    pub(crate) fold_20_s: f64,
}

impl Speeds {
    /// One line of JSON. The fold's rate counts the weights once, however many updates there are.
    pub(crate) fn json(&self, peak_copies: Option<f64>) -> String {
        let Self { params, bytes, copy, compress, encode, decode, fold_20_s } = self;
        let fold = *params as f64 * 4e-6 / fold_20_s;
        let peak = peak_copies.map_or("null".to_owned(), |copies| format!("{copies:.2}"));
        format!(
            "{{\"params\":{params},\"bytes\":{bytes},\"copy_mb_s\":{copy:.0},\"compress_mb_s\":{compress:.0},\
             \"encode_mb_s\":{encode:.0},\"decode_mb_s\":{decode:.0},\"fold_mb_s\":{fold:.0},\
             \"fold_20_s\":{fold_20_s:.4},\"peak_copies\":{peak}}}"
        )
    }
}

/// Measures with a model of so many parameters. `now` says milliseconds.
pub(crate) fn measure(params: usize, now: impl Fn() -> f64) -> Speeds {
    let rate = |ms: f64| params as f64 * 4e-3 / ms;
    let values = values(params, 0);
    let mut copy = values.clone();
    let copy = rate(median(&now, || black_box(&mut copy).copy_from_slice(black_box(&values))));
    let update = compress(&values, SPARSE);
    let bytes = encode(&update);
    let count = params as u64;
    Speeds {
        params,
        bytes: bytes.len(),
        copy,
        compress: rate(median(&now, || drop(black_box(compress(black_box(&values), SPARSE))))),
        encode: rate(median(&now, || drop(black_box(encode(black_box(&update)))))),
        decode: rate(median(&now, || drop(black_box(decode(&[SPARSE], black_box(&bytes), count))))),
        fold_20_s: {
            let (sent, mut state) = (sent(params), OuterState::default());
            median(&now, || drop(black_box(round(params, &sent, &mut state)))) / 1000.0
        },
    }
}

/// The bytes that all contributors send.
pub(crate) fn sent(params: usize) -> Vec<bytes::Bytes> {
    (0..CONTRIBUTORS).map(|who| encode(&compress(&values(params, who), SPARSE))).collect()
}

/// Decodes and folds a round.
pub(crate) fn round(params: usize, sent: &[bytes::Bytes], state: &mut OuterState) -> Update {
    let updates: Vec<Update> = sent.iter().filter_map(|bytes| decode(&[SPARSE], bytes, params as u64).ok()).collect();
    let weight = 1.0 / updates.len() as f32;
    let terms: Vec<_> = updates.iter().map(|update| Term { weight, clips: &[], update }).collect();
    let outer = Outer { lr: vec![0.7], momentum: 0.9, average: Average::All };
    let layout = [0..params / 2, params / 2..params];
    fold(&terms, &layout, state, &outer, 0.7, SPARSE)
}

/// Values with heavy tails: Student's t of about four degrees of freedom, a million of them again and again
/// at other sizes and, for another contributor, other places.
pub(crate) fn values(params: usize, who: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32
    };
    let mut normal = || uniform() + uniform() + uniform() + uniform() - 2.0;
    let mut heavy = || {
        let squares: f32 = (0..4).map(|_| normal()).map(|x| x * x).sum();
        normal() / (squares + 1e-3).sqrt()
    };
    let some: Vec<f32> = (0..1 << 20).map(|_| heavy()).collect();
    let of = |at: usize| some[(at + who * 77_777) % some.len()] * (1 + at / some.len()) as f32;
    (0..params).map(of).collect()
}

/// Milliseconds, the median of some runs after one that doesn't count.
fn median(now: impl Fn() -> f64, mut run: impl FnMut()) -> f64 {
    run();
    let mut took: Vec<f64> = (0..RUNS)
        .map(|_| {
            let began = now();
            run();
            now() - began
        })
        .collect();
    took.sort_by(f64::total_cmp);
    took[RUNS / 2]
}
