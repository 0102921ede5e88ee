//! Streams over data channels: halves, resets, last bytes, bounds; and what hostile peers get.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used)]

use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures::channel::mpsc;
use futures::future::join;
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, StreamExt};
use libp2p::core::StreamMuxer;
use libp2p::core::muxing::StreamMuxerExt;
use tributary_webrtc::backend::memory::{Memory, MemoryChannel, MemoryPeer};
use tributary_webrtc::backend::{
    Backend, Channel, Error, Peer, PeerConfig, PeerEvent, RECEIVE_BUFFER, SEND_BUFFER, State,
};
use tributary_webrtc::frame::{Flag, MAX_FRAME};
use tributary_webrtc::muxer::{CHANNELS, Muxer, WAITING};
use tributary_webrtc::stream::Stream;

type Events = mpsc::Receiver<PeerEvent<MemoryChannel>>;

/// Two peer connections that are connected to each other, over two backends of one network.
async fn connect(a: &Memory, b: &Memory) -> [(MemoryPeer, Events); 2] {
    let (a, mut a_events) = a.open(PeerConfig::default()).await.unwrap();
    let (b, mut b_events) = b.open(PeerConfig::default()).await.unwrap();
    let answer = b.answer(a.offer().await.unwrap()).await.unwrap();
    a.accept(answer).await.unwrap();
    let candidate = loop {
        if let PeerEvent::Candidate(candidate) = a_events.next().await.unwrap() {
            break candidate;
        }
    };
    b.add_candidate(candidate).await.unwrap();
    for events in [&mut a_events, &mut b_events] {
        while !matches!(events.next().await.unwrap(), PeerEvent::State(State::Connected)) {}
    }
    [(a, a_events), (b, b_events)]
}

/// A muxer that is polled as a swarm does, on a task of its own.
struct Connection {
    open: mpsc::Sender<tokio::sync::oneshot::Sender<Stream<MemoryChannel>>>,
    accepted: mpsc::Receiver<Stream<MemoryChannel>>,
    over: tokio::task::JoinHandle<Error>,
}

impl Connection {
    fn new((peer, events): (MemoryPeer, Events)) -> Self {
        let (open, mut wanted) = mpsc::channel::<tokio::sync::oneshot::Sender<_>>(0);
        let (mut accept, accepted) = mpsc::channel(0);
        let mut muxer = Muxer::new(peer, events);
        let mut want = None;
        let over = tokio::spawn(poll_fn(move |cx| {
            loop {
                if let Poll::Ready(over) = muxer.poll_unpin(cx) {
                    return Poll::Ready(over.unwrap_err());
                }
                if want.is_none() {
                    match wanted.poll_next_unpin(cx) {
                        Poll::Ready(Some(next)) => want = Some(next),
                        // Nobody holds the connection any more.
                        Poll::Ready(None) => return Pin::new(&mut muxer).poll_close(cx).map(|_| Error::Closed),
                        Poll::Pending => {}
                    }
                }
                if want.is_some()
                    && let Poll::Ready(Ok(stream)) = muxer.poll_outbound_unpin(cx)
                {
                    let _ = want.take().unwrap().send(stream);
                    continue;
                }
                if let Poll::Ready(Ok(())) = accept.poll_ready(cx)
                    && let Poll::Ready(Ok(stream)) = muxer.poll_inbound_unpin(cx)
                {
                    accept.start_send(stream).unwrap();
                    continue;
                }
                return Poll::Pending;
            }
        }));
        Self { open, accepted, over }
    }

    async fn open(&mut self) -> Stream<MemoryChannel> {
        let (sender, stream) = tokio::sync::oneshot::channel();
        futures::SinkExt::send(&mut self.open, sender).await.unwrap();
        stream.await.unwrap()
    }

    async fn accept(&mut self) -> Stream<MemoryChannel> {
        self.accepted.next().await.unwrap()
    }
}

async fn connections() -> (Memory, Connection, Connection) {
    let memory = Memory::default();
    let [a, b] = connect(&memory, &memory).await;
    (memory, Connection::new(a), Connection::new(b))
}

/// A channel as the other side's program would use it, and a stream of ours over its other end.
async fn raw() -> (MemoryChannel, Stream<MemoryChannel>, [(MemoryPeer, Events); 2]) {
    let memory = Memory::default();
    let [a, mut b] = connect(&memory, &memory).await;
    let channel = a.0.channel("", None).await.unwrap();
    let other = channel_of(&mut b.1).await;
    (channel, Stream::new(other), [a, b])
}

