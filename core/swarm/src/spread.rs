//! How a source that has a blob whole spreads it over peers that are linked with each other.
//!
//! To each of those who ask patiently it offers chunks that it offered to nobody else, a few at a
//! time; the rest they get from each other, so that about one copy leaves it however many they are.
//! An offer is a suggestion: whoever needs more asks for it and gets it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tributary_protocol::BlobRef;

use crate::bitmap::Bitmap;
use crate::signal::Signal;

/// Chunks on offer to one peer that were not sent to it yet: enough to fill 40 Mbit/s at 100 ms, and
/// little enough that a peer which takes offers and never reads keeps little from the others.
const AHEAD: usize = 8;

/// Blobs whose spreading is remembered, 1 KiB each: those of several rounds.
const SPREADS: usize = 64;

/// The blobs that a node spreads.
#[derive(Default)]
pub(crate) struct Spreads(Mutex<VecDeque<Arc<Spread>>>);

impl Spreads {
    /// Begins to spread a blob to one more peer.
    pub(crate) fn join(&self, blob: BlobRef) -> Offers {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.iter().position(|spread| spread.blob == blob).and_then(|index| all.remove(index));
        let out = || Mutex::new(Bitmap::new(blob.chunks()));
        let spread = known.unwrap_or_else(|| Arc::new(Spread { blob, out: out(), changed: Signal::default() }));
        all.push_back(spread.clone());
        if all.len() > SPREADS {
            all.pop_front();
        }
        Offers { spread, open: Vec::new() }
    }
}

/// One blob that is spread.
pub(crate) struct Spread {
    blob: BlobRef,
    /// Chunks that somebody has or was offered.
    out: Mutex<Bitmap>,
    /// An offer came back.
    pub(crate) changed: Signal,
}

impl Spread {
    fn lock(&self) -> MutexGuard<'_, Bitmap> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is on offer to one peer; dropped, it goes to others.
pub(crate) struct Offers {
    pub(crate) spread: Arc<Spread>,
    open: Vec<u32>,
}

impl Offers {
    /// Offers more than the peer `has`, if most of what it was offered was sent.
    pub(crate) fn more(&mut self, has: &Bitmap) -> Vec<u32> {
        if self.open.len() > AHEAD / 2 {
            return Vec::new();
        }
        let mut out = self.spread.lock();
        let mut more = Vec::new();
        let mut from = 0;
        while self.open.len() + more.len() < AHEAD
            && let Some(index) = out.first_missing(from)
        {
            if !has.contains(index) {
                out.insert(index);
                more.push(index);
            }
            from = index + 1;
        }
        self.open.extend(&more);
        more
    }

    /// The peer has this chunk now, from here or elsewhere.
    pub(crate) fn done(&mut self, index: u32) {
        self.open.retain(|open| *open != index);
    }
}

impl Drop for Offers {
    fn drop(&mut self) {
        let mut out = self.spread.lock();
        self.open.iter().for_each(|index| out.remove(*index));
        drop(out);
        self.spread.changed.raise();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tributary_protocol::Hash;
    use tributary_protocol::limits::CHUNK;

    #[test]
    fn each_chunk_is_offered_once_and_again_only_if_it_came_back() {
        let spreads = Spreads::default();
        let blob = BlobRef { hash: Hash([1; 32]), bytes: 20 * CHUNK as u64 };
        let (mut one, mut two) = (spreads.join(blob), spreads.join(blob));
        let none = Bitmap::new(20);
        let mut eight = none.clone();
        assert!(eight.insert(8));
        assert_eq!(one.more(&none), (0..8).collect::<Vec<_>>());
        assert_eq!(two.more(&eight), (9..17).collect::<Vec<_>>(), "not what it has");
        assert!(one.more(&none).is_empty(), "nothing was sent yet");
        (0..4).for_each(|index| one.done(index));
        assert_eq!(one.more(&none), [8, 17, 18, 19]);
        let seen = two.spread.changed.seen();
        drop(one);
        assert_ne!(two.spread.changed.seen(), seen, "others are told");
        (9..17).for_each(|index| two.done(index));
        assert_eq!(two.more(&eight), [4, 5, 6, 7, 17, 18, 19]);
        (0..20).for_each(|index| two.done(index));
        assert_eq!(spreads.join(blob).more(&none), [8], "what was sent is not offered again");
    }
}
