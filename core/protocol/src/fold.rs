//! The one place where shared weights change.
//!
//! On the CPU, in the manifest's order, with IEEE f32 operations that are rounded the same everywhere: no
//! fused multiply-add (Rust never contracts on its own), no libm, no reassociation. So wasm and native, on
//! any machine, get the same bits and one state hash.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::Hash;
use crate::spec::{Average, Outer, UpdateFormat};
use crate::update::{self, CHUNK, Chunk, Update};

/// A factor that brings one tensor of an update within bounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Clip {
    /// The tensor's number in the model's layout.
    pub tensor: u16,
    /// Multiplies its values.
    pub factor: f32,
}

/// One accepted update in the fold.
#[derive(Debug, Clone, Copy)]
pub struct Term<'a> {
    /// Its share of the mean, from the manifest.
    pub weight: f32,
    /// What brings its tensors within bounds, from the manifest; a tensor without one stays as it is.
    pub clips: &'a [Clip],
    /// The pseudo-gradient, base − local.
    pub update: &'a Update,
}

impl Term<'_> {
    /// What multiplies the values of a tensor.
    pub fn factor(&self, tensor: usize) -> f32 {
        let clip = self.clips.iter().find(|clip| usize::from(clip.tensor) == tensor);
        clip.map_or(self.weight, |clip| self.weight * clip.factor)
    }
}

/// What the coordinator alone keeps from fold to fold. Each part is empty where it is not needed, and where
/// it would be all zeros: at the beginning.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OuterState {
    /// The momentum, if the outer optimiser has one.
    pub momentum: Vec<f32>,
    /// What published steps left out so far, if they leave something out.
    pub residual: Vec<f32>,
}

impl OuterState {
    /// Whether it is all numbers: not if finite updates overflowed in the sum.
    pub fn is_finite(&self) -> bool {
        self.momentum.iter().chain(&self.residual).all(|value| value.is_finite())
    }

    /// Its bytes: the momentum, then the residual, as little-endian f32.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.momentum.iter().chain(&self.residual).flat_map(|value| value.to_le_bytes()).collect()
    }

    /// From bytes, for a model of `count` values. None if they are not as many as such a run needs.
    pub fn from_bytes(bytes: &[u8], count: usize, outer: &Outer, step: UpdateFormat) -> Option<Self> {
        let of = |needed: bool| if needed { count } else { 0 };
        let (momentum, residual) = (of(has_momentum(outer)), of(has_residual(step)));
        let (first, rest) = bytes.split_at_checked(momentum * 4)?;
        (rest.len() == residual * 4).then(|| Self { momentum: f32_from_le(first), residual: f32_from_le(rest) })
    }
}

fn has_momentum(outer: &Outer) -> bool {
    outer.momentum != 0.0
}

fn has_residual(step: UpdateFormat) -> bool {
    step != UpdateFormat::F32
}

