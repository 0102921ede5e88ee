//! The loop that joins swarm, streams and orders.
//!
//! Enters: swarm events, ended streams, the host's orders. Leaves: events to the host. It holds at
//! most one control session per peer: a newer connection of the same peer ends the older session,
//! and starts its own when the host has been told.

mod bulk;
mod connections;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::channel::{mpsc, oneshot};
use futures::future::{self, BoxFuture};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt, select};
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{ConnectionId, dial_opts::DialOpts};
use libp2p::{Multiaddr, Stream, Swarm};
use tributary_protocol::{Hash, Id};

use crate::behaviour::Behaviour;
use crate::control::Tail;
use crate::fetches::Job;
use crate::handle::{Event, Events, Handle, Order, Queued, Shared};
use crate::link::{End, Link};
use crate::meter::Meter;
use crate::streams::Opened;
use crate::{BlobStore, Config, SwarmError, transport};
use bulk::Bulk;
use connections::{innermost, why};

/// Events on their way to the host, for all peers together; each session has one more place. Frames
/// beyond wait in their session, within its window.
const EVENTS: usize = 256;

/// Time to send what waits when the host disconnects a peer.
const GOODBYE: Duration = Duration::from_secs(2);

/// An established connection.
struct Connection {
    peer: Id,
    addr: Multiaddr,
    dialled: bool,
    /// Its control stream, once it is up.
    link: Option<Arc<Link>>,
    meter: Arc<Meter>,
    /// What the meter showed when the last ping was answered.
    heard: u64,
    serving: usize,
}

/// A connection whose control stream is up while the peer's older session still ends.
struct Waiting {
    connection: ConnectionId,
    stream: Stream,
}

/// What a task of the node ended with.
enum Done {
    ControlOpened(ConnectionId, Result<Opened, oneshot::Canceled>),
    NotIntroduced(ConnectionId),
    NotHeard(ConnectionId, u64),
    Ended(ConnectionId, Tail),
    Delivered(Id),
    Served(ConnectionId),
    Looked(Job, Option<Bytes>),
    Fetched(Hash),
}

struct Node {
    swarm: Swarm<Behaviour>,
    /// Whether it introduces others.
    is_relay: bool,
    /// Whether it wants to be introduced.
    links: bool,
    shared: Arc<Shared>,
    bulk: Bulk,
    events: mpsc::Sender<Queued>,
    /// Events of the node itself that the host's queue has no room for yet. While there are any, no
    /// orders are taken, which bounds them.
    pending: VecDeque<Event>,
    tasks: FuturesUnordered<BoxFuture<'static, Done>>,
    connections: HashMap<ConnectionId, Connection>,
    /// Dials under way, until their control stream is up.
    dials: HashMap<ConnectionId, Multiaddr>,
    /// The connection that carries each peer's session.
    live: HashMap<Id, ConnectionId>,
    waiting: HashMap<Id, Waiting>,
}

/// A node. The host spawns the future; it ends when every [`Handle`] or the [`Events`] are dropped.
/// Natively this must be called, and the future run, within a tokio runtime.
///
/// # Errors
/// See [`SwarmError`].
pub fn node(
    config: Config,
    store: Arc<dyn BlobStore>,
) -> Result<(Handle, Events, impl Future<Output = ()> + Send + 'static), SwarmError> {
    let keypair = Keypair::ed25519_from_bytes(config.secret).map_err(|_| SwarmError::Secret)?;
    let transports = transport::transports(&config, &keypair)?;
    let behaviour = Behaviour::new(&config, &keypair, transports.relay, transports.webrtc);
    let local = keypair.public().to_peer_id();
    let mut swarm = Swarm::new(transports.all, behaviour, local, transport::swarm_config());
    for addr in &config.listen {
        let refused = |why| SwarmError::Listen { addr: addr.clone(), why };
        transport::is_free(addr).map_err(|error| refused(error.to_string()))?;
        swarm.listen_on(addr.clone()).map_err(|error| refused(innermost(&error)))?;
    }
    if config.links {
        // Nothing is opened by that: it lets peers that are introduced in.
        let listening = swarm.listen_on(Multiaddr::from(Protocol::WebRTC));
        listening.map_err(|error| SwarmError::Transport(innermost(&error)))?;
    }
    let (events, receiver) = mpsc::channel(EVENTS);
    let shared = Arc::new(Shared::default());
    let name = crate::id(&local).ok_or(SwarmError::Secret)?;
    let bulk = Bulk::new(name, store, shared.throttle.clone(), shared.served.clone(), &config.limits);
    let node = Node {
        swarm,
        is_relay: config.relay.is_some(),
        links: config.links,
        shared: shared.clone(),
        bulk,
        events,
        pending: VecDeque::new(),
        tasks: FuturesUnordered::new(),
        connections: HashMap::new(),
        dials: HashMap::new(),
        live: HashMap::new(),
        waiting: HashMap::new(),
    };
    Ok((Handle::new(shared), Events(receiver), node.run()))
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shared.finish();
    }
}

