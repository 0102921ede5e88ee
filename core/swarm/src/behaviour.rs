//! What runs on every connection.

use std::time::Duration;

use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::identity::Keypair;
use libp2p::swarm::NetworkBehaviour;
use libp2p::{identify, ping, relay};
use tributary_protocol::limits::MAX_TEXT;
use tributary_webrtc::private;

use crate::transport::{MemoryGuard, RelayServer, memory_guard, relay_server};
use crate::{Config, streams};

/// What identify calls this network. Peers of another version still connect and are told so in the
/// round's own words.
const NETWORK: &str = "/tributary/1";

/// Between an answer and the next ping.
///
/// libp2p's ping forgives one failure and takes up to 10 s to open the stream of its second try, so
/// a silent death is certain after interval + time-out + interval + 10 s = 25 s, which leaves
/// `LAST_LOOK` of the node to spare within the 30 s that the round allows.
const PING_INTERVAL: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    limits: connection_limits::Behaviour,
    memory: MemoryGuard,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    relay: RelayServer,
    relayed: relay::client::Behaviour,
    webrtc: private::Behaviour,
    pub(crate) streams: streams::Behaviour,
}

impl Behaviour {
    pub(crate) fn new(
        config: &Config,
        keypair: &Keypair,
        relayed: relay::client::Behaviour,
        webrtc: private::Behaviour,
    ) -> Self {
        let limits = ConnectionLimits::default()
            .with_max_pending_incoming(Some(config.limits.pending))
            .with_max_pending_outgoing(Some(config.limits.pending))
            .with_max_established(Some(config.limits.connections))
            .with_max_established_per_peer(Some(config.limits.per_peer));
        let identify = identify::Config::new(NETWORK.to_owned(), keypair.public())
            .with_agent_version(cut(&config.agent))
            // Peers are dialled by addresses that the round names, never by what identify gossips.
            .with_cache_size(0)
            .with_hide_listen_addrs(config.listen.is_empty());
        Self {
            limits: connection_limits::Behaviour::new(limits),
            memory: memory_guard(),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping::Config::new().with_interval(PING_INTERVAL).with_timeout(PING_TIMEOUT)),
            relay: relay_server(keypair.public().to_peer_id(), config.relay),
            relayed,
            webrtc,
            streams: streams::Behaviour::default(),
        }
    }
}

/// At most `MAX_TEXT` bytes of a text, cut between characters.
fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TEXT)].to_owned()
}
