//! A WebRTC of one process: for tests, and for whoever wants two swarms to meet without a network.
//!
//! Descriptions and candidates are names of peer connections. By default a channel's writer waits for its
//! reader, as one that sends over a slow network would; [`Memory::impatient`] sends without waiting, as a
//! hostile peer would.

mod channel;

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures::FutureExt;
use futures::channel::mpsc;
use futures::future::{BoxFuture, ready};

pub use self::channel::MemoryChannel;
use self::channel::Pipe;
use super::{Backend, Candidate, EVENTS, Error, Peer, PeerConfig, PeerEvent, State};

/// A network of peer connections in this process. Clones are the same network.
#[derive(Clone, Default)]
pub struct Memory {
    hub: Shared,
    impatient: bool,
}

/// Locked before any pipe, never after.
type Shared = Arc<Mutex<Hub>>;

#[derive(Default)]
struct Hub {
    next: u64,
    ends: HashMap<u64, End>,
}

/// One side of a peer connection.
struct End {
    events: mpsc::Sender<PeerEvent<MemoryChannel>>,
    /// The other side, once its description is known.
    other: Option<u64>,
    /// Whether the other side's candidate came.
    reachable: bool,
    connected: bool,
    /// The other side's halves of channels that wait for the connection or, with an id, for the other side.
    offered: Vec<(Option<u16>, MemoryChannel)>,
    /// Both directions of the channels that were made here, ours first.
    pipes: Vec<[Weak<Mutex<Pipe>>; 2]>,
    /// Bytes that came and were not read.
    unread: Arc<AtomicUsize>,
}

impl Memory {
    /// A backend on the same network that sends without waiting for the reader.
    #[must_use]
    pub fn impatient(&self) -> Self {
        Self { hub: self.hub.clone(), impatient: true }
    }

    /// Sides of peer connections that exist.
    #[must_use]
    pub fn ends(&self) -> usize {
        lock(&self.hub).ends.len()
    }

    /// Channels that neither side has closed.
    #[must_use]
    pub fn channels(&self) -> usize {
        let hub = lock(&self.hub);
        let ours = hub.ends.values().flat_map(|end| &end.pipes).filter_map(|[ours, _]| ours.upgrade());
        ours.filter(|pipe| !lock(pipe).closed).count()
    }

    /// Tells every connected side that its connection's state is `state`; `Failed` also ends the connections.
    pub fn report(&self, state: State) {
        let mut hub = lock(&self.hub);
        let connected: Vec<u64> = hub.ends.iter().filter(|(_, end)| end.connected).map(|(id, _)| *id).collect();
        for id in connected {
            hub.tell(id, PeerEvent::State(state));
            if state == State::Failed {
                hub.end(id);
            }
        }
    }
}

impl Backend for Memory {
    type Peer = MemoryPeer;

    fn open(&self, _: PeerConfig) -> BoxFuture<'static, Result<(MemoryPeer, super::Events<Self>), Error>> {
        let (sender, events) = mpsc::channel(EVENTS);
        let mut hub = lock(&self.hub);
        hub.next += 1;
        let id = hub.next;
        let end = End {
            events: sender,
            other: None,
            reachable: false,
            connected: false,
            offered: Vec::new(),
            pipes: Vec::new(),
            unread: Arc::default(),
        };
        hub.ends.insert(id, end);
        ready(Ok((MemoryPeer { id, hub: self.hub.clone(), impatient: self.impatient }, events))).boxed()
    }
}

impl Hub {
    fn tell(&mut self, id: u64, event: PeerEvent<MemoryChannel>) {
        if let Some(end) = self.ends.get_mut(&id)
            && end.events.try_send(event).is_err()
        {
            self.end(id);
        }
    }

    fn know(&mut self, id: u64, other: u64) -> Result<(), Error> {
        if other == id || !self.ends.contains_key(&other) {
            return Err(Error::Description("it names no peer connection".to_owned()));
        }
        self.ends.get_mut(&id).ok_or(Error::Closed)?.other = Some(other);
        Ok(())
    }

    /// Connects both sides once each knows the other and a candidate came.
    fn connect(&mut self, id: u64) {
        let known = self.ends.get(&id).and_then(|end| Some((end.other?, end.reachable)));
        let Some((other, reachable)) = known else { return };
        let Some(far) = self.ends.get(&other) else { return };
        if far.other != Some(id) || far.connected || !(reachable || far.reachable) {
            return;
        }
        for (id, other) in [(id, other), (other, id)] {
            let far = self.ends.get(&other).map(|end| end.unread.clone()).unwrap_or_default();
            let Some(end) = self.ends.get_mut(&id) else { continue };
            end.connected = true;
            for pipes in &end.pipes {
                for (pipe, unread) in pipes.iter().zip([&far, &end.unread]) {
                    if let Some(pipe) = pipe.upgrade() {
                        lock(&pipe).open(unread.clone());
                    }
                }
            }
            let (negotiated, offered): (Vec<_>, Vec<_>) =
                std::mem::take(&mut end.offered).into_iter().partition(|(id, _)| id.is_some());
            end.offered = negotiated;
            self.tell(id, PeerEvent::State(State::Connected));
            for (_, channel) in offered {
                self.tell(other, PeerEvent::Channel(channel));
            }
        }
    }

