//! A peer connection as a libp2p connection: one data channel is one substream.
//!
//! Enters: a connected [`Peer`] and its events, among them channels that the other side opened before the
//! muxer was there. Leaves: substreams. Refuses: more channels than are stated here, by closing them. A
//! connection that is disconnected and may recover is no error; one that failed or was closed is.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use futures::channel::mpsc;
use futures::future::{BoxFuture, select};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use futures_timer::Delay;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};

use crate::backend::{Channel, Error, Peer, PeerEvent, State};
use crate::stream::{Core, Stream};

/// Channels of one connection that are open, those included that wait for their last word. A peer here
/// needs a few dozen; a channel may hold one unread frame outside the backend's count, so this many hold
/// 8 MiB at the worst.
pub const CHANNELS: usize = 512;

/// Channels that the other side opened and nobody took yet. Whoever opens faster than they are taken is
/// refused the rest.
pub const WAITING: usize = 64;

/// How long a stream that was closed and dropped waits for the other side's word that it has everything;
/// js-libp2p waits as long.
pub const FIN_ACK: Duration = Duration::from_secs(10);

/// The substreams of a peer connection.
pub struct Muxer<P: Peer> {
    peer: P,
    events: mpsc::Receiver<PeerEvent<P::Channel>>,
    /// Opened by the other side, for [`StreamMuxer::poll_inbound`].
    waiting: VecDeque<P::Channel>,
    /// The channel that [`StreamMuxer::poll_outbound`] is opening.
    opening: Option<BoxFuture<'static, Result<P::Channel, Error>>>,
    /// Streams, and what is left of streams that were dropped: at most [`CHANNELS`].
    open: usize,
    /// Dropped streams come back here, each once.
    keeper: mpsc::Sender<Core<P::Channel>>,
    kept: mpsc::Receiver<Core<P::Channel>>,
    parting: FuturesUnordered<BoxFuture<'static, ()>>,
    /// Who waits for a channel to take, and for room to open one.
    wakers: Vec<Waker>,
    /// Why it is over.
    over: Option<Error>,
}

impl<P: Peer> Muxer<P> {
    /// The substreams of a connection that is up. What the other side opened meanwhile is in `events`.
    #[must_use]
    pub fn new(peer: P, events: mpsc::Receiver<PeerEvent<P::Channel>>) -> Self {
        // Each stream has a sender of its own, and with it the one place that it needs.
        let (keeper, kept) = mpsc::channel(0);
        Self {
            peer,
            events,
            waiting: VecDeque::new(),
            opening: None,
            open: 0,
            keeper,
            kept,
            parting: FuturesUnordered::new(),
            wakers: Vec::new(),
            over: None,
        }
    }

    /// The same, with channels of the other side that were taken from the events already.
    #[must_use]
    pub fn with_waiting(mut self, channels: impl IntoIterator<Item = P::Channel>) -> Self {
        for channel in channels {
            self.accept(channel);
        }
        self
    }

    /// Takes a channel of the other side's, or closes it if there are too many.
    fn accept(&mut self, mut channel: P::Channel) {
        if self.waiting.len() < WAITING && self.open + self.waiting.len() < CHANNELS {
            self.waiting.push_back(channel);
            self.wake();
        } else {
            channel.close();
            tracing::debug!(open = self.open, "refused a channel: the other side has too many open");
        }
    }

    fn stream(&mut self, channel: P::Channel) -> Stream<P::Channel> {
        self.open += 1;
        Stream::kept(channel, self.keeper.clone())
    }

    fn wake(&mut self) {
        for waker in self.wakers.drain(..) {
            waker.wake();
        }
    }

    fn wait<T>(&mut self, cx: &Context<'_>) -> Poll<Result<T, Error>> {
        if let Some(error) = &self.over {
            return Poll::Ready(Err(error.clone()));
        }
        if !self.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Sees to dropped streams and to what the backend reports. Ready when the connection is over.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        while let Poll::Ready(Some(core)) = self.kept.poll_next_unpin(cx) {
            self.parting.push(part(core).boxed());
        }
        while let Poll::Ready(Some(())) = self.parting.poll_next_unpin(cx) {
            self.open -= 1;
            self.wake();
        }
        while self.over.is_none() {
            match ready!(self.events.poll_next_unpin(cx)) {
                Some(PeerEvent::Channel(channel)) => self.accept(channel),
                Some(PeerEvent::State(State::Failed)) => {
                    self.over = Some(Error::Other("the other side cannot be reached any more".to_owned()));
                }
                Some(PeerEvent::Broken(error)) => self.over = Some(error),
                Some(PeerEvent::State(State::Closed)) | None => self.over = Some(Error::Closed),
                // A connection that recovers loses nothing, and candidates are of use only while it is made.
                Some(PeerEvent::State(State::Connecting | State::Connected | State::Disconnected))
                | Some(PeerEvent::Candidate(_)) => {}
            }
        }
        self.wake();
        Poll::Ready(self.over.clone().unwrap_or(Error::Closed))
    }
}

/// Ends a stream that was dropped, within [`FIN_ACK`].
async fn part<C: Channel>(mut core: Core<C>) {
    select(poll_fn(|cx| core.poll_part(cx)), Delay::new(FIN_ACK)).await;
}

impl<P: Peer> StreamMuxer for Muxer<P> {
    type Substream = Stream<P::Channel>;
    type Error = Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, Error>> {
        match self.waiting.pop_front() {
            Some(channel) => Poll::Ready(Ok(self.stream(channel))),
            None => self.wait(cx),
        }
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, Error>> {
        let this = &mut *self;
        if this.opening.is_none() {
            if this.over.is_some() || this.open >= CHANNELS {
                return this.wait(cx);
            }
            // The specification asks for an empty label.
            this.opening = Some(this.peer.channel("", None));
        }
        let Some(opening) = &mut this.opening else { return Poll::Pending };
        let channel = ready!(opening.poll_unpin(cx));
        this.opening = None;
        Poll::Ready(channel.map(|channel| this.stream(channel)))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        // What was closed before the connection is should still arrive.
        if self.turn(cx).is_pending() && !self.parting.is_empty() {
            return Poll::Pending;
        }
        self.peer.close();
        Poll::Ready(Ok(()))
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, Error>> {
        self.turn(cx).map(Err)
    }
}

impl<P: Peer> std::fmt::Debug for Muxer<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Muxer").field("open", &self.open).field("over", &self.over).finish_non_exhaustive()
    }
}