async fn channel_of(events: &mut Events) -> MemoryChannel {
    loop {
        if let PeerEvent::Channel(channel) = events.next().await.unwrap() {
            return channel;
        }
    }
}

fn say(channel: &mut MemoryChannel, message: impl Into<Bytes>) {
    channel.send(message.into()).unwrap();
}

async fn hear(channel: &mut MemoryChannel) -> Option<Bytes> {
    poll_fn(|cx| channel.poll_receive(cx)).await.map(Result::unwrap)
}

/// Waits until something holds that other tasks bring about; fails after five seconds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..5000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("never: {what}");
}

#[tokio::test]
async fn both_halves_close_on_their_own() {
    let (memory, mut a, mut b) = connections().await;
    let mut ours = a.open().await;
    ours.write_all(b"question").await.unwrap();
    ours.close().await.unwrap();
    let mut theirs = b.accept().await;
    let mut heard = Vec::new();
    theirs.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"question");
    // Their half is open although ours is closed.
    theirs.write_all(b"answer").await.unwrap();
    theirs.close().await.unwrap();
    heard.clear();
    ours.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"answer");
    assert_eq!(ours.write(b"more").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    drop((ours, theirs));
    until("the channel is closed", || memory.channels() == 0).await;
}

#[tokio::test]
async fn what_was_closed_arrives_although_its_owner_is_gone() {
    let (memory, mut a, mut b) = connections().await;
    let mut ours = a.open().await;
    ours.write_all(&[7; 100_000]).await.unwrap();
    ours.close().await.unwrap();
    drop(ours);
    let mut theirs = b.accept().await;
    let mut heard = Vec::new();
    assert_eq!(theirs.read_to_end(&mut heard).await.unwrap(), 100_000);
    // The owner is gone and does not read, which a writer is told.
    let told = async {
        while theirs.write_all(b"more").await.is_ok() && theirs.flush().await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), told).await.unwrap();
    drop(theirs);
    until("the channel is closed", || memory.channels() == 0).await;
}

#[tokio::test]
async fn an_unclosed_stream_that_is_dropped_is_reset() {
    let (memory, mut a, mut b) = connections().await;
    let mut ours = a.open().await;
    ours.write_all(b"half a mess").await.unwrap();
    ours.flush().await.unwrap();
    let mut theirs = b.accept().await;
    drop(ours);
    let mut heard = Vec::new();
    let error = theirs.read_to_end(&mut heard).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(error.to_string().contains("reset"), "{error}");
    assert_eq!(heard, b"half a mess");
    assert_eq!(theirs.write(b"x").await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    drop(theirs);
    until("the channel is closed", || memory.channels() == 0).await;
}

#[tokio::test]
async fn many_short_streams_leave_nothing_behind() {
    let (memory, mut a, mut b) = connections().await;
    for round in 0..2_u32 * CHANNELS as u32 {
        let asking = async {
            let mut stream = a.open().await;
            stream.write_all(&round.to_be_bytes()).await.unwrap();
            stream.close().await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let answering = async {
            let mut stream = b.accept().await;
            let mut question = Vec::new();
            stream.read_to_end(&mut question).await.unwrap();
            stream.write_all(&question).await.unwrap();
            stream.close().await.unwrap();
        };
        assert_eq!(join(asking, answering).await.0, round.to_be_bytes());
    }
    until("all channels are closed", || memory.channels() == 0).await;
}

#[tokio::test]
async fn fifty_megabytes_go_both_ways_at_once() {
    const SIZE: usize = 50_000_000;
    let (_memory, mut a, mut b) = connections().await;
    let mut ours = a.open().await;
    // A data channel exists for the other side once something is sent on it.
    ours.flush().await.unwrap();
    let theirs = b.accept().await;
    let pump = |stream: Stream<MemoryChannel>, seed: u8| {
        tokio::spawn(async move {
            // Both halves from two tasks: neither may steal the other's wake-up.
            let (mut reader, mut writer) = stream.split();
            let writing = tokio::spawn(async move {
                let block: Vec<u8> = (0..50_000).map(|at| (at % 251) as u8 ^ seed).collect();
                for _ in 0..SIZE / block.len() {
                    writer.write_all(&block).await.unwrap();
                }
                writer.close().await.unwrap();
            });
            let (mut block, mut sum, mut len) = (vec![0; 60_000], 0_u64, 0);
            loop {
                let read = reader.read(&mut block).await.unwrap();
                if read == 0 {
                    break;
                }
                for byte in &block[..read] {
                    sum = sum.wrapping_mul(31).wrapping_add(u64::from(*byte));
                }
                len += read;
            }
            writing.await.unwrap();
            (sum, len)
        })
    };
    let (ours, theirs) = join(pump(ours, 1), pump(theirs, 2)).await;
    let want = |seed: u8| {
        let bytes = (0..SIZE).map(|at| ((at % 50_000) % 251) as u8 ^ seed);
        bytes.fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)))
    };
    assert_eq!(ours.unwrap(), (want(2), SIZE));
    assert_eq!(theirs.unwrap(), (want(1), SIZE));
}

