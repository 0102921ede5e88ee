//! Streams over data channels: halves, resets, last bytes, bounds; and what hostile peers get.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used)]

mod hostile;
mod pair;

use std::future::poll_fn;
use std::io::ErrorKind;
use std::time::Duration;

use futures::future::join;
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt};
use libp2p::core::muxing::StreamMuxerExt;
use pair::{Connection, channel_of, connect, connections, hear, raw, say, until};
use tributary_webrtc::backend::memory::{Memory, MemoryChannel};
use tributary_webrtc::backend::{Channel, Error, Peer, SEND_BUFFER, State};
use tributary_webrtc::frame::{Flag, MAX_FRAME};
use tributary_webrtc::muxer::{CHANNELS, Muxer};
use tributary_webrtc::stream::Stream;

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
    let pump = |stream: Stream<MemoryChannel>| {
        tokio::spawn(async move {
            // Both halves from two tasks: neither may steal the other's wake-up.
            let (mut reader, mut writer) = stream.split();
            let block: Vec<u8> = (0..50_000).map(|at| (at % 251) as u8).collect();
            let written = block.clone();
            let writing = tokio::spawn(async move {
                for _ in 0..SIZE / written.len() {
                    writer.write_all(&written).await.unwrap();
                }
                writer.close().await.unwrap();
            });
            let mut read = vec![0; block.len()];
            for at in 0..SIZE / block.len() {
                reader.read_exact(&mut read).await.unwrap();
                assert!(read == block, "block {at}");
            }
            assert_eq!(reader.read(&mut read).await.unwrap(), 0);
            writing.await.unwrap();
        })
    };
    let (ours, theirs) = join(pump(ours), pump(theirs)).await;
    ours.unwrap();
    theirs.unwrap();
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
