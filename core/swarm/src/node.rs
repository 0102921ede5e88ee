//! The loop that joins swarm, streams and orders.
//!
//! Enters: swarm events, ended streams, the host's orders. Leaves: events to the host. It holds at
//! most one control session per peer: a newer connection of the same peer ends the older session,
//! and starts its own when the host has been told.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::channel::{mpsc, oneshot};
use futures::future::{self, BoxFuture, Either};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt, select};
use futures_timer::Delay;
use libp2p::core::ConnectedPoint;
use libp2p::identity::Keypair;
use libp2p::swarm::{ConnectionId, DialError, SwarmEvent, dial_opts::DialOpts};
use libp2p::{Multiaddr, PeerId, Stream, Swarm, ping};
use tributary_protocol::{Hash, Id};

use crate::behaviour::{Behaviour, BehaviourEvent};
use crate::blob::{self, FetchError, Partials};
use crate::control::{End, FAREWELL, Link, Session, Tail};
use crate::fetches::{Fetches, Job};
use crate::handle::{Event, Events, Handle, Order, Queued, Shared, Traffic};
use crate::serve::{self, Lists};
use crate::streams::{Inbound, Kind, Opened};
use crate::{BlobStore, Config, SwarmError, transport};

/// Events on their way to the host, for all peers together; each session has one more place. Frames
/// beyond wait in their session, within its window.
const EVENTS: usize = 256;

/// Time for whoever dialled to open the control stream.
const INTRODUCTION: Duration = Duration::from_secs(20);

/// Time to send what waits when the host disconnects a peer.
const GOODBYE: Duration = Duration::from_secs(2);

/// Time to tell a connection that a newer one replaced it; the newer one waits for that.
const REPLACED: Duration = Duration::from_millis(500);

/// A ping can fail because bulk fills a slow link. If bytes came since the last answer, the
/// connection gets this much longer to show another one.
const LAST_LOOK: Duration = Duration::from_secs(4);

/// Counts bytes, of a connection or of the node.
#[derive(Default)]
pub(crate) struct Meter {
    up: AtomicU64,
    down: AtomicU64,
    total: Option<Arc<Meter>>,
}

impl Meter {
    pub(crate) fn up(&self, bytes: usize) {
        self.up.fetch_add(bytes as u64, Ordering::Relaxed);
        if let Some(total) = &self.total {
            total.up(bytes);
        }
    }

    pub(crate) fn down(&self, bytes: usize) {
        self.down.fetch_add(bytes as u64, Ordering::Relaxed);
        if let Some(total) = &self.total {
            total.down(bytes);
        }
    }