    /// Ends a connection for both sides.
    fn end(&mut self, id: u64) {
        let Some(end) = self.ends.remove(&id) else { return };
        for pipe in end.pipes.iter().flatten().filter_map(Weak::upgrade) {
            lock(&pipe).close();
        }
        if let Some(other) = end.other {
            self.tell(other, PeerEvent::State(State::Closed));
            self.end(other);
        }
    }
}

/// One side of a peer connection in this process.
pub struct MemoryPeer {
    id: u64,
    hub: Shared,
    impatient: bool,
}

impl MemoryPeer {
    /// Its description. From now on it has a candidate.
    fn describe(&self, kind: &str) -> String {
        let mut hub = lock(&self.hub);
        let candidate = Candidate { candidate: format!("candidate:memory {}", self.id), ..Candidate::default() };
        hub.tell(self.id, PeerEvent::Candidate(candidate));
        hub.tell(self.id, PeerEvent::Candidate(Candidate::default()));
        format!("{kind} {}", self.id)
    }

    fn know(&self, description: &str) -> Result<(), Error> {
        let other = named(description)?;
        let mut hub = lock(&self.hub);
        hub.know(self.id, other)?;
        hub.connect(self.id);
        Ok(())
    }

    fn make(&self, id: Option<u16>) -> Result<MemoryChannel, Error> {
        let mut guard = lock(&self.hub);
        let hub = &mut *guard;
        let end = hub.ends.get(&self.id).ok_or(Error::Closed)?;
        let (other, connected) = (end.other, end.connected);
        // A negotiated channel that the other side made before us.
        if let Some(far) = other.and_then(|other| hub.ends.get_mut(&other))
            && let Some(at) = far.offered.iter().position(|(offered, _)| id.is_some() && *offered == id)
        {
            let (_, mut channel) = far.offered.swap_remove(at);
            channel.end = self.id;
            channel.impatient = self.impatient;
            return Ok(channel);
        }
        let far = other.and_then(|other| hub.ends.get(&other)).map(|far| far.unread.clone()).unwrap_or_default();
        let end = hub.ends.get_mut(&self.id).ok_or(Error::Closed)?;
        let pipe = |unread| Arc::new(Mutex::new(Pipe::new(connected, unread)));
        let (there, back) = (pipe(far), pipe(end.unread.clone()));
        end.pipes.retain(|[pipe, _]| pipe.strong_count() > 0);
        end.pipes.push([Arc::downgrade(&there), Arc::downgrade(&back)]);
        let half = |incoming: &Arc<Mutex<Pipe>>, outgoing: &Arc<Mutex<Pipe>>, end| MemoryChannel {
            hub: self.hub.clone(),
            end,
            incoming: incoming.clone(),
            outgoing: outgoing.clone(),
            impatient: self.impatient,
        };
        let (ours, theirs) = (half(&back, &there, self.id), half(&there, &back, other.unwrap_or_default()));
        match other {
            Some(other) if connected && id.is_none() => hub.tell(other, PeerEvent::Channel(theirs)),
            _ => end.offered.push((id, theirs)),
        }
        Ok(ours)
    }
}

/// The peer connection that a description or candidate names.
fn named(text: &str) -> Result<u64, Error> {
    let name = text.rsplit(' ').next().and_then(|name| name.parse().ok());
    name.ok_or_else(|| Error::Description("it names no peer connection".to_owned()))
}

impl Peer for MemoryPeer {
    type Channel = MemoryChannel;

    fn offer(&self) -> BoxFuture<'static, Result<String, Error>> {
        ready(Ok(self.describe("offer"))).boxed()
    }

    fn answer(&self, offer: String) -> BoxFuture<'static, Result<String, Error>> {
        ready(self.know(&offer).map(|()| self.describe("answer"))).boxed()
    }

    fn accept(&self, answer: String) -> BoxFuture<'static, Result<(), Error>> {
        ready(self.know(&answer)).boxed()
    }

    fn add_candidate(&self, candidate: Candidate) -> BoxFuture<'static, Result<(), Error>> {
        let done = named(&candidate.candidate).and_then(|name| {
            let mut hub = lock(&self.hub);
            let end = hub.ends.get_mut(&self.id).ok_or(Error::Closed)?;
            end.reachable |= end.other == Some(name);
            hub.connect(self.id);
            Ok(())
        });
        ready(done).boxed()
    }

    fn channel(&self, _: &str, id: Option<u16>) -> BoxFuture<'static, Result<MemoryChannel, Error>> {
        ready(self.make(id)).boxed()
    }

    fn close(&self) {
        let mut hub = lock(&self.hub);
        hub.tell(self.id, PeerEvent::State(State::Closed));
        hub.end(self.id);
    }
}

impl Drop for MemoryPeer {
    fn drop(&mut self) {
        self.close();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere is reported there.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
