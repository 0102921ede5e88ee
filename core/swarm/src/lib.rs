//! The network: libp2p connections, one control stream per peer, and blobs by hash.
//!
//! Enters: a [`Config`], a [`BlobStore`] and what the host orders through [`Handle`]. Leaves:
//! [`Events`] and verified bytes. Refuses: peers whose name is no Ed25519 key, connections over the
//! stated limits, frames over their bound or beyond the credit window, and bytes that are not what
//! their hash says. It knows no message of the round: frames are opaque here.
//!
//! The order to read in: `transport` (how bytes travel where), `behaviour` and `streams` (what runs
//! on a connection), `wire`, `link` and `control` (frames with credit), `blob` (the protocol of bulk), `plan`
//! and `fetch` (from many at once), `spread` and `serve` (to many at once), `node` (the loop that joins them), `handle` (what the host holds).
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod behaviour;
mod bitmap;
mod blob;
mod config;
mod control;
mod fetch;
mod fetches;
mod handle;
mod link;
mod lists;
mod meter;
mod node;
mod partial;
mod plan;
mod serve;
mod served;
mod shun;
mod signal;
mod spread;
mod store;
mod streams;
mod throttle;
mod transport;
mod wire;

pub use blob::FetchError;
pub use config::{Config, Limits, Relay, SwarmError};
pub use handle::{Event, Events, Handle, LinkTraffic, SendError};
pub use libp2p::Multiaddr;
pub use meter::{Flow, Traffic};
pub use node::node;
pub use store::{BlobStore, MemoryStore};

use libp2p::PeerId;
use tributary_protocol::Id;

/// The libp2p name of a peer.
pub(crate) fn peer_id(id: Id) -> Option<PeerId> {
    PeerId::from_bytes(&id.to_peer_id_bytes()).ok()
}

/// The peer behind a libp2p name, if that name is an Ed25519 key.
pub(crate) fn id(peer: &PeerId) -> Option<Id> {
    Id::from_peer_id_bytes(&peer.to_bytes())
}

/// The STUN server of a coordinator that is reached at `reached` and says that it listens on `addrs`: the
/// port of its `/webrtc-direct`, which answers STUN too. None if it has no such port.
pub fn stun_of(reached: &Multiaddr, addrs: &[String]) -> Option<String> {
    use libp2p::multiaddr::Protocol;
    let host = match reached.iter().next()? {
        Protocol::Ip4(ip) => ip.to_string(),
        Protocol::Ip6(ip) => format!("[{ip}]"),
        Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => name.into_owned(),
        _ => return None,
    };
    let port = addrs.iter().filter_map(|addr| addr.parse::<Multiaddr>().ok()).find_map(|addr| {
        let mut parts = addr.iter().skip(1);
        match (parts.next()?, parts.next()?) {
            (Protocol::Udp(port), Protocol::WebRTCDirect) => Some(port),
            _ => None,
        }
    })?;
    Some(format!("stun:{host}:{port}"))
}

/// The peer that an address ends in, if it ends in `/p2p/` and an Ed25519 key.
pub fn id_of(address: &Multiaddr) -> Option<Id> {
    match address.iter().last()? {
        libp2p::multiaddr::Protocol::P2p(peer) => id(&peer),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stun_is_where_webrtc_direct_is() {
        let addrs = ["/ip4/10.0.0.5/tcp/4001", "/ip4/10.0.0.5/udp/4002/webrtc-direct"].map(str::to_owned);
        for (reached, expected) in [
            ("/dns/river.example/tcp/443/wss", "stun:river.example:4002"),
            ("/ip4/192.0.2.1/tcp/4001", "stun:192.0.2.1:4002"),
            ("/ip6/2001:db8::1/udp/4001/quic-v1", "stun:[2001:db8::1]:4002"),
        ] {
            let reached = reached.parse().unwrap();
            assert_eq!(stun_of(&reached, &addrs).as_deref(), Some(expected));
            assert_eq!(stun_of(&reached, &addrs[..1]), None);
        }
    }
}
