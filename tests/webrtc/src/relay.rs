//! The relay that peers meet at, and the only thing that they have in common.
//!
//! Its circuits are as narrow as in a real network: signalling fits, a blob does not.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use libp2p::core::upgrade::Version;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{
    Multiaddr, PeerId, Swarm, Transport, identify, identity, noise, ping, relay, swarm, tcp, websocket, yamux,
};
use serde_json::json;

/// Bytes that a circuit may carry: libp2p's own default. Signalling takes less than a tenth.
const CIRCUIT_BYTES: u64 = 128 * 1024;
/// Longer than any test.
const CIRCUIT_TIME: Duration = Duration::from_secs(600);
/// All peers come from one address here, so that libp2p's defaults would be met at once.
const CIRCUITS: usize = 256;
/// Connections that carry nothing are kept: a reservation lives on one.
const IDLE: Duration = Duration::from_secs(600);

#[derive(NetworkBehaviour)]
struct Behaviour {
    relay: relay::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
}

/// Relays until it is ended. Says where it listens; peers are told that it is to be found at `external`.
pub(crate) async fn run(external: Option<Multiaddr>) -> Result<()> {
    let keypair = identity::Keypair::generate_ed25519();
    let me = PeerId::from(keypair.public());
    let transport = websocket::Config::new(tcp::tokio::Transport::new(tcp::Config::default().nodelay(true)))
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(&keypair)?)
        .multiplex(yamux::Config::default())
        .boxed();
    let config = relay::Config {
        max_reservations: CIRCUITS,
        max_reservations_per_peer: CIRCUITS,
        max_circuits: CIRCUITS,
        max_circuits_per_peer: CIRCUITS,
        max_circuit_duration: CIRCUIT_TIME,
        max_circuit_bytes: CIRCUIT_BYTES,
        reservation_rate_limiters: Vec::new(),
        circuit_src_rate_limiters: Vec::new(),
        ..Default::default()
    };
    let behaviour = Behaviour {
        relay: relay::Behaviour::new(me, config),
        identify: identify::Behaviour::new(identify::Config::new("/tributary-test/1".to_owned(), keypair.public())),
        ping: ping::Behaviour::default(),
    };
    let config = swarm::Config::with_tokio_executor().with_idle_connection_timeout(IDLE);
    let mut swarm = Swarm::new(transport, behaviour, me, config);
    swarm.listen_on("/ip4/127.0.0.1/tcp/0/ws".parse()?)?;
    loop {
        match swarm.next().await.context("the swarm ended")? {
            SwarmEvent::NewListenAddr { address, .. } => {
                swarm.add_external_address(external.clone().unwrap_or_else(|| address.clone()));
                println!("{}", json!({ "addr": address, "id": me.to_string() }));
            }
            SwarmEvent::Behaviour(BehaviourEvent::Relay(event)) => eprintln!("{event:?}"),
            _ => {}
        }
    }
}
