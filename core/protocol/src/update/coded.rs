//! An update of which every chunk says its largest values, each by a sign and a level.

use std::ops::Range;

use crate::spec::Coding;

/// Coordinates of a chunk: the unit of selection, of scaling and of the fold. As in SparseLoCo
/// (arXiv 2508.15706); 16 KiB of f32, so that a chunk stays in the first-level cache.
pub const CHUNK: usize = 4096;

/// Exponents of the largest scale that an update may have: below, the smallest scale (31 octaves lower)
/// would be subnormal; above, values (times [`MAX_LEVEL`]) and their sums would come near the end of f32.
pub(super) const TOP: std::ops::RangeInclusive<i8> = -95..=63;

/// Scale codes span this many octaves below the top.
const OCTAVES: i32 = 31;

/// Bits of a scale's mantissa: within 6.25 % of any mean, which the levels make up for.
const MANTISSA: u32 = 3;

/// The largest level. A value is at most [`CHUNK`] times its chunk's mean.
pub(super) const MAX_LEVEL: f32 = 8192.0;

impl Coding {
    /// How many of a chunk's `len` values survive.
    pub(super) fn kept(&self, len: usize) -> usize {
        (len * usize::from(self.keep)).div_ceil(CHUNK).max(1)
    }

    /// Whether all survive, so that no places are coded.
    pub(super) fn is_dense(&self) -> bool {
        usize::from(self.keep) == CHUNK
    }
}

/// The parts of a coded update.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Coded {
    pub(super) coding: Coding,
    /// The exponent of the largest scale.
    pub(super) top: i8,
    /// Positive and negative of every level, by code: bit 0 is the sign, the others are the level.
    pub(super) signed: Vec<f32>,
    /// A code for each chunk; 0 says that all its values are zero.
    pub(super) scales: Vec<u8>,
    /// Places within the chunk, ascending; of chunks that are not zero. Empty if all values survive.
    pub(super) places: Vec<u16>,
    /// A code for each place.
    pub(super) codes: Vec<u8>,
}

/// What an update says of [`CHUNK`] coordinates, the last chunk of fewer.
#[derive(Debug, Clone, Copy)]
pub enum Chunk<'a> {
    /// Nothing.
    Zero,
    /// Every value as it is.
    Values(&'a [f32]),
    /// Every value by its code.
    Dense {
        /// Multiplies the level.
        scale: f32,
        /// Levels with their sign, by code.
        signed: &'a [f32],
        /// Codes of consecutive coordinates.
        codes: &'a [u8],
    },
    /// Some values by their code.
    Sparse {
        /// Multiplies the level.
        scale: f32,
        /// Levels with their sign, by code.
        signed: &'a [f32],
        /// Subtracted from a place.
        start: usize,
        /// Ascending.
        places: &'a [u16],
        /// One for each place.
        codes: &'a [u8],
    },
}

impl Coded {
    /// Chunk number `at` of `len` coordinates, whose first code is number `next`, which moves on.
    pub(super) fn chunk(&self, at: usize, len: usize, next: &mut usize) -> Chunk<'_> {
        if self.scales[at] == 0 {
            return Chunk::Zero;
        }
        let range = *next..*next + self.coding.kept(len);
        *next = range.end;
        let (scale, signed) = (scale(self.top, self.scales[at]), &self.signed[..]);
        let codes = &self.codes[range.clone()];
        if self.coding.is_dense() {
            return Chunk::Dense { scale, signed, codes };
        }
        Chunk::Sparse { scale, signed, start: 0, places: &self.places[range], codes }
    }
}

impl<'a> Chunk<'a> {
    /// Calls `with` for every entry with the element of `to` at its place.
    pub fn zip<T>(&self, to: &mut [T], mut with: impl FnMut(&mut T, f32)) {
        match *self {
            Chunk::Zero => {}
            Chunk::Values(values) => to.iter_mut().zip(values).for_each(|(to, &value)| with(to, value)),
            Chunk::Dense { scale, signed, codes } => {
                to.iter_mut().zip(codes).for_each(|(to, &code)| with(to, scale * signed[usize::from(code)]));
            }
            Chunk::Sparse { scale, signed, start, places, codes } => {
                for (&place, &code) in places.iter().zip(codes) {
                    with(&mut to[usize::from(place) - start], scale * signed[usize::from(code)]);
                }
            }
        }
    }

    /// Place and value of every entry.
    pub fn entries(self) -> impl Iterator<Item = (usize, f32)> + 'a {
        let len = match self {
            Chunk::Zero => 0,
            Chunk::Values(values) => values.len(),
            Chunk::Dense { codes, .. } | Chunk::Sparse { codes, .. } => codes.len(),
        };
        (0..len).map(move |at| match self {
            Chunk::Zero => (at, 0.0),
            Chunk::Values(values) => (at, values[at]),
            Chunk::Dense { scale, signed, codes } => (at, scale * signed[usize::from(codes[at])]),
            Chunk::Sparse { scale, signed, start, places, codes } => {
                (usize::from(places[at]) - start, scale * signed[usize::from(codes[at])])
            }
        })
    }

    /// What it says of some of its coordinates, whose first becomes place 0.
    pub fn within(&self, range: Range<usize>) -> Chunk<'a> {
        match *self {
            Chunk::Zero => Chunk::Zero,
            Chunk::Values(values) => Chunk::Values(&values[range]),
            Chunk::Dense { scale, signed, codes } => Chunk::Dense { scale, signed, codes: &codes[range] },
            Chunk::Sparse { scale, signed, start, places, codes } => {
                let below = |end: usize| places.partition_point(|&place| usize::from(place) < start + end);
                let found = below(range.start)..below(range.end);
                let (places, codes) = (&places[found.clone()], &codes[found]);
                Chunk::Sparse { scale, signed, start: start + range.start, places, codes }
            }
        }
    }
}

/// The scale of a code other than 0: a float of 3 mantissa bits, put together from its bits.
pub(super) fn scale(top: i8, code: u8) -> f32 {
    f32::from_bits((lowest(top) + u32::from(code)) << (23 - MANTISSA))
}

/// The exponent and mantissa bits of the scale nearest to a mean, within what any update can say.
pub(super) fn scale_bits(mean: f32) -> u32 {
    let half = 1 << (22 - MANTISSA);
    let bits = ((mean.to_bits() & (u32::MAX >> 1)) + half) >> (23 - MANTISSA);
    bits.clamp(lowest(*TOP.start()) + 1, lowest(*TOP.end()) + 255)
}

/// The top exponent of an update whose largest scale has these bits.
pub(super) fn top(largest: u32) -> i8 {
    ((largest >> MANTISSA) as i32 - 127).clamp((*TOP.start()).into(), (*TOP.end()).into()) as i8
}

/// The code of a scale. What is more than 31 octaves below the top gets the smallest there is, which is
/// then below what f32 can tell from the largest values.
pub(super) fn scale_code(top: i8, bits: u32) -> u8 {
    bits.saturating_sub(lowest(top)).clamp(1, 255) as u8
}

/// The bits of the scale that code 0 would have.
fn lowest(top: i8) -> u32 {
    ((i32::from(top) + 127 - OCTAVES) as u32) << MANTISSA
}
