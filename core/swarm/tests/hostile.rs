//! A peer that speaks libp2p properly and our protocols wrongly, written against libp2p alone.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::rogue::{BLOB, CONTROL, found, frame, hostile, open, range, read, request};
use common::{Manner, Watched, noise, peer, peer_with};
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, StreamExt};
use libp2p::{Stream, SwarmBuilder, noise as handshake, tcp, yamux};
use tributary_protocol::limits::MAX_CONTROL_FRAME;
use tributary_swarm::{BlobStore, Event, Limits, MemoryStore};

const TCP: &str = "/ip4/127.0.0.1/tcp/0";

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

/// What a served peer gets for these frames after a request: how many whole chunks before the end.
async fn chunks_for(how: u8, frames: &[(u8, Vec<u8>)]) -> usize {
    let bytes = noise(100 * 65_536);
    let (store, blob) = Watched::holding(&bytes, Manner::Honest);
    let mut server = peer_with(1, &[TCP], store.clone(), Limits::coordinator()).await;
    let mut control = hostile(&server).await;
    let _control = open(&mut control, &server, CONTROL).await;
    server.connected().await;
    let mut stream = open(&mut control, &server, BLOB).await;
    frame(&mut stream, 0, &request(&blob, how)).await;
    assert_eq!(read(&mut stream).await.unwrap().0, 1, "it is found");
    for (kind, body) in frames {
        frame(&mut stream, *kind, body).await;
    }
    stream.close().await.unwrap();
    let mut chunks = 0;
    while let Some((kind, _)) = read(&mut stream).await {
        chunks += usize::from(kind == 5);
    }
    chunks
}

#[tokio::test]
async fn chunks_are_served_once_and_only_within_the_window_and_the_blob() {
    let want =
        |ranges: &[(u32, u32)]| -> Vec<_> { ranges.iter().map(|(first, count)| (4, range(*first, *count))).collect() };
    assert_eq!(chunks_for(1, &want(&[(64, 36), (0, 16), (16, 48)])).await, 100, "the whole blob, in any order");
    assert_eq!(chunks_for(1, &want(&[(0, 16), (0, 16)])).await, 16, "the same again");
    assert_eq!(chunks_for(1, &want(&[(0, 65)])).await, 0, "more than the window");
    assert_eq!(chunks_for(1, &want(&[(0, 4), (96, 5)])).await, 4, "beyond the end");
    assert_eq!(chunks_for(1, &want(&[(u32::MAX, 2)])).await, 0, "beyond all numbers");
    assert_eq!(chunks_for(1, &want(&[(5, 0)])).await, 0, "nothing");
}

#[tokio::test]
async fn a_requester_that_breaks_the_rules_is_served_no_further() {
    let want = || (4, range(0, 2));
    let body = request(&tributary_protocol::BlobRef::of(b"another"), 1);
    assert_eq!(chunks_for(1, &[want(), (0, body), (4, range(2, 2))]).await, 2, "a second request");
    assert_eq!(chunks_for(1, &[want(), (6, range(9, 1)), (4, range(2, 2))]).await, 2, "it tells what nobody asked");
    assert_eq!(chunks_for(3, &[want(), (6, range(9, 1)), (4, range(2, 2))]).await, 4, "which a patient one may");
    let again = [want(), (6, range(9, 1)), (6, range(9, 1)), (4, range(2, 2))];
    assert_eq!(chunks_for(3, &again).await, 2, "but not again and again");
    assert_eq!(chunks_for(3, &[want(), (6, range(99, 2)), (4, range(2, 2))]).await, 2, "nor beyond the end");
    assert_eq!(chunks_for(1, &[want(), (5, range(0, 1)), (4, range(2, 2))]).await, 2, "a chunk");
}

