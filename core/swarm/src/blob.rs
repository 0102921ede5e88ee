//! The blob protocol, `/tributary/blob/2`, as both sides need it.
//!
//! One stream carries one blob from one source. The requester says what it looks for and how; a source
//! that has it, or is itself fetching it, says which chunks it has and goes on saying so as it gets more.
//! The receiver holds the window: it asks for chunks, in any order and each once, and never has more than
//! `plan::MOST_ASKED` outstanding, since some of the transports below have no back-pressure.
//!
//! | frame     | way       | body                                                           |
//! |-----------|-----------|----------------------------------------------------------------|
//! | REQUEST   | to source | hash (32), bytes (u64), how (u8, see [`How`])                  |
//! | FOUND     | back      | bitmap of the chunks it has; if wanted, the list, 32 bytes each |
//! | NOT_FOUND | back      | empty                                                          |
//! | BUSY      | back      | empty                                                          |
//! | WANT      | to source | first chunk (u32), how many (u32)                              |
//! | CHUNK     | back      | index (u32), the bytes                                         |
//! | HAVE      | both      | first chunk (u32), how many (u32): the sender has these too    |
//! | OFFER     | back      | first chunk (u32), how many (u32): take these from here        |
//!
//! Only who asked patiently gets offers (see `spread`) and says what it has.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{self, Either};
use futures::{AsyncWrite, AsyncWriteExt, pin_mut};
use futures_timer::Delay;
use tributary_protocol::{BlobRef, Hash};

use crate::meter::{Meter, Way};
use crate::transport::blocking;
use crate::{BlobStore, wire};

pub(crate) const REQUEST: u8 = 0;
pub(crate) const FOUND: u8 = 1;
pub(crate) const NOT_FOUND: u8 = 2;
pub(crate) const BUSY: u8 = 3;
pub(crate) const WANT: u8 = 4;
pub(crate) const CHUNK_FRAME: u8 = 5;
pub(crate) const HAVE: u8 = 6;
pub(crate) const OFFER: u8 = 7;

/// Bytes of a REQUEST's body.
pub(crate) const REQUEST_BYTES: usize = 32 + 8 + 1;

/// Bytes of a range's body.
pub(crate) const RANGE_BYTES: usize = 8;

/// Without any chunk (or list) for this long, a source counts as gone: 64 KiB in 20 s is a fourth
/// of what the slowest mobile links carry.
pub(crate) const PROGRESS: Duration = Duration::from_secs(20);

/// How long a source that has nothing of a blob yet keeps a request that asks it to, before it says so.
/// Peers of one round begin within a second of each other; beyond this asking again is cheaper.
pub(crate) const LATER: Duration = Duration::from_secs(20);

/// How a blob is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct How {
    /// With the chunk list.
    pub(crate) list: bool,
    /// There are other sources: offer a part.
    pub(crate) patient: bool,
    /// As a linked peer and not as the origin: answer once there is something, if not now.
    pub(crate) later: bool,
}

impl How {
    pub(crate) fn encode(self) -> u8 {
        u8::from(self.list) | u8::from(self.patient) << 1 | u8::from(self.later) << 2
    }

    fn decode(bits: u8) -> Option<Self> {
        (bits < 8).then_some(Self { list: bits & 1 != 0, patient: bits & 2 != 0, later: bits & 4 != 0 })
    }
}

/// The REQUEST in a frame.
pub(crate) fn request(kind: u8, body: &[u8]) -> io::Result<(BlobRef, How)> {
    let refused = || refused("the first frame is no request");
    let (hash, rest) = body.split_first_chunk::<32>().filter(|_| kind == REQUEST).ok_or_else(refused)?;
    let (bytes, how) = rest.split_first_chunk::<8>().ok_or_else(refused)?;
    let how = <[u8; 1]>::try_from(how).ok().and_then(|[how]| How::decode(how)).ok_or_else(refused)?;
    Ok((BlobRef { hash: Hash(*hash), bytes: u64::from_le_bytes(*bytes) }, how))
}

