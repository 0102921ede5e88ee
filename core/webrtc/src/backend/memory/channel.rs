//! Data channels of one process: two queues.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::super::{Channel, Error, PeerEvent, RECEIVE_BUFFER, SEND_BUFFER};
use super::{Shared, lock};

/// One direction of a channel.
#[derive(Default)]
pub(super) struct Pipe {
    queue: VecDeque<Bytes>,
    bytes: usize,
    opened: bool,
    pub(super) closed: bool,
    /// The receiving end's count.
    unread: Arc<AtomicUsize>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    pub(super) fn new(opened: bool, unread: Arc<AtomicUsize>) -> Self {
        Self { opened, unread, ..Self::default() }
    }

    pub(super) fn open(&mut self, unread: Arc<AtomicUsize>) {
        self.unread = unread;
        self.opened = true;
        self.wake();
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
        self.wake();
    }

    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

/// One side of a data channel in this process.
pub struct MemoryChannel {
    pub(super) hub: Shared,
    /// The peer connection's side that it belongs to.
    pub(super) end: u64,
    pub(super) incoming: Arc<Mutex<Pipe>>,
    pub(super) outgoing: Arc<Mutex<Pipe>>,
    pub(super) impatient: bool,
}

impl MemoryChannel {
    fn poll_room(&self, cx: &Context<'_>, room: usize) -> Poll<Result<(), Error>> {
        let mut pipe = lock(&self.outgoing);
        if pipe.closed {
            return Poll::Ready(Err(Error::Closed));
        }
        if pipe.opened && (pipe.bytes < room || self.impatient) {
            return Poll::Ready(Ok(()));
        }
        pipe.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ends the connection if more lies unread on the other side than may.
    fn check(&self, unread: usize) {
        if unread > RECEIVE_BUFFER {
            let mut hub = lock(&self.hub);
            if let Some(other) = hub.ends.get(&self.end).and_then(|end| end.other) {
                hub.tell(other, PeerEvent::Broken(Error::Flood("more data than was asked for")));
                hub.end(other);
            }
        }
    }
}

impl Channel for MemoryChannel {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_room(cx, SEND_BUFFER)
    }

    fn send(&mut self, message: Bytes) -> Result<(), Error> {
        let mut pipe = lock(&self.outgoing);
        if pipe.closed {
            return Err(Error::Closed);
        }
        pipe.bytes += message.len();
        let unread = pipe.unread.fetch_add(message.len(), Ordering::Relaxed) + message.len();
        pipe.queue.push_back(message);
        if let Some(reader) = pipe.reader.take() {
            reader.wake();
        }
        drop(pipe);
        self.check(unread);
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_room(cx, 1)
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        let mut pipe = lock(&self.incoming);
        if let Some(message) = pipe.queue.pop_front() {
            pipe.bytes -= message.len();
            pipe.unread.fetch_sub(message.len(), Ordering::Relaxed);
            if let Some(writer) = pipe.writer.take() {
                writer.wake();
            }
            return Poll::Ready(Some(Ok(message)));
        }
        if pipe.closed {
            return Poll::Ready(None);
        }
        pipe.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn close(&mut self) {
        lock(&self.outgoing).close();
        let mut incoming = lock(&self.incoming);
        incoming.close();
        incoming.queue.clear();
        let unread = std::mem::take(&mut incoming.bytes);
        incoming.unread.fetch_sub(unread, Ordering::Relaxed);
    }
}

impl Drop for MemoryChannel {
    fn drop(&mut self) {
        self.close();
    }
}
