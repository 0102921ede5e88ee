//! The node's blobs: which fetches run, from whom, and who is served.
//!
//! Enters: the host's fetches, links that come up, blob streams that peers open. Leaves: fetched blobs
//! in the store, streams that are served. Refuses: more than is served at a time. Only links carry bulk:
//! a connection over a relay never becomes one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::channel::mpsc;
use futures::future::{self, Either};
use futures::{FutureExt, StreamExt};
use libp2p::Stream;
use libp2p::swarm::ConnectionId;
use tributary_protocol::mix::mix;
use tributary_protocol::{Hash, Id};

use super::{Done, Node};
use crate::blob;
use crate::fetch::{self, Again, Ask, Fetch};
use crate::fetches::{Fetches, Job};
use crate::partial::Partials;
use crate::plan::Role;
use crate::serve::{self, Desk};
use crate::served::Served;
use crate::shun::Shunned;
use crate::streams::Kind;
use crate::throttle::Throttle;
use crate::{BlobStore, Limits};

/// Sources that a running fetch has not taken up yet; more come when links flap, and are done without.
const ASKS: usize = 32;

/// Sources to ask again that wait for the loop, for all fetches together.
const AGAIN: usize = 64;

/// The state of a node's blobs.
pub(super) struct Bulk {
    desk: Arc<Desk>,
    fetches: Fetches,
    running: HashMap<Hash, Running>,
    shunned: Arc<Shunned>,
    again: (mpsc::Sender<Again>, mpsc::Receiver<Again>),
    /// Peers that are asked for one blob, besides its origin.
    sources: usize,
    /// Streams that are served.
    serving: usize,
    seed: u64,
}

/// A fetch that runs, as the loop sees it.
struct Running {
    origin: Id,
    asks: mpsc::Sender<Ask>,
    /// Linked peers that were asked.
    peers: HashSet<Id>,
}

impl Bulk {
    pub(super) fn new(
        local: Id,
        store: Arc<dyn BlobStore>,
        throttle: Arc<Throttle>,
        served: Arc<Served>,
        limits: &Limits,
    ) -> Self {
        let partials = Arc::new(Partials::new(limits.partial_bytes));
        let (lists, spreads) = Default::default();
        let seed = local.0.iter().fold(0, |seed, byte| mix(seed ^ u64::from(*byte)));
        Self {
            desk: Arc::new(Desk { store, partials, lists, spreads, throttle, served }),
            fetches: Fetches::new(limits.fetch_bytes),
            running: HashMap::new(),
            shunned: Arc::default(),
            again: mpsc::channel(AGAIN),
            sources: limits.sources,
            serving: 0,
            seed,
        }
    }

    /// The next source to ask again.
    pub(super) async fn again(&mut self) -> Again {
        match self.again.1.next().await {
            Some(again) => again,
            // Never: one sender is kept here.
            None => future::pending().await,
        }
    }
}

impl Node {
    /// Serves a blob stream, or says that too many are served.
    pub(super) fn serve(&mut self, id: ConnectionId, stream: Stream) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.serving >= 2 * serve::PER_PEER {
            // Not even worth an answer: it ignores the ones it got.
            return;
        }
        let busy = connection.serving >= serve::PER_PEER || self.bulk.serving >= serve::IN_TOTAL;
        connection.serving += 1;
        self.bulk.serving += 1;
        let meter = connection.meter.clone();
        if busy {
            self.task(serve::refuse(stream, meter).map(move |()| Done::Served(id)));
        } else {
            self.task(serve::serve(stream, self.bulk.desk.clone(), meter).map(move |()| Done::Served(id)));
        }
    }

    /// A blob stream was served to its end.
    pub(super) fn served(&mut self, id: ConnectionId) {
        self.bulk.serving -= 1;
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.serving -= 1;
        }
    }

    pub(super) fn on_fetch(&mut self, job: Job) {
        self.bulk.fetches.push(job);
        self.start_fetches();
    }

    fn start_fetches(&mut self) {
        while let Some(job) = self.bulk.fetches.next() {
            let local = blob::local(self.bulk.desk.store.clone(), job.blob);
            self.task(local.map(move |found| Done::Looked(job, found)));
        }
    }

    /// The own store was asked; if it has not got the blob, all who may have it are.
    pub(super) fn on_looked(&mut self, Job { peer: origin, blob, mut reply }: Job, found: Option<Bytes>) {
        if let Some(found) = found {
            let _ = reply.send(Ok(found));
            return self.on_fetched(&blob.hash);
        }
        let (sender, asks) = mpsc::channel(ASKS);
        self.bulk.running.insert(blob.hash, Running { origin, asks: sender, peers: HashSet::new() });
        let linked: Vec<Id> = self.live.keys().copied().collect();
        for peer in linked {
            self.ask(&blob.hash, peer);
        }
        let desk = self.bulk.desk.clone();
        let seed = blob.hash.0.iter().fold(self.bulk.seed, |seed, byte| mix(seed ^ u64::from(*byte)));
        let filling = desk.partials.begin(blob);
        let (again, shunned) = (self.bulk.again.0.clone(), self.bulk.shunned.clone());
        self.task(async move {
            let fetched = async {
                let partial = filling.partial.clone();
                // What is served meanwhile is served from memory, until the store has it.
                let (bytes, _filling) =
                    fetch::fetch(Fetch { blob, origin, filling, asks, again, shunned, seed }).await?;
                if let Some(list) = partial.list() {
                    desk.lists.keep(blob, list).await;
                }
                blob::keep(desk.store.clone(), blob, bytes).await
            };
            // A host that no longer waits ends the transfer; what came is kept for the next attempt.
            let fetched = match future::select(Box::pin(fetched), reply.cancellation()).await {
                Either::Left((fetched, _)) => Some(fetched),
                Either::Right(_) => None,
            };
            if let Some(fetched) = fetched {
                let _ = reply.send(fetched);
            }
            Done::Fetched(blob.hash)
        });
    }

    pub(super) fn on_fetched(&mut self, hash: &Hash) {
        self.bulk.running.remove(hash);
        self.bulk.fetches.done(hash);
        self.start_fetches();
    }

    /// A link is up: it may have what is being fetched.
    pub(super) fn on_link(&mut self, peer: Id) {
        let running: Vec<Hash> = self.bulk.running.keys().copied().collect();
        for hash in running {
            self.ask(&hash, peer);
        }
    }

    /// Asks a linked peer for a blob that is being fetched, if it is one to ask.
    pub(super) fn ask(&mut self, hash: &Hash, peer: Id) {
        let Bulk { running, shunned, sources, .. } = &mut self.bulk;
        let Some(Running { origin, asks, peers }) = running.get_mut(hash) else { return };
        let link = self.live.get(&peer).and_then(|id| Some((*id, self.connections.get(id)?)));
        let (Some((id, connection)), Some(name)) = (link, crate::peer_id(peer)) else { return };
        let role = if peer == *origin {
            let other = |peer: &Id| peer != origin && !shunned.contains(peer);
            Role::Origin { patient: *sources > 0 && self.live.keys().any(other) }
        } else {
            peers.retain(|asked| self.live.contains_key(asked));
            if shunned.contains(&peer) || (peers.len() >= *sources && !peers.contains(&peer)) {
                return;
            }
            peers.insert(peer);
            Role::Peer
        };
        let meter = connection.meter.clone();
        let opened = self.swarm.behaviour_mut().streams.open(name, id, Kind::Blob);
        // A fetch that has not taken up the ones before has enough to do; the stream is dropped then.
        let _ = asks.try_send(Ask { peer, role, meter, opened });
    }
}
