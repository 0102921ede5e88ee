//! What a WebRTC implementation must do, and the ones there are.
//!
//! A backend only moves strings and messages: offers, answers and candidates as JSEP has them, and whole
//! data channel messages. Framing, half-closing, signalling and every rule of libp2p stand above it.
//! Everything here is `Send`: the browser's objects, which live on one thread, are wrapped.

#[cfg(target_arch = "wasm32")]
pub mod browser;
pub mod memory;
#[cfg(not(target_arch = "wasm32"))]
pub mod native;

use std::task::{Context, Poll};

use bytes::Bytes;
use futures::channel::mpsc;
use futures::future::BoxFuture;

/// Bytes that a channel holds for the network before it asks its writer to wait: enough to fill
/// 80 Mbit/s at 100 ms, little enough that a page stays small.
pub const SEND_BUFFER: usize = 1024 * 1024;

/// How many channels that we opened and that are done rest before some are closed. Chromium has 512 ids for each side,
/// and drops what is opened beyond them without a word.
const OURS: usize = 256;

/// The same for channels of the other side's, which knows best when to close them: more than it lets rest if it is one
/// of us.
const THEIRS: usize = 384;

/// Bytes that came and were not read, of one connection. The protocols above bound what they ask for far
/// below this; whoever sends beyond it loses the connection.
pub const RECEIVE_BUFFER: usize = 16 * 1024 * 1024;

/// Events of a peer connection that wait to be read. More candidates and channels than this at a time
/// are a flood, and the connection is closed.
pub const EVENTS: usize = 256;

/// Makes peer connections.
pub trait Backend: Clone + Send + Sync + Unpin + 'static {
    /// Its peer connections.
    type Peer: Peer;

    /// A peer connection that has not begun, and what will happen to it.
    fn open(&self, config: PeerConfig) -> Opening<Self>;
}

/// What happens to a peer connection; ends when the connection is closed for good.
pub type Events<B> = mpsc::Receiver<PeerEvent<<<B as Backend>::Peer as Peer>::Channel>>;

/// A peer connection in the making.
pub type Opening<B> = BoxFuture<'static, Result<(<B as Backend>::Peer, Events<B>), Error>>;

/// How a peer connection is set up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerConfig {
    /// STUN servers, as `stun:host:port`.
    pub stun: Vec<String>,
}

/// One peer connection. Dropping it closes it.
pub trait Peer: Send + Sync + Unpin + 'static {
    /// Its data channels.
    type Channel: Channel;

    /// Makes an offer and sets it as the local description. The SDP as set.
    fn offer(&self) -> BoxFuture<'static, Result<String, Error>>;

    /// Takes the other side's offer, makes an answer and sets it as the local description. The SDP as set.
    fn answer(&self, offer: String) -> BoxFuture<'static, Result<String, Error>>;

    /// Takes the other side's answer.
    fn accept(&self, answer: String) -> BoxFuture<'static, Result<(), Error>>;

    /// Takes a candidate of the other side's. After a description only.
    fn add_candidate(&self, candidate: Candidate) -> BoxFuture<'static, Result<(), Error>>;

    /// Opens a data channel, ordered and reliable. With an id it is negotiated: both sides open it.
    fn channel(&self, label: &str, id: Option<u16>) -> BoxFuture<'static, Result<Self::Channel, Error>>;

    /// Closes the connection and everything on it.
    fn close(&self);
}

/// What happens to a peer connection.
#[derive(Debug)]
pub enum PeerEvent<C> {
    /// A candidate of ours, for the other side. One with an empty text: there are no more.
    Candidate(Candidate),
    /// The connection's state changed.
    State(State),
    /// The other side opened a data channel.
    Channel(C),
    /// The connection was closed from here, and why.
    Broken(Error),
}

/// An ICE candidate, the fields of JSEP's `RTCIceCandidateInit`.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Candidate {
    /// The candidate line, without `a=`.
    pub candidate: String,
    /// The media section's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sdp_mid: Option<String>,
    /// The media section's place.
    #[serde(rename = "sdpMLineIndex", skip_serializing_if = "Option::is_none")]
    pub sdp_m_line_index: Option<u16>,
    /// The ICE user fragment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username_fragment: Option<String>,
}

/// A peer connection's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not up yet.
    Connecting,
    /// ICE and DTLS are done; the DTLS fingerprint is the one of the description.
    Connected,
    /// Nothing comes, which may pass.
    Disconnected,
    /// It will not come up, or not again.
    Failed,
    /// Closed by either side.
    Closed,
}

/// One data channel. Dropping it leaves it to the backend to close it, when its id can be given to another.
pub trait Channel: Send + Unpin + 'static {
    /// Ready once the channel is open and holds less than [`SEND_BUFFER`].
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>>;

    /// Sends one message; only after [`Self::poll_ready`].
    fn send(&mut self, message: Bytes) -> Result<(), Error>;

    /// Ready once everything that was sent has left for the network.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>>;

    /// The next message; `None` once the channel is closed and everything that came before was read.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>>;

    /// Closes the channel now; what was sent before still goes out.
    fn close(&mut self);
}

/// Why a WebRTC operation failed, in words for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// This browser or machine has no WebRTC.
    #[error("WebRTC is not available here: {0}")]
    Unavailable(String),
    /// A description or candidate that cannot be used.
    #[error("the other side's connection offer cannot be used: {0}")]
    Description(String),
    /// The connection or channel is closed.
    #[error("the connection is closed")]
    Closed,
    /// The other side sent more than it may.
    #[error("the other side sent more than it may: {0}")]
    Flood(&'static str),
    /// Anything else the implementation says.
    #[error("{0}")]
    Other(String),
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Closed => std::io::ErrorKind::BrokenPipe,
            Error::Flood(_) => std::io::ErrorKind::InvalidData,
            _ => std::io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
