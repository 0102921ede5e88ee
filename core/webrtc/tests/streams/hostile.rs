//! Peers that send what is no frame, that never read, and that never close.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt};
use libp2p::core::muxing::StreamMuxerExt;
use tributary_webrtc::backend::memory::Memory;
use tributary_webrtc::backend::{Channel, Error, Peer, RECEIVE_BUFFER};
use tributary_webrtc::frame::{Flag, MAX_FRAME};
use tributary_webrtc::muxer::{CHANNELS, Muxer, WAITING};

use crate::pair::{Connection, connect, connections, hear, raw, say};

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
