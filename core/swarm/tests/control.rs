//! Control streams between real nodes.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Peer, name, peer, peer_with};
use std::sync::Arc;
use tributary_protocol::limits::MAX_CONTROL_FRAME;
use tributary_swarm::{Event, Limits, MemoryStore, SendError};

const TCP: &str = "/ip4/127.0.0.1/tcp/0";
const WS: &str = "/ip4/127.0.0.1/tcp/0/ws";
const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

async fn frames_go_both_ways_in_order(listen: &str) {
    let (mut server, mut client) = (peer(1, &[listen]).await, peer(2, &[]).await);
    client.connect(&mut server).await;
    // 20 frames of up to 30 kB each way: within the queue, and more than one read.
    let frames: Vec<Vec<u8>> = (0..20_usize).map(|i| vec![i as u8; i * 1500]).collect();
    for frame in &frames {
        client.handle.send(server.id, frame.clone()).unwrap();
        server.handle.send(client.id, frame.clone()).unwrap();
    }
    for frame in &frames {
        assert_eq!(client.frame().await, *frame);
        assert_eq!(server.frame().await, *frame);
    }
    let sum: usize = frames.iter().map(Vec::len).sum();
    let traffic = client.handle.traffic();
    assert!(traffic.up as usize > sum && traffic.down as usize > sum, "{traffic:?}");

    client.handle.send(server.id, b"last words".to_vec()).unwrap();
    client.handle.disconnect(server.id);
    assert_eq!(server.frame().await, b"last words", "what was sent before a disconnect arrives");
    assert_eq!(
        server.disconnected().await,
        (client.id, "the other side closed the connection: it was closed on purpose".into())
    );
    assert_eq!(client.disconnected().await, (server.id, "it was closed on purpose".into()));
    assert_eq!(client.handle.send(server.id, Vec::new()), Err(SendError::NotConnected));
}

#[tokio::test]
async fn frames_over_tcp() {
    frames_go_both_ways_in_order(TCP).await;
}

#[tokio::test]
async fn frames_over_websocket() {
    frames_go_both_ways_in_order(WS).await;
}

#[tokio::test]
async fn frames_over_quic() {
    frames_go_both_ways_in_order(QUIC).await;
}

#[tokio::test]
async fn a_host_that_takes_nothing_stops_its_peers_and_loses_nothing() {
    let (mut server, mut client) = (peer(1, &[TCP]).await, peer(2, &[]).await);
    client.connect(&mut server).await;
    // The window (2 frames) and the queue (4 frames of this size) fill, then the caller is told.
    let mut sent = 0_u32;
    let mut frame = vec![0; MAX_CONTROL_FRAME];
    let mut full = 0;
    while full < 1000 {
        frame[..4].copy_from_slice(&sent.to_le_bytes());
        match client.handle.send(server.id, frame.clone()) {
            Ok(()) => (sent, full) = (sent + 1, 0),
            Err(error) => {
                assert_eq!(error, SendError::Full);
                full += 1;
                tokio::task::yield_now().await;
            }
        }
        assert!(sent <= 6, "two frames under way and four waiting are the most");
    }
    assert!(sent >= 4);
    assert_eq!(client.handle.send(server.id, vec![0; MAX_CONTROL_FRAME + 1]), Err(SendError::TooLarge));
    // The other way is not blocked by it.
    server.handle.send(client.id, b"still here".to_vec()).unwrap();
    assert_eq!(client.frame().await, b"still here");
    // As soon as the host takes frames, the rest follows, and more can be sent.
    for index in 0..sent {
        assert_eq!(server.frame().await[..4], index.to_le_bytes());
    }
    client.handle.send(server.id, b"and on".to_vec()).unwrap();
    assert_eq!(server.frame().await, b"and on");
}

#[tokio::test]
async fn a_newer_connection_replaces_the_older_one() {
    let mut server = peer(1, &[TCP]).await;
    let mut old = peer(2, &[]).await;
    old.connect(&mut server).await;
    let mut new = peer(2, &[]).await;
    new.handle.dial(server.listen[0].clone()).unwrap();
    let (who, why) = server.disconnected().await;
    assert_eq!(who, new.id);
    assert!(why.contains("a newer connection"), "{why}");
    assert_eq!(server.connected().await, new.id);
    assert_eq!(new.connected().await, server.id);
    let (_, why) = old.disconnected().await;
    assert!(why.contains("a newer connection"), "the older side is told: {why}");
    server.handle.send(new.id, b"to the newer".to_vec()).unwrap();
    assert_eq!(new.frame().await, b"to the newer");
}

#[tokio::test]
async fn when_both_dial_at_once_one_connection_stays() {
    let (mut a, mut b) = (peer(1, &[TCP]).await, peer(2, &[TCP]).await);
    a.handle.dial(b.listen[0].clone()).unwrap();
    b.handle.dial(a.listen[0].clone()).unwrap();
    // Connected, and perhaps replaced once, on each side; then frames pass both ways.
    async fn settled(peer: &mut Peer, other: tributary_protocol::Id) {
        let mut up = 0;
        loop {
            match peer.next().await {
                Event::Connected { .. } => up += 1,
                Event::Disconnected { .. } => up -= 1,
                Event::Frame { frame, .. } => {
                    assert_eq!((up, &frame[..]), (1, &b"hello"[..]));
                    return;
                }
                other => panic!("{other:?}"),
            }
            if up == 1 {
                let _ = peer.handle.send(other, b"hello".to_vec());
            }
        }
    }
    let (a_id, b_id) = (a.id, b.id);
    futures::join!(settled(&mut a, b_id), settled(&mut b, a_id));
}

