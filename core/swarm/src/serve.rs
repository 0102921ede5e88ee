//! Serving blobs: the responder's side of `/tributary/blob/1`.
//!
//! Enters: a stream that a peer opened. Leaves: the chunk list and the chunks it asks for, read one
//! at a time. Refuses: blobs that are not here, ranges out of order or outside the blob, and peers
//! that don't go on asking.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::lock::Mutex;
use futures::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tributary_protocol::blob::{chunk_list, verify_list};
use tributary_protocol::limits::CHUNK;
use tributary_protocol::{BlobRef, Hash};

use crate::blob::{BUSY, CHUNK_FRAME, CHUNKS_ASKED, FOUND, NOT_FOUND, REQUEST, WANT, in_time, send};
use crate::meter::Meter;
use crate::transport::blocking;
use crate::{BlobStore, wire};

/// Blobs served to one peer at a time; one more is answered with BUSY.
pub(crate) const PER_PEER: usize = 8;

/// Blobs served at a time: two to each of a thousand tabs, holding one chunk (64 KiB) each.
pub(crate) const IN_TOTAL: usize = 2048;

/// Chunk hashes kept, 32 bytes each: 8 MiB, the lists of 16 GiB of blobs.
const LISTED: usize = 256 * 1024;

/// Chunk lists of what is served, so that a blob is hashed once and not once for each peer.
#[derive(Default)]
pub(crate) struct Lists(Mutex<VecDeque<(BlobRef, Arc<Vec<Hash>>)>>);

impl Lists {
    /// The chunk list of a blob, if the store has it and its bytes are right. Blobs are hashed one
    /// at a time: the whole blob is in memory for that moment.
    async fn get(&self, store: &Arc<dyn BlobStore>, blob: BlobRef) -> io::Result<Option<Arc<Vec<Hash>>>> {
        if store.len(&blob.hash) != Some(blob.bytes) || !blob.is_bounded() {
            return Ok(None);
        }
        if blob.chunks() == 1 {
            return Ok(Some(Arc::new(vec![blob.hash])));
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
        let list = Arc::new(list);
        lists.push_back((blob, list.clone()));
        while lists.iter().map(|(_, list)| list.len()).sum::<usize>() > LISTED {
            lists.pop_front();
        }
        Ok(Some(list))
    }
}

/// Answers a peer that may not be served now.
pub(crate) async fn refuse(mut stream: impl AsyncRead + AsyncWrite + Unpin, meter: Arc<Meter>) {
    // A peer that is gone meanwhile needs no answer.
    let _ = send(&mut stream, BUSY, &[], &meter).await;
    let _ = in_time(stream.close()).await;
}

/// Serves one blob over `stream`, to its end.
pub(crate) async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    store: Arc<dyn BlobStore>,
    lists: Arc<Lists>,
    meter: Arc<Meter>,
) {
    if let Err(error) = answer(&mut stream, store, &lists, &meter).await {
        tracing::debug!(%error, "a blob was not served to its end");
    }
    let _ = in_time(stream.close()).await;
}

async fn answer(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    store: Arc<dyn BlobStore>,
    lists: &Lists,
    meter: &Meter,
) -> io::Result<()> {
    let (kind, body) = read(stream, 40, meter).await?;
    let blob = match (kind, body.split_first_chunk::<32>()) {
        (REQUEST, Some((hash, bytes))) => BlobRef { hash: Hash(*hash), bytes: number(bytes).map(u64::from_le_bytes)? },
        _ => return Err(refused("the first frame is no request")),
    };
    let list = match lists.get(&store, blob).await {
        Ok(Some(list)) => list,
        Ok(None) => return send(stream, NOT_FOUND, &[], meter).await,
        Err(error) => {
            tracing::warn!(hash = %blob.hash, %error, "a stored blob cannot be served; delete it so that it is fetched again");
            return send(stream, NOT_FOUND, &[], meter).await;
        }
    };
    let hashes: Vec<u8> = list.iter().flat_map(|hash| hash.0).collect();
    send(stream, FOUND, &[&hashes], meter).await?;
    // Every chunk at most once and in order: one request never costs more than one blob.
    let mut next = 0;
    while next < blob.chunks() {
        let (kind, body) = match read(stream, 8, meter).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        };
        let (first, count) = match (kind, body.split_first_chunk::<4>()) {
            (WANT, Some((first, count))) => (u32::from_le_bytes(*first), number(count).map(u32::from_le_bytes)?),
            _ => return Err(refused("a frame is no range of chunks")),
        };
        let end =
            first.checked_add(count).filter(|end| first >= next && count <= CHUNKS_ASKED && *end <= blob.chunks());
        let end = end.ok_or_else(|| refused("a range of chunks is out of order or outside the blob"))?;
        for index in first..end {
            let chunk = chunk(&store, blob, index).await?;
            send(stream, CHUNK_FRAME, &[&index.to_le_bytes(), &chunk], meter).await?;
        }
        next = end;
    }
    Ok(())
}

/// One chunk from the store.
async fn chunk(store: &Arc<dyn BlobStore>, blob: BlobRef, index: u32) -> io::Result<Bytes> {
    let start = u64::from(index) * CHUNK as u64;
    let end = (start + CHUNK as u64).min(blob.bytes);
    let store = store.clone();
    let read = blocking(move || store.read(&blob.hash, start..end)).await;
    read.transpose()?.flatten().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the blob left the store"))
}

fn refused(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn number<const N: usize>(bytes: &[u8]) -> io::Result<[u8; N]> {
    bytes.try_into().map_err(|_| refused("a frame has the wrong length"))
}

async fn read(stream: &mut (impl AsyncRead + Unpin), most: usize, meter: &Meter) -> io::Result<(u8, Vec<u8>)> {
    let (kind, body) = in_time(wire::read(stream, most)).await?;
    meter.down(wire::HEADER + body.len());
    Ok((kind, body))
}
