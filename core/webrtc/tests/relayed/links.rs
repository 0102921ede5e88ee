//! `/webrtc` between real swarms over a real relay, with a WebRTC of this process.

use std::time::Duration;

use crate::swarms::{ECHO, Node, Relay, Told, within};
use futures::future::join;
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::PeerId;
use tributary_webrtc::backend::State;
use tributary_webrtc::backend::memory::Memory;
use tributary_webrtc::private::Config;

/// Two nodes that know each other over a relay; the second one listens.
async fn pair() -> (Memory, Relay, Node, Node) {
    let memory = Memory::default();
    let relay = Relay::start().await;
    let a = Node::start(&memory, Config::default());
    let b = Node::start(&memory, Config::default());
    b.reserve(&relay).await;
    (memory, relay, a, b)
}

/// The same, connected directly and with the relayed connection closed.
async fn linked() -> (Memory, Relay, Node, Node) {
    let (memory, relay, a, b) = pair().await;
    a.link(&relay, b.id).await.unwrap();
    b.direct(a.id).await;
    a.close_relayed(b.id).await;
    (memory, relay, a, b)
}

#[tokio::test]
async fn peers_that_share_a_relay_connect_and_survive_it() {
    let (memory, relay, a, b) = linked().await;
    assert_eq!(memory.ends(), 2);
    relay.kill();
    let echoed = async {
        let mut stream = a.open(b.id).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        stream.close().await.unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.unwrap();
        heard
    };
    assert_eq!(within(join(echoed, b.echo())).await.0, b"hello");
}

#[tokio::test]
async fn fifty_megabytes_arrive() {
    let (_memory, _relay, a, b) = linked().await;
    let block: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
    let sending = async {
        let mut stream = a.open(b.id).await.unwrap();
        for _ in 0..50 {
            stream.write_all(&block).await.unwrap();
        }
        stream.close().await.unwrap();
    };
    let receiving = async {
        let mut stream = b.accept().await;
        let mut heard = vec![0; block.len()];
        for _ in 0..50 {
            stream.read_exact(&mut heard).await.unwrap();
            assert!(heard == block);
        }
        assert_eq!(stream.read(&mut heard).await.unwrap(), 0);
    };
    tokio::time::timeout(Duration::from_secs(60), join(sending, receiving)).await.unwrap();
}

#[tokio::test]
async fn two_hundred_streams_leave_no_channel_behind() {
    let (memory, _relay, a, b) = linked().await;
    let before = memory.channels();
    for round in 0..200_u32 {
        let asking = async {
            let mut stream = a.open(b.id).await.unwrap();
            stream.write_all(&round.to_be_bytes()).await.unwrap();
            stream.close().await.unwrap();
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).await.unwrap();
            heard
        };
        assert_eq!(within(join(asking, b.echo())).await.0, round.to_be_bytes());
    }
    within(async {
        while memory.channels() > before {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_reset_ends_both_halves() {
    let (_memory, _relay, a, b) = linked().await;
    let mut ours = a.open(b.id).await.unwrap();
    ours.write_all(b"half").await.unwrap();
    ours.flush().await.unwrap();
    let mut theirs = within(b.accept()).await;
    drop(ours);
    let mut heard = Vec::new();
    let error = within(theirs.read_to_end(&mut heard)).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn both_may_dial_at_once() {
    let (_memory, relay, a, b) = pair().await;
    a.reserve(&relay).await;
    let (a_id, b_id) = (a.id, b.id);
    let (left, right) = within(join(a.link(&relay, b_id), b.link(&relay, a_id))).await;
    left.unwrap();
    right.unwrap();
}

#[tokio::test]
async fn a_relayed_connection_that_is_up_is_used() {
    let (_memory, relay, a, b) = pair().await;
    a.dial(relay.circuit(b.id));
    within(a.told(|told| matches!(told, Told::Up { peer, direct: false, .. } if *peer == b.id))).await;
    a.link(&relay, b.id).await.unwrap();
    assert_eq!(a.relayed(b.id).await, 1);
}

#[tokio::test]
async fn the_relayed_connection_is_kept_for_signalling_and_not_longer() {
    let memory = Memory::default();
    let relay = Relay::start().await;
    // Nothing but signalling keeps a connection for longer than this.
    let a = Node::idle_after(&memory, Config::default(), Duration::ZERO);
    let b = Node::start(&memory, Config::default());
    b.reserve(&relay).await;
    a.link(&relay, b.id).await.unwrap();
    let b_id = b.id;
    let gone = |told: &Told| matches!(told, Told::Down { peer, direct: false } if *peer == b_id);
    within(a.told(gone)).await;
    b.direct(a.id).await;
}

#[tokio::test]
async fn a_failed_connection_is_told() {
    let (memory, _relay, a, b) = linked().await;
    memory.report(State::Disconnected);
    let (_, mut stream) = join(b.accept(), async {
        let mut stream = a.open(b.id).await.unwrap();
        stream.flush().await.unwrap();
        stream
    })
    .await;
    memory.report(State::Failed);
    assert!(within(stream.read(&mut [0; 1])).await.is_err());
    within(a.told(|told| matches!(told, Told::Down { direct: true, peer } if *peer == b.id))).await;
}

#[tokio::test]
async fn dials_that_cannot_succeed_say_why() {
    let (memory, relay, a, b) = pair().await;
    let check = async |a: &Node, peer: PeerId, want: &str| {
        let error = within(a.link(&relay, peer)).await.unwrap_err();
        assert!(error.contains(want), "{error}");
    };
    check(&a, PeerId::random(), "cannot be reached over the relay").await;
    let plain = Node::plain(&memory);
    plain.reserve_only(&relay).await;
    check(&a, plain.id, "does not speak WebRTC").await;
    // One that is there and does not take connections.
    let deaf = Node::start(&memory, Config::default());
    deaf.reserve_only(&relay).await;
    check(&a, deaf.id, "broke before a direct one was made").await;
    // And one that does works on.
    check_links(&a, &b, &relay).await;
}

async fn check_links(a: &Node, b: &Node, relay: &Relay) {
    within(a.link(relay, b.id)).await.unwrap();
    b.direct(a.id).await;
    let mut stream = a.open(b.id).await.unwrap();
    let asking = async {
        stream.write_all(ECHO.as_ref().as_bytes()).await.unwrap();
        stream.close().await.unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.unwrap();
        heard
    };
    assert_eq!(within(join(asking, b.echo())).await.0, ECHO.as_ref().as_bytes());
}
