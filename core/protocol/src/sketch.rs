//! A short picture of an update, by which two of them are compared: who copies another's work, with or
//! without some noise on it, has nearly the same picture.
//!
//! A count sketch (Charikar, Chen and Farach-Colton 2002): every coordinate is added, with a sign, to one of
//! [`WIDTH`] sums, both named by a hash. The product of two sketches is that of the updates up to about
//! 1/√[`WIDTH`] of their norms.

use crate::Hash;
use crate::mix::mix;
use crate::update::Update;

/// Sums of a sketch: an error of about 0.03 in a cosine.
pub const WIDTH: usize = 1024;

/// Of so many sums the product says well enough whether the whole is worth a look: most pairs are not.
const GLANCE: usize = 64;

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Sketch {
    sums: Vec<f32>,
    /// Of all the sums, and of the first [`GLANCE`].
    norms: [f64; 2],
}

impl Sketch {
    /// The sketch of an update. Sketches are comparable that have the same key.
    pub fn of(update: &Update, key: &Hash) -> Self {
        let key = u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|at| key.0[at]));
        let mut sums = vec![0.0; WIDTH];
        for (at, value) in update.entries() {
            let hash = mix(key ^ at as u64);
            let sum = &mut sums[(hash >> 1) as usize % WIDTH];
            *sum += if hash & 1 == 0 { value } else { -value };
        }
        let norm = |sums: &[f32]| product(sums, sums).sqrt();
        Self { norms: [norm(&sums), norm(&sums[..GLANCE])], sums }
    }

    /// Whether the cosine is at least `cosine`, which is near 1. Of two that are far apart it costs little to say so.
    pub fn is_near(&self, other: &Self, cosine: f64) -> bool {
        let glance = product(&self.sums[..GLANCE], &other.sums[..GLANCE]);
        glance >= cosine / 2.0 * self.norms[1] * other.norms[1] && self.cosine(other) >= cosine
    }

    /// The cosine of the angle between two updates, about; zero if one is zero.
    pub fn cosine(&self, other: &Self) -> f64 {
        let norms = self.norms[0] * other.norms[0];
        if norms > 0.0 { product(&self.sums, &other.sums) / norms } else { 0.0 }
    }
}

fn product(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of mean zero that look like noise.
    fn noise(seed: u64, count: usize) -> Vec<f32> {
        (0..count as u64).map(|at| (mix(seed << 32 | at) >> 40) as f32 / (1 << 24) as f32 - 0.5).collect()
    }

    #[test]
    fn a_copy_is_near_whatever_its_size_and_strangers_are_far() {
        let (key, count) = (Hash::of(b"run"), 50_000);
        let sketch = |values: Vec<f32>| Sketch::of(&Update::dense(values), &key);
        let (mine, other) = (noise(1, count), noise(2, count));
        let scaled = mine.iter().map(|value| value * 7.0).collect();
        let noisy: Vec<f32> = mine.iter().zip(&other).map(|(mine, other)| mine + 0.3 * other).collect();
        let me = sketch(mine.clone());
        assert!(me.cosine(&sketch(scaled)) > 0.999);
        // 1/√(1 + 0.3²)
        assert!((me.cosine(&sketch(noisy)) - 0.958).abs() < 0.02);
        assert!(me.cosine(&sketch(other.clone())).abs() < 0.1);
        assert_eq!(me.cosine(&sketch(vec![0.0; count])), 0.0);
        let slightly = mine.iter().zip(&other).map(|(mine, other)| mine + 0.1 * other).collect();
        assert!(me.is_near(&sketch(slightly), 0.95) && !me.is_near(&sketch(other), 0.95));
    }
}
