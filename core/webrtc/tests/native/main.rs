//! Two native peers on loopback, joined by handing each other's strings over.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used, missing_docs)]

mod streams;

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::channel::mpsc;
use futures::{SinkExt as _, StreamExt as _};
use tokio::time::timeout;
use tributary_webrtc::backend::native::{Channel, Native, Peer};
use tributary_webrtc::backend::{
    Backend as _, Candidate, Channel as _, Error, Events, Peer as _, PeerConfig, PeerEvent, RECEIVE_BUFFER,
    SEND_BUFFER, State,
};

const PATIENCE: Duration = Duration::from_secs(30);
const MESSAGE: usize = 16 * 1024;

/// One side: its connection, the channels that came, its states.
struct Side {
    peer: Arc<Peer>,
    channels: mpsc::Receiver<Channel>,
    states: mpsc::Receiver<Result<State, Error>>,
}

impl Side {
    async fn accept(&mut self) -> Channel {
        timeout(PATIENCE, self.channels.next()).await.expect("a channel in time").expect("a channel")
    }

    async fn reaches(&mut self, wanted: Result<State, Error>) {
        let found = async { while self.states.next().await.expect("still watching") != wanted {} };
        timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("never became {wanted:?}"));
    }
}

async fn connected() -> (Side, Side) {
    let (a, a_events) = Native.open(PeerConfig::default()).await.unwrap();
    let (b, b_events) = Native.open(PeerConfig::default()).await.unwrap();
    let init = a.channel("init", None).await.unwrap();
    let answer = b.answer(a.offer().await.unwrap()).await.unwrap();
    a.accept(answer).await.unwrap();
    let (to_a, candidates_a) = mpsc::channel(1000);
    let (to_b, candidates_b) = mpsc::channel(1000);
    let mut a = watch(a, a_events, candidates_a, to_b);
    let mut b = watch(b, b_events, candidates_b, to_a);
    a.reaches(Ok(State::Connected)).await;
    b.reaches(Ok(State::Connected)).await;
    drop(init);
    b.accept().await;
    (a, b)
}

/// Hands candidates over for as long as both sides live, and sorts the events.
fn watch(
    peer: Peer,
    mut events: Events<Native>,
    mut theirs: mpsc::Receiver<Candidate>,
    mut ours: mpsc::Sender<Candidate>,
) -> Side {
    let (mut to_channels, channels) = mpsc::channel(1000);
    let (mut to_states, states) = mpsc::channel(1000);
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            match event {
                PeerEvent::Candidate(candidate) => drop(ours.send(candidate).await),
                PeerEvent::Channel(channel) => drop(to_channels.try_send(channel)),
                PeerEvent::State(state) => drop(to_states.try_send(Ok(state))),
                PeerEvent::Broken(error) => drop(to_states.try_send(Err(error))),
            }
        }
    });
    let peer = Arc::new(peer);
    let adding = Arc::downgrade(&peer);
    tokio::spawn(async move {
        while let Some(candidate) = theirs.next().await {
            let Some(added) = adding.upgrade().map(|peer| peer.add_candidate(candidate)) else { return };
            added.await.unwrap();
        }
    });
    Side { peer, channels, states }
}

async fn open(side: &Side) -> Channel {
    side.peer.channel("", None).await.unwrap()
}

async fn send(channel: &mut Channel, message: Bytes) -> Result<(), Error> {
    poll_fn(|cx| channel.poll_ready(cx)).await?;
    channel.send(message)
}

async fn receive(channel: &mut Channel) -> Option<Result<Bytes, Error>> {
    timeout(PATIENCE, poll_fn(|cx| channel.poll_receive(cx))).await.expect("a message in time")
}

/// Message number `n` of a transfer; every one is different.
fn message(n: usize) -> Bytes {
    let mut bytes = vec![n as u8; MESSAGE];
    bytes[..8].copy_from_slice(&(n as u64).to_le_bytes());
    bytes.into()
}

async fn pour(channel: &mut Channel, messages: usize) {
    for n in 0..messages {
        send(channel, message(n)).await.unwrap();
    }
    poll_fn(|cx| channel.poll_flush(cx)).await.unwrap();
}

