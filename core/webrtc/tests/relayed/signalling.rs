//! What hostile peers get who signal: a reason, and nothing that lasts.

use std::time::Duration;

use crate::swarms::{Node, Relay, Told, within};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::swarm::Stream;
use tributary_webrtc::backend::memory::Memory;
use tributary_webrtc::backend::{Backend, Peer, PeerConfig, PeerEvent};
use tributary_webrtc::private::{CANDIDATES, Config, Error, Limits, MAX_MESSAGE, SIGNALLING_BYTES};

/// A node that takes direct connections, a relay, and a node that says on signalling streams what it likes.
struct Scene {
    memory: Memory,
    relay: Relay,
    victim: Node,
    hostile: Node,
}

async fn scene(config: Config) -> Scene {
    let memory = Memory::default();
    let relay = Relay::start().await;
    let victim = Node::start(&memory, config);
    victim.reserve(&relay).await;
    let hostile = Node::plain(&memory);
    hostile.connect(relay.circuit(victim.id)).await.unwrap();
    Scene { memory, relay, victim, hostile }
}

impl Scene {
    async fn stream(&self) -> Stream {
        self.hostile.signal(self.victim.id).await.unwrap()
    }

    /// Waits until the victim says why it gave up on a connection.
    async fn expect(&self, want: &str) {
        let told = within(self.victim.told(|told| matches!(told, Told::IncomingFailed { .. }))).await;
        let Told::IncomingFailed { error } = told else { return };
        assert!(error.contains(want), "{error}");
    }

    /// Nothing is left of what the hostile peer did, and others still get in.
    async fn expect_unharmed(&self) {
        let good = Node::start(&self.memory, Config::default());
        good.link(&self.relay, self.victim.id).await.unwrap();
        self.victim.direct(good.id).await;
        assert_eq!(self.memory.ends(), 2);
    }
}

/// A signalling message.
fn message(kind: u8, data: &str) -> Vec<u8> {
    let length = |len: usize| match len {
        0..0x80 => vec![len as u8],
        _ => vec![len as u8 | 0x80, (len >> 7) as u8],
    };
    let body = [&[0x08, kind, 0x12][..], &length(data.len()), data.as_bytes()].concat();
    [length(body.len()), body].concat()
}

#[tokio::test]
async fn what_is_no_offer_is_refused_with_a_reason() {
    let scene = scene(Config::default()).await;
    for (bytes, want) in [
        (&b"\xff\xff\xff\xff"[..], "longer than the protocol allows"),
        (b"\x02\x10\x01", "cannot be read"),
        (b"\x05\x08\x00\x12\x01\xff", "cannot be read"),
        (&message(1, "answer 1"), "something else than an offer"),
        (&message(2, "null"), "something else than an offer"),
        (&message(0, "offer nobody"), "offer cannot be used"),
        (b"", "without an offer"),
        (b"\x05\x08", "without an offer"),
    ] {
        let mut stream = scene.stream().await;
        stream.write_all(bytes).await.unwrap();
        stream.close().await.unwrap();
        scene.expect(want).await;
        assert_eq!(scene.memory.ends(), 0, "{want}");
    }
    scene.expect_unharmed().await;
}