/// Folds the accepted updates into the outer state and returns the step to add to the base.
///
/// With g = Σ weight·clip·value, m ← μ·m + g and raw = residual − rate·(g + μ·m): SGD with Nesterov momentum
/// as in Sutskever et al. 2013 in the form PyTorch documents, on the pseudo-gradient of DiLoCo
/// (arXiv 2311.08105). The step is raw as far as its format can say it, and the residual what is left.
/// The learning rate is the manifest's.
/// The layout's ranges are the tensors', ascend without gaps and end with the model; every update is as long.
pub fn fold(
    terms: &[Term<'_>],
    layout: &[Range<usize>],
    state: &mut OuterState,
    outer: &Outer,
    rate: f32,
    step: UpdateFormat,
) -> Update {
    let count = layout.last().map_or(0, |last| last.end);
    let of = |needed: bool| if needed { count } else { 0 };
    state.momentum.resize(of(has_momentum(outer)), 0.0);
    state.residual.resize(of(has_residual(step)), 0.0);
    let mut raw = std::mem::take(&mut state.residual);
    raw.resize(count, 0.0);

    let mut updates: Vec<_> = terms.iter().map(|term| term.update.chunks()).collect();
    let mut momentum = state.momentum.chunks_mut(CHUNK);
    let mut sums = Sums::new();
    for (at, raw) in raw.chunks_mut(CHUNK).enumerate() {
        sums.clear();
        for (term, chunks) in terms.iter().zip(&mut updates) {
            // An update is as long as the model.
            let chunk = chunks.next().unwrap_or(Chunk::Zero);
            sums.add(term, &chunk, layout, at, outer.average);
        }
        sums.average(outer.average);
        let g = &mut sums.values[..raw.len()];
        if let Some(momentum) = momentum.next() {
            for (g, momentum) in g.iter_mut().zip(momentum) {
                *momentum = outer.momentum * *momentum + *g;
                *g += outer.momentum * *momentum;
            }
        }
        for (raw, g) in raw.iter_mut().zip(g) {
            *raw -= rate * *g;
        }
    }
    if !has_residual(step) {
        return Update::dense(raw);
    }
    let step = update::compress(&raw, step);
    step.take_from(&mut raw);
    state.residual = raw;
    step
}

/// The sums of one chunk, which stay in the first-level cache while terms stream by.
struct Sums {
    values: Vec<f32>,
    /// The weight of those that have a value, where the average asks for it.
    weights: Vec<f32>,
}

impl Sums {
    fn new() -> Self {
        Self { values: vec![0.0; CHUNK], weights: vec![0.0; CHUNK] }
    }

    fn clear(&mut self) {
        self.values.fill(0.0);
        self.weights.fill(0.0);
    }

    fn add(&mut self, term: &Term<'_>, chunk: &Chunk<'_>, layout: &[Range<usize>], at: usize, average: Average) {
        if average == Average::Senders {
            chunk.zip(&mut self.weights, |weight, _| *weight += term.weight);
        }
        if term.clips.is_empty() {
            return chunk.zip(&mut self.values, |sum, value| *sum += term.weight * value);
        }
        for (tensor, within) in update::pieces(layout, at) {
            let factor = term.factor(tensor);
            let values = &mut self.values[within.clone()];
            chunk.within(within).zip(values, |sum, value| *sum += factor * value);
        }
    }

    fn average(&mut self, average: Average) {
        if average == Average::Senders {
            for (sum, &weight) in self.values.iter_mut().zip(&self.weights).filter(|(_, weight)| **weight > 0.0) {
                *sum /= weight;
            }
        }
    }
}

/// Adds a step to the base. Coordinator and contributors alike get the new base by this addition.
pub fn apply(base: &mut [f32], step: &Update) {
    step.zip(base, |base, step| *base += step);
}

/// Adds values, as when local weights move along with the base.
pub fn add(to: &mut [f32], values: &[f32]) {
    for (to, &value) in to.iter_mut().zip(values) {
        *to += value;
    }
}

/// The name of a state: BLAKE3 of the weights as little-endian f32, which is also the name of the
/// snapshot blob that holds them.
pub fn state_hash(weights: &[f32]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = [0u8; 4096];
    for block in weights.chunks(buffer.len() / 4) {
        for (bytes, value) in buffer.chunks_exact_mut(4).zip(block) {
            bytes.copy_from_slice(&value.to_le_bytes());
        }
        hasher.update(&buffer[..block.len() * 4]);
    }
    Hash(*hasher.finalize().as_bytes())
}

/// Weights as the bytes of a snapshot.
pub fn f32_to_le(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Weights from the bytes of a snapshot; a tail of fewer than four bytes is passed over.
pub fn f32_from_le(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// The Euclidean norm, summed in f64 in order.
pub fn norm(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Coding;

    fn dense(values: &[f32]) -> Update {
        Update::dense(values.to_vec())
    }

    #[test]
    fn the_step_is_nesterovs() {
        let outer = Outer { lr: vec![], momentum: 0.5, average: Average::All };
        let mut state = OuterState::default();
        let (a, b) = (dense(&[4.0, 0.0]), dense(&[0.0, 8.0]));
        let clips = [Clip { tensor: 1, factor: 0.5 }];
        let terms = [Term { weight: 0.25, clips: &[], update: &a }, Term { weight: 0.75, clips: &clips, update: &b }];
        let layout = [0..1, 1..2];
        // g = (1, 3), m = g, step = -0.5 (g + 0.5 m) = -0.75 g
        assert_eq!(fold(&terms, &layout, &mut state, &outer, 0.5, UpdateFormat::F32), dense(&[-0.75, -2.25]));
        assert_eq!((&state.momentum[..], &state.residual[..]), (&[1.0, 3.0][..], &[][..]));
        // g = 0, m = 0.5 m, step = -0.5 * 0.5 m
        let step = fold(&[], &layout, &mut state, &outer, 0.5, UpdateFormat::F32);
        assert_eq!(step, dense(&[-0.125, -0.375]));
        let mut base = vec![1.0, 1.0];
        apply(&mut base, &step);
        assert_eq!(base, [0.875, 0.625]);
        assert_eq!(state_hash(&base), Hash::of(&f32_to_le(&base)));
        assert_eq!(f32_from_le(&f32_to_le(&base)), base);
    }

    #[test]
    fn what_a_step_leaves_out_comes_later() {
        let outer = Outer { lr: vec![], momentum: 0.0, average: Average::All };
        let one = UpdateFormat::Coded(Coding { keep: 1, bits: 1 });
        let (mut state, update) = (OuterState::default(), dense(&[-4.0, -2.0]));
        let terms = [Term { weight: 1.0, clips: &[], update: &update }];
        let step = fold(&terms, &[0..1, 1..2], &mut state, &outer, 1.0, one);
        assert_eq!((step.values(), &state.residual[..]), (vec![4.0, 0.0], &[0.0, 2.0][..]));
        let bytes = state.to_bytes();
        assert_eq!(OuterState::from_bytes(&bytes, 2, &outer, one), Some(state.clone()));
        assert_eq!(OuterState::from_bytes(&bytes, 2, &outer, UpdateFormat::F32), None);
        let step = fold(&[], &[0..1, 1..2], &mut state, &outer, 1.0, one);
        assert_eq!((step.values(), &state.residual[..]), (vec![0.0, 2.0], &[0.0, 0.0][..]));
    }

    #[test]
    fn who_sends_nothing_says_zero_or_nothing() {
        let one = UpdateFormat::Coded(Coding { keep: 1, bits: 1 });
        let updates = [update::compress(&[4.0, 0.0], one), update::compress(&[0.0, 2.0], one), dense(&[4.0, 4.0])];
        let weights = [0.25, 0.25, 0.5];
        let term = |(update, weight)| Term { weight, clips: &[], update };
        let terms: Vec<_> = updates.iter().zip(weights).map(term).collect();
        for (average, expected) in [(Average::All, [3.0, 2.5]), (Average::Senders, [4.0, 10.0 / 3.0])] {
            let outer = Outer { lr: vec![], momentum: 0.0, average };
            let step = fold(&terms, &[0..1, 1..2], &mut OuterState::default(), &outer, 1.0, UpdateFormat::F32);
            assert_eq!(step.values(), expected.map(|value: f32| -value));
        }
    }
}
