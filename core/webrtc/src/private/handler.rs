//! Signalling streams of one connection.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::option;
use std::task::{Context, Poll};

use futures::channel::oneshot;
use libp2p::core::UpgradeInfo;
use libp2p::swarm::handler::{ConnectionEvent, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{ConnectionHandler, ConnectionHandlerEvent, Stream, StreamUpgradeError, SubstreamProtocol};
use libp2p::{InboundUpgrade, OutboundUpgrade, StreamProtocol};

use super::{Error, SIGNALLING};

/// Streams of the other side's that wait for the behaviour, which takes them at once.
const INBOUND: usize = 4;

/// Who waits for a signalling stream.
pub(super) type Reply = oneshot::Sender<Result<Stream, Error>>;

/// Opens signalling streams, and takes the other side's on relayed connections only.
pub struct Handler {
    relayed: bool,
    wanted: VecDeque<Reply>,
    /// Streams asked of the connection that are not there yet.
    opening: usize,
    arrived: VecDeque<Stream>,
}

impl Handler {
    /// For a connection on which the streams that `wanted` stands for are to be opened at once, so that the
    /// connection is never idle before they are.
    pub(super) fn new(relayed: bool, wanted: impl IntoIterator<Item = Reply>) -> Self {
        Self { relayed, wanted: wanted.into_iter().collect(), opening: 0, arrived: VecDeque::new() }
    }
}

/// The signalling protocol, without anything to negotiate; or no protocol.
#[derive(Debug, Clone, Copy)]
pub struct Signalling {
    spoken: bool,
}

impl UpgradeInfo for Signalling {
    type Info = StreamProtocol;
    type InfoIter = option::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.spoken.then_some(SIGNALLING).into_iter()
    }
}

impl InboundUpgrade<Stream> for Signalling {
    type Output = Stream;
    type Error = Infallible;
    type Future = Ready<Result<Stream, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, _: StreamProtocol) -> Self::Future {
        ready(Ok(stream))
    }
}

impl OutboundUpgrade<Stream> for Signalling {
    type Output = Stream;
    type Error = Infallible;
    type Future = Ready<Result<Stream, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, _: StreamProtocol) -> Self::Future {
        ready(Ok(stream))
    }
}

/// What the behaviour asks of a connection: a signalling stream.
#[derive(Debug)]
pub struct Open(pub(super) Reply);

impl ConnectionHandler for Handler {
    type FromBehaviour = Open;
    /// A signalling stream of the other side's.
    type ToBehaviour = Stream;
    type InboundProtocol = Signalling;
    type OutboundProtocol = Signalling;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Open;

    fn listen_protocol(&self) -> SubstreamProtocol<Signalling, ()> {
        SubstreamProtocol::new(Signalling { spoken: self.relayed }, ())
    }

    fn connection_keep_alive(&self) -> bool {
        // From then on the stream keeps the connection, as long as someone holds it.
        !self.wanted.is_empty() || self.opening > 0 || !self.arrived.is_empty()
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Signalling, Open, Stream>> {
        if let Some(stream) = self.arrived.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(stream));
        }
        while let Some(reply) = self.wanted.pop_front() {
            if !reply.is_canceled() {
                self.opening += 1;
                let protocol = SubstreamProtocol::new(Signalling { spoken: true }, Open(reply));
                return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
            }
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, Open(reply): Open) {
        self.wanted.push_back(reply);
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Signalling, Signalling, (), Open>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: stream, .. })
                if self.arrived.len() < INBOUND =>
            {
                self.arrived.push_back(stream);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info: Open(reply) }) => {
                self.opening -= 1;
                // Whoever does not wait any more drops the stream.
                let _ = reply.send(Ok(protocol));
            }
            ConnectionEvent::DialUpgradeError(failed) => {
                self.opening -= 1;
                let why = match failed.error {
                    StreamUpgradeError::NegotiationFailed => "it does not speak WebRTC".to_owned(),
                    StreamUpgradeError::Timeout => "it did not answer over the relay".to_owned(),
                    StreamUpgradeError::Io(error) => error.to_string(),
                    StreamUpgradeError::Apply(never) => match never {},
                };
                let _ = failed.info.0.send(Err(Error::Unsupported(why)));
            }
            _ => {}
        }
    }
}
