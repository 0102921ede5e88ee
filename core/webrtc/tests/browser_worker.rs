//! What the browser backend says where a browser has no WebRTC.
#![cfg(target_arch = "wasm32")]

use tributary_webrtc::backend::browser::Browser;
use tributary_webrtc::backend::{Backend, Error, PeerConfig};
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_dedicated_worker);

#[wasm_bindgen_test]
async fn a_worker_has_none_and_is_told_so() {
    let refused = Browser.open(PeerConfig::default()).await.err();
    let Some(Error::Unavailable(why)) = refused else { panic!("a worker has RTCPeerConnection: {refused:?}") };
    assert!(why.contains("main thread"), "{why}");
}
