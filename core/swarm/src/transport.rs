//! How bytes travel where: the only place in this crate that knows its target.
//!
//! To a coordinator natively TCP, QUIC and WebSocket, in a browser WebSocket and `/webrtc-direct`; between
//! contributors `/webrtc`, introduced over the coordinator's relay. Every path ends in the same thing, an
//! authenticated connection with streams.

use std::time::Duration;

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::timeout::TransportTimeout;
use libp2p::core::transport::{Boxed, OrTransport};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::{PeerId, Transport, noise, relay, swarm, yamux};
use tributary_webrtc::{direct, private};

use crate::{Config, SwarmError};

pub(crate) use imp::{MemoryGuard, RelayServer, blocking, is_free, memory_guard, relay_server};

/// From the first byte of a connection to its being authenticated. A loaded phone on a bad network
/// needs a few seconds for five round trips; whoever needs more would not keep up with a round.
const HANDSHAKE: Duration = Duration::from_secs(15);

/// How long a connection without any stream is kept. The control stream keeps the ones in use.
const IDLE: Duration = Duration::from_secs(60);

/// Every transport of this target, authenticated, and the behaviours that work for some of them.
pub(crate) struct Transports {
    pub(crate) all: Boxed<(PeerId, StreamMuxerBox)>,
    /// Keeps this node's place at a relay.
    pub(crate) relay: relay::client::Behaviour,
    /// Signals for `/webrtc`.
    pub(crate) webrtc: private::Behaviour,
}

pub(crate) fn transports(config: &Config, keypair: &Keypair) -> Result<Transports, SwarmError> {
    let noise = noise::Config::new(keypair).map_err(|error| SwarmError::Transport(error.to_string()))?;
    let signalled = private::Config::default();
    signalled.stun.set(config.stun.clone());
    let (signalled, webrtc) = private::new(signalled, imp::Webrtc::default());
    let direct = direct::dial::Transport::new(imp::Webrtc::default(), keypair.clone());
    let (relayed, relay) = relay::client::new(keypair.public().to_peer_id());
    let relayed = relayed
        .upgrade(Version::V1Lazy)
        .authenticate(noise.clone())
        .multiplex(yamux::Config::default())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    // What is introduced over a relay comes before the relay, which takes every address with a relay in it,
    // and the relay before those that would take the address of the relay for the whole.
    let rest = OrTransport::new(relayed, imp::transport(config, keypair, noise)?).map(|either, _| either.into_inner());
    // Both kinds of WebRTC have time-outs of their own.
    let rest = TransportTimeout::new(rest, HANDSHAKE);
    let webrtc_or_rest = OrTransport::new(direct.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer))), rest)
        .map(|either, _| either.into_inner());
    let all = OrTransport::new(signalled.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer))), webrtc_or_rest)
        .map(|either, _| either.into_inner())
        .boxed();
    Ok(Transports { all, relay, webrtc })
}

/// The swarm's settings, with this target's way to run a connection.
pub(crate) fn swarm_config() -> swarm::Config {
    imp::executor().with_idle_connection_timeout(IDLE)
}

#[cfg(not(target_arch = "wasm32"))]
mod imp {
    use std::io;
    use std::net::{IpAddr, TcpListener};
    use std::num::NonZeroU32;
    use std::time::Duration;

    use libp2p::core::muxing::StreamMuxerBox;
    use libp2p::core::transport::{Boxed, OrTransport};
    use libp2p::core::upgrade::Version;
    use libp2p::identity::Keypair;
    use libp2p::multiaddr::Protocol;
    use libp2p::swarm::behaviour::toggle::Toggle;
    use libp2p::{
        Multiaddr, PeerId, Transport, dns, memory_connection_limits, noise, quic, relay, swarm, tcp, websocket, yamux,
    };

    use tributary_webrtc::direct;
    use tributary_webrtc::direct::listen::Certificate;

    use crate::{Config, Relay, SwarmError};

    pub(super) use tributary_webrtc::backend::native::Native as Webrtc;

