//! The swarm's event loop: carries out orders and remembers who waits for what.

use std::collections::HashMap;

use futures::StreamExt;
use futures::channel::{mpsc, oneshot};
use libp2p::core::ConnectedPoint;
use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{ConnectionId, DialError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm};
use tributary_webrtc::private::is_relayed;

use crate::peer::Behaviour;

/// Answers one order.
type Done<T> = oneshot::Sender<T>;

/// What only the swarm can do, and who waits for it.
pub(crate) enum Order {
    /// Reserve at a relay and take what comes over it.
    Listen(Multiaddr, Done<Result<Multiaddr, String>>),
    /// Listen at a UDP port.
    ListenDirectly(Done<Result<Multiaddr, String>>),
    /// Connect.
    Dial(Multiaddr, Done<Result<PeerId, String>>),
    /// `direct` or `relayed` for each of a peer's connections.
    Paths(PeerId, Done<Vec<&'static str>>),
    /// Close a peer's relayed connections; answered once they are.
    Shed(PeerId, Done<()>),
}

#[derive(Default)]
struct Node {
    dials: HashMap<ConnectionId, Done<Result<PeerId, String>>>,
    listens: HashMap<ListenerId, Done<Result<Multiaddr, String>>>,
    connections: HashMap<ConnectionId, (PeerId, ConnectedPoint)>,
    sheds: Vec<(PeerId, Done<()>)>,
}

/// Runs until nobody can give orders any more.
pub(crate) async fn run(mut swarm: Swarm<Behaviour>, mut orders: mpsc::Receiver<Order>) {
    let mut node = Node::default();
    loop {
        futures::select! {
            order = orders.next() => match order {
                Some(order) => node.order(&mut swarm, order),
                None => return,
            },
            event = swarm.select_next_some() => node.happened(*swarm.local_peer_id(), event),
        }
    }
}

impl Node {
    fn order(&mut self, swarm: &mut Swarm<Behaviour>, order: Order) {
        match order {
            Order::Listen(relay, done) => {
                // There is no address to be had: signalling comes over the reservation.
                if let Err(error) = swarm.listen_on(Multiaddr::empty().with(Protocol::WebRTC)) {
                    return answer(done, Err(error.to_string()));
                }
                let reservation = swarm.listen_on(relay.with(Protocol::P2pCircuit));
                self.listening(reservation, done);
            }
            Order::ListenDirectly(done) => {
                let address = "/ip4/127.0.0.1/udp/0/webrtc-direct".parse().expect("it is written right");
                let listener = swarm.listen_on(address);
                self.listening(listener, done);
            }
            Order::Dial(to, done) => {
                let dial = DialOpts::unknown_peer_id().address(to).build();
                let id = dial.connection_id();
                match swarm.dial(dial) {
                    Ok(()) => drop(self.dials.insert(id, done)),
                    Err(error) => answer(done, Err(words(&error))),
                }
            }
            Order::Paths(peer, done) => {
                let to_peer = self.connections.values().filter(|(other, _)| *other == peer);
                answer(done, to_peer.map(|(_, point)| if is_relayed(point) { "relayed" } else { "direct" }).collect());
            }
            Order::Shed(peer, done) => {
                for (id, _) in self.connections.iter().filter(|(_, (other, point))| *other == peer && is_relayed(point))
                {
                    swarm.close_connection(*id);
                }
                self.sheds.push((peer, done));
                self.answer_sheds();
            }
        }
    }

    fn listening<E: ToString>(&mut self, listener: Result<ListenerId, E>, done: Done<Result<Multiaddr, String>>) {
        match listener {
            Ok(listener) => drop(self.listens.insert(listener, done)),
            Err(error) => answer(done, Err(error.to_string())),
        }
    }

    fn happened<E: std::fmt::Debug>(&mut self, me: PeerId, event: SwarmEvent<E>) {
        match event {
            SwarmEvent::NewListenAddr { listener_id, address } => {
                if let Some(done) = self.listens.remove(&listener_id) {
                    answer(done, Ok(reachable(address, me)));
                }
            }
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                if let Some(done) = self.listens.remove(&listener_id) {
                    answer(done, Err(format!("listening ended: {reason:?}")));
                }
            }
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.connections.insert(connection_id, (peer_id, endpoint));
                if let Some(done) = self.dials.remove(&connection_id) {
                    answer(done, Ok(peer_id));
                }
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                if let Some(done) = self.dials.remove(&connection_id) {
                    answer(done, Err(words(&error)));
                }
            }
            SwarmEvent::ConnectionClosed { connection_id, cause, peer_id, .. } => {
                tracing::info!(%peer_id, ?cause, "a connection is closed");
                self.connections.remove(&connection_id);
                self.answer_sheds();
            }
            event => tracing::debug!(?event),
        }
    }

    /// Answers those whose peers have no relayed connection left.
    fn answer_sheds(&mut self) {
        let connections = &self.connections;
        let gone = |peer| !connections.values().any(|(other, point)| *other == peer && is_relayed(point));
        for (_, done) in self.sheds.extract_if(.., |(peer, _)| gone(*peer)) {
            answer(done, ());
        }
    }
}

/// The address under which others dial what listens at `address`.
fn reachable(address: Multiaddr, me: PeerId) -> Multiaddr {
    let is_mine = |part: &Protocol<'_>| *part == Protocol::P2p(me);
    let address: Multiaddr = address.iter().filter(|part| !is_mine(part)).collect();
    let address =
        if address.iter().any(|part| part == Protocol::P2pCircuit) { address.with(Protocol::WebRTC) } else { address };
    address.with(Protocol::P2p(me))
}

/// A dial's error with what lies below it.
fn words(error: &DialError) -> String {
    let mut words = error.to_string();
    if let DialError::Transport(errors) = error {
        for (_, error) in errors {
            words = format!("{words}; {error:?}");
        }
    }
    words
}

/// Whoever asked may have left.
fn answer<T>(done: Done<T>, outcome: T) {
    let _ = done.send(outcome);
}
