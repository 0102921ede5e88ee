//! Many short streams between two native peers, both ways at once.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures::channel::{mpsc, oneshot};
use futures::stream::FuturesUnordered;
use futures::{AsyncReadExt as _, AsyncWriteExt as _, FutureExt as _, SinkExt as _, StreamExt as _};
use libp2p::core::StreamMuxer as _;
use libp2p::core::muxing::StreamMuxerExt as _;
use tokio::time::timeout;
use tributary_webrtc::backend::native::{Channel, Native, Peer};
use tributary_webrtc::backend::{Backend as _, Events, Peer as _, PeerConfig, PeerEvent, State};
use tributary_webrtc::muxer::Muxer;

use super::PATIENCE;

type Stream = tributary_webrtc::stream::Stream<Channel>;

/// Streams that each side opens, and how many of them at a time.
const STREAMS: usize = 300;
const AT_ONCE: usize = 8;

/// What a stream is for; its first byte.
const ECHO: u8 = 0;
/// The answer is long and only its beginning is read.
const CUT: u8 = 1;
/// Given up half way, and the other side is told.
const RESET: u8 = 2;
/// As the first, but of so many bytes, which makes 5 MB there and back.
const BULK: u8 = 3;
const BULK_BYTES: usize = 2_500_000;

/// Two peer connections that are connected to each other.
async fn connect() -> [(Peer, Events<Native>); 2] {
    let (a, mut a_events) = Native.open(PeerConfig::default()).await.unwrap();
    let (b, mut b_events) = Native.open(PeerConfig::default()).await.unwrap();
    let init = a.channel("init", None).await.unwrap();
    let answer = b.answer(a.offer().await.unwrap()).await.unwrap();
    a.accept(answer).await.unwrap();
    let mut up = [false; 2];
    while up != [true; 2] {
        let (event, at, other) = tokio::select! {
            event = a_events.next() => (event, 0, &b),
            event = b_events.next() => (event, 1, &a),
        };
        match event.expect("a connection") {
            PeerEvent::Candidate(candidate) => other.add_candidate(candidate).await.unwrap(),
            PeerEvent::State(State::Connected) => up[at] = true,
            PeerEvent::State(_) | PeerEvent::Channel(_) => {}
            PeerEvent::Broken(error) => panic!("{error}"),
        }
    }
    drop(init);
    [(a, a_events), (b, b_events)]
}

/// Polls a muxer as a swarm does. Takes who wants a stream; answers every stream that comes.
fn run((peer, events): (Peer, Events<Native>)) -> mpsc::Sender<oneshot::Sender<Stream>> {
    let (open, mut wanted) = mpsc::channel::<oneshot::Sender<Stream>>(0);
    let mut muxer = Muxer::new(peer, events);
    let mut want = None;
    tokio::spawn(poll_fn(move |cx| {
        loop {
            if let Poll::Ready(over) = muxer.poll_unpin(cx) {
                drop(over);
                return Poll::Ready(());
            }
            if want.is_none() {
                match wanted.poll_next_unpin(cx) {
                    Poll::Ready(Some(next)) => want = Some(next),
                    Poll::Ready(None) => return Pin::new(&mut muxer).poll_close(cx).map(drop),
                    Poll::Pending => {}
                }
            }
            if want.is_some()
                && let Poll::Ready(stream) = muxer.poll_outbound_unpin(cx)
            {
                drop(want.take().unwrap().send(stream.unwrap()));
                continue;
            }
            match muxer.poll_inbound_unpin(cx) {
                Poll::Ready(stream) => tokio::spawn(answer(stream.unwrap())),
                Poll::Pending => return Poll::Pending,
            };
        }
    }));
    open
}

/// What the other side does with a stream; what fails here fails over there too.
async fn answer(mut stream: Stream) {
    let mut kind = [0];
    if stream.read_exact(&mut kind).await.is_err() {
        return;
    }
    match kind[0] {
        RESET => drop(stream.write_all(&[RESET; 2000]).await),
        CUT => drop(stream.write_all(&vec![CUT; 100_000]).await),
        _ => {
            let mut heard = Vec::new();
            if let Err(error) = stream.read_to_end(&mut heard).await {
                println!("reading a question: {error}");
                return;
            }
            drop(stream.write_all(&heard).await);
        }
    }
    drop(stream.close().await);
}

/// Opens a stream, and uses it as its kind says.
async fn ask(mut open: mpsc::Sender<oneshot::Sender<Stream>>, kind: u8, bytes: usize) -> std::io::Result<()> {
    let (sender, stream) = oneshot::channel();
    open.send(sender).await.unwrap();
    let mut stream = stream.await.unwrap();
    stream.write_all(&[kind]).await?;
    if kind == RESET {
        stream.flush().await?;
        return stream.read_exact(&mut [0; 1000]).await;
    }
    if kind == CUT {
        stream.close().await?;
        return stream.read_exact(&mut [0; 1000]).await;
    }
    let question = vec![bytes as u8; bytes];
    let (mut reader, mut writer) = stream.split();
    let there = async {
        writer.write_all(&question).await?;
        writer.close().await
    };
    let mut heard = Vec::new();
    let back = reader.read_to_end(&mut heard);
    let (there, back) = futures::join!(there, back);
    there?;
    back?;
    assert!(heard == question, "{} bytes came back of {bytes}", heard.len());
    Ok(())
}

/// Opens streams of every kind, several at a time.
async fn ask_often(who: &str, open: &mpsc::Sender<oneshot::Sender<Stream>>) {
    let mut asking = FuturesUnordered::new();
    for n in 0..STREAMS {
        let kind = [ECHO, CUT, ECHO, RESET][n % 4];
        let ask = timeout(PATIENCE, ask(open.clone(), kind, 10 * n));
        asking.push(ask.map(move |asked| (n, kind, asked)));
        if asking.len() == AT_ONCE {
            check(who, asking.next().await.unwrap());
        }
    }
    while let Some(asked) = asking.next().await {
        check(who, asked);
    }
}

fn check(who: &str, (n, kind, asked): (usize, u8, Result<std::io::Result<()>, tokio::time::error::Elapsed>)) {
    match asked {
        Ok(Ok(())) => {}
        Ok(Err(error)) => panic!("{who}: stream {n} of kind {kind}: {error}"),
        Err(_) => panic!("{who}: stream {n} of kind {kind}: no answer in time"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_short_streams_then_a_long_one() {
    let [a, b] = connect().await.map(run);
    let start = Instant::now();
    for (who, side) in [("the dialler", &a), ("the listener", &b)] {
        tokio::join!(ask_often("the dialler", &a), ask_often("the listener", &b));
        println!("{} streams after {:?}", 2 * STREAMS, start.elapsed());
        let bulk = timeout(Duration::from_secs(60), ask(side.clone(), BULK, BULK_BYTES));
        bulk.await.expect("the transfer in time").unwrap_or_else(|error| panic!("{who}: {error}"));
        println!("{BULK_BYTES} bytes there and back for {who} after {:?}", start.elapsed());
    }
}
