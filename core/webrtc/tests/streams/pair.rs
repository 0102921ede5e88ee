//! Two peer connections of this process, and muxers over them that are polled as a swarm does.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::channel::mpsc;
use libp2p::core::StreamMuxer;
use libp2p::core::muxing::StreamMuxerExt;
use tributary_webrtc::backend::memory::{Memory, MemoryChannel, MemoryPeer};
use tributary_webrtc::backend::{Backend, Channel, Error, Peer, PeerConfig, PeerEvent, State};
use tributary_webrtc::muxer::Muxer;
use tributary_webrtc::stream::Stream;

pub(super) type Events = mpsc::Receiver<PeerEvent<MemoryChannel>>;

/// Two peer connections that are connected to each other, over two backends of one network.
pub(super) async fn connect(a: &Memory, b: &Memory) -> [(MemoryPeer, Events); 2] {
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
pub(super) struct Connection {
    pub(super) open: mpsc::Sender<tokio::sync::oneshot::Sender<Stream<MemoryChannel>>>,
    pub(super) accepted: mpsc::Receiver<Stream<MemoryChannel>>,
    pub(super) over: tokio::task::JoinHandle<Error>,
}

impl Connection {
    pub(super) fn new((peer, events): (MemoryPeer, Events)) -> Self {
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

    pub(super) async fn open(&mut self) -> Stream<MemoryChannel> {
        let (sender, stream) = tokio::sync::oneshot::channel();
        futures::SinkExt::send(&mut self.open, sender).await.unwrap();
        stream.await.unwrap()
    }

    pub(super) async fn accept(&mut self) -> Stream<MemoryChannel> {
        self.accepted.next().await.unwrap()
    }
}

pub(super) async fn connections() -> (Memory, Connection, Connection) {
    let memory = Memory::default();
    let [a, b] = connect(&memory, &memory).await;
    (memory, Connection::new(a), Connection::new(b))
}

/// A channel as the other side's program would use it, and a stream of ours over its other end.
pub(super) async fn raw() -> (MemoryChannel, Stream<MemoryChannel>, [(MemoryPeer, Events); 2]) {
    let memory = Memory::default();
    let [a, mut b] = connect(&memory, &memory).await;
    let channel = a.0.channel("", None).await.unwrap();
    let other = channel_of(&mut b.1).await;
    (channel, Stream::new(other), [a, b])
}

pub(super) async fn channel_of(events: &mut Events) -> MemoryChannel {
    loop {
        if let PeerEvent::Channel(channel) = events.next().await.unwrap() {
            return channel;
        }
    }
}

pub(super) fn say(channel: &mut MemoryChannel, message: impl Into<Bytes>) {
    channel.send(message.into()).unwrap();
}

pub(super) async fn hear(channel: &mut MemoryChannel) -> Option<Bytes> {
    poll_fn(|cx| channel.poll_receive(cx)).await.map(Result::unwrap)
}

/// Waits until something holds that other tasks bring about; fails after five seconds.
pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..5000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("never: {what}");
}
