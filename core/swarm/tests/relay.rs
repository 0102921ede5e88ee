//! Introductions: places at a relay, and what a relayed connection may not carry.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Peer, name, peer, peer_of};
use tributary_swarm::{Config, Event, MemoryStore, Multiaddr};

const TCP: &str = "/ip4/127.0.0.1/tcp/0";

async fn coordinator(seed: u8, relay: bool) -> Peer {
    let config = Config::coordinator([seed; 32], "test");
    let relay = config.relay.filter(|_| relay);
    peer_of(Config { listen: vec![TCP.parse().unwrap()], relay, ..config }, Arc::new(MemoryStore::new(1))).await
}

/// Dials until the answer is final: a place at the relay takes a moment.
async fn dial_over(relay: &Multiaddr, from: &mut Peer, to: u8) -> String {
    let addr: Multiaddr = format!("{relay}/p2p-circuit/p2p/{}", name(to)).parse().unwrap();
    let mut said = String::new();
    for _ in 0..50 {
        from.handle.dial(addr.clone()).unwrap();
        match from.next().await {
            Event::DialFailed { why, .. } => said = why,
            other => panic!("{other:?} over a relay"),
        }
        if said.contains("introductions only") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    said
}

#[tokio::test]
async fn whoever_dials_a_relay_is_reached_over_it_for_introductions_only() {
    let mut relay = coordinator(1, true).await;
    let (mut one, mut two) = (peer(2, &[]).await, peer(3, &[]).await);
    for peer in [&mut one, &mut two] {
        peer.connect(&mut relay).await;
    }
    let why = dial_over(&relay.listen[0], &mut one, 3).await;
    assert!(why.contains("introductions only"), "{why}");
    assert_eq!(one.handle.send(name(3), vec![1]), Err(tributary_swarm::SendError::NotConnected));
}

#[tokio::test]
async fn whoever_is_no_relay_introduces_nobody() {
    let mut other = coordinator(1, false).await;
    let (mut one, mut two) = (peer(2, &[]).await, peer(3, &[]).await);
    for peer in [&mut one, &mut two] {
        peer.connect(&mut other).await;
    }
    one.handle.dial(format!("{}/p2p-circuit/p2p/{}", other.listen[0], name(3)).parse().unwrap()).unwrap();
    match one.next().await {
        Event::DialFailed { why, .. } => assert!(!why.contains("introductions only"), "{why}"),
        other => panic!("{other:?}"),
    }
}
