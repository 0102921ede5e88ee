//! One control stream: frames both ways, in order, with a credit window.
//!
//! Enters: bytes of the stream, and frames to send through the [`Link`] that the host's handle
//! shares. Leaves: events to the host, ending in a [`Tail`] whose last event says why it ended.
//! Refuses: an oversize frame, more bytes than the window allows, unknown kinds, and more frames to
//! send than the queue holds.
//!
//! Each side may have [`WINDOW`] bytes under way that the other side's host has not taken yet. The
//! receiver returns credit as its host takes frames, so a slow host slows its peers and no more.

use std::collections::VecDeque;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures::channel::mpsc;
use futures::{AsyncRead, AsyncWrite, SinkExt};
use futures_timer::Delay;
use tributary_protocol::Id;
use tributary_protocol::limits::{MAX_CONTROL_FRAME, MAX_TEXT};

use crate::handle::{Event, Queued};
use crate::link::{End, Link};
use crate::meter::Meter;
use crate::wire::{Decoder, HEADER, encode};

/// A frame of the host's. Costs its length and its header in credit.
const DATA: u8 = 0;
/// Credit returned: a u32, little endian, in bytes.
const CREDIT: u8 = 1;
/// The last frame: why the sender leaves, as text.
const BYE: u8 = 2;

/// Bytes that a sender may have under way: two of the largest frames, so that one can travel while
/// the other is being taken. A host that takes nothing thus holds 512 KiB for each peer at most.
pub(crate) const WINDOW: usize = 2 * (MAX_CONTROL_FRAME + HEADER);

/// Bytes taken by the host after which credit is returned: a quarter of the window, so that small
/// frames don't each cost a frame back, and what is held back never stops a frame of the largest size.
const CREDIT_STEP: usize = WINDOW / 4;

/// Bytes read from the stream at a time; yamux carries data in frames of this size.
const READ: usize = 16 * 1024;

/// Reads in one turn before the node's other streams get theirs.
const READS_PER_TURN: usize = 32;

/// What is left of an ended session: events that the host has not taken yet.
pub(crate) struct Tail {
    /// Whose session it was.
    pub(crate) peer: Id,
    events: mpsc::Sender<Queued>,
    left: VecDeque<Queued>,
}

impl Tail {
    /// Hands the rest to the host, however long it takes its time.
    pub(crate) async fn deliver(mut self) {
        for event in self.left {
            if self.events.send(event).await.is_err() {
                return;
            }
        }
    }
}

/// Where a session stands.
enum State {
    Open,
    /// Saying good-bye. `refused`: nothing that the peer sends counts any more.
    Leaving {
        why: String,
        refused: bool,
        said: bool,
        until: Delay,
    },
    Ended,
}

/// The future that runs one control stream until it ends.
pub(crate) struct Session<S> {
    peer: Id,
    stream: S,
    link: Arc<Link>,
    meter: Arc<Meter>,
    events: mpsc::Sender<Queued>,
    state: State,
    decoder: Decoder,
    /// Events that the host's queue had no room for yet; their frames are within the window.
    inbox: VecDeque<Queued>,
    /// Bytes that came and whose credit was not returned yet.
    held: usize,
    /// Of those, bytes that the host took.
    taken: usize,
    /// Bytes that may still be sent.
    allowance: usize,
    out: Bytes,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// A session on `stream` whose first event is `connected`.
    pub(crate) fn new(
        peer: Id,
        stream: S,
        link: Arc<Link>,
        meter: Arc<Meter>,
        events: mpsc::Sender<Queued>,
        connected: Event,
    ) -> Self {
        Self {
            peer,
            stream,
            link,
            meter,
            events,
            state: State::Open,
            decoder: Decoder::default(),
            inbox: [Queued::plain(connected)].into(),
            held: 0,
            taken: 0,
            allowance: WINDOW,
            out: Bytes::new(),
        }
    }

    fn finish(&mut self, why: String) {
        self.link.close();
        self.state = State::Ended;
        self.inbox.push_back(Queued::plain(Event::Disconnected { peer: self.peer, why }));
    }

    fn leave(&mut self, why: String, refused: bool, within: Duration) {
        if refused {
            self.link.clear();
        }
        self.state = State::Leaving { why, refused, said: false, until: Delay::new(within) };
    }

    fn refuse(&mut self, why: String) {
        self.leave(why, true, FAREWELL);
    }

    /// Follows an order to end that came since the last turn. Returns the reason with which to end
    /// once everything that came is read.
    fn follow(&mut self) -> Option<String> {
        let end = self.link.ordered_end()?;
        match (end, &self.state) {
            (End::Cut(why), _) => {
                self.finish(why);
                None
            }
            (End::HungUp(why), State::Open) => Some(why),
            (End::HungUp(_), State::Leaving { why, .. }) => Some(why.clone()),
            (End::Leave(why, within), State::Open) => {
                self.leave(why, false, within);
                None
            }
            (End::Refuse(why, within), State::Open | State::Leaving { refused: false, .. }) => {
                self.leave(why, true, within);
                None
            }
            _ => None,
        }
    }

