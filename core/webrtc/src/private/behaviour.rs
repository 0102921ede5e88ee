//! Gets signalling streams for the transport, and hands it those of others.

use std::collections::{HashMap, VecDeque};
use std::task::{Context, Poll};

use futures::StreamExt;
use futures::channel::mpsc;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{
    ConnectionClosed, ConnectionDenied, ConnectionId, DialFailure, FromSwarm, NetworkBehaviour, NotifyHandler, Stream,
    THandlerInEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

use super::Error;
use super::address::{self, Relay};
use super::handler::{Handler, Open, Reply};
use super::slots::{Slot, Slots};

/// Refusals that wait to be reported. Whoever causes more at once is told of by these.
const REFUSALS: usize = 32;

/// What happens that nobody asked for.
#[derive(Debug)]
pub enum Event {
    /// A peer's wish for a direct connection was refused.
    Refused {
        /// Who wished it.
        peer: PeerId,
        /// Why not.
        error: Error,
    },
}

/// A dial of the transport's that needs a signalling stream. It holds a slot, so there are never many.
pub(super) struct Dial {
    pub(super) peer: PeerId,
    pub(super) circuit: Multiaddr,
    pub(super) reply: Reply,
}

/// A signalling stream that came, for the transport.
pub(super) struct Incoming {
    pub(super) peer: PeerId,
    pub(super) relay: Relay,
    pub(super) stream: Stream,
    pub(super) slot: Slot,
}

/// The half of `/webrtc` that lives in the swarm: it has relayed connections made, and runs the signalling
/// protocol on them.
pub struct Behaviour {
    slots: Slots,
    dials: mpsc::Receiver<Dial>,
    accept: mpsc::Sender<Incoming>,
    /// Relayed connections that are up, and their relays.
    relayed: HashMap<PeerId, Vec<(ConnectionId, Relay)>>,
    /// Who waits for a relayed connection to a peer, and the dial that makes it.
    waiting: HashMap<PeerId, (ConnectionId, Vec<Reply>)>,
    refusals: VecDeque<Event>,
}

impl Behaviour {
    pub(super) fn new(slots: Slots, dials: mpsc::Receiver<Dial>, accept: mpsc::Sender<Incoming>) -> Self {
        Self { slots, dials, accept, relayed: HashMap::new(), waiting: HashMap::new(), refusals: VecDeque::new() }
    }

    fn handler(&mut self, peer: PeerId, address: &Multiaddr) -> Handler {
        let relayed = address::relay(address).is_some();
        let wanted = if relayed { self.waiting.remove(&peer) } else { None };
        Handler::new(relayed, wanted.into_iter().flat_map(|(_, replies)| replies))
    }

    /// Gets a signalling stream over the relayed connection that is up, or has one made.
    fn dial(&mut self, Dial { peer, circuit, reply }: Dial) -> Option<ToSwarm<Event, Open>> {
        if let Some((connection, _)) = self.relayed.get(&peer).and_then(|all| all.last()) {
            let handler = NotifyHandler::One(*connection);
            return Some(ToSwarm::NotifyHandler { peer_id: peer, handler, event: Open(reply) });
        }
        if let Some((_, replies)) = self.waiting.get_mut(&peer) {
            replies.retain(|reply| !reply.is_canceled());
            replies.push(reply);
            return None;
        }
        // The swarm is dialling this peer already: that is the dial for which this one is needed.
        let opts = DialOpts::peer_id(peer).addresses(vec![circuit]).condition(PeerCondition::Always).build();
        self.waiting.insert(peer, (opts.connection_id(), vec![reply]));
        Some(ToSwarm::Dial { opts })
    }

    fn accept(&mut self, peer: PeerId, connection: ConnectionId, stream: Stream) -> Result<(), Error> {
        let relayed = self.relayed.get(&peer).into_iter().flatten().find(|(id, _)| *id == connection);
        let Some((_, relay)) = relayed else { return Err(Error::Unexpected("signalling on a direct connection")) };
        let relay = *relay;
        let slot = self.slots.accept(peer, relay)?;
        self.accept.try_send(Incoming { peer, relay, stream, slot }).map_err(|_| Error::Busy("at once"))
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(self.handler(peer, local))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(self.handler(peer, address))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(up) => {
                let address = match up.endpoint {
                    libp2p::core::ConnectedPoint::Dialer { address, .. } => address,
                    libp2p::core::ConnectedPoint::Listener { local_addr, .. } => local_addr,
                };
                if let Some(relay) = address::relay(address) {
                    self.relayed.entry(up.peer_id).or_default().push((up.connection_id, relay));
                }
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                if let Some(all) = self.relayed.get_mut(&peer_id) {
                    all.retain(|(id, _)| *id != connection_id);
                    if all.is_empty() {
                        self.relayed.remove(&peer_id);
                    }
                }
            }
            FromSwarm::DialFailure(DialFailure { peer_id: Some(peer), connection_id, error }) => {
                if self.waiting.get(&peer).is_some_and(|(id, _)| *id == connection_id)
                    && let Some((_, replies)) = self.waiting.remove(&peer)
                {
                    for reply in replies {
                        let _ = reply.send(Err(Error::Relay(error.to_string())));
                    }
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, stream: Stream) {
        if let Err(error) = self.accept(peer, connection, stream)
            && self.refusals.len() < REFUSALS
        {
            self.refusals.push_back(Event::Refused { peer, error });
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Event, THandlerInEvent<Self>>> {
        if let Some(refused) = self.refusals.pop_front() {
            return Poll::Ready(ToSwarm::GenerateEvent(refused));
        }
        while let Poll::Ready(Some(dial)) = self.dials.poll_next_unpin(cx) {
            if let Some(action) = self.dial(dial) {
                return Poll::Ready(action);
            }
        }
        Poll::Pending
    }
}
