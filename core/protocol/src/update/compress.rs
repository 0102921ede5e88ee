//! From values to a coded update: selection, scales, levels, codes.

use super::coded::{self, CHUNK, Coded};
use super::levels::Histogram;
use super::select::Selector;
use crate::spec::Coding;

/// Compresses values. What is no number is sent as some number; the caller sees it in what is left.
pub(super) fn compress(values: &[f32], coding: Coding) -> Coded {
    let chunks = values.len().div_ceil(CHUNK);
    let entries: usize = values.chunks(CHUNK).map(|chunk| coding.kept(chunk.len())).sum();
    let mut places = Vec::with_capacity(if coding.is_dense() { 0 } else { entries });
    // The bits of every chunk's scale, 0 where there is nothing.
    let mut scales = Vec::with_capacity(chunks);
    let mut selector = Selector::new();
    for chunk in values.chunks(CHUNK) {
        let (keep, first) = (coding.kept(chunk.len()), places.len());
        let sum = if coding.is_dense() {
            chunk.iter().map(|value| f64::from(value.abs())).sum::<f64>()
        } else {
            selector.select(chunk, keep, &mut places);
            places[first..].iter().map(|&place| f64::from(chunk[usize::from(place)].abs())).sum()
        };
        let mean = (sum / keep as f64) as f32;
        if mean == 0.0 {
            places.truncate(first);
        }
        scales.push(if mean == 0.0 { 0 } else { coded::scale_bits(mean) });
    }
    let top = coded::top(scales.iter().copied().max().unwrap_or(0));
    let code = |bits: u32| if bits == 0 { 0 } else { coded::scale_code(top, bits) };
    let scales: Vec<u8> = scales.into_iter().map(code).collect();

    let mut histogram = Histogram::new();
    let each = Ratios { values, coding, top, scales: &scales, places: &places };
    each.visit(|ratio, _| histogram.add(ratio));
    let levels = histogram.fit(1 << (coding.bits - 1));
    let middles: Vec<f32> = levels.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0).collect();
    let mut codes = Vec::with_capacity(entries);
    each.visit(|ratio, sign| {
        let level = middles.partition_point(|middle| *middle < ratio) as u8;
        codes.push(level << 1 | sign);
    });
    let signed = levels.into_iter().flat_map(|level| [level, -level]).collect();
    Coded { coding, top, signed, scales, places, codes }
}

/// Values relative to the scale of their chunk.
struct Ratios<'a> {
    values: &'a [f32],
    coding: Coding,
    top: i8,
    scales: &'a [u8],
    places: &'a [u16],
}

impl Ratios<'_> {
    /// Calls `with` for each value that survives: its magnitude over the scale, and 1 if it is negative.
    fn visit(&self, mut with: impl FnMut(f32, u8)) {
        let mut places = self.places;
        for (chunk, &code) in self.values.chunks(CHUNK).zip(self.scales).filter(|(_, code)| **code != 0) {
            let scale = coded::scale(self.top, code);
            let mut entry = |value: f32| with(value.abs() / scale, u8::from(value.is_sign_negative()));
            if self.coding.is_dense() {
                chunk.iter().for_each(|value| entry(*value));
            } else {
                let (here, rest) = places.split_at(self.coding.kept(chunk.len()));
                here.iter().for_each(|&place| entry(chunk[usize::from(place)]));
                places = rest;
            }
        }
    }
}
