//! Which chunks of a blob: one bit each, on the wire as in memory.

use std::ops::Range;

/// A set of chunk indices below a fixed bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bitmap {
    bits: Vec<u8>,
    len: u32,
    count: u32,
}

/// Bytes of a bitmap of `len` bits.
pub(crate) fn bytes(len: u32) -> usize {
    len.div_ceil(8) as usize
}

impl Bitmap {
    /// None of `len`.
    pub(crate) fn new(len: u32) -> Self {
        Self { bits: vec![0; bytes(len)], len, count: 0 }
    }

    /// All of `len`.
    pub(crate) fn full(len: u32) -> Self {
        let mut all = Self::new(len);
        all.insert_all(0..len);
        all
    }

    /// What a peer sent. `None` if it has the wrong length or names a chunk beyond the last.
    pub(crate) fn decode(bits: &[u8], len: u32) -> Option<Self> {
        let beyond = !len.is_multiple_of(8) && bits.last().is_some_and(|last| last >> (len % 8) != 0);
        if bits.len() != bytes(len) || beyond {
            return None;
        }
        let count = bits.iter().map(|byte| byte.count_ones()).sum();
        Some(Self { bits: bits.to_vec(), len, count })
    }

    /// As it stands on the wire: chunk 0 is the lowest bit of the first byte.
    pub(crate) fn encode(&self) -> &[u8] {
        &self.bits
    }

    /// How many are in it.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Whether all are in it.
    pub(crate) fn is_full(&self) -> bool {
        self.count == self.len
    }

    /// Whether `index` is in it; nothing beyond the bound is.
    pub(crate) fn contains(&self, index: u32) -> bool {
        index < self.len && self.bits[index as usize / 8] & (1 << (index % 8)) != 0
    }

    /// Puts `index` in, which must be below the bound. Says whether it is new.
    pub(crate) fn insert(&mut self, index: u32) -> bool {
        let new = !self.contains(index);
        if new {
            self.bits[index as usize / 8] |= 1 << (index % 8);
            self.count += 1;
        }
        new
    }

    /// Puts a range in; returns those that are new.
    pub(crate) fn insert_all(&mut self, range: Range<u32>) -> Vec<u32> {
        range.filter(|index| self.insert(*index)).collect()
    }

    /// Takes `index` out, if it is in.
    pub(crate) fn remove(&mut self, index: u32) {
        if self.contains(index) {
            self.bits[index as usize / 8] &= !(1 << (index % 8));
            self.count -= 1;
        }
    }

    /// Those that are in it, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        (0..self.len).filter(|index| self.contains(*index))
    }

    /// The first at or after `from` that is not in it.
    pub(crate) fn first_missing(&self, from: u32) -> Option<u32> {
        (from..self.len).find(|index| !self.contains(*index))
    }

    /// What is in it and not in `other`, as runs.
    pub(crate) fn runs_beyond(&self, other: &Self) -> Vec<Range<u32>> {
        runs(self.iter().filter(|index| !other.contains(*index)))
    }
}

/// Ascending indices as runs.
pub(crate) fn runs(indices: impl IntoIterator<Item = u32>) -> Vec<Range<u32>> {
    let mut runs: Vec<Range<u32>> = Vec::new();
    for index in indices {
        match runs.last_mut() {
            Some(run) if run.end == index => run.end += 1,
            _ => runs.push(index..index + 1),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_is_in_and_counted_once() {
        let mut map = Bitmap::new(11);
        assert_eq!(map.insert_all(3..6), [3, 4, 5]);
        assert_eq!(map.insert_all(5..7), [6]);
        assert!(!map.insert(3));
        map.remove(4);
        map.remove(4);
        assert_eq!((map.count(), map.iter().collect::<Vec<_>>()), (3, vec![3, 5, 6]));
        assert_eq!(Bitmap::full(11).runs_beyond(&map), [0..3, 4..5, 7..11]);
        assert_eq!((map.first_missing(5), Bitmap::full(11).first_missing(0)), (Some(7), None));
        assert!(!map.contains(u32::MAX));
    }

    #[test]
    fn only_the_right_length_is_read_and_nothing_beyond_the_last() {
        for len in [1, 7, 8, 9, 16, 8192] {
            let full = Bitmap::full(len);
            assert!(full.is_full());
            assert_eq!(Bitmap::decode(full.encode(), len), Some(full.clone()), "{len}");
            assert_eq!(Bitmap::decode(&[full.encode(), &[0]].concat(), len), None, "{len}");
            assert_eq!(Bitmap::decode(&full.encode()[1..], len), None, "{len}");
            if len % 8 != 0 {
                let mut beyond = full.encode().to_vec();
                *beyond.last_mut().unwrap() |= 1 << (len % 8);
                assert_eq!(Bitmap::decode(&beyond, len), None, "{len}");
            }
        }
    }
}
