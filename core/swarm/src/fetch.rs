//! Fetching a blob from many sources at once: the requester's side of the blob protocol.
//!
//! Enters: streams to sources, as the node opens them. Leaves: the bytes, every chunk verified. Refuses:
//! a chunk list that does not prove itself, a wrong chunk, an answer that nobody asked for, and silence
//! for longer than [`PROGRESS`]; whoever does that is dropped and others go on.
//!
//! One task drives the fetch and one future each source; they share the [`Plan`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::channel::{mpsc, oneshot};
use futures::future::{self, BoxFuture, Either};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt, pin_mut, select};
use futures_timer::Delay;
use libp2p::Stream;
use tributary_protocol::blob::{verify_chunk, verify_list};
use tributary_protocol::limits::CHUNK;
use tributary_protocol::mix::mix;
use tributary_protocol::{BlobRef, Hash, Id};
use web_time::Instant;

use crate::bitmap::{self, Bitmap};
use crate::blob::{
    BUSY, CHUNK_FRAME, Counted, FOUND, FetchError, HAVE, How, LATER, NOT_FOUND, OFFER, PROGRESS, REQUEST, WANT, range,
    turn,
};
use crate::meter::{Meter, Way};
use crate::partial::{Filling, Partial};
use crate::plan::{Key, Plan, Role, TICK};
use crate::shun::Shunned;
use crate::signal::Signal;
use crate::streams::Opened;
use crate::wire::Frames;

/// Without the origin, how long the linked peers may take to answer at all: they do at once if they have
/// anything, so a few round trips on a bad network.
const ANSWER: Duration = Duration::from_secs(3);

/// Times that one source is asked again within a fetch after it was busy, lost, or had nothing.
const RETRIES: u32 = 6;

/// Before a source is asked again, twice as long each time; a half to one and a half of it, so that
/// peers of one moment don't stay one.
const PAUSE: Duration = Duration::from_millis(500);

/// A source, and the stream to it once it is open.
pub(crate) struct Ask {
    pub(crate) peer: Id,
    pub(crate) role: Role,
    pub(crate) meter: Arc<Meter>,
    pub(crate) opened: oneshot::Receiver<Opened>,
}

/// A source to ask again.
pub(crate) type Again = (Hash, Id);

/// What a fetch works with.
pub(crate) struct Fetch {
    pub(crate) blob: BlobRef,
    pub(crate) origin: Id,
    pub(crate) filling: Filling,
    pub(crate) asks: mpsc::Receiver<Ask>,
    pub(crate) again: mpsc::Sender<Again>,
    pub(crate) shunned: Arc<Shunned>,
    /// Different in every node.
    pub(crate) seed: u64,
}

/// What the sources of a fetch share.
struct Common {
    blob: BlobRef,
    partial: Arc<Partial>,
    plan: Mutex<Plan>,
    /// There may be more to ask for, or less to wait for.
    changed: Signal,
    start: Instant,
}

impl Common {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

/// One source's end.
type Ended = (Key, Result<(), FetchError>);

/// A fetch while it runs.
struct Running {
    common: Arc<Common>,
    fetch: Fetch,
    sources: FuturesUnordered<BoxFuture<'static, Ended>>,
    pauses: FuturesUnordered<BoxFuture<'static, Id>>,
    /// Who is behind each source.
    peers: HashMap<Key, Id>,
    /// How often each peer was asked again.
    retries: HashMap<Id, u32>,
    next: Key,
    /// Why the origin is not a source now, and since when.
    without: Option<(FetchError, Duration)>,
}

/// Fetches every chunk. The whole is not in the store yet, and can be served until the [`Filling`] is dropped.
pub(crate) async fn fetch(fetch: Fetch) -> Result<(Bytes, Filling), FetchError> {
    let partial = fetch.filling.partial.clone();
    if !partial.reserve() {
        return Err(FetchError::TooLarge);
    }
    let plan = Plan::new(partial.have(), fetch.blob.chunks(), fetch.seed);
    let common = Arc::new(Common {
        blob: fetch.blob,
        partial: partial.clone(),
        plan: Mutex::new(plan),
        changed: Signal::default(),
        start: Instant::now(),
    });
    let gone = FetchError::Gone("there is no connection to it".to_owned());
    let running = Running {
        common,
        fetch,
        sources: FuturesUnordered::new(),
        pauses: FuturesUnordered::new(),
        peers: HashMap::new(),
        retries: HashMap::new(),
        next: 0,
        without: Some((gone, Duration::ZERO)),
    };
    let filling = running.run().await?;
    partial.whole().map(|bytes| (bytes, filling)).ok_or(FetchError::WrongBytes)
}

impl Running {
    async fn run(mut self) -> Result<Filling, FetchError> {
        let mut tick = Delay::new(TICK).fuse();
        // Whom the node asks from the start is known before anybody could be missed.
        while let Some(Some(ask)) = self.fetch.asks.next().now_or_never() {
            self.ask(ask);
        }
        loop {
            if self.common.plan().is_done() {
                return Ok(self.fetch.filling);
            }
            self.hope()?;
            select! {
                ask = self.fetch.asks.next() => match ask {
                    Some(ask) => self.ask(ask),
                    None => return Err(FetchError::Gone("the node has ended".to_owned())),
                },
                (key, end) = self.sources.select_next_some() => self.ended(key, end),
                peer = self.pauses.select_next_some() => {
                    // If too many wait, this source is done without; another link brings it back.
                    let _ = self.fetch.again.try_send((self.fetch.blob.hash, peer));
                }
                () = tick => {
                    tick = Delay::new(TICK).fuse();
                    self.tick();
                }
            }
        }
    }

