//! Which datagram of the port belongs to whom.
//!
//! Enters: everything that reaches the port. Leaves: proven peers, and answers to those who only ask for
//! their own address. Refuses: what is neither, and handshakes beyond what is stated here. Before a source has
//! shown that it gets our answers, none of them is longer than its question.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures::channel::mpsc;
use libp2p::PeerId;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use super::super::Error;
use super::super::sdp::Username;
use super::accept::{Host, accept};
use super::guard::{Guard, Rate, network};
use super::socket::{Part, Port};
use super::stun::Request;
use crate::backend::native::Peer;
use crate::muxer::Muxer;

/// Handshakes at a time. Each needs a few hundred KiB. Beyond that the oldest gives way, so that handshakes
/// that never go on, with forged sources perhaps, keep nobody out who answers within a second.
const HANDSHAKES: usize = 256;

/// Of these from one source: many tabs may stand behind one address.
const HANDSHAKES_EACH: usize = 64;

/// Connections at a time, as many as a coordinator serves.
const CONNECTIONS: usize = 2048;

/// Addresses from which one connection's packets come: one for each of the other side's networks.
const ADDRESSES: usize = 8;

/// New handshakes, of one source and of all. ICE asks again every half second.
const NEW_EACH: Rate = Rate { burst: 64.0, per_second: 16.0 };
const NEW: Rate = Rate { burst: 256.0, per_second: 200.0 };

/// Questions for one's own address, of one source and of all.
const STUN_EACH: Rate = Rate { burst: 64.0, per_second: 16.0 };
const STUN: Rate = Rate { burst: 1000.0, per_second: 1000.0 };

/// How often connections that are gone are forgotten.
const SWEEP: Duration = Duration::from_secs(1);

/// A peer that proved who it is, and where it called from.
pub(super) type Proven = (SocketAddr, PeerId, Muxer<Peer>);

/// How a handshake ended, and with whom if it came to nothing.
type Outcome = Result<Proven, (SocketAddr, Error)>;

/// Who reads the port.
pub(super) struct Router {
    host: Host,
    port: Arc<Port>,
    proven: mpsc::Sender<Proven>,
    /// Whose datagrams come from where.
    routes: HashMap<SocketAddr, Weak<Part>>,
    /// Connections by who calls, so that calls from several networks come together.
    calls: HashMap<Username, Call>,
    handshakes: HashMap<Id, Handshake>,
    oldest: VecDeque<Id>,
    tasks: JoinSet<Outcome>,
    new: Guard,
    stun: Guard,
}

struct Call {
    part: Weak<Part>,
    addresses: usize,
}

struct Handshake {
    source: IpAddr,
    task: AbortHandle,
}

impl Router {
    pub(super) fn new(host: Host, port: Arc<Port>, proven: mpsc::Sender<Proven>) -> Self {
        let now = Instant::now();
        Self {
            host,
            port,
            proven,
            routes: HashMap::new(),
            calls: HashMap::new(),
            handshakes: HashMap::new(),
            oldest: VecDeque::new(),
            tasks: JoinSet::new(),
            new: Guard::new(NEW_EACH, NEW, now),
            stun: Guard::new(STUN_EACH, STUN, now),
        }
    }

    /// Reads the port until the listener is gone. The error is the port's.
    pub(super) async fn run(mut self) -> std::io::Error {
        let port = self.port.clone();
        let mut buffer = vec![0; port.batch()];
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            tokio::select! {
                received = port.receive(&mut buffer) => match received {
                    Ok((length, stride, from)) => self.route(&buffer[..length], stride, from),
                    Err(error) if passes(&error) => {}
                    Err(error) => return error,
                },
                Some(done) = self.tasks.join_next_with_id() => self.finished(done),
                _ = sweep.tick() => self.sweep(),
            }
        }
    }

    fn route(&mut self, run: &[u8], stride: usize, from: SocketAddr) {
        match self.routes.get(&from).map(Weak::upgrade) {
            Some(Some(part)) => return part.deliver(run, stride, from),
            Some(None) => drop(self.routes.remove(&from)),
            None => {}
        }
        for datagram in run.chunks(stride) {
            self.stranger(datagram, from);
        }
    }

    /// A datagram from where no connection is known.
    fn stranger(&mut self, datagram: &[u8], from: SocketAddr) {
        let Some(request) = Request::read(datagram) else { return };
        let now = Instant::now();
        let Some(username) = request.username else {
            if self.stun.admit(from.ip(), now) {
                self.port.answer(&request.answer(from), from);
            }
            return;
        };
        let Some(username) = Username::read(username) else { return };
        let known = self.calls.get_mut(&username).and_then(|call| Some((call.part.upgrade()?, call)));
        let part = match known {
            Some((_, call)) if call.addresses >= ADDRESSES => return,
            Some((part, call)) => {
                call.addresses += 1;
                part
            }
            None => match self.begin(username, from, now) {
                Some(part) => part,
                None => return,
            },
        };
        self.routes.insert(from, Arc::downgrade(&part));
        part.deliver(datagram, datagram.len(), from);
    }

    /// Begins a handshake, if there may be one more.
    fn begin(&mut self, username: Username, from: SocketAddr, now: Instant) -> Option<Arc<Part>> {
        let source = network(from.ip());
        let from_there = self.handshakes.values().filter(|handshake| handshake.source == source).count();
        if from_there >= HANDSHAKES_EACH || self.calls.len() >= CONNECTIONS || !self.new.admit(source, now) {
            tracing::trace!(%from, "refused a handshake: there are too many");
            return None;
        }
        if self.handshakes.len() >= HANDSHAKES {
            self.give_way();
        }
        let part = Arc::new(Part::new(self.port.clone()));
        self.calls.insert(username.clone(), Call { part: Arc::downgrade(&part), addresses: 1 });
        let handshake = accept(self.host.clone(), part.clone(), username, from);
        let task = self.tasks.spawn(async move {
            let (peer, muxer) = handshake.await.map_err(|error| (from, error))?;
            Ok((from, peer, muxer))
        });
        self.oldest.push_back(task.id());
        self.handshakes.insert(task.id(), Handshake { source, task });
        Some(part)
    }

    fn give_way(&mut self) {
        while let Some(id) = self.oldest.pop_front() {
            if let Some(handshake) = self.handshakes.remove(&id) {
                tracing::debug!("gave up the oldest handshake for a new one");
                return handshake.task.abort();
            }
        }
    }

    fn finished(&mut self, done: Result<(Id, Outcome), JoinError>) {
        let (id, outcome) = match done {
            Ok((id, outcome)) => (id, Some(outcome)),
            Err(aborted) => (aborted.id(), None),
        };
        self.handshakes.remove(&id);
        match outcome {
            Some(Ok(proven)) => self.hand_over(proven),
            Some(Err((from, error))) => tracing::debug!(%from, %error, "a handshake came to nothing"),
            None => {}
        }
    }

    fn hand_over(&mut self, proven: Proven) {
        if self.proven.try_send(proven).is_err() {
            tracing::debug!("nobody takes new connections, refused one");
        }
    }

    fn sweep(&mut self) {
        self.routes.retain(|_, part| part.strong_count() > 0);
        self.calls.retain(|_, call| call.part.strong_count() > 0);
        self.oldest.retain(|id| self.handshakes.contains_key(id));
    }
}

/// Whether an error is one peer's and not the port's: how the system tells that a datagram found nobody.
fn passes(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionRefused, ConnectionReset, Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), ConnectionRefused | ConnectionReset | Interrupted | TimedOut | WouldBlock)
}