    /// Refuses connections while the process holds too much memory.
    pub(crate) type MemoryGuard = memory_connection_limits::Behaviour;

    /// Of the machine's memory: what is left serves the trainer's peaks and everything else that
    /// runs there, and refusing newcomers is better than being killed with all who are connected.
    const MEMORY: f64 = 0.85;

    pub(crate) fn memory_guard() -> MemoryGuard {
        memory_connection_limits::Behaviour::with_max_percentage(MEMORY)
    }

    /// Introduces peers to each other, where that is wanted.
    pub(crate) type RelayServer = Toggle<relay::Behaviour>;

    /// A place lasts so long, and is renewed at half of it.
    const RESERVED: Duration = Duration::from_secs(3600);

    pub(crate) fn relay_server(local: PeerId, limits: Option<Relay>) -> RelayServer {
        let server = limits.map(|limits| {
            let quiet = relay::Config {
                max_reservations: limits.reservations,
                // A peer that comes back is often faster than the notice that its old connection is dead.
                max_reservations_per_peer: 8,
                reservation_duration: RESERVED,
                reservation_rate_limiters: Vec::new(),
                max_circuits: limits.circuits,
                max_circuits_per_peer: limits.circuits_per_peer,
                max_circuit_duration: limits.circuit_time,
                max_circuit_bytes: limits.circuit_bytes,
                circuit_src_rate_limiters: Vec::new(),
            };
            // One peer: a burst of twenty, then one in two seconds. One address, behind which a whole school
            // may sit: as many as there are places, then a hundred a second.
            let peer = NonZeroU32::new(20).unwrap_or(NonZeroU32::MIN);
            let address = u32::try_from(limits.reservations).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
            let (slow, fast) = (Duration::from_secs(2), Duration::from_millis(10));
            let config = quiet
                .reservation_rate_per_peer(peer, slow)
                .reservation_rate_per_ip(address, fast)
                .circuit_src_per_peer(peer, slow)
                .circuit_src_per_ip(address, fast);
            relay::Behaviour::new(local, config)
        });
        server.into()
    }

    pub(super) fn executor() -> swarm::Config {
        swarm::Config::with_tokio_executor()
    }

    /// Runs what may wait for a disk or hash for long beside the event loop. `None`: it panicked or
    /// the runtime is shutting down.
    pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        tokio::task::spawn_blocking(work).await.ok()
    }

    /// Whether a TCP port can be listened on. libp2p shares a port with whoever else shares it, so
    /// that a second coordinator would silently take half of the first one's connections.
    pub(crate) fn is_free(addr: &Multiaddr) -> io::Result<()> {
        let mut parts = addr.iter();
        let ip = match parts.next() {
            Some(Protocol::Ip4(ip)) => IpAddr::from(ip),
            Some(Protocol::Ip6(ip)) => IpAddr::from(ip),
            _ => return Ok(()),
        };
        match parts.next() {
            Some(Protocol::Tcp(port)) => TcpListener::bind((ip, port)).map(drop),
            _ => Ok(()),
        }
    }

    pub(super) fn transport(
        config: &Config,
        keypair: &Keypair,
        noise: noise::Config,
    ) -> Result<Boxed<(PeerId, StreamMuxerBox)>, SwarmError> {
        let certificate = config.certificate.as_deref().map_or_else(Certificate::generate, Certificate::from_pem);
        let certificate = certificate.map_err(|error| SwarmError::Transport(error.to_string()))?;
        let direct = direct::listen::Transport::new(keypair.clone(), certificate)
            .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
        let no_names = |error| SwarmError::Transport(format!("the system's name servers cannot be read: {error}"));
        let tcp = || tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
        // WebSocket resolves names inside, because TLS must see them first, and stands first,
        // because it declines what is not its own, while a resolver takes every address.
        let websocket = websocket::Config::new(dns::tokio::Transport::system(tcp()).map_err(no_names)?)
            .upgrade(Version::V1Lazy)
            .authenticate(noise.clone())
            .multiplex(yamux::Config::default())
            .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
        let tcp = tcp()
            .upgrade(Version::V1Lazy)
            .authenticate(noise)
            .multiplex(yamux::Config::default())
            .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
        let quic = quic::tokio::Transport::new(quic::Config::new(keypair))
            .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
        let sockets = OrTransport::new(quic, tcp).map(|either, _| either.into_inner());
        let named = dns::tokio::Transport::system(sockets).map_err(no_names)?;
        let dialled = OrTransport::new(websocket, named).map(|either, _| either.into_inner());
        Ok(OrTransport::new(direct, dialled).map(|either, _| either.into_inner()).boxed())
    }
}