/// The range in a WANT, HAVE or OFFER: not empty, and within a blob of so many chunks.
pub(crate) fn range(body: &[u8], chunks: u32) -> io::Result<Range<u32>> {
    let (first, count) = body.split_first_chunk::<4>().ok_or_else(|| refused("a frame has the wrong length"))?;
    let count = <[u8; 4]>::try_from(count).map_err(|_| refused("a frame has the wrong length"))?;
    let (first, count) = (u32::from_le_bytes(*first), u32::from_le_bytes(count));
    let end = first.checked_add(count).filter(|end| count > 0 && *end <= chunks);
    end.map(|end| first..end).ok_or_else(|| refused("a range of chunks is empty or outside the blob"))
}

/// The other side broke the rules.
pub(crate) fn refused(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

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

/// Puts a fetched blob into the own store.
pub(crate) async fn keep(store: Arc<dyn BlobStore>, blob: BlobRef, bytes: Bytes) -> Result<Bytes, FetchError> {
    let kept = bytes.clone();
    match blocking(move || store.put(&blob, kept)).await {
        Some(Ok(())) => Ok(bytes),
        Some(Err(error)) => Err(FetchError::Store(error.to_string())),
        None => Err(FetchError::Gone("this node is ending".to_owned())),
    }
}

/// What one side writes to a stream, counted.
pub(crate) struct Counted<'a> {
    pub(crate) meter: &'a Meter,
    pub(crate) way: Way,
}

impl Counted<'_> {
    /// Sends a frame.
    pub(crate) async fn send(
        &self,
        stream: &mut (impl AsyncWrite + Unpin),
        kind: u8,
        parts: &[&[u8]],
    ) -> io::Result<()> {
        self.write(stream, &wire::encode(kind, parts)).await
    }

    /// Sends ranges of chunks, in one write.
    pub(crate) async fn send_ranges(
        &self,
        stream: &mut (impl AsyncWrite + Unpin),
        kind: u8,
        ranges: &[Range<u32>],
    ) -> io::Result<()> {
        let frame = |range: &Range<u32>| {
            wire::encode(kind, &[&range.start.to_le_bytes(), &(range.end - range.start).to_le_bytes()])
        };
        let frames: Vec<u8> = ranges.iter().flat_map(frame).collect();
        if frames.is_empty() { Ok(()) } else { self.write(stream, &frames).await }
    }

    async fn write(&self, stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
        in_time(async {
            stream.write_all(bytes).await?;
            stream.flush().await
        })
        .await?;
        self.meter.bulk_up(self.way, bytes.len());
        Ok(())
    }

    /// These bytes came.
    pub(crate) fn came(&self, bytes: usize) {
        self.meter.bulk_down(self.way, bytes);
    }
}

/// Lets the node's other streams have their turn.
pub(crate) async fn turn() {
    let mut had = false;
    future::poll_fn(|cx| {
        if std::mem::replace(&mut had, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_ranges_are_read_as_written_and_nothing_else_is() {
        for bits in 0..8 {
            let how = How::decode(bits).unwrap();
            let body = [&[7; 32][..], &9_u64.to_le_bytes(), &[how.encode()]].concat();
            assert_eq!(request(REQUEST, &body).unwrap(), (BlobRef { hash: Hash([7; 32]), bytes: 9 }, how));
            assert!(request(WANT, &body).is_err());
            assert!(request(REQUEST, &body[1..]).is_err() && request(REQUEST, &[&body[..], &[0]].concat()).is_err());
        }
        assert!(request(REQUEST, &[8; REQUEST_BYTES]).is_err(), "an unknown way of asking");
        let body = |first: u32, count: u32| [first.to_le_bytes(), count.to_le_bytes()].concat();
        assert_eq!(range(&body(3, 5), 8).unwrap(), 3..8);
        for (first, count) in [(3, 6), (8, 1), (3, 0), (u32::MAX, 2)] {
            assert!(range(&body(first, count), 8).is_err(), "{first} {count}");
        }
        assert!(range(&[0; 7], 8).is_err() && range(&[0; 9], 8).is_err());
    }
}
