//! Nodes on this machine's loopback, spawned and awaited; nothing here sleeps.
#![allow(clippy::unwrap_used, dead_code)]

pub(crate) mod rogue;

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use tokio::task::JoinHandle;
use tributary_protocol::limits::CHUNK;
use tributary_protocol::{BlobRef, Hash, Id, Identity};
use tributary_swarm::{BlobStore, Config, Event, Events, Handle, Limits, MemoryStore, Multiaddr, node};

/// So long that only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Peer {
    pub(crate) id: Id,
    pub(crate) handle: Handle,
    pub(crate) events: Events,
    pub(crate) task: JoinHandle<()>,
    pub(crate) listen: Vec<Multiaddr>,
}

pub(crate) fn name(seed: u8) -> Id {
    Identity::from_secret([seed; 32]).id()
}

/// A node that listens on these addresses, once it does.
pub(crate) async fn peer_with(seed: u8, listen: &[&str], store: Arc<dyn BlobStore>, limits: Limits) -> Peer {
    let listen = listen.iter().map(|addr| addr.parse().unwrap()).collect();
    peer_of(Config { listen, limits, ..Config::contributor([seed; 32], "test") }, store).await
}

/// A node of this configuration, once it listens.
pub(crate) async fn peer_of(config: Config, store: Arc<dyn BlobStore>) -> Peer {
    let (id, listen) = (Identity::from_secret(config.secret).id(), config.listen.len());
    let (handle, events, run) = node(config, store).unwrap();
    let mut peer = Peer { id, handle, events, task: tokio::spawn(run), listen: Vec::new() };
    while peer.listen.len() < listen {
        match peer.next().await {
            Event::Listening(addr) => peer.listen.push(addr.with_p2p(peer_id(peer.id)).unwrap()),
            other => panic!("{other:?} before listening"),
        }
    }
    peer
}

pub(crate) async fn peer(seed: u8, listen: &[&str]) -> Peer {
    peer_with(seed, listen, Arc::new(MemoryStore::new(1 << 26)), Limits::contributor()).await
}

fn peer_id(id: Id) -> libp2p::PeerId {
    libp2p::PeerId::from_bytes(&id.to_peer_id_bytes()).unwrap()
}

impl Peer {
    /// The next event.
    pub(crate) async fn next(&mut self) -> Event {
        let next = tokio::time::timeout(PATIENCE, self.events.next()).await;
        next.expect("an event should have come").expect("the node should go on")
    }

    pub(crate) async fn connected(&mut self) -> Id {
        match self.next().await {
            Event::Connected { peer, .. } => peer,
            other => panic!("{other:?} instead of Connected"),
        }
    }

    pub(crate) async fn disconnected(&mut self) -> (Id, String) {
        match self.next().await {
            Event::Disconnected { peer, why } => (peer, why),
            other => panic!("{other:?} instead of Disconnected"),
        }
    }

    pub(crate) async fn frame(&mut self) -> Vec<u8> {
        match self.next().await {
            Event::Frame { frame, .. } => frame,
            other => panic!("{other:?} instead of Frame"),
        }
    }

    /// Connects to another node and takes both sides' events of it.
    pub(crate) async fn connect(&mut self, other: &mut Peer) {
        self.handle.dial(other.listen[0].clone()).unwrap();
        assert_eq!(self.connected().await, other.id);
        assert_eq!(other.connected().await, self.id);
    }

    pub(crate) async fn fetch(&self, from: Id, blob: BlobRef) -> Result<Bytes, tributary_swarm::FetchError> {
        tokio::time::timeout(PATIENCE, self.handle.fetch(from, blob)).await.expect("a fetch should end")
    }
}

/// Bytes that differ everywhere.
pub(crate) fn noise(len: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// What a [`Watched`] store does with the chunks it serves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Honest,
    /// The chunk at this index comes out with one bit wrong.
    LiesAt(u64),
    /// Every chunk comes out with one bit wrong.
    Lies,
    /// From this index on, reading fails.
    DiesAt(u64),
}

/// A store that counts the chunks it serves, and may lie or die.
pub(crate) struct Watched {
    pub(crate) inner: MemoryStore,
    pub(crate) manner: Mutex<Manner>,
    pub(crate) served: AtomicUsize,
}

impl Watched {
    pub(crate) fn holding(bytes: &Bytes, manner: Manner) -> (Arc<Self>, BlobRef) {
        let inner = MemoryStore::new(1 << 26);
        let blob = BlobRef::of(bytes);
        inner.put(&blob, bytes.clone()).unwrap();
        (Arc::new(Self { inner, manner: Mutex::new(manner), served: AtomicUsize::new(0) }), blob)
    }

    pub(crate) fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }
}

impl BlobStore for Watched {
    fn len(&self, hash: &Hash) -> Option<u64> {
        self.inner.len(hash)
    }

    fn read(&self, hash: &Hash, range: Range<u64>) -> io::Result<Option<Bytes>> {
        let bytes = self.inner.read(hash, range.clone())?;
        if range.end - range.start > CHUNK as u64 {
            return Ok(bytes); // The whole blob, for its chunk list.
        }
        let index = range.start / CHUNK as u64;
        match *self.manner.lock().unwrap() {
            Manner::DiesAt(at) if index >= at => return Err(io::Error::other("the disk is gone")),
            manner @ (Manner::LiesAt(_) | Manner::Lies)
                if manner == Manner::Lies || manner == Manner::LiesAt(index) =>
            {
                let mut wrong = bytes.unwrap().to_vec();
                wrong[0] ^= 1;
                self.served.fetch_add(1, Ordering::SeqCst);
                return Ok(Some(wrong.into()));
            }
            _ => {}
        }
        self.served.fetch_add(1, Ordering::SeqCst);
        Ok(bytes)
    }

    fn put(&self, blob: &BlobRef, bytes: Bytes) -> io::Result<()> {
        self.inner.put(blob, bytes)
    }
}