    /// Whether it is worth going on.
    fn hope(&self) -> Result<(), FetchError> {
        let now = self.common.now();
        let plan = self.common.plan();
        let quiet = now.saturating_sub(plan.progress());
        let Some((why, since)) = &self.without else {
            return if quiet < 2 * PROGRESS { Ok(()) } else { Err(FetchError::TimedOut) };
        };
        let hope = if plan.has_company() {
            quiet < PROGRESS
        } else {
            !self.peers.is_empty() && now.saturating_sub(*since) < ANSWER
        };
        if hope { Ok(()) } else { Err(why.clone()) }
    }

    fn tick(&mut self) {
        let now = self.common.now();
        let slow = self.common.plan().tick(now, PROGRESS);
        for (key, why) in slow {
            if let Some(peer) = self.peers.get(&key) {
                tracing::info!(%peer, hash = %self.fetch.blob.hash, why, "a source is dropped");
            }
        }
        self.common.changed.raise();
    }

    /// One more source, instead of an earlier stream to the same peer.
    fn ask(&mut self, ask: Ask) {
        let earlier = self.peers.iter().find(|(_, peer)| **peer == ask.peer).map(|(key, _)| *key);
        if let Some(key) = earlier {
            self.peers.remove(&key);
            self.common.plan().leave(key, self.common.now());
            self.common.changed.raise();
        }
        if ask.role != Role::Peer {
            self.without = None;
        }
        let key = self.next;
        self.next += 1;
        self.peers.insert(key, ask.peer);
        let source = Source { key, role: ask.role, common: self.common.clone(), meter: ask.meter };
        self.sources.push(source.run(ask.opened).map(move |end| (key, end)).boxed());
    }

    fn ended(&mut self, key: Key, end: Result<(), FetchError>) {
        let now = self.common.now();
        self.common.plan().leave(key, now);
        self.common.changed.raise();
        let (Some(peer), Err(error)) = (self.peers.remove(&key), end) else { return };
        tracing::debug!(%peer, hash = %self.fetch.blob.hash, %error, "a source has ended");
        let is_origin = peer == self.fetch.origin;
        // An origin that lied is asked again only if the host says so, and as a peer not at all.
        let shunned = self.fetch.shunned.judge(peer, &error) && (!is_origin || error.is_fatal());
        if is_origin {
            self.without = Some((error, now));
        }
        let retries = self.retries.entry(peer).or_default();
        if shunned || *retries >= RETRIES {
            return;
        }
        let jitter = mix(self.fetch.seed ^ u64::from(key)) % 1024;
        let pause = PAUSE.mul_f64(f64::from(1_u32 << *retries) * (0.5 + jitter as f64 / 1024.0));
        *retries += 1;
        self.pauses.push(Delay::new(pause).map(move |()| peer).boxed());
    }
}

/// One source of a fetch.
struct Source {
    key: Key,
    role: Role,
    common: Arc<Common>,
    meter: Arc<Meter>,
}

impl Source {
    /// Takes what this source has, until all is here or it fails.
    async fn run(self, opened: oneshot::Receiver<Opened>) -> Result<(), FetchError> {
        let stream = match opened.await {
            Ok(Ok(stream)) => stream,
            Ok(Err(why)) => return Err(FetchError::Gone(why)),
            Err(oneshot::Canceled) => return Err(FetchError::Gone("the connection was lost".to_owned())),
        };
        self.take(stream).await
    }