    /// Reads until there is nothing more, or until others should have their turn.
    fn read(&mut self, cx: &mut Context<'_>) {
        let mut buffer = [0; READ];
        for _ in 0..READS_PER_TURN {
            if matches!(self.state, State::Ended) {
                return;
            }
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Pending => return,
                Poll::Ready(Ok(0)) => return self.lost("the connection was lost".to_owned()),
                Poll::Ready(Err(error)) => return self.lost(format!("the connection was lost: {error}")),
                Poll::Ready(Ok(len)) => {
                    self.meter.down(len);
                    if matches!(self.state, State::Leaving { refused: true, .. }) {
                        continue;
                    }
                    self.decoder.feed(&buffer[..len]);
                    self.take_frames();
                }
            }
        }
        cx.waker().wake_by_ref();
    }

    /// The stream ended. If it was to end, that is no loss.
    fn lost(&mut self, why: String) {
        let why = match &self.state {
            State::Leaving { why, .. } => why.clone(),
            _ => why,
        };
        self.finish(why);
    }

    fn take_frames(&mut self) {
        loop {
            match self.decoder.next(MAX_CONTROL_FRAME) {
                Ok(None) => return,
                Ok(Some((kind, body))) => self.take(kind, body),
                Err(oversize) => self.refuse(oversize.to_string()),
            }
            if matches!(self.state, State::Ended | State::Leaving { refused: true, .. }) {
                return;
            }
        }
    }

    fn take(&mut self, kind: u8, body: Bytes) {
        match kind {
            DATA => {
                let cost = body.len() + HEADER;
                self.held += cost;
                if self.held > WINDOW {
                    return self.refuse(format!("it sent more than the {WINDOW} bytes of its credit"));
                }
                // Whoever is leaving takes no more orders; the credit leaves with it.
                if matches!(self.state, State::Open) {
                    let event = Event::Frame { peer: self.peer, frame: body.into() };
                    self.inbox.push_back(Queued { event, cost: Some((self.link.clone(), cost)) });
                }
            }
            CREDIT => match <[u8; 4]>::try_from(&body[..]).map(u32::from_le_bytes) {
                Ok(bytes) if bytes > 0 && self.allowance + bytes as usize <= WINDOW => {
                    self.allowance += bytes as usize;
                }
                _ => self.refuse("it returned credit that it did not have".to_owned()),
            },
            BYE => {
                let text = String::from_utf8_lossy(&body);
                let text = &text[..text.floor_char_boundary(MAX_TEXT)];
                self.finish(format!("the other side closed the connection: {text}"));
            }
            kind => self.refuse(format!("it sent a frame of the unknown kind {kind}")),
        }
    }

    /// The next frame to write, if there is one.
    fn next_out(&mut self) -> Option<Bytes> {
        self.taken += self.link.taken();
        if matches!(self.state, State::Open) && self.taken >= CREDIT_STEP {
            let returned = mem::take(&mut self.taken);
            self.held -= returned;
            return Some(encode(CREDIT, &[&(returned as u32).to_le_bytes()]));
        }
        if let Some(frame) = self.link.pop(self.allowance) {
            self.allowance -= frame.len() + HEADER;
            return Some(encode(DATA, &[&frame]));
        }
        match &mut self.state {
            State::Leaving { why, refused, said, .. } if !*said && (*refused || self.link.is_empty()) => {
                *said = true;
                Some(encode(BYE, &[&why.as_bytes()[..why.floor_char_boundary(MAX_TEXT)]]))
            }
            _ => None,
        }
    }

    /// Writes what can be written.
    fn write(&mut self, cx: &mut Context<'_>) {
        while !matches!(self.state, State::Ended) {
            if self.out.is_empty() {
                match self.next_out() {
                    Some(frame) => self.out = frame,
                    None => break,
                }
            }
            match Pin::new(&mut self.stream).poll_write(cx, &self.out) {
                Poll::Pending => return,
                Poll::Ready(Ok(0)) => return self.lost("the connection was lost".to_owned()),
                Poll::Ready(Err(error)) => return self.lost(format!("the connection was lost: {error}")),
                Poll::Ready(Ok(len)) => {
                    self.meter.up(len);
                    self.out.advance(len);
                }
            }
        }
        let flushed = match self.state {
            State::Ended => return,
            // The other side reads to the end and closes; that end is how this side knows that
            // everything arrived.
            State::Leaving { said: true, .. } => Pin::new(&mut self.stream).poll_close(cx),
            _ => Pin::new(&mut self.stream).poll_flush(cx),
        };
        if let Poll::Ready(Err(error)) = flushed {
            self.lost(format!("the connection was lost: {error}"));
        }
    }

    /// Hands events to the host. `Err`: there is no host any more.
    fn deliver(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        while !self.inbox.is_empty() {
            ready!(self.events.poll_ready(cx)).map_err(|_| ())?;
            if let Some(event) = self.inbox.pop_front() {
                self.events.start_send(event).map_err(|_| ())?;
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// How long a refused peer is given to read why.
pub(crate) const FAREWELL: Duration = Duration::from_secs(1);

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Session<S> {
    type Output = Tail;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Tail> {
        let this = &mut *self;
        this.link.register(cx.waker());
        let hung_up = this.follow();
        this.read(cx);
        this.write(cx);
        if let (Some(why), false) = (hung_up, matches!(this.state, State::Ended)) {
            this.finish(why);
        }
        if let State::Leaving { why, until, .. } = &mut this.state
            && Pin::new(until).poll(cx).is_ready()
        {
            let why = mem::take(why);
            this.finish(why);
        }
        if let Poll::Ready(Err(())) = this.deliver(cx) {
            this.link.close();
            this.state = State::Ended;
            this.inbox.clear();
        }
        match this.state {
            State::Ended => {
                let left = mem::take(&mut this.inbox);
                Poll::Ready(Tail { peer: this.peer, events: this.events.clone(), left })
            }
            _ => Poll::Pending,
        }
    }
}
