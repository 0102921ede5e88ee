//! How this target connects: the only module here that knows it.

use std::time::Duration;

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, OrTransport};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::{PeerId, Transport, noise, relay, yamux};
use tributary_webrtc::private;

use crate::peer::Peer;

pub use imp::spawn;

/// A connection that carries nothing is kept as long as any test takes.
const IDLE: Duration = Duration::from_secs(600);

/// An authenticated connection, however it was made.
pub(crate) type Connected = (PeerId, StreamMuxerBox);

/// Makes a peer with a name of its own and starts it.
pub fn start() -> Result<Peer, String> {
    let keypair = Keypair::generate_ed25519();
    let (circuits, relay) = relay::client::new(PeerId::from(keypair.public()));
    // No STUN: all peers are on one machine, and tests ask nobody outside it.
    let (webrtc, signalling) = private::new(private::Config::default(), imp::backend());
    let authenticate = noise::Config::new(&keypair).map_err(|error| error.to_string())?;
    let streams = OrTransport::new(circuits, imp::websocket())
        .upgrade(Version::V1Lazy)
        .authenticate(authenticate)
        .multiplex(yamux::Config::default())
        .boxed();
    let webrtc = webrtc.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer))).boxed();
    // The relay's transport takes every address over a relay, those of `/webrtc` included, so it comes later.
    let transport = either(webrtc, either(imp::direct(&keypair)?, streams));
    let (peer, runs) =
        Peer::new(&keypair, transport, relay, signalling, imp::config().with_idle_connection_timeout(IDLE));
    spawn(runs);
    Ok(peer)
}

fn either(first: Boxed<Connected>, second: Boxed<Connected>) -> Boxed<Connected> {
    OrTransport::new(first, second).map(|either, _| either.into_inner()).boxed()
}

#[cfg(not(target_arch = "wasm32"))]
mod imp {
    use futures::future::BoxFuture;
    use libp2p::core::muxing::StreamMuxerBox;
    use libp2p::core::transport::Boxed;
    use libp2p::identity::Keypair;
    use libp2p::{Transport, swarm, tcp, websocket};
    use tributary_webrtc::backend::native::Native;
    use tributary_webrtc::direct::{dial, listen};

    use super::Connected;

    /// Runs it beside everything else.
    pub fn spawn(future: BoxFuture<'static, ()>) {
        tokio::spawn(future);
    }

    pub(super) fn config() -> swarm::Config {
        swarm::Config::with_tokio_executor()
    }

    pub(super) fn backend() -> Native {
        Native
    }

    pub(super) fn websocket() -> websocket::Config<tcp::tokio::Transport> {
        websocket::Config::new(tcp::tokio::Transport::new(tcp::Config::default().nodelay(true)))
    }

    pub(super) fn direct(keypair: &Keypair) -> Result<Boxed<Connected>, String> {
        let certificate = listen::Certificate::generate().map_err(|error| error.to_string())?;
        let dial = dial::Transport::new(Native, keypair.clone());
        let listen = listen::Transport::new(keypair.clone(), certificate);
        Ok(super::either(
            dial.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer))).boxed(),
            listen.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer))).boxed(),
        ))
    }
}

#[cfg(target_arch = "wasm32")]
mod imp {
    use futures::future::BoxFuture;
    use libp2p::core::muxing::StreamMuxerBox;
    use libp2p::core::transport::Boxed;
    use libp2p::identity::Keypair;
    use libp2p::{Transport, swarm, websocket_websys};
    use tributary_webrtc::backend::browser::Browser;
    use tributary_webrtc::direct::dial;

    use super::Connected;

    /// Runs it beside everything else.
    pub fn spawn(future: BoxFuture<'static, ()>) {
        wasm_bindgen_futures::spawn_local(future);
    }

    pub(super) fn config() -> swarm::Config {
        swarm::Config::with_wasm_executor()
    }

    pub(super) fn backend() -> Browser {
        Browser
    }

    pub(super) fn websocket() -> websocket_websys::Transport {
        websocket_websys::Transport::default()
    }

    /// Dials only: a page cannot listen.
    pub(super) fn direct(keypair: &Keypair) -> Result<Boxed<Connected>, String> {
        let dial = dial::Transport::new(Browser, keypair.clone());
        Ok(dial.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer))).boxed())
    }
}
