//! A peer that speaks test protocols over WebRTC, in a tab and natively.
//!
//! Enters: commands as JSON. Leaves: their outcomes. A peer of another implementation that answers the same
//! protocols can stand in for either side, which is how the transport is held against js-libp2p.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod net;
mod node;
#[cfg(target_arch = "wasm32")]
pub mod page;
pub mod peer;
mod protocols;
