//! `/webrtc`: between peers that can both only be reached over a relay.
//!
//! The two exchange an offer, an answer and candidates over a stream on their relayed connection, which
//! Noise authenticated; so the peer that comes out is that connection's, and the DTLS fingerprints in the
//! descriptions, which the WebRTC implementation verifies, are known to be its own.
//!
//! Enters: dials of `<relay>/p2p/<relay>/p2p-circuit/webrtc/p2p/<peer>`, and signalling streams of others
//! once `/webrtc` is listened on. Leaves: authenticated connections. Refuses: signalling on connections that
//! are not relayed, and whatever exceeds the bounds stated here, each with a reason in [`Error`].
//!
//! The dialler opens the stream and makes the offer. When both dial at once there are two streams and two
//! connections, each with one offerer, so that neither waits for the other.
//!
//! Source: libp2p/specs, webrtc/webrtc.md; the protocol's version is that of js-libp2p.

mod address;
mod behaviour;
mod handler;
mod handshake;
mod message;
mod slots;
mod transport;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::channel::mpsc;
use libp2p::StreamProtocol;

pub use self::address::is_relayed;
pub use self::behaviour::{Behaviour, Event};
pub use self::message::{MAX_MESSAGE, Signal, SignalDecoder, read_candidate};
use self::slots::Slots;
pub use self::transport::Transport;
use crate::backend::{self, Backend};
use crate::wire::Malformed;

/// The protocol of the signalling stream, as js-libp2p calls it.
pub const SIGNALLING: StreamProtocol = StreamProtocol::new("/webrtc-signaling/0.0.1");

/// Candidates of one side, malformed ones included. A machine with many interfaces has a few dozen.
pub const CANDIDATES: usize = 64;

/// Bytes of signalling from the other side. An offer is about 1 KiB, a candidate about 200 bytes.
pub const SIGNALLING_BYTES: usize = 64 * 1024;

/// Channels that the other side opens before our muxer is there; js-libp2p keeps as many.
pub const EARLY: usize = 10;

/// How direct connections are made.
#[derive(Debug, Clone)]
pub struct Config {
    /// STUN servers; may be changed at any time.
    pub stun: StunServers,
    /// From the dial or the first byte of signalling to the connection. ICE tries for up to ten seconds on
    /// bad networks, and a relayed dial comes before it.
    pub timeout: Duration,
    /// Connections being made at a time.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self { stun: StunServers::default(), timeout: Duration::from_secs(20), limits: Limits::default() }
    }
}

/// Connections being made at a time, in either direction. Each holds a WebRTC peer connection with its
/// sockets, about 100 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// In all: a peer links to a handful of others, and a page may have 500 peer connections.
    pub total: usize,
    /// Over one relay: a hostile relay can invent peers, so it may not take everything.
    pub relay: usize,
    /// With one peer: one in each direction, and one that is about to time out.
    pub peer: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { total: 64, relay: 48, peer: 3 }
    }
}

/// The STUN servers of connections to come, as `stun:host:port`. Clones are the same list, so a host may
/// keep one and set the servers once it learns of them.
#[derive(Debug, Clone, Default)]
pub struct StunServers(Arc<Mutex<Vec<String>>>);

impl StunServers {
    /// Sets the servers. Browsers warn about more than four.
    pub fn set(&self, servers: Vec<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = servers;
    }

    /// The servers that are set.
    #[must_use]
    pub fn get(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Why a direct connection could not be made, in words for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The address to dial lacks something.
    #[error("the address names no {0}; it should be <relay>/p2p/<relay's id>/p2p-circuit/webrtc/p2p/<peer's id>")]
    Address(&'static str),
    /// A bound of [`Limits`] is reached.
    #[error("too many direct connections are being made {0}; try again later")]
    Busy(&'static str),
    /// The transport listens on `/webrtc` already, or not at all.
    #[error("the transport {0}")]
    Listener(&'static str),
    /// No connection over the relay.
    #[error("the peer cannot be reached over the relay: {0}")]
    Relay(String),
    /// The peer does not take signalling.
    #[error("the peer makes no direct connections: {0}")]
    Unsupported(String),
    /// The signalling stream ended before it had said everything.
    #[error("the relayed connection broke before a direct one was made: {0}")]
    Broken(String),
    /// A message that is none.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A message that does not belong here.
    #[error("the other side sent {0}")]
    Unexpected(&'static str),
    /// Nothing worked in time.
    #[error("no direct path was found within {} seconds; a firewall may be in the way", .0.as_secs())]
    Timeout(Duration),
    /// What the WebRTC implementation says.
    #[error(transparent)]
    Backend(#[from] backend::Error),
    /// The swarm is being closed.
    #[error("this node is being closed")]
    Stopped,
}

/// A transport and the behaviour that signals for it; both belong into the same swarm, the transport before
/// the relay's, which takes every `/p2p-circuit` address.
#[must_use]
pub fn new<B: Backend>(config: Config, backend: B) -> (Transport<B>, Behaviour) {
    // As many as there may be handshakes, each of which sends once.
    let (dial, dials) = mpsc::channel(config.limits.total);
    let (accept, accepted) = mpsc::channel(config.limits.total);
    let slots = Slots::new(config.limits);
    (Transport::new(config, backend, slots.clone(), dial, accepted), Behaviour::new(slots, dials, accept))
}