#[tokio::test]
async fn dials_that_come_to_nothing_say_why() {
    let (mut server, mut client) = (peer(1, &[TCP]).await, peer(2, &[]).await);
    let failed = async |client: &mut Peer, addr: libp2p::Multiaddr| {
        client.handle.dial(addr.clone()).unwrap();
        match client.next().await {
            Event::DialFailed { addr: failed, why } => {
                assert_eq!(failed, addr);
                why
            }
            other => panic!("{other:?}"),
        }
    };
    let nobody = failed(&mut client, "/ip4/127.0.0.1/tcp/1".parse().unwrap()).await;
    assert!(nobody.to_lowercase().contains("refused"), "{nobody}");
    let unknown = failed(&mut client, "/memory/1".parse().unwrap()).await;
    assert!(!unknown.is_empty());
    let mut wrong = server.listen[0].clone();
    wrong.pop();
    let other = libp2p::PeerId::from_bytes(&name(9).to_peer_id_bytes()).unwrap();
    let wrong = failed(&mut client, wrong.with_p2p(other).unwrap()).await;
    assert!(wrong.contains("another peer answers there"), "{wrong}");
    client.connect(&mut server).await;
}

#[tokio::test]
async fn dials_beyond_the_limit_are_refused() {
    // Addresses that take connections and never speak: the dials stay pending.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr: libp2p::Multiaddr =
        format!("/ip4/127.0.0.1/tcp/{}", silent.local_addr().unwrap().port()).parse().unwrap();
    let limits = Limits { pending: 3, ..Limits::contributor() };
    let mut client = peer_with(2, &[], Arc::new(MemoryStore::new(1)), limits).await;
    for _ in 0..10 {
        client.handle.dial(addr.clone()).unwrap();
    }
    for _ in 0..7 {
        match client.next().await {
            Event::DialFailed { why, .. } => assert!(why.contains("at most 3 pending outgoing"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_are_refused() {
    let limits = Limits { connections: 2, ..Limits::coordinator() };
    let mut server = peer_with(1, &[TCP], Arc::new(MemoryStore::new(1)), limits).await;
    let (mut first, mut second, mut third) = (peer(2, &[]).await, peer(3, &[]).await, peer(4, &[]).await);
    first.connect(&mut server).await;
    second.connect(&mut server).await;
    third.handle.dial(server.listen[0].clone()).unwrap();
    assert!(matches!(third.next().await, Event::DialFailed { .. }));
    first.handle.disconnect(server.id);
    assert_eq!(server.disconnected().await.0, first.id);
    assert_eq!(first.disconnected().await.0, server.id);
}

#[tokio::test]
async fn the_node_ends_with_its_last_handle_and_its_peers_notice() {
    let (mut server, mut client) = (peer(1, &[TCP]).await, peer(2, &[]).await);
    client.connect(&mut server).await;
    let Peer { handle, task, .. } = client;
    drop(handle);
    task.await.unwrap();
    assert_eq!(server.disconnected().await.0, name(2));
}

#[tokio::test]
async fn a_taken_port_is_told_with_what_to_do() {
    let server = peer(1, &[TCP]).await;
    let mut addr = server.listen[0].clone();
    addr.pop();
    let listen = vec![addr.clone()];
    let config = tributary_swarm::Config { listen, ..tributary_swarm::Config::contributor([2; 32], "") };
    let Err(error) = tributary_swarm::node(config, Arc::new(MemoryStore::new(1))) else { panic!("the port is taken") };
    let text = error.to_string();
    assert!(text.contains(&addr.to_string()) && text.contains("choose another"), "{text}");
    assert!(!error.is_fatal());
}

#[tokio::test]
async fn a_silent_death_is_told_within_thirty_seconds() {
    let mut server = peer(1, &[TCP]).await;
    let (mut client, cut) = (peer(2, &[]).await, Arc::new(tokio::sync::Notify::new()));
    // A wire that can be cut: both its ends stay open and nothing passes any more.
    let wire = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = wire.local_addr().unwrap().port();
    let far: std::net::SocketAddr = match server.listen[0].iter().nth(1) {
        Some(libp2p::multiaddr::Protocol::Tcp(port)) => ([127, 0, 0, 1], port).into(),
        other => panic!("{other:?}"),
    };
    let scissors = cut.clone();
    tokio::spawn(async move {
        let (mut near, _) = wire.accept().await.unwrap();
        let mut far = tokio::net::TcpStream::connect(far).await.unwrap();
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
            () = scissors.notified() => std::future::pending().await,
        }
    });
    client.handle.dial(format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()).unwrap();
    client.connected().await;
    server.connected().await;
    cut.notify_one();
    let died = std::time::Instant::now();
    let (told, other) = futures::join!(server.disconnected(), client.disconnected());
    assert!(died.elapsed() < std::time::Duration::from_secs(30), "{:?}", died.elapsed());
    assert!(told.1.contains("does not answer") && other.1.contains("does not answer"), "{told:?} {other:?}");
}