    pub(crate) fn read(&self) -> Traffic {
        Traffic { up: self.up.load(Ordering::Relaxed), down: self.down.load(Ordering::Relaxed) }
    }
}

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
    shared: Arc<Shared>,
    store: Arc<dyn BlobStore>,
    lists: Arc<Lists>,
    partials: Arc<Partials>,
    fetches: Fetches,
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
    serving: usize,
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
    let transport = transport::transport(&keypair)?;
    let behaviour = Behaviour::new(&config, &keypair);
    let local = keypair.public().to_peer_id();
    let mut swarm = Swarm::new(transport, behaviour, local, transport::swarm_config());
    for addr in &config.listen {
        let refused = |why| SwarmError::Listen { addr: addr.clone(), why };
        transport::is_free(addr).map_err(|error| refused(error.to_string()))?;
        swarm.listen_on(addr.clone()).map_err(|error| refused(innermost(&error)))?;
    }
    let (events, receiver) = mpsc::channel(EVENTS);
    let shared = Arc::new(Shared::default());
    let node = Node {
        swarm,
        shared: shared.clone(),
        store,
        lists: Arc::default(),
        partials: Arc::new(Partials::new(config.limits.partial_bytes)),
        fetches: Fetches::new(config.limits.fetch_bytes),
        events,
        pending: VecDeque::new(),
        tasks: FuturesUnordered::new(),
        connections: HashMap::new(),
        dials: HashMap::new(),
        live: HashMap::new(),
        waiting: HashMap::new(),
        serving: 0,
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
            Order::Fetch(job) => {
                self.fetches.push(job);
                self.start_fetches();
            }
        }
    }

    fn live_link(&self, peer: &Id) -> Option<&Arc<Link>> {
        self.connections.get(self.live.get(peer)?)?.link.as_ref()
    }

    fn on_swarm(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::NewListenAddr { address, .. } => self.pending.push_back(Event::Listening(address)),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_established(&peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { connection_id, cause, .. } => {
                let why = cause.map_or_else(|| "the connection was closed".to_owned(), |cause| innermost(&cause));
                self.on_closed(connection_id, why);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                self.dial_failed(connection_id, || why(&error));
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                tracing::debug!(from = %send_back_addr, why = innermost(&error), "a connection was refused");
            }
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(%error, "a listener has trouble; it goes on");
            }
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                tracing::warn!(?addresses, ?reason, "a listener has closed; restart to open it again");
            }
            SwarmEvent::Behaviour(BehaviourEvent::Streams(inbound)) => self.on_inbound(inbound),
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping)) => self.on_ping(ping),
            _ => {}
        }
    }

    fn on_established(&mut self, peer_id: &PeerId, id: ConnectionId, endpoint: &ConnectedPoint) {
        let Some(peer) = crate::id(peer_id) else {
            self.swarm.close_connection(id);
            return;
        };
        let dialled = endpoint.is_dialer();
        let connection = Connection {
            peer,
            addr: endpoint.get_remote_address().clone(),
            dialled,
            link: None,
            meter: Arc::new(Meter { total: Some(self.shared.traffic.clone()), ..Meter::default() }),
            heard: 0,
            serving: 0,
        };
        self.connections.insert(id, connection);
        if dialled {
            let opened = self.swarm.behaviour_mut().streams.open(*peer_id, id, Kind::Control);
            self.task(opened.map(move |opened| Done::ControlOpened(id, opened)));
        } else {
            self.task(Delay::new(INTRODUCTION).map(move |()| Done::NotIntroduced(id)));
        }
    }

    fn on_closed(&mut self, id: ConnectionId, why: String) {
        if let Some(connection) = self.connections.remove(&id) {
            if let Some(link) = connection.link {
                link.end(End::HungUp(why.clone()));
            }
            if self.waiting.get(&connection.peer).is_some_and(|waiting| waiting.connection == id) {
                self.waiting.remove(&connection.peer);
            }
        }
        self.dial_failed(id, || why);
    }

    /// Tells the host, if this connection is a dial whose outcome it does not know yet.
    fn dial_failed(&mut self, id: ConnectionId, why: impl FnOnce() -> String) {
        if let Some(addr) = self.dials.remove(&id) {
            self.pending.push_back(Event::DialFailed { addr, why: why() });
        }
    }

    fn on_ping(&mut self, event: ping::Event) {
        let Some(connection) = self.connections.get_mut(&event.connection) else { return };
        let heard = connection.meter.read().down;
        match event.result {
            Ok(_) => connection.heard = heard,
            Err(ping::Failure::Unsupported) => {}
            Err(_) if connection.heard != heard => {
                connection.heard = heard;
                let id = event.connection;
                self.task(Delay::new(LAST_LOOK).map(move |()| Done::NotHeard(id, heard)));
            }
            Err(_) => self.dead(event.connection),
        }
    }

    /// A connection on which nothing comes any more: closing it properly could wait for ever.
    fn dead(&mut self, id: ConnectionId) {
        let why = "it does not answer any more";
        if let Some(link) = self.connections.get(&id).and_then(|connection| connection.link.as_ref()) {
            link.end(End::Cut(why.to_owned()));
        }
        self.dial_failed(id, || why.to_owned());
        self.swarm.close_connection(id);
    }

    fn on_inbound(&mut self, Inbound { connection: id, kind, stream }: Inbound) {
        let waiting = self.waiting.values().any(|waiting| waiting.connection == id);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        match (kind, &connection.link) {
            (Kind::Blob, link) if link.is_some() || waiting => {
                let meter = connection.meter.clone();
                let busy = connection.serving >= serve::PER_PEER || self.serving >= serve::IN_TOTAL;
                connection.serving += 1;
                self.serving += 1;
                let (store, lists) = (self.store.clone(), self.lists.clone());
                if connection.serving > 2 * serve::PER_PEER {
                    // Not even worth an answer: it ignores the ones it got.
                    connection.serving -= 1;
                    self.serving -= 1;
                } else if busy {
                    self.task(serve::refuse(stream, meter).map(move |()| Done::Served(id)));
                } else {
                    self.task(serve::serve(stream, store, lists, meter).map(move |()| Done::Served(id)));
                }
            }
            (Kind::Control, Some(link)) => {
                link.end(End::Refuse("it opened a second control stream".to_owned(), FAREWELL));
            }
            (Kind::Control, None) if !connection.dialled && !waiting => self.on_control(id, stream),
            // A blob stream before the control stream, or a control stream from the wrong side.
            _ => drop(self.swarm.close_connection(id)),
        }
    }

    fn is_waiting(&self, id: ConnectionId) -> bool {
        self.waiting.values().any(|waiting| waiting.connection == id)
    }

    /// A control stream is up: it starts at once, waits for the older session to end, or yields.
    fn on_control(&mut self, id: ConnectionId, stream: Stream) {
        self.dials.remove(&id);
        let Some(connection) = self.connections.get(&id) else { return };
        let peer = connection.peer;
        let Some(old) = self.live.get(&peer) else {
            return self.start(id, stream);
        };
        if let Some(old) = self.connections.get(old) {
            // Both sides dialled at once: both must keep the same connection, the one that the
            // greater id dialled. Otherwise the newer one, since the older may be dead.
            let local = crate::id(self.swarm.local_peer_id());
            if old.dialled != connection.dialled && connection.dialled != (local > Some(peer)) {
                self.swarm.close_connection(id);
                return;
            }
            if let Some(link) = &old.link {
                link.end(End::Refuse("a newer connection of the same peer replaced it".to_owned(), REPLACED));
            }
        }
        if let Some(waiting) = self.waiting.insert(peer, Waiting { connection: id, stream }) {
            self.swarm.close_connection(waiting.connection);
        }
    }

    fn start(&mut self, id: ConnectionId, stream: Stream) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let link = Arc::<Link>::default();
        let (peer, meter) = (connection.peer, connection.meter.clone());
        let connected = Event::Connected { peer, addr: connection.addr.clone() };
        connection.link = Some(link.clone());
        self.live.insert(peer, id);
        self.shared.link(peer, link.clone());
        let session = Session::new(peer, stream, link, meter, self.events.clone(), connected);
        self.task(session.map(move |tail| Done::Ended(id, tail)));
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
                if self.connections.get(&id).is_some_and(|it| it.meter.read().down == heard) {
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
            Done::Served(id) => {
                self.serving -= 1;
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.serving -= 1;
                }
            }
            Done::Looked(job, found) => self.on_looked(job, found),
            Done::Fetched(hash) => {
                self.fetches.done(&hash);
                self.start_fetches();
            }
        }
    }

    fn start_fetches(&mut self) {
        while let Some(job) = self.fetches.next() {
            let local = blob::local(self.store.clone(), job.blob);
            self.task(local.map(move |found| Done::Looked(job, found)));
        }
    }

    /// The own store was asked; if it has not got the blob, the peer is.
    fn on_looked(&mut self, Job { peer, blob, mut reply }: Job, found: Option<Bytes>) {
        let hash = blob.hash;
        let link = self.live.get(&peer).and_then(|id| Some((*id, self.connections.get(id)?.meter.clone())));
        let (Some((id, meter)), Some(peer), None) = (link, crate::peer_id(peer), &found) else {
            let gone = || FetchError::Gone("there is no connection to it".to_owned());
            let _ = reply.send(found.ok_or_else(gone));
            return self.on_done(Done::Fetched(hash));
        };
        let opened = self.swarm.behaviour_mut().streams.open(peer, id, Kind::Blob);
        let (store, partials) = (self.store.clone(), self.partials.clone());
        self.task(async move {
            let fetched = async {
                let stream = match opened.await {
                    Ok(Ok(stream)) => stream,
                    Ok(Err(why)) => return Err(FetchError::Gone(why)),
                    Err(oneshot::Canceled) => return Err(FetchError::Gone("the connection was lost".to_owned())),
                };
                blob::fetch(stream, blob, store, &partials, &meter).await
            };
            // A host that no longer waits ends the transfer; what came is kept for the next attempt.
            let fetched = match future::select(Box::pin(fetched), reply.cancellation()).await {
                Either::Left((fetched, _)) => Some(fetched),
                Either::Right(_) => None,
            };
            if let Some(fetched) = fetched {
                let _ = reply.send(fetched);
            }
            Done::Fetched(hash)
        });
    }
}

/// A failed dial in words for people: what went wrong, without the layers in between.
fn why(error: &DialError) -> String {
    match error {
        DialError::WrongPeerId { obtained, .. } => {
            format!("another peer answers there: {obtained}; ask for the current address")
        }
        DialError::Denied { cause } => format!("this node refuses: {}", innermost(cause)),
        DialError::Transport(errors) => match errors.first() {
            Some((_, error)) => innermost(error),
            None => "it cannot be reached".to_owned(),
        },
        other => other.to_string(),
    }
}

/// What an error says at its root.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
