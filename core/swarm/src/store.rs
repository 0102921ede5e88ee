//! Where blobs are kept: a trait, and a bounded store in memory.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tributary_protocol::limits::MAX_AGE;
use tributary_protocol::{BlobRef, Hash};

/// Where a node keeps blobs and serves them from. What it returns is verified again by whoever
/// receives it, so a store may be wrong but cannot deceive.
pub trait BlobStore: Send + Sync {
    /// The blob's size in bytes, if it is here.
    fn len(&self, hash: &Hash) -> Option<u64>;

    /// The bytes of `range`, or `None` if the blob is not here (any more). A range that ends beyond
    /// the blob is an error.
    fn read(&self, hash: &Hash, range: Range<u64>) -> io::Result<Option<Bytes>>;

    /// Keeps a blob whose bytes were verified. Putting it again is a no-op.
    fn put(&self, blob: &BlobRef, bytes: Bytes) -> io::Result<()>;

    /// A round is over. A store that keeps only what is needed lets go of what was for rounds long past.
    fn round_over(&self) {}
}

/// Rounds after the one in which a blob was last put or read that it stays for. An update can be asked for as long
/// as it can count; a step or a model that this many rounds have followed is nobody's base any more, and text comes
/// again from whoever reads it.
const STAYS: u64 = MAX_AGE as u64;

/// Blobs in memory, bounded in bytes, where the least recently used go first, and in rounds.
#[derive(Debug)]
pub struct MemoryStore {
    most: u64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    blobs: HashMap<Hash, Kept>,
    bytes: u64,
    clock: u64,
    round: u64,
}

#[derive(Debug)]
struct Kept {
    bytes: Bytes,
    /// By [`Inner::clock`].
    used: u64,
    /// The [`Inner::round`] of that.
    round: u64,
}

impl Inner {
    /// The blob, which is used now.
    fn touch(&mut self, hash: &Hash) -> Option<&Bytes> {
        self.clock += 1;
        let kept = self.blobs.get_mut(hash)?;
        (kept.used, kept.round) = (self.clock, self.round);
        Some(&kept.bytes)
    }

    fn remove(&mut self, hash: &Hash) {
        if let Some(gone) = self.blobs.remove(hash) {
            self.bytes -= gone.bytes.len() as u64;
        }
    }
}

impl MemoryStore {
    /// A store that keeps at most `most` bytes.
    pub fn new(most: u64) -> Self {
        Self { most, inner: Mutex::default() }
    }

    /// Every state of the store is whole between two lines of code, so a panic elsewhere harms nothing.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BlobStore for MemoryStore {
    fn len(&self, hash: &Hash) -> Option<u64> {
        self.lock().blobs.get(hash).map(|kept| kept.bytes.len() as u64)
    }

    fn read(&self, hash: &Hash, range: Range<u64>) -> io::Result<Option<Bytes>> {
        let mut inner = self.lock();
        let Some(bytes) = inner.touch(hash) else { return Ok(None) };
        if range.start > range.end || range.end > bytes.len() as u64 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the range ends beyond the blob"));
        }
        Ok(Some(bytes.slice(range.start as usize..range.end as usize)))
    }

    fn put(&self, blob: &BlobRef, bytes: Bytes) -> io::Result<()> {
        let size = bytes.len() as u64;
        if size > self.most {
            let why = format!("a blob of {size} bytes does not fit a memory of {} bytes", self.most);
            return Err(io::Error::new(io::ErrorKind::StorageFull, why));
        }
        let mut inner = self.lock();
        if inner.touch(&blob.hash).is_some() {
            return Ok(());
        }
        while inner.bytes + size > self.most {
            let oldest = inner.blobs.iter().min_by_key(|(_, kept)| kept.used).map(|(hash, _)| *hash);
            let Some(oldest) = oldest else { break };
            inner.remove(&oldest);
        }
        inner.bytes += size;
        let kept = Kept { bytes, used: inner.clock, round: inner.round };
        inner.blobs.insert(blob.hash, kept);
        Ok(())
    }

    fn round_over(&self) {
        let mut inner = self.lock();
        inner.round += 1;
        let round = inner.round;
        let old = inner.blobs.iter().filter(|(_, kept)| kept.round + STAYS < round).map(|(hash, _)| *hash);
        for hash in old.collect::<Vec<_>>() {
            inner.remove(&hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(store: &MemoryStore, fill: u8, len: usize) -> io::Result<BlobRef> {
        let bytes = Bytes::from(vec![fill; len]);
        let blob = BlobRef::of(&bytes);
        store.put(&blob, bytes).map(|()| blob)
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let store = MemoryStore::new(30);
        let [a, b, c] = [1, 2, 3].map(|fill| put(&store, fill, 10).unwrap());
        assert_eq!(store.read(&a.hash, 0..10).unwrap().unwrap(), vec![1; 10]);
        let d = put(&store, 4, 10).unwrap();
        assert_eq!([a, b, c, d].map(|blob| store.len(&blob.hash)), [Some(10), None, Some(10), Some(10)]);
    }

    #[test]
    fn what_does_not_fit_is_refused_and_harms_nothing() {
        let store = MemoryStore::new(30);
        let kept = put(&store, 1, 30).unwrap();
        assert_eq!(put(&store, 2, 31).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(store.len(&kept.hash), Some(30));
        assert!(store.read(&kept.hash, 20..31).is_err());
        assert_eq!(store.read(&Hash::of(b"other"), 0..1).unwrap(), None);
    }

    #[test]
    fn putting_twice_counts_once() {
        let store = MemoryStore::new(30);
        let kept = put(&store, 1, 10).unwrap();
        for _ in 0..5 {
            put(&store, 2, 15).unwrap();
        }
        assert_eq!(store.len(&kept.hash), Some(10));
    }

    #[test]
    fn what_nobody_asked_for_in_three_rounds_goes() {
        let store = MemoryStore::new(1000);
        let [update, step] = [1, 2].map(|fill| put(&store, fill, 10).unwrap());
        let here = |blob: &BlobRef| store.len(&blob.hash).is_some();
        for _ in 0..STAYS {
            store.round_over();
            assert!(here(&update) && here(&step), "an update still counts");
        }
        store.read(&step.hash, 0..10).unwrap();
        store.round_over();
        assert_eq!((here(&update), here(&step)), (false, true));
        (0..STAYS).for_each(|_| store.round_over());
        assert!(!here(&step));
        // All of the room is there again.
        put(&store, 3, 1000).unwrap();
    }
}
