//! `/webrtc` between swarms that meet over a relay.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used)]

mod links;
mod native;
mod signalling;
mod swarms;
