//! The native backend, on crate `webrtc` with tokio.
//!
//! Enters: descriptions, candidates and messages. Leaves: the same, and the connection's states. Refuses: more
//! than [`CHANNELS`] channels at a time, more than [`RECEIVE_BUFFER`] unread bytes, and more than
//! [`super::EVENTS`] unread events; each closes the connection.
//!
//! `peer` makes and watches a connection, `channel` moves the messages of one data channel, `rest` says when one is
//! closed, `settings` which addresses and times ICE works with, `runtime` what its sockets are.

mod channel;
mod peer;
mod rest;
mod runtime;
mod settings;

use futures::FutureExt as _;
use futures::future::BoxFuture;

pub use self::channel::Channel;
pub use self::peer::Peer;
pub(crate) use self::runtime::Sockets;
pub(crate) use self::settings::Setup;
use super::{Backend, Error, Events, PeerConfig};

/// Data channels of one connection at a time: the muxer's 512, 768 that both sides are done with and whose ids
/// are not free yet, and room for a peer that is slow to close its own.
pub const CHANNELS: usize = 1536;

/// Peer connections of this machine's own UDP sockets. Needs a tokio runtime.
#[derive(Debug, Clone, Copy, Default)]
pub struct Native;

impl Native {
    /// A peer connection as `setup` says.
    pub(crate) async fn open_with(setup: Setup) -> Result<(Peer, Events<Self>), Error> {
        peer::open(setup).await
    }
}

impl Backend for Native {
    type Peer = Peer;

    fn open(&self, config: PeerConfig) -> BoxFuture<'static, Result<(Peer, Events<Self>), Error>> {
        async move {
            match Self::open_with(Setup::own(&config, true)).await {
                Ok(open) => Ok(open),
                // No multicast here, which only costs the candidates that browsers hide behind names.
                Err(error) => {
                    tracing::debug!(%error, "no peer connection with multicast DNS, trying without");
                    Self::open_with(Setup::own(&config, false)).await
                }
            }
        }
        .boxed()
    }
}
