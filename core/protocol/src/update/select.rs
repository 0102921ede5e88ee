//! The largest of a chunk by magnitude, the same on every machine.

use super::coded::CHUNK;

/// Values whose largest is looked at first, by how many are to be kept: in each case there are at least
/// four groups for every kept value, so that few values but the largest are looked at again.
const GROUPS: [(usize, usize); 2] = [(CHUNK / 64, 16), (CHUNK / 16, 4)];

/// Room for a selection, kept between chunks.
pub(super) struct Selector {
    /// Magnitudes' bits above, places below (counted from the end, so that the first of equals wins): all differ.
    candidates: Vec<u64>,
    scratch: Vec<u64>,
    maxima: Vec<u32>,
}

impl Selector {
    pub(super) fn new() -> Self {
        Self {
            candidates: Vec::with_capacity(CHUNK),
            scratch: Vec::with_capacity(CHUNK),
            maxima: Vec::with_capacity(CHUNK / GROUPS[1].1),
        }
    }

    /// Appends the places of the `keep` largest values, ascending. `keep` is from 1 to the chunk's length.
    pub(super) fn select(&mut self, chunk: &[f32], keep: usize, places: &mut Vec<u16>) {
        self.candidates.clear();
        match GROUPS.iter().find(|(most, group)| keep <= *most && chunk.len() >= keep * group) {
            Some(&(_, 16)) => self.gather::<16>(chunk, keep),
            Some(_) => self.gather::<4>(chunk, keep),
            None => self.candidates.extend(chunk.iter().enumerate().map(|(place, value)| key(place, *value))),
        }
        self.scratch.clone_from(&self.candidates);
        let (_, &mut least, _) = self.scratch.select_nth_unstable(self.candidates.len() - keep);
        places.extend(self.candidates.iter().filter(|key| **key >= least).map(|key| (!key & 0xffff) as u16));
    }

    /// Gathers every value that can be among the `keep` largest: where `keep` groups have a value of at
    /// least some size, nothing smaller is among them.
    fn gather<const GROUP: usize>(&mut self, chunk: &[f32], keep: usize) {
        let largest = |group: &[f32]| group.iter().map(|value| magnitude(*value)).fold(0, u32::max);
        self.maxima.clear();
        let (groups, rest) = chunk.as_chunks::<GROUP>();
        self.maxima.extend(groups.iter().map(|group| largest(group)));
        self.maxima.extend((!rest.is_empty()).then(|| largest(rest)));
        let mut order = std::mem::take(&mut self.scratch);
        order.clear();
        order.extend(self.maxima.iter().map(|&largest| u64::from(largest)));
        let at = order.len() - keep;
        let least = *order.select_nth_unstable(at).1 as u32;
        self.scratch = order;
        for (at, group) in chunk.chunks(GROUP).enumerate() {
            if self.maxima[at] < least {
                continue;
            }
            let large = group.iter().enumerate().filter(|(_, value)| magnitude(**value) >= least);
            self.candidates.extend(large.map(|(place, value)| key(at * GROUP + place, *value)));
        }
    }
}

/// The bits of a magnitude, which order as magnitudes do.
fn magnitude(value: f32) -> u32 {
    value.to_bits() & (u32::MAX >> 1)
}

fn key(place: usize, value: f32) -> u64 {
    u64::from(magnitude(value)) << 16 | (!place as u64 & 0xffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(chunk: &[f32], keep: usize) {
        let mut expected: Vec<u16> = (0..chunk.len() as u16).collect();
        expected.sort_by_key(|&place| (std::cmp::Reverse(magnitude(chunk[usize::from(place)])), place));
        expected.truncate(keep);
        expected.sort_unstable();
        let mut places = Vec::new();
        Selector::new().select(chunk, keep, &mut places);
        assert_eq!(places, expected, "{keep} of {}", chunk.len());
    }

    #[test]
    fn the_largest_are_found_and_the_first_of_equals_wins() {
        for len in [1, 15, 17, 1000, 4095, 4096] {
            // Few different magnitudes, so that there are ties everywhere.
            let wild: Vec<f32> = (0..len).map(|i| ((i * 7919 % 251) as f32 - 125.0) / 8.0).collect();
            for chunk in [wild, vec![0.0; len], vec![-1.0; len]] {
                for keep in [1, 2, 40, 64, 65, 250, 257, 3000, 4096] {
                    check(&chunk, keep.min(len));
                }
            }
        }
    }

    #[test]
    fn what_is_no_number_counts_as_largest_and_harms_nobody() {
        let mut chunk = vec![1.0; 4096];
        chunk[17] = f32::NAN;
        chunk[4000] = f32::NEG_INFINITY;
        let mut places = Vec::new();
        Selector::new().select(&chunk, 2, &mut places);
        assert_eq!(places, [17, 4000]);
    }
}
