//! How much of each blob left this node: what tells a coordinator whether its peers help each other.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tributary_protocol::BlobRef;

/// Blobs that are counted: those of the last rounds.
const KEPT: usize = 64;

/// Bytes that were served, by blob; the one that was served last stands last.
#[derive(Default)]
pub(crate) struct Served(Mutex<VecDeque<(BlobRef, u64)>>);

impl Served {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(BlobRef, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a chunk.
    pub(crate) fn add(&self, blob: BlobRef, bytes: usize) {
        let mut all = self.lock();
        let known = all.iter().position(|(known, _)| *known == blob).and_then(|index| all.remove(index));
        let before = known.map_or(0, |(_, bytes)| bytes);
        all.push_back((blob, before + bytes as u64));
        if all.len() > KEPT {
            all.pop_front();
        }
    }

    /// All of them.
    pub(crate) fn read(&self) -> Vec<(BlobRef, u64)> {
        self.lock().iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tributary_protocol::Hash;

    #[test]
    fn the_last_ones_are_counted() {
        let served = Served::default();
        let blob = |n: usize| BlobRef { hash: Hash([n as u8; 32]), bytes: 9 };
        served.add(blob(0), 5);
        served.add(blob(1), 1);
        served.add(blob(0), 4);
        assert_eq!(served.read(), [(blob(1), 1), (blob(0), 9)]);
        (2..KEPT + 1).for_each(|n| served.add(blob(n), 1));
        assert_eq!(served.read().first(), Some(&(blob(0), 9)));
        assert_eq!(served.read().len(), KEPT);
    }
}
