//! From a signalling stream to a connection: offer, answer, candidates.

use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures::channel::mpsc;
use futures::future::{Either, select, try_join};
use futures::io::{ReadHalf, WriteHalf};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, StreamExt};
use futures_timer::Delay;

use super::{CANDIDATES, EARLY, Error, SIGNALLING_BYTES, Signal, SignalDecoder, read_candidate};
use crate::backend::{self, Backend, Channel, Events, Peer, PeerConfig, PeerEvent, State};
use crate::muxer::Muxer;

/// Bytes read from the stream at a time; a description fits.
const PIECE: usize = 4096;

/// How long the end of the stream may take once the connection is up and nobody needs it any more.
const FAREWELL: Duration = Duration::from_secs(1);

/// The label of the channel without which an offer would have no data section (specification).
const INIT: &str = "init";

/// Channels of the other side's that came before the muxer.
type Early<B> = Vec<<<B as Backend>::Peer as Peer>::Channel>;

/// The dialler's part, on a signalling stream on which nothing was said.
pub(super) async fn offer<B: Backend, S: AsyncRead + AsyncWrite + Unpin>(
    backend: &B,
    config: PeerConfig,
    stream: S,
) -> Result<Muxer<B::Peer>, Error> {
    let (peer, mut events) = backend.open(config).await?;
    let mut init = peer.channel(INIT, None).await?;
    let (mut reader, mut writer) = signals(stream);
    writer.say(&Signal::Offer(peer.offer().await?)).await?;
    let early = connect::<B, S>(&peer, &mut events, &mut reader, &mut writer, true).await?;
    // It has served; and once it has opened, data channels are known to work.
    poll_fn(|cx| init.poll_ready(cx)).await?;
    drop(init);
    writer.end().await;
    Ok(Muxer::new(peer, events).with_waiting(early))
}

/// The other side's part. Costs a peer connection only once an offer has come.
pub(super) async fn answer<B: Backend, S: AsyncRead + AsyncWrite + Unpin>(
    backend: &B,
    config: PeerConfig,
    stream: S,
) -> Result<Muxer<B::Peer>, Error> {
    let (mut reader, mut writer) = signals(stream);
    let offer = match reader.hear().await? {
        Some(Signal::Offer(offer)) => offer,
        Some(_) => return Err(Error::Unexpected("something else than an offer")),
        None => return Err(Error::Broken("the peer ended it without an offer".to_owned())),
    };
    let (peer, mut events) = backend.open(config).await?;
    writer.say(&Signal::Answer(peer.answer(offer).await?)).await?;
    let early = connect::<B, S>(&peer, &mut events, &mut reader, &mut writer, false).await?;
    writer.end().await;
    Ok(Muxer::new(peer, events).with_waiting(early))
}

/// Ends `work` when it takes longer than `timeout`.
pub(super) async fn within<T>(timeout: Duration, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match select(pin!(work), Delay::new(timeout)).await {
        Either::Left((done, _)) => done,
        Either::Right(_) => Err(Error::Timeout(timeout)),
    }
}

