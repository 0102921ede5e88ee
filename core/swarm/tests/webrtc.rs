//! Links between peers that only know a coordinator: introduced over its relay, then direct.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Manner, Peer, Watched, noise, peer, peer_of, peer_with};
use tributary_swarm::{Config, Event, Limits, MemoryStore, Multiaddr};

const BYTES: usize = 2 * 1024 * 1024;

async fn coordinator() -> Peer {
    let listen = vec!["/ip4/127.0.0.1/tcp/0/ws".parse().unwrap()];
    peer_of(Config { listen, ..Config::coordinator([1; 32], "test") }, Arc::new(MemoryStore::new(1 << 26))).await
}

/// Links two peers that are connected to `relay`, as the round has them do it: again until it works, since the
/// other one's place at the relay takes a moment.
async fn link(relay: &Peer, from: &mut Peer, to: &mut Peer) {
    let addr: Multiaddr = format!("{}/p2p-circuit/webrtc/p2p/{}", relay.listen[0], to.id).parse().unwrap();
    for attempt in 0.. {
        from.handle.dial(addr.clone()).unwrap();
        match from.next().await {
            Event::Connected { peer, .. } => {
                assert_eq!(peer, to.id);
                break;
            }
            Event::DialFailed { why, .. } => assert!(attempt < 20, "{why}"),
            other => panic!("{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(to.connected().await, from.id);
}

#[tokio::test]
async fn peers_are_introduced_and_need_nobody_from_then_on() {
    let bytes = noise(BYTES);
    let (store, blob) = Watched::holding(&bytes, Manner::Honest);
    let mut relay = coordinator().await;
    let (mut one, mut two) = (peer_with(2, &[], store, Limits::contributor()).await, peer(3, &[]).await);
    one.connect(&mut relay).await;
    two.connect(&mut relay).await;
    link(&relay, &mut two, &mut one).await;

    let before = relay.handle.traffic();
    assert_eq!(two.fetch(one.id, blob).await.unwrap(), bytes);
    let moved = relay.handle.traffic().up - before.up + relay.handle.traffic().down - before.down;
    assert!(moved < 64 * 1024, "{moved} bytes went through the relay's own streams");

    // The relay goes away; the link stays.
    drop(relay);
    for peer in [&mut one, &mut two] {
        while !matches!(peer.next().await, Event::Disconnected { .. }) {}
    }
    two.handle.send(one.id, b"still here".to_vec()).unwrap();
    assert_eq!(one.frame().await, b"still here");
}
