//! Dialling `/webrtc-direct` from a page.

use futures::future::join;
use libp2p::Transport as _;
use libp2p::core::Endpoint;
use libp2p::core::transport::{DialOpts, PortUse};
use libp2p::identity::Keypair;
use tributary_webrtc::backend::browser::Browser;
use tributary_webrtc::direct::{Error, dial};
use wasm_bindgen_test::wasm_bindgen_test;

use crate::pair::soon;

/// The browser takes the answer that is written in the server's name; nobody listens at the address.
#[wasm_bindgen_test]
async fn a_server_that_is_not_there_is_given_up() {
    let mut transport = dial::Transport::new(Browser, Keypair::generate_ed25519());
    let mut dial = |host| {
        let address = format!("/{host}/udp/9/webrtc-direct/certhash/uEiDDq4_xNyDorZBH3TlGazyJdOWSwvo4PUo5YHFMrvDE8g");
        let opts = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
        transport.dial(address.parse().expect("an address"), opts).expect("one that it dials")
    };
    let both = join(dial("ip4/127.0.0.1"), dial("ip6/::1"));
    let (over_4, over_6) = soon("errors", both).await;
    for refused in [over_4.err(), over_6.err()] {
        assert!(matches!(refused, Some(Error::Unreachable | Error::TimedOut)), "{refused:?}");
    }
}