#[tokio::test]
async fn small_writes_go_in_full_frames() {
    let (mut channel, mut stream, _peers) = raw().await;
    for _ in 0..MAX_FRAME {
        stream.write_all(b"abcd").await.unwrap();
    }
    stream.flush().await.unwrap();
    let mut lens = Vec::new();
    while let Some(Some(message)) = hear(&mut channel).now_or_never() {
        lens.push(message.len());
    }
    assert_eq!(lens.len(), 5);
    assert!(lens[..4].iter().all(|len| *len == MAX_FRAME), "{lens:?}");
}

#[tokio::test]
async fn a_writer_waits_for_a_reader() {
    let (_channel, mut stream, _peers) = raw().await;
    let mut written = 0;
    while let Some(Ok(len)) = stream.write(&[0; 10_000]).now_or_never() {
        written += len;
    }
    assert!((SEND_BUFFER - MAX_FRAME..SEND_BUFFER + 2 * MAX_FRAME).contains(&written), "{written}");
}

#[tokio::test]
async fn the_other_sides_flags_are_answered() {
    let (mut channel, mut stream, _peers) = raw().await;
    say(&mut channel, &b"\x09\x08\x00\x12\x05hello"[..]);
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"hello");
    assert_eq!(hear(&mut channel).await, Some(Flag::FinAck.encode()));
    say(&mut channel, Flag::StopSending.encode());
    assert_eq!(stream.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    stream.close().await.unwrap();
    assert_eq!(hear(&mut channel).await, Some(Flag::Fin.encode()));
}

#[tokio::test]
async fn a_channel_closed_without_an_end_is_an_error() {
    let (mut channel, mut stream, _peers) = raw().await;
    say(&mut channel, &b"\x07\x12\x05hello"[..]);
    channel.close();
    let mut heard = Vec::new();
    let error = stream.read_to_end(&mut heard).await.unwrap_err();
    assert_eq!((error.kind(), heard.as_slice()), (ErrorKind::ConnectionReset, &b"hello"[..]));
}

