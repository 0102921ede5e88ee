//! WebRTC in a page: the backend, the muxer over it, and dialling.
#![cfg(target_arch = "wasm32")]

mod backend;
mod direct;
mod muxer;
mod pair;

wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);
