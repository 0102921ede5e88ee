//! Serving blobs: the source's side of the blob protocol.
//!
//! Enters: a stream that a peer opened. Leaves: the chunk list and the chunks it asks for, read one
//! at a time, from the store or from what this node is itself fetching. Refuses: blobs that are not
//! here, chunks that are not here, chunks asked for twice, more than the window, and peers that don't
//! go on asking.

use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{self, Either};
use futures::{AsyncRead, AsyncWrite, AsyncWriteExt, FutureExt, pin_mut};
use futures_timer::Delay;
use tributary_protocol::limits::CHUNK;
use tributary_protocol::{BlobRef, Hash};

use crate::BlobStore;
use crate::bitmap::{self, Bitmap};
use crate::blob::{
    BUSY, CHUNK_FRAME, Counted, FOUND, HAVE, How, LATER, NOT_FOUND, OFFER, RANGE_BYTES, REQUEST_BYTES, WANT, in_time,
    range, refused, request, turn,
};
use crate::lists::Lists;
use crate::meter::{Meter, Way};
use crate::partial::{Partial, Partials};
use crate::plan::MOST_ASKED;
use crate::served::Served;
use crate::signal;
use crate::spread::{Offers, Spreads};
use crate::throttle::Throttle;
use crate::transport::blocking;
use crate::wire::Frames;

/// Blobs served to one peer at a time; one more is answered with BUSY.
pub(crate) const PER_PEER: usize = 8;

/// Blobs served at a time: two to each of a thousand tabs, holding one chunk (64 KiB) each.
pub(crate) const IN_TOTAL: usize = 2048;

/// How long a peer may keep a stream without asking for anything: while it gets chunks elsewhere it has
/// no reason to ask, and opening another one later costs it little.
const IDLE: Duration = Duration::from_secs(60);

/// What blobs are served from.
pub(crate) struct Desk {
    pub(crate) store: Arc<dyn BlobStore>,
    pub(crate) partials: Arc<Partials>,
    pub(crate) lists: Lists,
    pub(crate) spreads: Spreads,
    pub(crate) throttle: Arc<Throttle>,
    pub(crate) served: Arc<Served>,
}

/// Answers a peer that may not be served now.
pub(crate) async fn refuse(mut stream: impl AsyncRead + AsyncWrite + Unpin, meter: Arc<Meter>) {
    let counted = Counted { meter: &meter, way: Way::Direct };
    // A peer that is gone meanwhile needs no answer.
    let _ = counted.send(&mut stream, BUSY, &[]).await;
    let _ = in_time(stream.close()).await;
}

/// Serves one blob over `stream`, to its end.
pub(crate) async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, desk: Arc<Desk>, meter: Arc<Meter>) {
    if let Err(error) = desk.answer(&mut stream, &meter).await {
        tracing::debug!(%error, "a blob was not served to its end");
    }
    let _ = in_time(stream.close()).await;
}

/// Where a served blob is.
struct Found {
    list: Arc<[Hash]>,
    /// Not whole yet when it was found.
    partial: Option<Arc<Partial>>,
}

impl Desk {
    async fn answer(&self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin), meter: &Meter) -> io::Result<()> {
        let mut frames = Frames::default();
        // Until it says who it is, its first bytes count as a peer's.
        let counted = Counted { meter, way: Way::Direct };
        let first = in_time(frames.next(stream, REQUEST_BYTES, |bytes| counted.came(bytes))).await?;
        let (blob, how) = request(first.0, &first.1)?;
        let counted = Counted { meter, way: if how.later { Way::Direct } else { Way::Origin } };
        let found = if how.later {
            let look = self.find_later(blob);
            let end = frames.next(stream, 0, |bytes| counted.came(bytes));
            pin_mut!(look, end);
            match future::select(look, end).await {
                Either::Left((found, _)) => found,
                Either::Right((Err(error), _)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Either::Right(_) => return Err(refused("it asks before it was answered")),
            }
        } else {
            self.find(blob).await
        };
        let Some(found) = found else { return counted.send(stream, NOT_FOUND, &[]).await };
        let mut visit = Visit::new(self, blob, how, found);
        visit.greet(stream, &counted).await?;
        visit.run(stream, frames, &counted).await
    }

    /// The blob, if it is here or on its way here.
    async fn find(&self, blob: BlobRef) -> Option<Found> {
        if let Some(partial) = self.partials.find(&blob)
            && let Some(list) = partial.list()
        {
            return Some(Found { list, partial: Some(partial) });
        }
        match self.lists.get(&self.store, blob).await {
            Ok(list) => list.map(|list| Found { list, partial: None }),
            Err(error) => {
                tracing::warn!(hash = %blob.hash, %error, "a stored blob cannot be served; delete it so that it is fetched again");
                None
            }
        }
    }

    /// The blob, once it is here or on its way here.
    async fn find_later(&self, blob: BlobRef) -> Option<Found> {
        let mut over = Delay::new(LATER);
        loop {
            let begun = self.partials.changed.seen();
            let partial = self.partials.find(&blob);
            let listed = partial.as_ref().map(|partial| partial.changed.seen());
            if let Some(found) = self.find(blob).await {
                return Some(found);
            }
            let begins = self.partials.changed.after(begun);
            let goes_on = partial.as_ref().zip(listed).map(|(partial, listed)| partial.changed.after(listed));
            let change = signal::any([Some(begins), goes_on].into_iter().flatten());
            if let Either::Right(_) = future::select(pin!(change), &mut over).await {
                return None;
            }
        }
    }

    /// One chunk, from memory or else from the store.
    async fn chunk(&self, blob: BlobRef, partial: Option<&Partial>, index: u32) -> io::Result<Bytes> {
        if let Some(chunk) = partial.and_then(|partial| partial.chunk(index)) {
            return Ok(chunk);
        }
        let start = u64::from(index) * CHUNK as u64;
        let end = (start + CHUNK as u64).min(blob.bytes);
        let store = self.store.clone();
        let read = blocking(move || store.read(&blob.hash, start..end)).await;
        read.transpose()?.flatten().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the blob left this node"))
    }
}

