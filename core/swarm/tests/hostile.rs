//! A peer that speaks libp2p properly and our protocols wrongly, written against libp2p alone.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Manner, Peer, Watched, noise, peer, peer_with};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{Stream, StreamProtocol, SwarmBuilder, noise as handshake, tcp, yamux};
use tributary_protocol::limits::MAX_CONTROL_FRAME;
use tributary_swarm::{Event, Limits, MemoryStore};

const TCP: &str = "/ip4/127.0.0.1/tcp/0";
const CONTROL: StreamProtocol = StreamProtocol::new("/tributary/control/1");
const BLOB: StreamProtocol = StreamProtocol::new("/tributary/blob/1");

/// Dials the node; returns the means to open streams on that connection.
async fn hostile(server: &Peer) -> libp2p_stream::Control {
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), handshake::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| libp2p_stream::Behaviour::new())
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
        .build();
    let control = swarm.behaviour().new_control();
    swarm.dial(server.listen[0].clone()).unwrap();
    loop {
        if let libp2p::swarm::SwarmEvent::ConnectionEstablished { .. } = swarm.select_next_some().await {
            break;
        }
    }
    tokio::spawn(async move {
        loop {
            swarm.next().await;
        }
    });
    control
}

async fn open(control: &mut libp2p_stream::Control, server: &Peer, protocol: StreamProtocol) -> Stream {
    let name = libp2p::PeerId::from_bytes(&server.id.to_peer_id_bytes()).unwrap();
    control.open_stream(name, protocol).await.unwrap()
}

async fn frame(stream: &mut Stream, kind: u8, body: &[u8]) {
    let mut bytes = vec![kind];
    bytes.extend((body.len() as u32).to_le_bytes());
    bytes.extend(body);
    stream.write_all(&bytes).await.unwrap();
    stream.flush().await.unwrap();
}

/// Reads to the end and returns the reason in the last frame.
async fn told(stream: &mut Stream) -> String {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    let mut rest = &all[..];
    let mut last = (0, &rest[..0]);
    while !rest.is_empty() {
        let len = u32::from_le_bytes(rest[1..5].try_into().unwrap()) as usize;
        last = (rest[0], &rest[5..5 + len]);
        rest = &rest[5 + len..];
    }
    assert_eq!(last.0, 2, "the last frame says good-bye");
    String::from_utf8(last.1.to_vec()).unwrap()
}

