//! One data channel: two queues and a task that moves messages between them and the crate.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::{BoxFuture, Either, select};
use tokio::sync::Notify;
use webrtc::data_channel::{DataChannel, DataChannelEvent};

use super::super::Error;
use super::peer::{Place, lock};

/// Bytes that wait for the crate, which itself holds what [`super::super::SEND_BUFFER`] says: enough that its
/// task finds the next message whenever it has sent one.
const QUEUE: usize = 128 * 1024;

/// Bytes of one channel that wait to be read before no more are taken. The crate then keeps what comes, and
/// its SCTP window tells the sender to wait.
const UNREAD: usize = 4 * 1024 * 1024;

/// How often a channel is opened anew, and how long the other side may take to confirm it: the round trip of
/// a bad line, and a lost packet.
const TRIES: usize = 8;
const CONFIRM: Duration = Duration::from_secs(3);

/// How long after a channel's end its last messages may come.
const LAST: Duration = Duration::from_millis(100);

/// What a message costs besides its bytes.
const OVERHEAD: usize = 128;

/// The reason when all channels of a connection together hold too much.
const UNREAD_DATA: &str = "data that nobody read";

/// Who opened a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opener {
    Us,
    Them,
    /// Negotiated: its id is never given to another.
    Both,
}

/// Makes another channel in place of one that was closed or forgotten before it opened. The id of one may be
/// that of a channel whose end the other side is still to tell us, which takes the new one along.
pub(super) type Again = Box<dyn Fn() -> BoxFuture<'static, Result<Arc<dyn DataChannel>, Error>> + Send + Sync>;

/// A data channel of crate `webrtc`.
pub struct Channel(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// There is something to send, or to close.
    sending: Notify,
    /// There is room for more to read.
    reading: Notify,
    place: Place,
}

#[derive(Default)]
struct State {
    open: bool,
    /// Why there is nothing more to come; `Closed` if that is as it should be.
    end: Option<Error>,
    /// This side is done with the channel.
    closing: bool,
    outgoing: VecDeque<Bytes>,
    /// Bytes not yet handed to the crate.
    unsent: usize,
    incoming: VecDeque<Bytes>,
    unread: usize,
    readers: Vec<Waker>,
    writers: Vec<Waker>,
}

/// The channel and its task.
pub(super) fn start(
    made: Arc<dyn DataChannel>,
    place: Place,
    opener: Opener,
    open: bool,
    again: Option<Again>,
) -> Channel {
    let tasks = place.0.tasks.clone();
    if open {
        place.0.opened();
    }
    let state = Mutex::new(State { open, ..Default::default() });
    let shared = Arc::new(Shared { state, sending: Notify::new(), reading: Notify::new(), place });
    tasks.spawn(run(shared.clone(), made, opener, again));
    Channel(shared)
}

impl super::super::Channel for Channel {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut state = lock(&self.0.state);
        if let Some(end) = &state.end {
            return Poll::Ready(Err(end.clone()));
        }
        if state.closing {
            return Poll::Ready(Err(Error::Closed));
        }
        if state.open && state.unsent < QUEUE {
            return Poll::Ready(Ok(()));
        }
        remember(&mut state.writers, cx);
        Poll::Pending
    }

    fn send(&mut self, message: Bytes) -> Result<(), Error> {
        let mut state = lock(&self.0.state);
        if let Some(end) = &state.end {
            return Err(end.clone());
        }
        if state.closing {
            return Err(Error::Closed);
        }
        state.unsent += message.len();
        state.outgoing.push_back(message);
        drop(state);
        self.0.sending.notify_one();
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut state = lock(&self.0.state);
        if state.unsent == 0 {
            return Poll::Ready(Ok(()));
        }
        if let Some(end) = &state.end {
            return Poll::Ready(Err(end.clone()));
        }
        remember(&mut state.writers, cx);
        Poll::Pending
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        let mut state = lock(&self.0.state);
        if let Some(message) = state.incoming.pop_front() {
            let cost = message.len() + OVERHEAD;
            state.unread -= cost;
            let room = state.unread < UNREAD;
            drop(state);
            self.0.place.0.read(cost);
            if room {
                self.0.reading.notify_one();
            }
            return Poll::Ready(Some(Ok(message)));
        }
        match &state.end {
            Some(Error::Closed) => Poll::Ready(None),
            Some(end) => Poll::Ready(Some(Err(end.clone()))),
            None => {
                remember(&mut state.readers, cx);
                Poll::Pending
            }
        }
    }

    fn close(&mut self) {
        lock(&self.0.state).closing = true;
        self.0.sending.notify_one();
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        let unread = {
            let mut state = lock(&self.0.state);
            state.closing = true;
            state.incoming.clear();
            std::mem::take(&mut state.unread)
        };
        self.0.place.0.read(unread);
        self.0.sending.notify_one();
        self.0.reading.notify_one();
    }
}

impl Shared {
    fn opened(&self) {
        self.place.0.opened();
        let mut state = lock(&self.state);
        state.open = true;
        wake(&mut state.writers);
        drop(state);
        self.sending.notify_one();
    }