#[tokio::test]
async fn floods_of_candidates_end_the_attempt() {
    let candidate = message(2, r#"{"candidate":"candidate:memory 999"}"#);
    let long = message(2, &"x".repeat(MAX_MESSAGE - 10));
    for (flood, times, want) in [
        (&candidate, CANDIDATES + 1, "more candidates than any machine has"),
        (&message(2, "{"), CANDIDATES + 1, "more candidates than any machine has"),
        (&long, SIGNALLING_BYTES / MAX_MESSAGE + 1, "endless signalling"),
        (&message(2, "null"), CANDIDATES + 1, "more candidates than any machine has"),
        (&message(0, "offer 1"), 1, "a second description"),
    ] {
        let scene = scene(Config::default()).await;
        let (peer, _events) = scene.memory.open(PeerConfig::default()).await.unwrap();
        let mut stream = scene.stream().await;
        stream.write_all(&message(0, &peer.offer().await.unwrap())).await.unwrap();
        for _ in 0..times {
            // It may be refused before everything is said.
            let _ = stream.write_all(flood).await;
        }
        let _ = stream.flush().await;
        scene.expect(want).await;
        drop(peer);
        scene.expect_unharmed().await;
    }
}

#[tokio::test]
async fn malformed_candidates_are_skipped() {
    let scene = scene(Config::default()).await;
    let (peer, mut events) = scene.memory.open(PeerConfig::default()).await.unwrap();
    let mut stream = scene.stream().await;
    stream.write_all(&message(0, &peer.offer().await.unwrap())).await.unwrap();
    for bad in ["", "{", "\"\"", "null", "[[[[", r#"{"candidate":"a\nb"}"#, r#"{"candidate":"candidate:memory 77"}"#] {
        stream.write_all(&message(2, bad)).await.unwrap();
    }
    let PeerEvent::Candidate(candidate) = events.next().await.unwrap() else { panic!("no candidate") };
    stream.write_all(&message(2, &serde_json::to_string(&candidate).unwrap())).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = [0; 64];
    let len = within(stream.read(&mut answer)).await.unwrap();
    assert_eq!(&answer[1..3], [0x08, 0x01], "{:?}", &answer[..len]);
    let text = String::from_utf8_lossy(&answer[5..5 + usize::from(answer[4])]).into_owned();
    peer.accept(text).await.unwrap();
    scene.victim.direct(scene.hostile.id).await;
}

#[tokio::test]
async fn silence_ends_in_time() {
    let scene = scene(Config { timeout: Duration::from_secs(1), ..Config::default() }).await;
    let _silent = scene.stream().await;
    let (peer, _events) = scene.memory.open(PeerConfig::default()).await.unwrap();
    let mut begun = scene.stream().await;
    begun.write_all(&message(0, &peer.offer().await.unwrap())).await.unwrap();
    begun.flush().await.unwrap();
    scene.expect("no direct path was found within 1 seconds").await;
    scene.expect("no direct path was found within 1 seconds").await;
    drop(peer);
    scene.expect_unharmed().await;
}

#[tokio::test]
async fn half_open_connections_are_bounded_and_each_refusal_has_a_reason() {
    let limits = Limits { total: 8, relay: 6, peer: 2 };
    let scene = scene(Config { timeout: Duration::from_secs(60), limits, ..Config::default() }).await;
    let mut held = Vec::new();
    let crowd: Vec<Node> = (0..8).map(|_| Node::plain(&scene.memory)).collect();
    for node in &crowd {
        node.connect(scene.relay.circuit(scene.victim.id)).await.unwrap();
        for _ in 0..5 {
            held.push(node.signal(scene.victim.id).await.unwrap());
        }
    }
    let mut reasons = Vec::new();
    for _ in limits.relay..held.len() {
        let told = within(scene.victim.told(|told| matches!(told, Told::Refused { .. }))).await;
        let Told::Refused { error: Error::Busy(why), .. } = told else { panic!("{told:?}") };
        reasons.push(why);
    }
    assert!(reasons.contains(&"with this peer") && reasons.contains(&"over this relay"), "{reasons:?}");
    // Once those that hold a place are gone there is room for others.
    drop((held, crowd));
    for _ in 0..limits.relay {
        scene.expect("broke before a direct one was made").await;
    }
    scene.expect_unharmed().await;
}

#[tokio::test]
async fn signalling_on_a_direct_connection_is_not_spoken() {
    let scene = scene(Config::default()).await;
    let address = scene.victim.listen().await;
    let near = Node::plain(&scene.memory);
    near.connect(address).await.unwrap();
    let error = near.signal(scene.victim.id).await.unwrap_err();
    assert!(error.contains("does not support") || error.contains("unsupported"), "{error}");
}

#[tokio::test]
async fn whoever_does_not_listen_says_so() {
    let memory = Memory::default();
    let relay = Relay::start().await;
    let deaf = Node::start(&memory, Config::default());
    deaf.reserve_only(&relay).await;
    let caller = Node::start(&memory, Config::default());
    let error = caller.link(&relay, deaf.id).await.unwrap_err();
    assert!(error.contains("broke before a direct one was made"), "{error}");
    let listener =
        |told: &Told| matches!(told, Told::Refused { error: Error::Listener(_), peer } if *peer == caller.id);
    within(deaf.told(listener)).await;
    assert_eq!(memory.ends(), 0);
}

#[tokio::test]
async fn a_relay_that_dies_while_signalling_fails_the_dial() {
    let memory = Memory::default();
    let relay = Relay::start().await;
    let silent = Node::plain(&memory);
    silent.reserve_only(&relay).await;
    let caller = Node::start(&memory, Config::default());
    let signalled = silent.take_signals();
    let dialling = caller.link(&relay, silent.id);
    let ending = async {
        // The offer has come: now the relay goes.
        let mut stream = within(signalled).await;
        let mut piece = [0; 10];
        assert!(within(stream.read(&mut piece)).await.unwrap() > 0);
        relay.kill();
    };
    let (dialled, ()) = futures::future::join(dialling, ending).await;
    let error = dialled.unwrap_err();
    assert!(error.contains("broke before a direct one was made"), "{error}");
    assert_eq!(memory.ends(), 0);
}