#[cfg(target_arch = "wasm32")]
mod imp {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use std::time::Duration;

    use futures::{AsyncRead, AsyncWrite, FutureExt};
    use futures_timer::Delay;
    use libp2p::core::muxing::StreamMuxerBox;
    use libp2p::core::transport::Boxed;
    use libp2p::core::upgrade::Version;
    use libp2p::identity::Keypair;
    use libp2p::{Multiaddr, PeerId, Transport, noise, swarm, websocket_websys, yamux};

    use crate::{Config, Relay, SwarmError};

    pub(super) use tributary_webrtc::backend::browser::Browser as Webrtc;

    /// A page cannot see its own memory; the browser bounds it.
    pub(crate) type MemoryGuard = swarm::dummy::Behaviour;

    pub(crate) fn memory_guard() -> MemoryGuard {
        swarm::dummy::Behaviour
    }

    /// A page is nobody's relay.
    pub(crate) type RelayServer = swarm::dummy::Behaviour;

    pub(crate) fn relay_server(_: PeerId, _: Option<Relay>) -> RelayServer {
        swarm::dummy::Behaviour
    }

    pub(super) fn executor() -> swarm::Config {
        swarm::Config::with_wasm_executor()
    }

    /// Runs it here and now: a page has one thread, and its stores are in memory.
    pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        Some(work())
    }

    /// A page cannot listen, which the transport says itself.
    pub(crate) fn is_free(_: &Multiaddr) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn transport(
        _: &Config,
        _: &Keypair,
        noise: noise::Config,
    ) -> Result<Boxed<(PeerId, StreamMuxerBox)>, SwarmError> {
        Ok(websocket_websys::Transport::default()
            .map(|socket, _| Nudged { socket, nudge: Delay::new(NUDGE) })
            .upgrade(Version::V1Lazy)
            .authenticate(noise)
            .multiplex(yamux::Config::default())
            .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
            .boxed())
    }

    /// How long a closed WebSocket goes unnoticed.
    const NUDGE: Duration = Duration::from_secs(1);

    /// A WebSocket that is looked at again now and then: libp2p's wakes nobody when the other side closes it
    /// or refuses it, and a refused dial would then take until its time-out.
    struct Nudged<S> {
        socket: S,
        nudge: Delay,
    }

    impl<S: Unpin> Nudged<S> {
        fn poll<T>(
            &mut self,
            cx: &mut Context<'_>,
            mut poll: impl FnMut(Pin<&mut S>, &mut Context<'_>) -> Poll<T>,
        ) -> Poll<T> {
            loop {
                if let Poll::Ready(done) = poll(Pin::new(&mut self.socket), cx) {
                    return Poll::Ready(done);
                }
                match self.nudge.poll_unpin(cx) {
                    Poll::Ready(()) => self.nudge.reset(NUDGE),
                    Poll::Pending => return Poll::Pending,
                }
            }
        }
    }

    impl<S: AsyncRead + Unpin> AsyncRead for Nudged<S> {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
            self.poll(cx, |socket, cx| socket.poll_read(cx, buf))
        }
    }

    impl<S: AsyncWrite + Unpin> AsyncWrite for Nudged<S> {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.poll(cx, |socket, cx| socket.poll_write(cx, buf))
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.poll(cx, |socket, cx| socket.poll_flush(cx))
        }

        fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.poll(cx, |socket, cx| socket.poll_close(cx))
        }
    }
}
