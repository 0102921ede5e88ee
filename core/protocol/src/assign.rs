//! Which data a contributor trains on in a round: a function of the round's seed and its id.

use crate::{Hash, Id};

/// One contributor's data for one round. Anyone who knows the manifest can recompute it.
#[derive(Debug, Clone)]
pub struct Assignment(Hash);

impl Assignment {
    /// The assignment of `peer` under the round's `seed`.
    pub fn new(seed: &Hash, peer: &Id) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"tributary assignment v1\0").update(&seed.0).update(&peer.0);
        Self(Hash(*hasher.finalize().as_bytes()))
    }

    /// The index of the `nth` shard that the contributor reads, of `shards`.
    pub fn shard(&self, nth: u32, shards: usize) -> usize {
        self.draw(nth, u32::MAX, shards as u64) as usize
    }

    /// The first token of window `window` in the `nth` shard; a window has `len` tokens out of the
    /// shard's `tokens`. Windows are drawn with replacement.
    pub fn window(&self, nth: u32, window: u32, tokens: u64, len: u64) -> u64 {
        self.draw(nth, window, tokens.saturating_sub(len) + 1)
    }

    /// A number below `below`. The bias of a multiply-shift draw is below 2^-40 for any real count.
    fn draw(&self, a: u32, b: u32, below: u64) -> u64 {
        let mut hasher = blake3::Hasher::new_keyed(&self.0.0);
        hasher.update(&a.to_le_bytes()).update(&b.to_le_bytes());
        let mut word = [0; 8];
        hasher.finalize_xof().fill(&mut word);
        ((u128::from(u64::from_le_bytes(word)) * u128::from(below)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_cover_the_range_and_differ_by_peer() {
        let seed = Hash::of(b"seed");
        let (a, b) = (Assignment::new(&seed, &Id([1; 32])), Assignment::new(&seed, &Id([2; 32])));
        let mut seen = [0u32; 7];
        (0..7000).for_each(|n| seen[a.shard(n, 7)] += 1);
        assert!(seen.iter().all(|&n| (850..1150).contains(&n)), "{seen:?}");
        assert_ne!(
            (0..16).map(|n| a.shard(n, 100)).collect::<Vec<_>>(),
            (0..16).map(|n| b.shard(n, 100)).collect::<Vec<_>>()
        );
        assert!((0..1000).all(|w| a.window(0, w, 300, 257) <= 43));
        assert_eq!(a.window(0, 0, 257, 257), 0);
    }
}
