//! The network: libp2p connections, one control stream per peer, and blobs by hash.
//!
//! Enters: a [`Config`], a [`BlobStore`] and what the host orders through [`Handle`]. Leaves:
//! [`Events`] and verified bytes. Refuses: peers whose name is no Ed25519 key, connections over the
//! stated limits, frames over their bound or beyond the credit window, and bytes that are not what
//! their hash says. It knows no message of the round: frames are opaque here.
//!
//! The order to read in: `transport` (how bytes travel where), `behaviour` and `streams` (what runs
//! on a connection), `wire`, `link` and `control` (frames with credit), `blob`, `serve` and `fetches` (bulk),
//! `node` (the loop that joins them), `handle` (what the host holds).
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

/// The peer that an address ends in, if it ends in `/p2p/` and an Ed25519 key.
pub fn id_of(address: &Multiaddr) -> Option<Id> {
    match address.iter().last()? {
        libp2p::multiaddr::Protocol::P2p(peer) => id(&peer),
        _ => None,
    }
}
