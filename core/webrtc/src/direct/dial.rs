//! Dialling `/webrtc-direct`.
//!
//! Enters: an address with the hash of a certificate. Leaves: who answered there, proven, and a muxer.
//! Refuses: addresses without that hash, and whoever is not the peer that the address names. The local
//! offer is set as the WebRTC implementation made it: the server learns our credentials from the answer
//! that we write in its name (version 2 of the protocol).

use std::future::Pending;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::{BoxFuture, Either, select};
use futures::{FutureExt, StreamExt};
use futures_timer::Delay;
use libp2p::core::Endpoint;
use libp2p::core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId};

use super::noise::Certificates;
use super::{Address, Error, noise, sdp};
use crate::backend::{self, Backend, Events, Peer, PeerConfig, PeerEvent, State};
use crate::muxer::{Muxer, WAITING};
use crate::stream::Stream;

/// From the first packet to both peers being proven: some nine round trips and, on a phone, a second of
/// making keys.
const HANDSHAKE: Duration = Duration::from_secs(15);

/// Dials `/webrtc-direct`; to listen is another transport's work.
pub struct Transport<B> {
    backend: B,
    identity: Keypair,
}

impl<B> Transport<B> {
    /// Dials as `identity`.
    pub fn new(backend: B, identity: Keypair) -> Self {
        Self { backend, identity }
    }
}

impl<B: Backend> libp2p::Transport for Transport<B> {
    type Output = (PeerId, Muxer<B::Peer>);
    type Error = Error;
    type ListenerUpgrade = Pending<Result<Self::Output, Error>>;
    type Dial = BoxFuture<'static, Result<Self::Output, Error>>;

    fn listen_on(&mut self, _: ListenerId, address: Multiaddr) -> Result<(), TransportError<Error>> {
        Err(TransportError::MultiaddrNotSupported(address))
    }

    fn remove_listener(&mut self, _: ListenerId) -> bool {
        false
    }

    fn dial(&mut self, address: Multiaddr, opts: DialOpts) -> Result<Self::Dial, TransportError<Error>> {
        let target = Address::read(&address).filter(|target| target.certificate.is_some());
        let (Some(target), Endpoint::Dialer) = (target, opts.role) else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        let (backend, identity) = (self.backend.clone(), self.identity.clone());
        Ok(async move {
            match select(connect(backend, identity, target).boxed(), Delay::new(HANDSHAKE)).await {
                Either::Left((done, _)) => done,
                Either::Right(_) => Err(Error::TimedOut),
            }
        }
        .boxed())
    }

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, Error>> {
        Poll::Pending
    }
}

async fn connect<B: Backend>(
    backend: B,
    identity: Keypair,
    target: Address,
) -> Result<(PeerId, Muxer<B::Peer>), Error> {
    let server = target.certificate.ok_or(Error::Description("the address has no certificate's hash"))?;
    let (peer, mut events) = backend.open(PeerConfig::default()).await?;
    let channel = peer.channel("", Some(0)).await?;
    let local = sdp::Local::read(&peer.offer().await?)?;
    peer.accept(sdp::answer(target.socket, server, &local.server_ufrag()?)).await?;
    let early = connected::<B>(&mut events).await?;

    let certificates = Certificates { client: local.fingerprint, server };
    let found = noise::client(&identity, certificates, Stream::new(channel)).await?;
    match target.peer {
        Some(expected) if expected != found => Err(Error::WrongPeer { expected: expected.into(), found: found.into() }),
        _ => Ok((found, Muxer::new(peer, events).with_waiting(early))),
    }
}

/// Waits for ICE and DTLS. Channels that the other side is quick to open are for the muxer.
pub(super) async fn connected<B: Backend>(events: &mut Events<B>) -> Result<Vec<<B::Peer as Peer>::Channel>, Error> {
    let mut early = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            PeerEvent::State(State::Connected) => return Ok(early),
            PeerEvent::State(State::Failed) => return Err(Error::Unreachable),
            PeerEvent::State(State::Closed) => break,
            PeerEvent::Broken(why) => return Err(why.into()),
            PeerEvent::Channel(channel) if early.len() < WAITING => early.push(channel),
            PeerEvent::Channel(_) => return Err(backend::Error::Flood("channels before it was connected").into()),
            // The server learns our address from our packets.
            PeerEvent::Candidate(_) | PeerEvent::State(State::Connecting | State::Disconnected) => {}
        }
    }
    Err(backend::Error::Closed.into())
}

#[cfg(test)]
mod tests {
    use libp2p::Transport as _;
    use libp2p::core::transport::PortUse;

    use super::*;
    use crate::backend::memory::Memory;

    const HASH: &str = "uEiDDq4_xNyDorZBH3TlGazyJdOWSwvo4PUo5YHFMrvDE8g";

    fn check(address: &str, role: Endpoint, expected: bool) {
        let mut transport = Transport::new(Memory::default(), Keypair::generate_ed25519());
        let dial = transport.dial(address.parse().unwrap(), DialOpts { role, port_use: PortUse::New });
        assert_eq!(dial.is_ok(), expected, "{address}");
        let listen = transport.listen_on(ListenerId::next(), address.parse().unwrap());
        assert!(matches!(listen, Err(TransportError::MultiaddrNotSupported(_))), "{address}");
    }

    #[test]
    fn what_is_left_to_other_transports() {
        check(&format!("/ip4/192.0.2.1/udp/9/webrtc-direct/certhash/{HASH}"), Endpoint::Dialer, true);
        check(&format!("/ip4/192.0.2.1/udp/9/webrtc-direct/certhash/{HASH}"), Endpoint::Listener, false);
        check("/ip4/192.0.2.1/udp/9/webrtc-direct", Endpoint::Dialer, false);
        check("/ip4/192.0.2.1/udp/9/quic-v1", Endpoint::Dialer, false);
    }
}