/// Exchanges candidates, and takes the answer before the other side's where one is `awaited`, until the
/// connection is up. A stream that ends when the descriptions are through does not end the attempt: the
/// candidates that were exchanged may do.
async fn connect<B: Backend, S: AsyncRead + AsyncWrite + Unpin>(
    peer: &B::Peer,
    events: &mut Events<B>,
    reader: &mut Reader<S>,
    writer: &mut Writer<S>,
    awaited: bool,
) -> Result<Early<B>, Error> {
    let (mut outbox, mut ours) = mpsc::channel(CANDIDATES);
    let reading = async {
        if awaited {
            match reader.hear().await? {
                Some(Signal::Answer(answer)) => peer.accept(answer).await?,
                Some(_) => return Err(Error::Unexpected("something else than an answer to our offer")),
                None => return Err(Error::Broken("the peer ended it without an answer".to_owned())),
            }
        }
        take_candidates(peer, reader).await
    };
    let writing = async {
        while let Some(candidate) = ours.next().await {
            if writer.say(&Signal::candidate(&candidate)).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    let signalling = async {
        try_join(reading, writing).await?;
        pending().await
    };
    let watching = async {
        let mut early = Vec::new();
        let mut candidates = 0;
        loop {
            match events.next().await {
                // Beyond what the other side takes they would only end the attempt.
                Some(PeerEvent::Candidate(candidate)) if candidates < CANDIDATES => {
                    candidates += 1;
                    // The queue holds all; it is gone once the stream is.
                    let _ = outbox.try_send(candidate);
                }
                Some(PeerEvent::Candidate(_)) => {}
                Some(PeerEvent::State(State::Connected)) => return Ok(early),
                Some(PeerEvent::State(State::Connecting | State::Disconnected)) => {}
                Some(PeerEvent::State(State::Failed)) => {
                    return Err(
                        backend::Error::Other("no pair of addresses worked between the peers".to_owned()).into()
                    );
                }
                Some(PeerEvent::State(State::Closed)) | None => return Err(backend::Error::Closed.into()),
                Some(PeerEvent::Broken(error)) => return Err(error.into()),
                // More are refused, by dropping them.
                Some(PeerEvent::Channel(channel)) if early.len() < EARLY => early.push(channel),
                Some(PeerEvent::Channel(_)) => {}
            }
        }
    };
    match select(pin!(watching), pin!(signalling)).await {
        Either::Left((done, _)) | Either::Right((done, _)) => done,
    }
}

/// Hands the other side's candidates to the backend until the stream ends. Malformed ones are skipped, but
/// count.
async fn take_candidates<P: Peer, S: AsyncRead + AsyncWrite + Unpin>(
    peer: &P,
    reader: &mut Reader<S>,
) -> Result<(), Error> {
    let mut count = 0;
    loop {
        let json = match reader.hear().await {
            Ok(Some(Signal::Candidate(json))) => json,
            Ok(Some(_)) => return Err(Error::Unexpected("a second description")),
            Ok(None) | Err(Error::Broken(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        count += 1;
        if count > CANDIDATES {
            return Err(backend::Error::Flood("more candidates than any machine has").into());
        }
        let skipped = match read_candidate(&json) {
            Ok(Some(candidate)) => peer.add_candidate(candidate).await.err().map(Error::Backend),
            Ok(None) => None,
            Err(malformed) => Some(malformed.into()),
        };
        if let Some(why) = skipped {
            tracing::debug!(count, "skipped a candidate: {why}");
        }
    }
}

fn signals<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> (Reader<S>, Writer<S>) {
    let (reader, writer) = stream.split();
    (Reader { stream: reader, decoder: SignalDecoder::default(), left: SIGNALLING_BYTES }, Writer(writer))
}

/// What the other side says.
struct Reader<S> {
    stream: ReadHalf<S>,
    decoder: SignalDecoder,
    /// Bytes that it may still send.
    left: usize,
}

impl<S: AsyncRead + Unpin> Reader<S> {
    /// The next message; `None`: the other side has ended.
    async fn hear(&mut self) -> Result<Option<Signal>, Error> {
        loop {
            if let Some(signal) = self.decoder.next_signal()? {
                return Ok(Some(signal));
            }
            let mut piece = [0; PIECE];
            let len = self.stream.read(&mut piece).await.map_err(broken)?;
            if len == 0 {
                return Ok(None);
            }
            self.left = self.left.checked_sub(len).ok_or(backend::Error::Flood("endless signalling"))?;
            self.decoder.push(Bytes::copy_from_slice(&piece[..len]));
        }
    }
}

/// What we say.
struct Writer<S>(WriteHalf<S>);

impl<S: AsyncWrite + Unpin> Writer<S> {
    async fn say(&mut self, signal: &Signal) -> Result<(), Error> {
        self.0.write_all(&signal.encode()).await.map_err(broken)?;
        self.0.flush().await.map_err(broken)
    }

    /// Tells the other side that all is said. The relayed connection may be gone, which no longer matters.
    async fn end(&mut self) {
        select(self.0.close(), Delay::new(FAREWELL)).await;
    }
}

fn broken(error: std::io::Error) -> Error {
    Error::Broken(error.to_string())
}
