//! The one place where shared weights change.
//!
//! On the CPU, in the manifest's order, with IEEE f32 multiply and add only: no fused multiply-add
//! (Rust never contracts on its own), no libm, no reassociation. So wasm and native, on any
//! machine, get the same bits and one state hash.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::Hash;
use crate::spec::Outer;

/// The factor that brings the norm of one tensor of an update within bounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Clip {
    /// Its place in [`crate::spec::ModelSpec::layout`].
    pub tensor: u16,
    /// The factor, from 0 to 1.
    pub factor: f32,
}

/// One accepted update in the fold.
#[derive(Debug, Clone, Copy)]
pub struct Term<'a> {
    /// Its share of the mean, from the manifest.
    pub weight: f32,
    /// The factor that brings its norm within bounds, from the manifest.
    pub clip: f32,
    /// The pseudo-gradient, base − local, decoded and finite.
    pub values: &'a [f32],
}

/// Folds the accepted updates into the outer momentum and returns the step to add to the base.
///
/// With g = Σ weight·clip·values, m ← μ·m + g and step = −lr·(g + μ·m): SGD with Nesterov momentum
/// as in Sutskever et al. 2013 in the form PyTorch documents, on the pseudo-gradient of DiLoCo
/// (arXiv 2311.08105). The learning rate is the manifest's. Every term must be as long as the momentum.
pub fn fold(terms: &[Term<'_>], momentum: &mut [f32], outer: &Outer, rate: f32) -> Vec<f32> {
    /// Values a block: the accumulator stays in the first-level cache while terms stream by.
    const BLOCK: usize = 4096;
    let mut step = vec![0.0; momentum.len()];
    for (block, (step, momentum)) in step.chunks_mut(BLOCK).zip(momentum.chunks_mut(BLOCK)).enumerate() {
        let start = block * BLOCK;
        for term in terms {
            let factor = term.weight * term.clip;
            let values = &term.values[start..start + step.len()];
            for (sum, &value) in step.iter_mut().zip(values) {
                *sum += factor * value;
            }
        }
        for (step, momentum) in step.iter_mut().zip(momentum) {
            let g = *step;
            *momentum = outer.momentum * *momentum + g;
            *step = -(rate * (g + outer.momentum * *momentum));
        }
    }
    step
}

/// Multiplies the values of each clipped tensor; `layout` is [`crate::spec::ModelSpec::ranges`].
pub fn clip(values: &mut [f32], clips: &[Clip], layout: &[Range<usize>]) {
    for clip in clips {
        let tensor = layout.get(usize::from(clip.tensor)).and_then(|range| values.get_mut(range.clone()));
        tensor.into_iter().flatten().for_each(|value| *value *= clip.factor);
    }
}

/// Adds a step to the base. Coordinator and contributors alike get the new base by this addition.
pub fn apply(base: &mut [f32], step: &[f32]) {
    for (base, &step) in base.iter_mut().zip(step) {
        *base += step;
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

/// The Euclidean norm of each tensor; `layout` is [`crate::spec::ModelSpec::ranges`].
pub fn norms(values: &[f32], layout: &[Range<usize>]) -> Vec<f64> {
    layout.iter().map(|range| norm(values.get(range.clone()).unwrap_or_default())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_is_nesterovs() {
        let outer = Outer { lr: vec![], momentum: 0.5 };
        let mut momentum = vec![0.0, 0.0];
        let terms = [
            Term { weight: 0.25, clip: 1.0, values: &[4.0, 0.0] },
            Term { weight: 0.75, clip: 0.5, values: &[0.0, 8.0] },
        ];
        // g = (1, 3), m = g, step = -0.5 (g + 0.5 m) = -0.75 g
        assert_eq!(fold(&terms, &mut momentum, &outer, 0.5), [-0.75, -2.25]);
        assert_eq!(momentum, [1.0, 3.0]);
        // g = 0, m = 0.5 m, step = -0.5 * 0.5 m
        assert_eq!(fold(&[], &mut momentum, &outer, 0.5), [-0.125, -0.375]);
        let mut base = vec![1.0, 1.0];
        apply(&mut base, &[-0.125, -0.375]);
        assert_eq!(base, [0.875, 0.625]);
        assert_eq!(state_hash(&base), Hash::of(&f32_to_le(&base)));
        assert_eq!(f32_from_le(&f32_to_le(&base)), base);
    }

    #[test]
    fn blocks_do_not_show() {
        let n = 10_000;
        let values: Vec<f32> = (0..n).map(|i| (i as f32 * 0.37).sin()).collect();
        let outer = Outer { lr: vec![], momentum: 0.9 };
        let (mut whole, mut parts) = (vec![0.1; n], vec![0.1; n]);
        let term = |range: std::ops::Range<usize>| Term { weight: 0.3, clip: 0.9, values: &values[range] };
        let step = fold(&[term(0..n), term(0..n)], &mut whole, &outer, 0.7);
        let (left, right) = parts.split_at_mut(777);
        let mut pieces = fold(&[term(0..777), term(0..777)], left, &outer, 0.7);
        pieces.extend(fold(&[term(777..n), term(777..n)], right, &outer, 0.7));
        assert_eq!((state_hash(&step), state_hash(&whole)), (state_hash(&pieces), state_hash(&parts)));
    }

    #[test]
    fn a_clip_shortens_its_tensor_and_no_other() {
        let (mut values, layout) = (vec![3.0, 4.0, 6.0, 8.0], [0..2, 2..4]);
        assert_eq!(norms(&values, &layout), [5.0, 10.0]);
        clip(&mut values, &[Clip { tensor: 1, factor: 0.5 }, Clip { tensor: 2, factor: 0.0 }], &layout);
        assert_eq!((values, norms(&[3.0], &layout)), (vec![3.0, 4.0, 3.0, 4.0], vec![0.0, 0.0]));
    }
}
