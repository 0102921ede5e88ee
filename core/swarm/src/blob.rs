//! Fetching a blob: the requester's side of `/tributary/blob/1`.
//!
//! Enters: a stream to whoever may have the blob. Leaves: its bytes, every chunk verified. Refuses:
//! a chunk list that does not prove itself, a wrong chunk, an answer that nobody asked for, and
//! silence for longer than [`PROGRESS`].
//!
//! The receiver holds the window: it asks for ranges of chunks and never has more than
//! [`CHUNKS_ASKED`] outstanding, since some of the transports below have no back-pressure.
//!
//! | frame     | way       | body                                        |
//! |-----------|-----------|---------------------------------------------|
//! | REQUEST   | to server | hash (32), bytes (u64)                      |
//! | FOUND     | back      | the chunk list, 32 bytes each               |
//! | NOT_FOUND | back      | empty                                       |
//! | BUSY      | back      | empty                                       |
//! | WANT      | to server | first chunk (u32), how many (u32); ascending |
//! | CHUNK     | back      | index (u32), the bytes                      |

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{self, Either};
use futures::{AsyncRead, AsyncWrite, AsyncWriteExt, FutureExt, pin_mut};
use futures_timer::Delay;
use tributary_protocol::blob::{verify_chunk, verify_list};
use tributary_protocol::limits::CHUNK;
use tributary_protocol::{BlobRef, Hash};

use crate::meter::Meter;
use crate::transport::blocking;
use crate::{BlobStore, wire};

pub(crate) const REQUEST: u8 = 0;
pub(crate) const FOUND: u8 = 1;
pub(crate) const NOT_FOUND: u8 = 2;
pub(crate) const BUSY: u8 = 3;
pub(crate) const WANT: u8 = 4;
pub(crate) const CHUNK_FRAME: u8 = 5;

/// Chunks asked for and not yet received: 1 MiB, which fills 80 Mbit/s at 100 ms and is all that a
/// receiver without back-pressure ever has to hold.
pub(crate) const CHUNKS_ASKED: u32 = 16;

/// Chunks asked for at a time once the window is full: few frames, and never an empty pipe.
const BATCH: u32 = 4;

/// Without any chunk (or list) for this long, a source counts as gone: 64 KiB in 20 s is a fourth
/// of what the slowest mobile links carry.
pub(crate) const PROGRESS: Duration = Duration::from_secs(20);

/// Unfinished blobs that are kept: more than are ever fetched on purpose at a time from one peer.
const PARTIALS: usize = 64;

/// Why a blob did not come.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The peer does not have it (any more, or yet).
    #[error("the other side does not have it")]
    NotFound,
    /// The peer sent bytes that are not the blob's: it lies or its disk does.
    #[error("the other side sent wrong bytes")]
    WrongBytes,
    /// Nothing came for too long.
    #[error("nothing came for {} seconds", PROGRESS.as_secs())]
    TimedOut,
    /// The connection to the peer ended, or there is none.
    #[error("the other side is gone: {0}")]
    Gone(String),
    /// The blob is over `MAX_BLOB`, or this machine has no memory for it.
    #[error("it is too large for this machine or this network")]
    TooLarge,
    /// The blob came, but the own store did not take it.
    #[error("it cannot be kept: {0}; free some space and try again")]
    Store(String),
    /// The peer serves, or this node fetches, too many blobs already.
    #[error("too many transfers at a time")]
    Busy,
}

impl FetchError {
    /// Whether asking the same peer again cannot help.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::WrongBytes | Self::TooLarge | Self::Store(_))
    }
}

impl From<io::Error> for FetchError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::InvalidData => Self::WrongBytes,
            _ => Self::Gone(error.to_string()),
        }
    }
}

/// The result of `work`, or `TimedOut` if it takes longer than [`PROGRESS`].
pub(crate) async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    pin_mut!(work);
    match future::select(work, Delay::new(PROGRESS)).await {
        Either::Left((result, _)) => result,
        Either::Right(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// The verified beginning of a blob. Chunks come in order, so a beginning is all there is to keep.
struct Partial {
    blob: BlobRef,
    bytes: Vec<u8>,
}

/// What is kept of fetches that failed; the oldest go first.
pub(crate) struct Partials {
    most: u64,
    kept: Mutex<VecDeque<Partial>>,
}

impl Partials {
    /// Keeps at most `most` bytes.
    pub(crate) fn new(most: u64) -> Self {
        Self { most, kept: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Partial>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, blob: BlobRef) -> Borrowed<'_> {
        let mut kept = self.lock();
        let known = kept.iter().position(|partial| partial.blob == blob).and_then(|index| kept.remove(index));
        let bytes = known.map(|partial| partial.bytes).unwrap_or_default();
        Borrowed { partials: self, partial: Partial { blob, bytes } }
    }

    fn keep(&self, partial: Partial) {
        let mut kept = self.lock();
        kept.push_back(partial);
        let held = |kept: &VecDeque<Partial>| kept.iter().map(|partial| partial.bytes.capacity() as u64).sum::<u64>();
        while kept.len() > PARTIALS || held(&kept) > self.most {
            kept.pop_front();
        }
    }
}

/// A partial in use; goes back when its fetch fails or is dropped.
struct Borrowed<'a> {
    partials: &'a Partials,
    partial: Partial,
}

impl Borrowed<'_> {
    /// How many chunks are here and verified.
    fn chunks(&self) -> u32 {
        (self.partial.bytes.len() / CHUNK) as u32
    }

    /// Makes room for the whole blob at once: growing step by step would need up to three times it.
    fn reserve(&mut self) -> Result<(), FetchError> {
        let missing = self.partial.blob.bytes as usize - self.partial.bytes.len();
        self.partial.bytes.try_reserve_exact(missing).map_err(|_| FetchError::TooLarge)
    }

    fn finish(mut self) -> Bytes {
        std::mem::take(&mut self.partial.bytes).into()
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        if !self.partial.bytes.is_empty() {
            let bytes = std::mem::take(&mut self.partial.bytes);
            self.partials.keep(Partial { blob: self.partial.blob, bytes });
        }
    }
}