async fn drain(channel: &mut Channel, messages: usize) {
    for n in 0..messages {
        assert_eq!(receive(channel).await.unwrap().unwrap(), message(n), "message {n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn echoes() {
    let (a, mut b) = connected().await;
    let mut ours = open(&a).await;
    send(&mut ours, Bytes::from_static(b"hello")).await.unwrap();
    let mut theirs = b.accept().await;
    assert_eq!(receive(&mut theirs).await.unwrap().unwrap(), "hello");
    send(&mut theirs, Bytes::from_static(b"and back")).await.unwrap();
    assert_eq!(receive(&mut ours).await.unwrap().unwrap(), "and back");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_side_that_answered_opens_channels_too() {
    let (mut a, b) = connected().await;
    let mut ours = open(&b).await;
    send(&mut ours, Bytes::from_static(b"hello")).await.unwrap();
    assert_eq!(receive(&mut a.accept().await).await.unwrap().unwrap(), "hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_megabytes_each_way() {
    // A debug build encrypts 2 MB a second.
    const MESSAGES: usize = if cfg!(debug_assertions) { 5_000_000 } else { 50_000_000 } / MESSAGE;
    let (a, mut b) = connected().await;
    let mut ours = open(&a).await;
    send(&mut ours, Bytes::new()).await.unwrap();
    let mut theirs = b.accept().await;
    assert!(receive(&mut theirs).await.unwrap().unwrap().is_empty());
    let start = Instant::now();
    tokio::join!(pour(&mut ours, MESSAGES), drain(&mut theirs, MESSAGES));
    let there = start.elapsed();
    tokio::join!(pour(&mut theirs, MESSAGES), drain(&mut ours, MESSAGES));
    let back = start.elapsed() - there;
    println!("{} MB in {there:?}, and back in {back:?}", MESSAGES * MESSAGE / 1_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_short_channels() {
    let (a, mut b) = connected().await;
    let start = Instant::now();
    for n in 0..200 {
        let mut ours = open(&a).await;
        send(&mut ours, message(n)).await.unwrap_or_else(|error| panic!("channel {n}: {error}"));
        let mut theirs = b.accept().await;
        assert_eq!(receive(&mut theirs).await.unwrap().unwrap(), message(n));
        send(&mut theirs, message(n)).await.unwrap();
        theirs.close();
        assert_eq!(receive(&mut ours).await.unwrap().unwrap(), message(n), "what was sent before closing");
    }
    println!("200 channels in {:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_channel_ends_after_its_last_message() {
    let (a, mut b) = connected().await;
    let mut ours = open(&a).await;
    for n in 0..100 {
        send(&mut ours, message(n)).await.unwrap();
    }
    drop(ours);
    let mut theirs = b.accept().await;
    drain(&mut theirs, 100).await;
    assert_eq!(receive(&mut theirs).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_is_never_read_makes_its_sender_wait() {
    let (a, mut b) = connected().await;
    let mut ours = open(&a).await;
    let mut sent = 0;
    while timeout(Duration::from_secs(1), send(&mut ours, message(sent))).await.is_ok() {
        sent += 1;
        assert!(sent * MESSAGE < 16 * 1024 * 1024, "{sent} messages went out and nobody read one");
    }
    let mut theirs = b.accept().await;
    tokio::join!(drain(&mut theirs, sent + 100), async {
        for n in sent..sent + 100 {
            send(&mut ours, message(n)).await.unwrap();
        }
    });
}

/// SCTP's window stops the sender, or the connection is closed as a flood; which of them comes first is the
/// network's affair.
#[tokio::test(flavor = "multi_thread")]
async fn many_channels_that_are_never_read_are_stopped() {
    const CHANNELS: usize = 8;
    const STALLED: Duration = Duration::from_secs(3);
    let (a, _b) = connected().await;
    let mut kept = Vec::new();
    let mut sent = 0;
    for _ in 0..CHANNELS {
        let Ok(Ok(mut ours)) = timeout(STALLED, a.peer.channel("", None)).await else { break };
        let mut n = 0;
        while n < 512 && matches!(timeout(STALLED, send(&mut ours, message(n))).await, Ok(Ok(()))) {
            n += 1;
        }
        sent += n * MESSAGE;
        kept.push(ours);
    }
    // Of 64 MiB: what the receiver holds unread, and what the sender holds for the network.
    let most = RECEIVE_BUFFER + CHANNELS * SEND_BUFFER + 4 * 1024 * 1024;
    assert!(sent <= most, "{sent} bytes went to a peer that reads nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_one_side_ends_the_other() {
    let (mut a, mut b) = connected().await;
    let mut ours = open(&a).await;
    send(&mut ours, Bytes::from_static(b"hello")).await.unwrap();
    let mut theirs = b.accept().await;
    receive(&mut theirs).await.unwrap().unwrap();
    drop(b.peer);
    assert_eq!(receive(&mut ours).await, None);
    a.reaches(Ok(State::Closed)).await;
    assert_eq!(a.states.next().await, None, "nothing comes after the end");
}
