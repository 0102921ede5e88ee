//! How this target connects: the only module here that knows it.

use std::time::Duration;

use libp2p::identity::Keypair;
use libp2p::{PeerId, relay};

use crate::peer::Peer;

pub use imp::spawn;

/// A connection that carries nothing is kept as long as any test takes.
const IDLE: Duration = Duration::from_secs(600);

/// Makes a peer with a name of its own and starts it.
pub fn start() -> Result<Peer, String> {
    let keypair = Keypair::generate_ed25519();
    let (circuits, relay) = relay::client::new(PeerId::from(keypair.public()));
    let transport = imp::transport(&keypair, circuits).map_err(|error| error.to_string())?;
    let (peer, runs) = Peer::new(&keypair, transport, relay, imp::config().with_idle_connection_timeout(IDLE));
    spawn(runs);
    Ok(peer)
}

#[cfg(not(target_arch = "wasm32"))]
mod imp {
    use futures::future::BoxFuture;
    use libp2p::core::muxing::StreamMuxerBox;
    use libp2p::core::transport::{Boxed, OrTransport};
    use libp2p::core::upgrade::Version;
    use libp2p::identity::Keypair;
    use libp2p::{PeerId, Transport, noise, relay, swarm, tcp, websocket, yamux};

    /// Runs it beside everything else.
    pub fn spawn(future: BoxFuture<'static, ()>) {
        tokio::spawn(future);
    }

    pub(super) fn config() -> swarm::Config {
        swarm::Config::with_tokio_executor()
    }

    pub(super) fn transport(
        keypair: &Keypair,
        circuits: relay::client::Transport,
    ) -> Result<Boxed<(PeerId, StreamMuxerBox)>, noise::Error> {
        let websocket = websocket::Config::new(tcp::tokio::Transport::new(tcp::Config::default().nodelay(true)));
        Ok(OrTransport::new(circuits, websocket)
            .upgrade(Version::V1Lazy)
            .authenticate(noise::Config::new(keypair)?)
            .multiplex(yamux::Config::default())
            .boxed())
    }
}

#[cfg(target_arch = "wasm32")]
mod imp {
    use futures::future::BoxFuture;
    use libp2p::core::muxing::StreamMuxerBox;
    use libp2p::core::transport::{Boxed, OrTransport};
    use libp2p::core::upgrade::Version;
    use libp2p::identity::Keypair;
    use libp2p::{PeerId, Transport, noise, relay, swarm, websocket_websys, yamux};

    /// Runs it beside everything else.
    pub fn spawn(future: BoxFuture<'static, ()>) {
        wasm_bindgen_futures::spawn_local(future);
    }

    pub(super) fn config() -> swarm::Config {
        swarm::Config::with_wasm_executor()
    }

    pub(super) fn transport(
        keypair: &Keypair,
        circuits: relay::client::Transport,
    ) -> Result<Boxed<(PeerId, StreamMuxerBox)>, noise::Error> {
        Ok(OrTransport::new(circuits, websocket_websys::Transport::default())
            .upgrade(Version::V1Lazy)
            .authenticate(noise::Config::new(keypair)?)
            .multiplex(yamux::Config::default())
            .boxed())
    }
}
