//! What a node is told at its start, and the bounds it keeps.

use std::time::Duration;

use libp2p::Multiaddr;
use tributary_protocol::limits::MAX_BLOB;

/// How a node is set up.
#[derive(Clone)]
pub struct Config {
    /// The Ed25519 secret key; its public key is the node's name.
    pub secret: [u8; 32],
    /// What this program calls itself to other peers; cut to `MAX_TEXT` bytes.
    pub agent: String,
    /// Where to listen. Empty: this node only dials, as a tab must.
    pub listen: Vec<Multiaddr>,
    /// The bounds.
    pub limits: Limits,
    /// Introduce peers to each other that no address reaches: be their circuit relay.
    pub relay: Option<Relay>,
    /// Be introduced: keep a place at the relay of whoever is dialled, so that other peers can connect
    /// directly.
    pub links: bool,
    /// STUN servers, as `stun:host:port`: they tell a peer behind a router how others see it.
    pub stun: Vec<String>,
    /// The certificate of `/webrtc-direct` with its key, as PEM: its hash stands in the address. None: a new
    /// one. A page has none.
    pub certificate: Option<String>,
}

impl Config {
    /// For `tributary serve`.
    pub fn coordinator(secret: [u8; 32], agent: &str) -> Self {
        let (limits, relay) = (Limits::coordinator(), Some(Relay::default()));
        Self {
            secret,
            agent: agent.to_owned(),
            listen: Vec::new(),
            limits,
            relay,
            links: false,
            stun: Vec::new(),
            certificate: None,
        }
    }

    /// For a contributor, which only dials.
    pub fn contributor(secret: [u8; 32], agent: &str) -> Self {
        let limits = Limits::contributor();
        Self {
            secret,
            agent: agent.to_owned(),
            listen: Vec::new(),
            limits,
            relay: None,
            links: true,
            stun: Vec::new(),
            certificate: None,
        }
    }
}

/// The bounds of a relay. It carries introductions, a few kilobytes each; bulk goes directly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relay {
    /// Peers that can be reached over this relay at a time.
    pub reservations: usize,
    /// Introductions under way at a time.
    pub circuits: usize,
    /// Introductions of one peer under way at a time.
    pub circuits_per_peer: usize,
    /// Bytes of one introduction, each way: an offer, an answer and some dozen candidates are 10 KiB.
    pub circuit_bytes: u64,
    /// How long one introduction may take.
    pub circuit_time: Duration,
}

impl Default for Relay {
    /// For 1,000 tabs behind a few addresses, twice over: all of them come back at once after a restart,
    /// each with a handful of links.
    fn default() -> Self {
        Self {
            reservations: 2048,
            circuits: 2048,
            circuits_per_peer: 16,
            circuit_bytes: 128 * 1024,
            circuit_time: Duration::from_secs(60),
        }
    }
}

/// The bounds of a node. Every one is a refusal with a reason, never a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections in total, both directions. There is no bound by network address: a whole school
    /// class of tabs sits behind one.
    pub connections: u32,
    /// Connections being established, in each direction.
    pub pending: u32,
    /// Connections of one peer. More than one, because a peer that comes back is often faster than
    /// the notice that its old connection is dead, and a dead one whose socket is full of bulk lingers
    /// until the system gives it up.
    pub per_peer: u32,
    /// Bytes of blobs that are being fetched at a time; one blob is always allowed.
    pub fetch_bytes: u64,
    /// Bytes of unfinished blobs that are kept so that a later fetch resumes.
    pub partial_bytes: u64,
    /// Linked peers that are asked for one blob besides its origin. None: only the origin is.
    pub sources: usize,
}

impl Limits {
    /// For `tributary serve`, which fetches what only its maker has: 1,000 tabs, twice over, because all of them reconnect at once after a
    /// restart or a change of network; a quarter of them in their handshake at a time.
    pub fn coordinator() -> Self {
        Self {
            connections: 2048,
            pending: 512,
            per_peer: 8,
            fetch_bytes: 2 * MAX_BLOB,
            partial_bytes: MAX_BLOB,
            sources: 0,
        }
    }

    /// For a contributor: the coordinator and as many other contributors as one round's bulk needs, all of
    /// whom are asked for what it fetches: twice the links that a run asks for.
    pub fn contributor() -> Self {
        Self { connections: 64, pending: 16, per_peer: 8, fetch_bytes: MAX_BLOB, partial_bytes: MAX_BLOB, sources: 16 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::contributor()
    }
}

/// Why a node could not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SwarmError {
    /// An address cannot be listened on.
    #[error("cannot listen on {addr}: {why}; free the port or choose another one")]
    Listen {
        /// The address.
        addr: Multiaddr,
        /// The system's reason.
        why: String,
    },
    /// The secret key is none.
    #[error("the identity's secret key is not an Ed25519 key; restore it from your copy or make a new one")]
    Secret,
    /// The transports cannot be set up.
    #[error("the network cannot be set up: {0}")]
    Transport(String),
}

impl SwarmError {
    /// Whether the same configuration would fail again: a taken port may be free later.
    pub fn is_fatal(&self) -> bool {
        !matches!(self, Self::Listen { .. })
    }
}
