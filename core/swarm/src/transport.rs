//! How bytes travel where: the only place in this crate that knows its target.
//!
//! Natively TCP, QUIC and WebSocket; in a browser WebSocket. Every path ends in the same thing, an
//! authenticated connection with streams. A further transport (WebRTC) is one more
//! `or_transport` in each `imp`.

use std::time::Duration;

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::transport::timeout::TransportTimeout;
use libp2p::identity::Keypair;
use libp2p::{PeerId, Transport, noise, swarm};

use crate::SwarmError;

pub(crate) use imp::{MemoryGuard, blocking, memory_guard};

/// From the first byte of a connection to its being authenticated. A loaded phone on a bad network
/// needs a few seconds for five round trips; whoever needs more would not keep up with a round.
const HANDSHAKE: Duration = Duration::from_secs(15);

/// How long a connection without any stream is kept. The control stream keeps the ones in use.
const IDLE: Duration = Duration::from_secs(60);

/// Every transport of this target, authenticated as `keypair`.
pub(crate) fn transport(keypair: &Keypair) -> Result<Boxed<(PeerId, StreamMuxerBox)>, SwarmError> {
    let noise = noise::Config::new(keypair).map_err(|error| SwarmError::Transport(error.to_string()))?;
    let all = imp::transport(keypair, noise)?;
    Ok(TransportTimeout::new(all, HANDSHAKE).boxed())
}

/// The swarm's settings, with this target's way to run a connection.
pub(crate) fn swarm_config() -> swarm::Config {
    imp::executor().with_idle_connection_timeout(IDLE)
}

#[cfg(not(target_arch = "wasm32"))]
mod imp {
    use libp2p::core::muxing::StreamMuxerBox;
    use libp2p::core::transport::{Boxed, OrTransport};
    use libp2p::core::upgrade::Version;
    use libp2p::identity::Keypair;
    use libp2p::{PeerId, Transport, dns, memory_connection_limits, noise, quic, swarm, tcp, websocket, yamux};

    use crate::SwarmError;

    /// Refuses connections while the process holds too much memory.
    pub(crate) type MemoryGuard = memory_connection_limits::Behaviour;

    /// Of the machine's memory: what is left serves the trainer's peaks and everything else that
    /// runs there, and refusing newcomers is better than being killed with all who are connected.
    const MEMORY: f64 = 0.85;

    pub(crate) fn memory_guard() -> MemoryGuard {
        memory_connection_limits::Behaviour::with_max_percentage(MEMORY)
    }

    pub(super) fn executor() -> swarm::Config {
        swarm::Config::with_tokio_executor()
    }

    /// Runs what may wait for a disk or hash for long beside the event loop. `None`: it panicked or
    /// the runtime is shutting down.
    pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        tokio::task::spawn_blocking(work).await.ok()
    }

    pub(super) fn transport(
        keypair: &Keypair,
        noise: noise::Config,
    ) -> Result<Boxed<(PeerId, StreamMuxerBox)>, SwarmError> {
        let named = || {
            let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
            dns::tokio::Transport::system(tcp)
                .map_err(|error| SwarmError::Transport(format!("the system's name servers cannot be read: {error}")))
        };
        // WebSocket stands first: it declines what is not its own, while TCP would take the first
        // half of a WebSocket address for the whole. It resolves names inside, after TLS saw them.
        let websocket = websocket::Config::new(named()?)
            .upgrade(Version::V1Lazy)
            .authenticate(noise.clone())
            .multiplex(yamux::Config::default())
            .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
        let tcp = named()?
            .upgrade(Version::V1Lazy)
            .authenticate(noise)
            .multiplex(yamux::Config::default())
            .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
        let quic = quic::tokio::Transport::new(quic::Config::new(keypair));
        let quic = dns::tokio::Transport::system(quic)
            .map_err(|error| SwarmError::Transport(format!("the system's name servers cannot be read: {error}")))?
            .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
        let streams = OrTransport::new(websocket, tcp).map(|either, _| either.into_inner());
        Ok(OrTransport::new(quic, streams).map(|either, _| either.into_inner()).boxed())
    }
}

#[cfg(target_arch = "wasm32")]
mod imp {
    use libp2p::core::muxing::StreamMuxerBox;
    use libp2p::core::transport::Boxed;
    use libp2p::core::upgrade::Version;
    use libp2p::identity::Keypair;
    use libp2p::{PeerId, Transport, noise, swarm, websocket_websys, yamux};

    use crate::SwarmError;

    /// A page cannot see its own memory; the browser bounds it.
    pub(crate) type MemoryGuard = swarm::dummy::Behaviour;

    pub(crate) fn memory_guard() -> MemoryGuard {
        swarm::dummy::Behaviour
    }

    pub(super) fn executor() -> swarm::Config {
        swarm::Config::with_wasm_executor()
    }

    /// Runs it here and now: a page has one thread, and its stores are in memory.
    pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        Some(work())
    }

    pub(super) fn transport(
        _keypair: &Keypair,
        noise: noise::Config,
    ) -> Result<Boxed<(PeerId, StreamMuxerBox)>, SwarmError> {
        Ok(websocket_websys::Transport::default()
            .upgrade(Version::V1Lazy)
            .authenticate(noise)
            .multiplex(yamux::Config::default())
            .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
            .boxed())
    }
}