#[tokio::test]
async fn malformed_frames_end_the_stream_with_a_reason() {
    for message in [&b"\xff\xff\xff\xff"[..], b"\x02\x10\x01", &[0; MAX_FRAME + 1]] {
        let (mut channel, mut stream, _peers) = raw().await;
        say(&mut channel, Bytes::copy_from_slice(message));
        let error = stream.read(&mut [0; 10]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
        assert!(error.to_string().starts_with("the other side sent a message"), "{error}");
        drop(stream);
        assert_eq!(hear(&mut channel).await, Some(Flag::Reset.encode()));
        assert_eq!(hear(&mut channel).await, None);
    }
}

#[tokio::test]
async fn a_flood_of_empty_frames_lets_others_run() {
    let (mut channel, mut stream, _peers) = raw().await;
    for _ in 0..50 {
        say(&mut channel, vec![0; 1000]);
    }
    // One poll ends although more lies there, and asks for another one.
    assert!(stream.read(&mut [0; 10]).now_or_never().is_none());
    assert!(hear(&mut channel).now_or_never().is_none());
    say(&mut channel, Flag::Fin.encode());
    assert_eq!(stream.read(&mut [0; 10]).await.unwrap(), 0);
}

#[tokio::test]
async fn whoever_sends_beyond_its_window_loses_the_connection() {
    let memory = Memory::default();
    let [a, b] = connect(&memory.impatient(), &memory).await;
    let mut channel = a.0.channel("", None).await.unwrap();
    let mut b = Connection::new(b);
    let stream = b.accept().await;
    let mut sent = 0;
    while sent <= 2 * RECEIVE_BUFFER && channel.send(Bytes::from(vec![0; MAX_FRAME])).is_ok() {
        sent += MAX_FRAME;
    }
    assert!(sent <= RECEIVE_BUFFER + MAX_FRAME, "{sent}");
    assert!(matches!(b.over.await.unwrap(), Error::Flood(_)));
    drop(stream);
}

#[tokio::test]
async fn channels_that_nobody_takes_are_bounded_and_refused() {
    let memory = Memory::default();
    let [a, (peer, events)] = connect(&memory, &memory).await;
    let mut muxer = Muxer::new(peer, events);
    let mut channels = Vec::new();
    for _ in 0..4 * WAITING {
        channels.push(a.0.channel("", None).await.unwrap());
        assert!(poll_fn(|cx| Poll::Ready(muxer.poll_unpin(cx).is_pending())).await);
    }
    assert_eq!(memory.channels(), WAITING);
    // Those that were refused are closed, which the other side sees.
    assert_eq!(hear(channels.last_mut().unwrap()).await, None);
}

#[tokio::test]
async fn channels_that_are_never_closed_are_bounded() {
    let (memory, mut a, mut b) = connections().await;
    let mut kept = Vec::new();
    for _ in 0..CHANNELS {
        kept.push((a.open().await, b.accept().await));
    }
    assert_eq!(memory.channels(), CHANNELS);
    let mut next = Box::pin(a.open());
    let soon = tokio::time::timeout(Duration::from_millis(50), &mut next).await;
    assert!(soon.is_err(), "no more are opened until one is closed");
    kept.pop();
    next.await.close().await.unwrap();
}

#[tokio::test]
async fn a_connection_that_recovers_goes_on() {
    let (memory, mut a, mut b) = connections().await;
    memory.report(State::Disconnected);
    let mut ours = a.open().await;
    memory.report(State::Connected);
    ours.write_all(b"still here").await.unwrap();
    ours.flush().await.unwrap();
    let mut heard = [0; 10];
    b.accept().await.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"still here");
}

#[tokio::test]
async fn a_connection_that_fails_ends_both_sides_with_a_reason() {
    let (memory, mut a, b) = connections().await;
    let mut ours = a.open().await;
    memory.report(State::Failed);
    assert!(ours.read(&mut [0; 1]).await.is_err());
    for error in [a.over.await.unwrap(), b.over.await.unwrap()] {
        assert!(error == Error::Closed || error.to_string().contains("reached"), "{error}");
    }
    assert_eq!(memory.ends(), 0);
}

#[tokio::test]
async fn closing_a_connection_waits_for_its_last_bytes() {
    let (memory, mut a, mut b) = connections().await;
    let mut ours = a.open().await;
    ours.write_all(b"the end").await.unwrap();
    ours.close().await.unwrap();
    drop(ours);
    let Connection { open, accepted, over } = a;
    drop((open, accepted));
    let mut heard = Vec::new();
    b.accept().await.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"the end");
    over.await.unwrap();
    drop(b);
    until("both are closed", || memory.ends() == 0).await;
}

#[tokio::test]
async fn channels_that_opened_before_the_muxer_are_kept() {
    let memory = Memory::default();
    let [a, mut b] = connect(&memory, &memory).await;
    let mut early = a.0.channel("", None).await.unwrap();
    say(&mut early, &b"\x03\x12\x01a"[..]);
    let taken = channel_of(&mut b.1).await;
    let mut late = a.0.channel("", None).await.unwrap();
    say(&mut late, &b"\x03\x12\x01b"[..]);
    let mut muxer = Muxer::new(b.0, b.1).with_waiting([taken]);
    for want in [b"a", b"b"] {
        let next = poll_fn(|cx| {
            assert!(muxer.poll_unpin(cx).is_pending());
            muxer.poll_inbound_unpin(cx)
        });
        let mut heard = [0; 1];
        next.await.unwrap().read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, want);
    }
}

#[tokio::test]
async fn a_negotiated_channel_is_one_channel() {
    let memory = Memory::default();
    let [a, b] = connect(&memory, &memory).await;
    let mut ours = Stream::new(a.0.channel("", Some(0)).await.unwrap());
    let mut theirs = Stream::new(b.0.channel("", Some(0)).await.unwrap());
    ours.write_all(b"both opened it").await.unwrap();
    let mut heard = Vec::new();
    ours.close().await.unwrap();
    theirs.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"both opened it");
}
