//! Chunk lists of what is served, so that a blob is hashed once and not once for each peer.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use futures::lock::Mutex;
use tributary_protocol::blob::{chunk_list, verify_list};
use tributary_protocol::{BlobRef, Hash};

use crate::BlobStore;
use crate::transport::blocking;

/// Chunk hashes kept, 32 bytes each: 8 MiB, the lists of 16 GiB of blobs.
const LISTED: usize = 256 * 1024;

/// The lists that were asked for last.
#[derive(Default)]
pub(crate) struct Lists(Mutex<VecDeque<(BlobRef, Arc<[Hash]>)>>);

impl Lists {
    /// The chunk list of a blob, if the store has it and its bytes are right. Blobs are hashed one
    /// at a time: the whole blob is in memory for that moment.
    pub(crate) async fn get(&self, store: &Arc<dyn BlobStore>, blob: BlobRef) -> io::Result<Option<Arc<[Hash]>>> {
        if store.len(&blob.hash) != Some(blob.bytes) || !blob.is_bounded() {
            return Ok(None);
        }
        if blob.chunks() == 1 {
            return Ok(Some(Arc::from([blob.hash])));
        }
        let mut lists = self.0.lock().await;
        if let Some(index) = lists.iter().position(|(known, _)| *known == blob)
            && let Some(known) = lists.remove(index)
        {
            let list = known.1.clone();
            lists.push_back(known);
            return Ok(Some(list));
        }
        let from = store.clone();
        let read = move || from.read(&blob.hash, 0..blob.bytes).map(|bytes| bytes.map(|bytes| chunk_list(&bytes)));
        let Some(list) = blocking(read).await.transpose()?.flatten() else { return Ok(None) };
        if !verify_list(&blob, &list) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the stored bytes are not the blob's"));
        }
        let list: Arc<[Hash]> = list.into();
        Self::push(&mut lists, blob, list.clone());
        Ok(Some(list))
    }

    /// Keeps the list of a blob that was just fetched, so that serving it needs no hashing.
    pub(crate) async fn keep(&self, blob: BlobRef, list: Arc<[Hash]>) {
        let mut lists = self.0.lock().await;
        if blob.chunks() > 1 && !lists.iter().any(|(known, _)| *known == blob) {
            Self::push(&mut lists, blob, list);
        }
    }

    fn push(lists: &mut VecDeque<(BlobRef, Arc<[Hash]>)>, blob: BlobRef, list: Arc<[Hash]>) {
        lists.push_back((blob, list));
        while lists.iter().map(|(_, list)| list.len()).sum::<usize>() > LISTED {
            lists.pop_front();
        }
    }
}
