//! Streams of this project's two protocols, each on a connection that is named.
//!
//! Enters: orders to open a stream on one connection. Leaves: opened streams, and streams that a
//! peer opened, with the connection they came on. Refuses: peers whose name is no Ed25519 key.
//!
//! The general-purpose `libp2p-stream` would do most of this, but it does not say on which
//! connection a stream came, picks a connection at random for a new one, and drops streams that
//! arrive faster than its one slot is emptied; here a peer's newer connection replaces its older one
//! and a thousand tabs come back at once.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::channel::oneshot;
use futures::future::Either;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{ReadyUpgrade, SelectUpgrade};
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound, StreamUpgradeError,
};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    NotifyHandler, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{PeerId, Stream, StreamProtocol};

/// The control stream's protocol.
const CONTROL: StreamProtocol = StreamProtocol::new("/tributary/control/1");
/// The blob stream's protocol.
const BLOB: StreamProtocol = StreamProtocol::new("/tributary/blob/2");

/// Streams that wait in one handler, opened by the peer and not yet handed on. More than any peer
/// may have open at a time; what is beyond is dropped.
const WAITING: usize = 32;

/// Which protocol a stream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Control,
    Blob,
}

/// What becomes of an order to open a stream: the stream, or why not.
pub(crate) type Opened = Result<Stream, String>;

/// An order to a connection's handler.
#[derive(Debug)]
pub(crate) struct Open {
    kind: Kind,
    reply: oneshot::Sender<Opened>,
}

/// A stream that a peer opened.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) connection: ConnectionId,
    pub(crate) kind: Kind,
    pub(crate) stream: Stream,
}

/// The peer's name is not the kind of key that signs this network's messages.
#[derive(Debug, thiserror::Error)]
#[error("its name is not an Ed25519 key")]
struct NotEd25519;

/// Opens and accepts streams.
#[derive(Default)]
pub(crate) struct Behaviour {
    queue: VecDeque<ToSwarm<Inbound, Open>>,
}

impl Behaviour {
    /// Opens a stream on `connection`. The answer is cancelled if the connection ends first.
    pub(crate) fn open(&mut self, peer: PeerId, connection: ConnectionId, kind: Kind) -> oneshot::Receiver<Opened> {
        let (reply, opened) = oneshot::channel();
        let event = Open { kind, reply };
        self.queue.push_back(ToSwarm::NotifyHandler { peer_id: peer, handler: NotifyHandler::One(connection), event });
        opened
    }
}

fn handler(peer: &PeerId) -> Result<Handler, ConnectionDenied> {
    crate::id(peer).map(|_| Handler::default()).ok_or_else(|| ConnectionDenied::new(NotEd25519))
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Inbound;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        handler(&peer)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        handler(&peer)
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        connection: ConnectionId,
        (kind, stream): THandlerOutEvent<Self>,
    ) {
        self.queue.push_back(ToSwarm::GenerateEvent(Inbound { connection, kind, stream }));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        // The swarm polls again after every event and after every order that the node's loop gives.
        self.queue.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

/// One connection's side of [`Behaviour`].
#[derive(Default)]
pub(crate) struct Handler {
    orders: VecDeque<Open>,
    inbound: VecDeque<(Kind, Stream)>,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Open;
    type ToBehaviour = (Kind, Stream);
    type InboundProtocol = SelectUpgrade<ReadyUpgrade<StreamProtocol>, ReadyUpgrade<StreamProtocol>>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = oneshot::Sender<Opened>;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(SelectUpgrade::new(ReadyUpgrade::new(CONTROL), ReadyUpgrade::new(BLOB)), ())
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Self::ToBehaviour>> {
        if let Some(inbound) = self.inbound.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(inbound));
        }
        if let Some(Open { kind, reply }) = self.orders.pop_front() {
            let name = match kind {
                Kind::Control => CONTROL,
                Kind::Blob => BLOB,
            };
            let protocol = SubstreamProtocol::new(ReadyUpgrade::new(name), reply);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, order: Open) {
        self.orders.push_back(order);
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol, (), Self::OutboundOpenInfo>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => {
                let inbound = match protocol {
                    Either::Left(stream) => (Kind::Control, stream),
                    Either::Right(stream) => (Kind::Blob, stream),
                };
                if self.inbound.len() < WAITING {
                    self.inbound.push_back(inbound);
                }
            }
            // Whoever no longer waits for a stream has dropped the receiver, and the stream with it.
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: stream, info: reply }) => {
                let _ = reply.send(Ok(stream));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: reply, error }) => {
                let why = match error {
                    StreamUpgradeError::Timeout => "it did not answer in time".to_owned(),
                    StreamUpgradeError::NegotiationFailed => "it does not speak this protocol".to_owned(),
                    StreamUpgradeError::Io(error) => error.to_string(),
                    StreamUpgradeError::Apply(never) => absurd(never),
                };
                let _ = reply.send(Err(why));
            }
            _ => {}
        }
    }
}

fn absurd(never: Infallible) -> String {
    match never {}
}