    async fn take(self, mut stream: Stream) -> Result<(), FetchError> {
        let Self { key, role, ref common, ref meter } = self;
        let way = if role == Role::Peer { Way::Direct } else { Way::Origin };
        let counted = Counted { meter, way };
        let mut frames = Frames::default();
        let has = self.greet(&mut stream, &mut frames, &counted).await?;
        common.plan().join(key, role, has, common.now());
        // What a source that offers was told: it needs to hear of no chunk twice.
        let mut told = Bitmap::new(common.blob.chunks());
        if role == (Role::Origin { patient: true }) {
            let own = common.partial.have();
            counted.send_ranges(&mut stream, HAVE, &own.runs_beyond(&told)).await?;
            told = own;
        }
        loop {
            let seen = common.changed.seen();
            // Dropped by the plan: it was too slow.
            let Some(wanted) = common.plan().want(key, common.now()) else { return Err(FetchError::TimedOut) };
            if common.plan().is_done() {
                return Ok(());
            }
            counted.send_ranges(&mut stream, WANT, &bitmap::runs(wanted)).await?;
            let frame = {
                let next = frames.next(&mut stream, 4 + CHUNK, |bytes| counted.came(bytes));
                let change = common.changed.after(seen);
                pin_mut!(next, change);
                match future::select(next, change).await {
                    Either::Left((frame, _)) => frame?,
                    Either::Right(_) => continue,
                }
            };
            match frame {
                (CHUNK_FRAME, body) => {
                    self.chunk(&body)?;
                    turn().await;
                }
                (HAVE, body) => {
                    let news = common.plan().has(key, range(&body, common.blob.chunks())?);
                    if !news {
                        return Err(FetchError::WrongBytes);
                    }
                }
                (OFFER, body) => {
                    let range = range(&body, common.blob.chunks())?;
                    let mut useless = common.plan().offer(key, range).ok_or(FetchError::WrongBytes)?;
                    useless.retain(|index| told.insert(*index));
                    counted.send_ranges(&mut stream, HAVE, &bitmap::runs(useless)).await?;
                }
                (BUSY, _) => return Err(FetchError::Busy),
                _ => return Err(FetchError::WrongBytes),
            }
        }
    }

    /// Asks for the blob. The answer is which chunks there are, and the list if it was still needed.
    async fn greet(
        &self,
        stream: &mut Stream,
        frames: &mut Frames,
        counted: &Counted<'_>,
    ) -> Result<Bitmap, FetchError> {
        let Self { role, ref common, .. } = *self;
        let (blob, chunks) = (common.blob, common.blob.chunks());
        let list = common.partial.list().is_none();
        let how = How { list, patient: role == (Role::Origin { patient: true }), later: role == Role::Peer };
        counted.send(stream, REQUEST, &[&blob.hash.0, &blob.bytes.to_le_bytes(), &[how.encode()]]).await?;
        let map = bitmap::bytes(chunks);
        let most = map + if list { 32 * chunks as usize } else { 0 };
        let answer = frames.next(stream, most, |bytes| counted.came(bytes));
        let time = if how.later { LATER + PROGRESS } else { PROGRESS };
        pin_mut!(answer);
        let (kind, body) = match future::select(answer, Delay::new(time)).await {
            Either::Left((answer, _)) => answer?,
            Either::Right(_) => return Err(FetchError::TimedOut),
        };
        match kind {
            FOUND if body.len() == most => {}
            NOT_FOUND => return Err(FetchError::NotFound),
            BUSY => return Err(FetchError::Busy),
            _ => return Err(FetchError::WrongBytes),
        }
        if list {
            let hashes: Vec<Hash> = body[map..].as_chunks::<32>().0.iter().copied().map(Hash).collect();
            if !verify_list(&blob, &hashes) {
                return Err(FetchError::WrongBytes);
            }
            if common.partial.list().is_none() {
                common.partial.set_list(hashes.into());
            }
        }
        Bitmap::decode(&body[..map], chunks).ok_or(FetchError::WrongBytes)
    }

    /// A chunk came.
    fn chunk(&self, body: &Bytes) -> Result<(), FetchError> {
        let Self { key, ref common, .. } = *self;
        let (index, chunk) = body.split_first_chunk::<4>().ok_or(FetchError::WrongBytes)?;
        let index = u32::from_le_bytes(*index);
        let list = common.partial.list().ok_or(FetchError::WrongBytes)?;
        let asked = common.plan().is_asked(key, index);
        if !asked || !verify_chunk(&common.blob, index, &list[index as usize], chunk) {
            return Err(FetchError::WrongBytes);
        }
        common.partial.put(index, chunk);
        common.plan().came(key, index, common.now());
        Ok(())
    }
}