    fn is_open(&self) -> bool {
        lock(&self.state).open
    }

    /// Whether somebody still waits for the channel to open.
    fn is_wanted(&self) -> bool {
        let state = lock(&self.state);
        !state.open && !state.closing
    }

    fn ended(&self, why: Error) {
        let mut state = lock(&self.state);
        state.end.get_or_insert(why);
        wake(&mut state.readers);
        wake(&mut state.writers);
    }

    /// Takes a message in; false if the connection holds too much.
    fn received(&self, message: Bytes) -> bool {
        let cost = message.len() + OVERHEAD;
        // Counted before anyone can read it and count it down.
        let fits = self.place.0.received(cost);
        let mut state = lock(&self.state);
        if state.closing {
            self.place.0.read(cost);
            return true;
        }
        state.unread += cost;
        state.incoming.push_back(message);
        wake(&mut state.readers);
        fits
    }

    /// The next message to send; `None` once this side is done and has sent all.
    async fn next(&self) -> Option<Bytes> {
        loop {
            {
                let mut state = lock(&self.state);
                if let Some(message) = state.outgoing.pop_front() {
                    return Some(message);
                }
                // Closed before it opened, it would never be seen over there.
                if state.closing && state.open {
                    return None;
                }
            }
            self.sending.notified().await;
        }
    }

    fn sent(&self, bytes: usize) {
        let mut state = lock(&self.state);
        state.unsent -= bytes;
        if state.unsent < QUEUE {
            wake(&mut state.writers);
        }
    }

    /// Waits until this channel may hold more.
    async fn room(&self) {
        while {
            let state = lock(&self.state);
            state.unread >= UNREAD && !state.closing
        } {
            self.reading.notified().await;
        }
    }
}

/// Opens and serves the channel until it is closed.
async fn run(shared: Arc<Shared>, mut channel: Arc<dyn DataChannel>, opener: Opener, again: Option<Again>) {
    for _ in 0..TRIES {
        // A channel made before the connection is up takes as long as the connection.
        let late = async {
            if !shared.place.0.is_up() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(CONFIRM).await;
            if shared.is_open() {
                std::future::pending::<()>().await;
            }
        };
        match select(pin!(serve(&shared, &channel, opener)), pin!(late)).await {
            Either::Left(_) => shared.place.0.closed(channel.id()).await,
            Either::Right(_) if shared.place.0.rest.abandon(channel.clone()) => {}
            Either::Right(_) => return shared.place.0.refuse("no word about the channels that we open"),
        }
        let Some(again) = again.as_ref().filter(|_| shared.is_wanted()) else { break };
        match again().await {
            Ok(next) => channel = next,
            Err(_) => break,
        }
    }
    shared.ended(Error::Closed);
}

/// Moves messages until the channel is closed.
async fn serve(shared: &Shared, channel: &Arc<dyn DataChannel>, opener: Opener) {
    let mut reading = pin!(read(shared, &**channel));
    let writing = pin!(write(shared, &**channel));
    if let Either::Right(((), _)) = select(&mut reading, writing).await {
        shared.place.0.rest.add(channel.clone(), opener);
        reading.await;
    }
}

/// Takes what comes until the channel is closed.
async fn read(shared: &Shared, channel: &dyn DataChannel) {
    let mut ended = false;
    loop {
        shared.room().await;
        let next = async {
            match ended {
                true => tokio::time::timeout(LAST, channel.poll()).await.unwrap_or(None),
                false => channel.poll().await,
            }
        };
        match next.await {
            Some(DataChannelEvent::OnOpen) => shared.opened(),
            Some(DataChannelEvent::OnMessage(message)) => {
                if !shared.received(message.data.freeze()) {
                    shared.ended(Error::Flood(UNREAD_DATA));
                    shared.place.0.refuse(UNREAD_DATA);
                }
            }
            // What came together with the end is told after it.
            Some(DataChannelEvent::OnClose) if shared.is_open() => ended = true,
            Some(DataChannelEvent::OnClose) | None => return,
            Some(_) => {}
        }
    }
}

/// Sends what there is until this side is done.
async fn write(shared: &Shared, channel: &dyn DataChannel) {
    while let Some(message) = shared.next().await {
        let bytes = message.len();
        let sent = async {
            // Waits for room before it has leave to send, which is not to be held for long.
            channel.writable().await?;
            let _leave = shared.place.0.rest.pass().await;
            channel.send(BytesMut::from(message)).await
        };
        if let Err(error) = sent.await {
            tracing::trace!(%error, "a channel that cannot send");
            return shared.ended(Error::Closed);
        }
        shared.sent(bytes);
    }
}

fn remember(wakers: &mut Vec<Waker>, cx: &Context<'_>) {
    if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
        wakers.push(cx.waker().clone());
    }
}

fn wake(wakers: &mut Vec<Waker>) {
    wakers.drain(..).for_each(Waker::wake);
}
