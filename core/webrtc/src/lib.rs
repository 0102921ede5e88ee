//! A libp2p WebRTC transport, the same in a browser and natively.
//!
//! Two ways to connect, to the libp2p specification: `/webrtc` between peers that only meet over a relay,
//! and `/webrtc-direct` from anyone to a peer with a reachable UDP port and no TLS certificate. Both end in
//! one data channel per substream.
//!
//! The order to read in: `backend` (what a WebRTC implementation must do), `frame` and `stream` (a data
//! channel as a substream), `muxer` (a peer connection as a connection), `private` (signalling over a relay),
//! `direct`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod backend;
pub mod direct;
pub mod frame;
pub mod muxer;
pub mod private;
pub mod stream;
mod wire;