/// What the node says about a peer that sends these frames after the control stream is up.
async fn check(frames: &[(u8, Vec<u8>)], expected: &str) {
    let mut server = peer(1, &[TCP]).await;
    let mut control = hostile(&server).await;
    let mut stream = open(&mut control, &server, CONTROL).await;
    let who = server.connected().await;
    for (kind, body) in frames {
        frame(&mut stream, *kind, body).await;
    }
    assert!(told(&mut stream).await.contains(expected));
    loop {
        match server.next().await {
            Event::Frame { .. } => {}
            Event::Disconnected { peer, why } => {
                assert!(peer == who && why.contains(expected), "{why}");
                return;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_oversize_frame_ends_the_connection() {
    check(&[(0, vec![0; MAX_CONTROL_FRAME + 1])], "at most 262144 are allowed").await;
}

#[tokio::test]
async fn more_than_the_credit_ends_the_connection() {
    let frames = vec![(0, vec![0; MAX_CONTROL_FRAME]); 3];
    check(&frames, "more than the 524298 bytes of its credit").await;
}

#[tokio::test]
async fn empty_frames_cost_credit_too() {
    let mut server = peer(1, &[TCP]).await;
    let mut control = hostile(&server).await;
    let mut stream = open(&mut control, &server, CONTROL).await;
    server.connected().await;
    let flood = vec![0; 5 * 110_000];
    stream.write_all(&flood).await.unwrap();
    assert!(told(&mut stream).await.contains("of its credit"));
}

#[tokio::test]
async fn credit_out_of_nothing_ends_the_connection() {
    check(&[(1, vec![1, 0, 0, 0])], "credit that it did not have").await;
    check(&[(1, vec![0, 0, 0, 0])], "credit that it did not have").await;
    check(&[(1, vec![0])], "credit that it did not have").await;
}

#[tokio::test]
async fn an_unknown_kind_ends_the_connection() {
    check(&[(0, b"fine".to_vec()), (77, Vec::new())], "unknown kind 77").await;
}

#[tokio::test]
async fn a_second_control_stream_ends_the_connection() {
    let mut server = peer(1, &[TCP]).await;
    let mut control = hostile(&server).await;
    let mut stream = open(&mut control, &server, CONTROL).await;
    server.connected().await;
    let _second = open(&mut control, &server, CONTROL).await;
    assert!(told(&mut stream).await.contains("second control stream"));
    assert!(server.disconnected().await.1.contains("second control stream"));
}

#[tokio::test]
async fn a_blob_stream_before_the_control_stream_ends_the_connection() {
    let server = peer(1, &[TCP]).await;
    let mut control = hostile(&server).await;
    let name = libp2p::PeerId::from_bytes(&server.id.to_peer_id_bytes()).unwrap();
    // The connection ends while the stream is opened or right after; either way there is no answer.
    if let Ok(mut stream) = control.open_stream(name, BLOB).await {
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all).await;
        assert!(all.is_empty());
    }
    assert!(control.open_stream(name, CONTROL).await.is_err());
}

/// What a served peer gets after asking for these ranges: how many whole chunks before the end.
async fn chunks_for(wants: &[(u32, u32)]) -> usize {
    let bytes = noise(20 * 65_536);
    let (store, blob) = Watched::holding(&bytes, Manner::Honest);
    let mut server = peer_with(1, &[TCP], store.clone(), Limits::coordinator()).await;
    let mut control = hostile(&server).await;
    let _control = open(&mut control, &server, CONTROL).await;
    server.connected().await;
    let mut stream = open(&mut control, &server, BLOB).await;
    frame(&mut stream, 0, &[&blob.hash.0[..], &blob.bytes.to_le_bytes()].concat()).await;
    for (first, count) in wants {
        frame(&mut stream, 4, &[first.to_le_bytes(), count.to_le_bytes()].concat()).await;
    }
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    assert_eq!(all[0], 1, "the list comes first");
    (all.len() - 5 - 20 * 32) / (5 + 4 + 65_536)
}

#[tokio::test]
async fn ranges_out_of_order_or_bounds_are_not_served() {
    assert_eq!(chunks_for(&[(0, 16), (16, 4)]).await, 20, "the whole blob, once");
    assert_eq!(chunks_for(&[(0, 16), (0, 16)]).await, 16, "the same range again");
    assert_eq!(chunks_for(&[(0, 17)]).await, 0, "more than the window");
    assert_eq!(chunks_for(&[(0, 4), (16, 5)]).await, 4, "beyond the end");
    assert_eq!(chunks_for(&[(u32::MAX, 2)]).await, 0, "beyond all numbers");
}

#[tokio::test]
async fn a_peer_that_holds_many_requests_open_is_told_to_wait() {
    let (store, blob) = Watched::holding(&noise(1_000_000), Manner::Honest);
    let mut server = peer_with(1, &[TCP], store, Limits::coordinator()).await;
    let mut control = hostile(&server).await;
    let _control = open(&mut control, &server, CONTROL).await;
    server.connected().await;
    let request = [&blob.hash.0[..], &blob.bytes.to_le_bytes()].concat();
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut stream = open(&mut control, &server, BLOB).await;
        frame(&mut stream, 0, &request).await;
        let mut kind = [0];
        stream.read_exact(&mut kind).await.unwrap();
        assert_eq!(kind, [1], "found");
        held.push(stream);
    }
    let mut one_more = open(&mut control, &server, BLOB).await;
    let mut answer = Vec::new();
    one_more.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, [3, 0, 0, 0, 0], "busy");
}

#[tokio::test]
async fn someone_who_does_not_speak_the_protocol_is_a_failed_dial() {
    // A libp2p node without our protocols.
    let mut other = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), handshake::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| libp2p::swarm::dummy::Behaviour)
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
        .build();
    other.listen_on(TCP.parse().unwrap()).unwrap();
    let addr = loop {
        if let libp2p::swarm::SwarmEvent::NewListenAddr { address, .. } = other.select_next_some().await {
            break address;
        }
    };
    tokio::spawn(async move {
        loop {
            other.next().await;
        }
    });
    let mut client = peer_with(2, &[], Arc::new(MemoryStore::new(1)), Limits::contributor()).await;
    client.handle.dial(addr).unwrap();
    match client.next().await {
        Event::DialFailed { why, .. } => assert!(why.contains("does not speak this protocol"), "{why}"),
        other => panic!("{other:?}"),
    }
}