/// How a source misbehaves: what it sends after it was asked.
async fn lie(how: &'static str, stream: &mut Stream, bytes: &[u8], asked: &[u8]) {
    let good = found(bytes, asked);
    match how {
        "a short bitmap" => frame(stream, 1, &good[1..]).await,
        "a long bitmap" => frame(stream, 1, &[&good[..], &[0]].concat()).await,
        "a chunk beyond the last in its bitmap" => {
            let mut wrong = good.clone();
            wrong[2] |= 1 << 7;
            frame(stream, 1, &wrong).await;
        }
        "a wrong list" => {
            let mut wrong = good.clone();
            if let Some(last) = wrong.last_mut() {
                *last ^= 1;
            }
            frame(stream, 1, &wrong).await;
        }
        "an oversize frame" => frame(stream, 1, &vec![0; 100_000]).await,
        "a chunk that nobody asked for" => {
            frame(stream, 1, &good).await;
            let last = &bytes[18 * 65_536..];
            frame(stream, 5, &[&18_u32.to_le_bytes()[..], last].concat()).await;
            frame(stream, 5, &[&18_u32.to_le_bytes()[..], last].concat()).await;
        }
        "a wrong chunk" => {
            frame(stream, 1, &good).await;
            while let Some((kind, body)) = read(stream).await {
                if kind == 4 {
                    frame(stream, 5, &[&body[..4], &[0; 65_536]].concat()).await;
                    return;
                }
            }
        }
        "chunks beyond the blob" => {
            frame(stream, 1, &good).await;
            frame(stream, 6, &range(15, 7)).await;
        }
        "the same news for ever" => {
            frame(stream, 1, &good).await;
            frame(stream, 6, &range(3, 1)).await;
        }
        "an offer as a peer" => {
            frame(stream, 1, &good).await;
            frame(stream, 7, &range(0, 1)).await;
        }
        "a frame of no known kind" => {
            frame(stream, 1, &good).await;
            frame(stream, 9, &[]).await;
        }
        other => panic!("{other}"),
    }
}

/// A peer that lies so is dropped, the blob comes from the others, and it is not asked for the next one.
async fn liar_is_dropped(how: &'static str) {
    // 19 chunks, and time for the liar to have its turn.
    let bytes = noise(1_200_000);
    let (store, blob) = Watched::holding(&bytes, Manner::Honest);
    let next = noise(100_000);
    store.put(&tributary_protocol::BlobRef::of(&next), next.clone()).unwrap();
    let mut origin = peer_with(1, &[TCP], store, Limits::coordinator()).await;
    origin.handle.set_upload_limit(Some(1_000_000));
    let mut client = peer(2, &[TCP]).await;
    client.connect(&mut origin).await;
    let mut control = hostile(&client).await;
    let mut streams = control.accept(BLOB).unwrap();
    let _control = open(&mut control, &client, CONTROL).await;
    client.connected().await;
    let lies = async {
        let (_, mut stream) = streams.next().await.unwrap();
        let (kind, asked) = read(&mut stream).await.unwrap();
        assert_eq!((kind, &asked[..40], asked[40] & 4), (0, &request(&blob, 0)[..40], 4), "it is asked as a peer");
        lie(how, &mut stream, &bytes, &asked).await;
        // The client ends the stream: a requester that goes on would keep it open.
        while read(&mut stream).await.is_some() {}
    };
    let (got, ()) = futures::join!(client.fetch(origin.id, blob), lies);
    assert_eq!(got.unwrap(), bytes, "{how}");
    assert_eq!(client.fetch(origin.id, tributary_protocol::BlobRef::of(&next)).await.unwrap(), next);
    assert!(streams.next().now_or_never().is_none(), "{how}: it is asked again");
}

#[tokio::test]
async fn sources_that_lie_are_dropped_and_not_asked_again() {
    let all = [
        "a short bitmap",
        "a long bitmap",
        "a chunk beyond the last in its bitmap",
        "a wrong list",
        "an oversize frame",
        "a chunk that nobody asked for",
        "a wrong chunk",
        "chunks beyond the blob",
        "the same news for ever",
        "an offer as a peer",
        "a frame of no known kind",
    ];
    futures::future::join_all(all.map(liar_is_dropped)).await;
}

#[tokio::test]
async fn a_peer_that_holds_many_requests_open_is_told_to_wait() {
    let (store, blob) = Watched::holding(&noise(1_000_000), Manner::Honest);
    let mut server = peer_with(1, &[TCP], store, Limits::coordinator()).await;
    let mut control = hostile(&server).await;
    let _control = open(&mut control, &server, CONTROL).await;
    server.connected().await;
    let request = request(&blob, 1);
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
