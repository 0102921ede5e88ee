//! The levels of a quantiser: those of the least mean square error, after Lloyd (IEEE Transactions on
//! Information Theory 28, 1982) and Max (1960), on a histogram.

use super::coded::MAX_LEVEL;

/// Mantissa bits that tell bins apart: 64 bins an octave, half as wide as the cells of 128 levels are where
/// most values lie.
const MANTISSA: u32 = 6;

/// The bits of the smallest magnitude with a bin of its own, 2^-12 of the scale: nothing beside a level.
const FIRST: u32 = (127 - 12) << MANTISSA;

/// From 2^-12 to 2^13 ([`MAX_LEVEL`]), which has the last bin.
const BINS: usize = (25 << MANTISSA) + 1;

/// Rounds of Lloyd's iteration, most of which end earlier.
const ROUNDS: usize = 100;

/// How often magnitudes occur, and what they sum up to.
pub(super) struct Histogram {
    bins: Vec<(u32, f64)>,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self { bins: vec![(0, 0.0); BINS] }
    }

    /// Counts a magnitude relative to its chunk's scale. What is no number counts as the largest.
    #[inline]
    pub(super) fn add(&mut self, ratio: f32) {
        let ratio = ratio.min(MAX_LEVEL);
        let bin = (ratio.to_bits() >> (23 - MANTISSA)).saturating_sub(FIRST) as usize;
        let (count, sum) = &mut self.bins[bin.min(BINS - 1)];
        *count += 1;
        *sum += f64::from(ratio);
    }

    /// The levels, ascending; all zero if nothing was counted.
    pub(super) fn fit(&self, levels: usize) -> Vec<f32> {
        // Means of the bins that count; what lies below each bin: how many, their sum, their share of the cells.
        let (mut means, mut below) = (Vec::new(), vec![(0.0, 0.0, 0.0)]);
        let (mut total, mut whole, mut room) = (0.0, 0.0, 0.0);
        for &(count, sum) in self.bins.iter().filter(|(count, _)| *count > 0) {
            let (count, mean) = (f64::from(count), sum / f64::from(count));
            total += count;
            whole += sum;
            // The best cells are as dense as the cube root of the values' density (Panter and Dite 1951). The
            // fourth root is near, and exact on every machine; a bin is as wide as its mean.
            room += (mean * mean * mean * count).sqrt().sqrt();
            means.push(mean);
            below.push((total, whole, room));
        }
        let mut fitted = vec![0.0; levels];
        let share = |cell: usize| room * cell as f64 / levels as f64;
        let start = |cell: usize| below.partition_point(|(_, _, room)| *room < share(cell)).min(means.len());
        let mut ends: Vec<usize> = (1..levels).map(start).chain([means.len()]).collect();
        for _ in 0..ROUNDS {
            let mut start = 0;
            for (level, &end) in fitted.iter_mut().zip(&ends) {
                let (count, sum) = (below[end].0 - below[start].0, below[end].1 - below[start].1);
                if count > 0.0 {
                    *level = sum / count;
                }
                start = end;
            }
            // A cell that was empty from the beginning.
            for at in 1..levels {
                fitted[at] = fitted[at].max(fitted[at - 1]);
            }
            let middle = |cell: usize| match fitted.get(cell + 1) {
                Some(above) => (fitted[cell] + above) / 2.0,
                None => f64::INFINITY,
            };
            let moved: Vec<_> = (0..levels).map(|cell| means.partition_point(|mean| *mean <= middle(cell))).collect();
            if std::mem::replace(&mut ends, moved) == ends {
                break;
            }
        }
        fitted.into_iter().map(|level| level as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(ratios: &[f32], levels: usize) -> Vec<f32> {
        let mut histogram = Histogram::new();
        ratios.iter().for_each(|ratio| histogram.add(*ratio));
        histogram.fit(levels)
    }

    #[test]
    fn levels_are_where_the_values_are() {
        assert_eq!(fit(&[], 2), [0.0, 0.0]);
        assert_eq!(fit(&[1.0, 1.0], 1), [1.0]);
        assert_eq!(fit(&[0.5, 0.5, 0.5, 2.0], 2), [0.5, 2.0]);
        assert_eq!(fit(&[3.0, 3.0], 4), [3.0; 4]);
        assert_eq!(fit(&[f32::NAN, f32::INFINITY, 0.0], 2), [0.0, MAX_LEVEL]);
    }

    #[test]
    fn the_levels_of_a_normal_distribution_are_maxs() {
        // By the sum of twelve uniforms. Max 1960, table I, 4 and 8 outputs: halves of symmetric quantisers.
        let mut state = 1_u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 24) as f32
        };
        let ratios: Vec<f32> = (0..200_000).map(|_| ((0..12).map(|_| uniform()).sum::<f32>() - 6.0).abs()).collect();
        for (expected, levels) in [(&[0.4528, 1.510][..], 2), (&[0.2451, 0.7560, 1.344, 2.152], 4)] {
            for (got, expected) in fit(&ratios, levels).iter().zip(expected) {
                assert!((got / expected - 1.0).abs() < 0.05, "{got} for {expected}");
            }
        }
    }
}