/// The blob from the own store, if its bytes there are right.
pub(crate) async fn local(store: Arc<dyn BlobStore>, blob: BlobRef) -> Option<Bytes> {
    if store.len(&blob.hash) != Some(blob.bytes) {
        return None;
    }
    let read = move || match store.read(&blob.hash, 0..blob.bytes) {
        Ok(bytes) => bytes.filter(|bytes| BlobRef::of(bytes) == blob),
        Err(error) => {
            tracing::warn!(hash = %blob.hash, %error, "the own store cannot read a blob; it is fetched again");
            None
        }
    };
    blocking(read).await.flatten()
}

/// Fetches `blob` over `stream` and puts it into the store.
pub(crate) async fn fetch(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    blob: BlobRef,
    store: Arc<dyn BlobStore>,
    partials: &Partials,
    meter: &Meter,
) -> Result<Bytes, FetchError> {
    if !blob.is_bounded() {
        return Err(FetchError::TooLarge);
    }
    let list = request(&mut stream, &blob, meter).await?;
    let mut partial = partials.take(blob);
    partial.reserve()?;
    let total = blob.chunks();
    let mut next = partial.chunks();
    let mut asked = next;
    while next < total {
        let room = (CHUNKS_ASKED - (asked - next)).min(total - asked);
        if room >= BATCH || (room > 0 && asked + room == total) {
            send(&mut stream, WANT, &[&asked.to_le_bytes(), &room.to_le_bytes()], meter).await?;
            asked += room;
        }
        let body = receive(&mut stream, CHUNK_FRAME, 4 + CHUNK, meter).await?;
        let (index, chunk) = body.split_at_checked(4).ok_or(FetchError::WrongBytes)?;
        if index != next.to_le_bytes() || !verify_chunk(&blob, next, &list[next as usize], chunk) {
            return Err(FetchError::WrongBytes);
        }
        partial.partial.bytes.extend_from_slice(chunk);
        next += 1;
    }
    // The other side waits for no answer: closing is politeness, and failing at it harms nothing.
    let _ = stream.close().now_or_never();
    let bytes = partial.finish();
    let kept = bytes.clone();
    match blocking(move || store.put(&blob, kept)).await {
        Some(Ok(())) => Ok(bytes),
        Some(Err(error)) => Err(FetchError::Store(error.to_string())),
        None => Err(FetchError::Gone("this node is ending".to_owned())),
    }
}

/// Asks for the blob; the answer is its proven chunk list.
async fn request(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    blob: &BlobRef,
    meter: &Meter,
) -> Result<Vec<Hash>, FetchError> {
    send(stream, REQUEST, &[&blob.hash.0, &blob.bytes.to_le_bytes()], meter).await?;
    let body = receive(stream, FOUND, 32 * blob.chunks() as usize, meter).await?;
    let (hashes, rest) = body.as_chunks::<32>();
    let list: Vec<Hash> = hashes.iter().copied().map(Hash).collect();
    if rest.is_empty() && verify_list(blob, &list) { Ok(list) } else { Err(FetchError::WrongBytes) }
}

pub(crate) async fn send(
    stream: &mut (impl AsyncWrite + Unpin),
    kind: u8,
    parts: &[&[u8]],
    meter: &Meter,
) -> io::Result<()> {
    let frame = wire::encode(kind, parts);
    in_time(async {
        stream.write_all(&frame).await?;
        stream.flush().await
    })
    .await?;
    meter.up(frame.len());
    Ok(())
}

/// The next frame, which must be of this kind or a refusal.
async fn receive(
    stream: &mut (impl AsyncRead + Unpin),
    expected: u8,
    most: usize,
    meter: &Meter,
) -> Result<Vec<u8>, FetchError> {
    let (kind, body) = in_time(wire::read(stream, most)).await?;
    meter.down(wire::HEADER + body.len());
    match kind {
        NOT_FOUND => Err(FetchError::NotFound),
        BUSY => Err(FetchError::Busy),
        kind if kind == expected => Ok(body),
        _ => Err(FetchError::WrongBytes),
    }
}
