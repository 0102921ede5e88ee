//! The node's connections: from a handshake to a control session, and to its end.
//!
//! Enters: what the swarm says. Leaves: sessions that run, streams that are served. Refuses: a
//! second control stream, a control stream from the side that did not dial, blobs before
//! introduction, more requests than are served at a time; a connection that stays silent.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures_timer::Delay;
use libp2p::core::ConnectedPoint;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{ConnectionId, DialError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Stream, ping};
use tributary_protocol::Id;
use tributary_webrtc::private::is_relayed;

use super::{Connection, Done, Node, Waiting};
use crate::behaviour::BehaviourEvent;
use crate::control::{FAREWELL, Session};
use crate::handle::Event;
use crate::link::{End, Link};
use crate::meter::Meter;
use crate::streams::{Inbound, Kind};

/// Time for whoever dialled to open the control stream.
const INTRODUCTION: Duration = Duration::from_secs(20);

/// Time to tell a connection that a newer one replaced it; the newer one waits for that.
const REPLACED: Duration = Duration::from_millis(500);

/// A ping can fail because bulk fills a slow link. If bytes came since the last answer, the
/// connection gets this much longer to show another one.
const LAST_LOOK: Duration = Duration::from_secs(4);

impl Node {
    pub(super) fn on_swarm(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::NewListenAddr { address, .. } => self.on_listening(address),
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
            SwarmEvent::ListenerClosed { addresses, reason, .. } if addresses.iter().all(is_introduced) => {
                tracing::debug!(?reason, "no place at a relay any more, or none to be had");
            }
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                tracing::warn!(?addresses, ?reason, "a listener has closed; restart to open it again");
            }
            SwarmEvent::Behaviour(BehaviourEvent::Streams(inbound)) => self.on_inbound(inbound),
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping)) => self.on_ping(ping),
            _ => {}
        }
    }

    fn on_listening(&mut self, address: Multiaddr) {
        if is_introduced(&address) {
            tracing::debug!(%address, "has a place at a relay");
            return;
        }
        if self.is_relay {
            // A relay tells its addresses to whoever takes a place.
            self.swarm.add_external_address(address.clone());
        }
        self.pending.push_back(Event::Listening(address));
    }

    fn on_established(&mut self, peer_id: &PeerId, id: ConnectionId, endpoint: &ConnectedPoint) {
        if is_relayed(endpoint) {
            // For introductions only: neither frames nor blobs go over a relay.
            self.dial_failed(id, || "it was reached over a relay, which carries introductions only".to_owned());
            return;
        }
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
            meter: Arc::new(Meter::of(self.shared.totals.clone())),
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
    pub(super) fn dial_failed(&mut self, id: ConnectionId, why: impl FnOnce() -> String) {
        if let Some(addr) = self.dials.remove(&id) {
            self.pending.push_back(Event::DialFailed { addr, why: why() });
        }
    }

    fn on_ping(&mut self, event: ping::Event) {
        let Some(connection) = self.connections.get_mut(&event.connection) else { return };
        let heard = connection.meter.heard();
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
    pub(super) fn dead(&mut self, id: ConnectionId) {
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
            // Whoever was dialled may know before the dialler that the control stream is up.
            (Kind::Blob, link) if link.is_some() || waiting || connection.dialled => self.serve(id, stream),
            (Kind::Control, Some(link)) => {
                link.end(End::Refuse("it opened a second control stream".to_owned(), FAREWELL));
            }
            (Kind::Control, None) if !connection.dialled && !waiting => self.on_control(id, stream),
            // A blob stream before the control stream, or a control stream from the wrong side.
            _ => drop(self.swarm.close_connection(id)),
        }
    }

    pub(super) fn is_waiting(&self, id: ConnectionId) -> bool {
        self.waiting.values().any(|waiting| waiting.connection == id)
    }

    /// A control stream is up: it starts at once, waits for the older session to end, or yields.
    pub(super) fn on_control(&mut self, id: ConnectionId, stream: Stream) {
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

    /// Takes a place at the relay that a peer may be. Most peers are none, which harms nothing.
    fn reserve(&mut self, peer: Id, addr: Multiaddr) {
        let named = crate::peer_id(peer).and_then(|peer| addr.with_p2p(peer).ok());
        let Some(relay) = named.map(|addr| addr.with(Protocol::P2pCircuit)) else { return };
        if let Err(error) = self.swarm.listen_on(relay) {
            tracing::debug!(%peer, %error, "cannot ask for a place at its relay");
        }
    }

    pub(super) fn start(&mut self, id: ConnectionId, stream: Stream) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let link = Arc::<Link>::default();
        let (peer, meter) = (connection.peer, connection.meter.clone());
        let connected = Event::Connected { peer, addr: connection.addr.clone() };
        connection.link = Some(link.clone());
        let may_introduce = self.links && connection.dialled && !is_introduced(&connection.addr);
        let relay = connection.addr.clone();
        if may_introduce {
            self.reserve(peer, relay);
        }
        self.live.insert(peer, id);
        self.shared.link(peer, link.clone(), meter.clone());
        let session = Session::new(peer, stream, link, meter, self.events.clone(), connected);
        self.task(session.map(move |tail| Done::Ended(id, tail)));
        self.on_link(peer);
    }
}

/// Whether an address takes a relay, be it only for the introduction.
fn is_introduced(addr: &Multiaddr) -> bool {
    addr.iter().any(|part| matches!(part, Protocol::P2pCircuit | Protocol::WebRTC))
}

/// A failed dial in words for people: what went wrong, without the layers in between.
pub(super) fn why(error: &DialError) -> String {
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
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