impl Node {
    async fn run(mut self) {
        loop {
            let pending = &mut self.pending;
            let (events, shared) = (&mut self.events, &self.shared);
            // `None`: the host is gone.
            let mut order = future::poll_fn(|cx| {
                if events.is_closed() {
                    return Poll::Ready(None);
                }
                while !pending.is_empty() {
                    if ready!(events.poll_ready(cx)).is_err() {
                        return Poll::Ready(None);
                    }
                    if let Some(event) = pending.pop_front()
                        && events.start_send(Queued::plain(event)).is_err()
                    {
                        return Poll::Ready(None);
                    }
                }
                shared.poll_order(cx)
            })
            .fuse();
            select! {
                event = self.swarm.select_next_some() => self.on_swarm(event),
                done = self.tasks.select_next_some() => self.on_done(done),
                (hash, peer) = self.bulk.again().fuse() => self.ask(&hash, peer),
                order = order => match order {
                    Some(order) => self.on_order(order),
                    None => return,
                },
            }
        }
    }

    fn task(&mut self, task: impl Future<Output = Done> + Send + 'static) {
        self.tasks.push(task.boxed());
    }

    fn on_order(&mut self, order: Order) {
        match order {
            Order::Dial(addr) => {
                let dial = DialOpts::unknown_peer_id().address(addr.clone()).build();
                let connection = dial.connection_id();
                match self.swarm.dial(dial) {
                    Ok(()) => drop(self.dials.insert(connection, addr)),
                    Err(error) => self.pending.push_back(Event::DialFailed { addr, why: why(&error) }),
                }
            }
            Order::Disconnect(peer) => {
                if let Some(link) = self.live_link(&peer) {
                    link.end(End::Leave("it was closed on purpose".to_owned(), GOODBYE));
                }
            }
            Order::Fetch(job) => self.on_fetch(job),
        }
    }

    fn live_link(&self, peer: &Id) -> Option<&Arc<Link>> {
        self.connections.get(self.live.get(peer)?)?.link.as_ref()
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::ControlOpened(id, Ok(Ok(stream))) => self.on_control(id, stream),
            Done::ControlOpened(id, Ok(Err(why))) => {
                self.dial_failed(id, || format!("the control stream cannot be opened: {why}"));
                self.swarm.close_connection(id);
            }
            // The connection closed first, which is told when the swarm says why.
            Done::ControlOpened(_, Err(oneshot::Canceled)) => {}
            Done::NotIntroduced(id) => {
                if self.connections.get(&id).is_some_and(|it| it.link.is_none()) && !self.is_waiting(id) {
                    self.swarm.close_connection(id);
                }
            }
            Done::NotHeard(id, heard) => {
                if self.connections.get(&id).is_some_and(|it| it.meter.heard() == heard) {
                    self.dead(id);
                }
            }
            Done::Ended(id, tail) => {
                self.swarm.close_connection(id);
                let peer = tail.peer;
                self.shared.unlink(&peer);
                self.task(tail.deliver().map(move |()| Done::Delivered(peer)));
            }
            Done::Delivered(peer) => {
                self.live.remove(&peer);
                if let Some(Waiting { connection, stream }) = self.waiting.remove(&peer) {
                    self.start(connection, stream);
                }
            }
            Done::Served(id) => self.served(id),
            Done::Looked(job, found) => self.on_looked(job, found),
            Done::Fetched(hash) => self.on_fetched(&hash),
        }
    }
}
