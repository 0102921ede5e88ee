//! Blobs that are not whole yet: fetched into, served from, and kept for the next attempt.
//!
//! Enters: verified chunks, in any order. Leaves: the chunks, to whoever is served meanwhile, and the
//! whole. Refuses: a blob that this machine has no memory for. What no fetch fills any more is kept
//! within a bound; the oldest go first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tributary_protocol::{BlobRef, Hash};

use crate::bitmap::Bitmap;
use crate::signal::Signal;

/// Unfinished blobs that are kept: more than are ever fetched on purpose at a time from one peer.
const PARTIALS: usize = 64;

/// One blob that is not whole yet.
pub(crate) struct Partial {
    pub(crate) blob: BlobRef,
    state: Mutex<State>,
    /// The chunk list or a chunk came, or it is over.
    pub(crate) changed: Signal,
}

struct State {
    list: Option<Arc<[Hash]>>,
    have: Bitmap,
    bytes: Held,
}

enum Held {
    /// Room for the whole, as far as the last chunk that is here.
    Open(Vec<u8>),
    /// All of it, on its way into the store.
    Whole(Bytes),
    /// In the store, or given up.
    Over,
}

impl Partial {
    fn new(blob: BlobRef) -> Self {
        let list = (blob.chunks() == 1).then(|| Arc::from([blob.hash]));
        let state = State { list, have: Bitmap::new(blob.chunks()), bytes: Held::Open(Vec::new()) };
        Self { blob, state: Mutex::new(state), changed: Signal::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for the whole blob at once: growing step by step would need up to three times it.
    /// Says whether there was room.
    pub(crate) fn reserve(&self) -> bool {
        match &mut self.lock().bytes {
            Held::Open(bytes) => bytes.try_reserve_exact(self.blob.bytes as usize - bytes.len()).is_ok(),
            Held::Whole(_) | Held::Over => true,
        }
    }

    /// The proven chunk list, once it is known.
    pub(crate) fn list(&self) -> Option<Arc<[Hash]>> {
        self.lock().list.clone()
    }

    /// This is the proven chunk list.
    pub(crate) fn set_list(&self, list: Arc<[Hash]>) {
        self.lock().list = Some(list);
        self.changed.raise();
    }

    /// Which chunks are here.
    pub(crate) fn have(&self) -> Bitmap {
        self.lock().have.clone()
    }

    /// Keeps a verified chunk.
    pub(crate) fn put(&self, index: u32, chunk: &[u8]) {
        let mut state = self.lock();
        let State { have, bytes: Held::Open(bytes), .. } = &mut *state else { return };
        let range = self.blob.range(index);
        if bytes.len() < range.end {
            bytes.resize(range.end, 0);
        }
        bytes[range].copy_from_slice(chunk);
        have.insert(index);
        drop(state);
        self.changed.raise();
    }

    /// A chunk that is here. A whole blob that left for the store has none any more.
    pub(crate) fn chunk(&self, index: u32) -> Option<Bytes> {
        let state = self.lock();
        if !state.have.contains(index) {
            return None;
        }
        let range = self.blob.range(index);
        match &state.bytes {
            Held::Open(bytes) => Some(Bytes::copy_from_slice(&bytes[range])),
            Held::Whole(bytes) => Some(bytes.slice(range)),
            Held::Over => None,
        }
    }

    /// The whole blob, if every chunk is here.
    pub(crate) fn whole(&self) -> Option<Bytes> {
        let mut state = self.lock();
        let State { have, bytes: held, .. } = &mut *state;
        if let Held::Open(bytes) = held
            && have.is_full()
        {
            *held = Held::Whole(std::mem::take(bytes).into());
        }
        match held {
            Held::Whole(bytes) => Some(bytes.clone()),
            _ => None,
        }
    }

    /// Bytes of memory that it holds.
    fn held(&self) -> u64 {
        match &self.lock().bytes {
            Held::Open(bytes) => bytes.capacity() as u64,
            Held::Whole(bytes) => bytes.len() as u64,
            Held::Over => 0,
        }
    }

    fn close(&self) {
        self.lock().bytes = Held::Over;
        self.changed.raise();
    }
}

/// The unfinished blobs of a node.
pub(crate) struct Partials {
    most: u64,
    all: Mutex<VecDeque<Entry>>,
    /// A fetch began.
    pub(crate) changed: Signal,
}

struct Entry {
    partial: Arc<Partial>,
    /// A fetch fills it.
    active: bool,
}

impl Partials {
    /// Keeps at most `most` bytes that no fetch fills.
    pub(crate) fn new(most: u64) -> Self {
        Self { most, all: Mutex::default(), changed: Signal::default() }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The unfinished blob, if there is one.
    pub(crate) fn find(&self, blob: &BlobRef) -> Option<Arc<Partial>> {
        self.lock().iter().find(|entry| entry.partial.blob == *blob).map(|entry| entry.partial.clone())
    }

    /// Begins a fetch, with what an earlier one left. A node has one fetch of a blob at a time.
    pub(crate) fn begin(self: &Arc<Self>, blob: BlobRef) -> Filling {
        let mut all = self.lock();
        let known = all.iter().position(|entry| entry.partial.blob == blob).and_then(|index| all.remove(index));
        let partial = known.map_or_else(|| Arc::new(Partial::new(blob)), |entry| entry.partial);
        all.push_back(Entry { partial: partial.clone(), active: true });
        drop(all);
        self.changed.raise();
        Filling { partials: self.clone(), partial }
    }

    /// The fetch has ended. What it leaves is kept if there is anything and as long as there is room.
    fn rest(&self, partial: &Arc<Partial>) {
        let mut all = self.lock();
        let Some(mut entry) =
            all.iter().position(|entry| Arc::ptr_eq(&entry.partial, partial)).and_then(|index| all.remove(index))
        else {
            return;
        };
        let open = matches!(partial.lock().bytes, Held::Open(_));
        if !open || partial.have().count() == 0 {
            entry.partial.close();
            return;
        }
        entry.active = false;
        all.push_back(entry);
        loop {
            let resting = || all.iter().filter(|entry| !entry.active);
            let held: u64 = resting().map(|entry| entry.partial.held()).sum();
            if resting().count() <= PARTIALS && held <= self.most {
                return;
            }
            let oldest = all.iter().position(|entry| !entry.active).and_then(|index| all.remove(index));
            if let Some(oldest) = oldest {
                oldest.partial.close();
            }
        }
    }
}

/// An unfinished blob that a fetch fills; dropping it ends the fetch.
pub(crate) struct Filling {
    partials: Arc<Partials>,
    pub(crate) partial: Arc<Partial>,
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.partials.rest(&self.partial);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tributary_protocol::limits::CHUNK;

    fn blob(name: u8, chunks: u64) -> BlobRef {
        BlobRef { hash: Hash([name; 32]), bytes: chunks * CHUNK as u64 }
    }

    #[test]
    fn chunks_in_any_order_make_the_whole() {
        let partials = Arc::new(Partials::new(1 << 20));
        let filling = partials.begin(BlobRef { hash: Hash([1; 32]), bytes: 2 * CHUNK as u64 + 5 });
        let partial = &filling.partial;
        assert!(partial.reserve());
        for (index, len) in [(2, 5), (0, CHUNK), (1, CHUNK)] {
            assert!(partial.whole().is_none() && partial.chunk(index).is_none());
            partial.put(index, &vec![index as u8; len]);
            assert_eq!(partial.chunk(index).unwrap(), vec![index as u8; len]);
        }
        let whole = partial.whole().unwrap();
        assert_eq!(whole, [vec![0; CHUNK], vec![1; CHUNK], vec![2; 5]].concat());
        assert_eq!(partial.chunk(2).unwrap(), vec![2; 5], "served from memory until it is in the store");
        drop(filling);
        assert!(partials.find(&blob(1, 2)).is_none());
    }

    #[test]
    fn what_a_failed_fetch_left_is_kept_within_its_bound_and_the_oldest_goes_first() {
        let partials = Arc::new(Partials::new(5 * CHUNK as u64));
        for name in 1..=3 {
            let filling = partials.begin(blob(name, 2));
            assert!(filling.partial.reserve());
            filling.partial.put(1, &[name; CHUNK]);
        }
        drop(partials.begin(blob(4, 2)));
        let kept = [1, 2, 3, 4].map(|name| partials.find(&blob(name, 2)).is_some());
        assert_eq!(kept, [false, true, true, false], "room for two, and nothing of the last");
        let again = partials.begin(blob(3, 2));
        assert_eq!(again.partial.chunk(1).unwrap(), vec![3; CHUNK]);
        assert_eq!(again.partial.have().iter().collect::<Vec<_>>(), [1]);
    }
}