/// One peer that is served one blob.
struct Visit<'a> {
    desk: &'a Desk,
    blob: BlobRef,
    how: How,
    found: Found,
    /// What the peer knows that this node has.
    told: Bitmap,
    /// What it asked for: every chunk at most once, so that one stream never costs more than one blob.
    asked: Bitmap,
    /// Of that, what it still gets.
    wanted: VecDeque<u32>,
    /// What it says that it has itself.
    has: Bitmap,
    /// What is on offer to it, if it is patient and there is all to offer.
    offers: Option<Offers>,
}

impl<'a> Visit<'a> {
    fn new(desk: &'a Desk, blob: BlobRef, how: How, found: Found) -> Self {
        let none = || Bitmap::new(blob.chunks());
        let told = found.partial.as_ref().map_or_else(|| Bitmap::full(blob.chunks()), |partial| partial.have());
        let offers = (how.patient && told.is_full()).then(|| desk.spreads.join(blob));
        Self { desk, blob, how, found, told, asked: none(), wanted: VecDeque::new(), has: none(), offers }
    }

    /// Says what there is.
    async fn greet(&self, stream: &mut (impl AsyncWrite + Unpin), counted: &Counted<'_>) -> io::Result<()> {
        let list: Vec<u8> =
            if self.how.list { self.found.list.iter().flat_map(|hash| hash.0).collect() } else { Vec::new() };
        counted.send(stream, FOUND, &[self.told.encode(), &list]).await
    }

    async fn run(
        &mut self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        mut frames: Frames,
        counted: &Counted<'_>,
    ) -> io::Result<()> {
        loop {
            let seen = self.seen();
            counted.send_ranges(stream, HAVE, &self.news()).await?;
            let offers = self.offers.as_mut().map(|offers| offers.more(&self.has)).unwrap_or_default();
            counted.send_ranges(stream, OFFER, &bitmap::runs(offers)).await?;
            if let Some(index) = self.wanted.pop_front() {
                let chunk = self.desk.chunk(self.blob, self.found.partial.as_deref(), index).await?;
                // Whoever waits longer for a chunk has gone elsewhere.
                in_time(self.desk.throttle.take(chunk.len()).map(Ok)).await?;
                counted.send(stream, CHUNK_FRAME, &[&index.to_le_bytes(), &chunk]).await?;
                self.desk.served.add(self.blob, chunk.len());
                if let Some(offers) = &mut self.offers {
                    offers.done(index);
                }
                turn().await;
                continue;
            }
            let frame = {
                let next = frames.next(stream, RANGE_BYTES, |bytes| counted.came(bytes));
                let change = self.change(seen);
                let idle = Delay::new(IDLE);
                pin_mut!(next, change);
                match future::select(next, future::select(change, idle)).await {
                    Either::Left((frame, _)) => frame,
                    Either::Right((Either::Left(_), _)) => continue,
                    Either::Right((Either::Right(_), _)) => return Ok(()),
                }
            };
            match frame {
                Ok((kind, body)) => self.take(kind, &body)?,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn seen(&self) -> (u64, u64) {
        let partial = self.found.partial.as_ref().map_or(0, |partial| partial.changed.seen());
        (partial, self.offers.as_ref().map_or(0, |offers| offers.spread.changed.seen()))
    }

    /// Waits until there may be something new to tell.
    async fn change(&self, (partial, spread): (u64, u64)) {
        let more = self.found.partial.as_ref().map(|it| it.changed.after(partial));
        let back = self.offers.as_ref().map(|it| it.spread.changed.after(spread));
        signal::any([more, back].into_iter().flatten()).await;
    }

    /// Chunks that came since the peer was last told.
    fn news(&mut self) -> Vec<std::ops::Range<u32>> {
        let Some(partial) = self.found.partial.as_ref().filter(|_| !self.told.is_full()) else { return Vec::new() };
        let have = partial.have();
        let news = have.runs_beyond(&self.told);
        self.told = have;
        news
    }

    fn take(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        let range = range(body, self.blob.chunks())?;
        match kind {
            WANT => {
                if self.wanted.len() + range.len() > MOST_ASKED {
                    return Err(refused("it asks for more than its window"));
                }
                for index in range {
                    if !self.told.contains(index) || !self.asked.insert(index) {
                        return Err(refused("it asks for a chunk twice, or for one that is not here"));
                    }
                    self.wanted.push_back(index);
                }
                Ok(())
            }
            HAVE if self.how.patient => {
                let news = self.has.insert_all(range);
                if let Some(offers) = &mut self.offers {
                    news.iter().for_each(|index| offers.done(*index));
                }
                if news.is_empty() { Err(refused("it says again what it has")) } else { Ok(()) }
            }
            _ => Err(refused("a frame is none that a requester sends")),
        }
    }
}
