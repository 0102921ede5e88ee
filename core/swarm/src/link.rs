//! What the host's handle, the events and a control session share: the queue of frames to send,
//! the credit to return, and the order to end.
//!
//! Enters: frames and orders, from any thread. Leaves: what the session takes. Refuses: frames over
//! the bounds of the queue, and frames for a link that ends.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use futures::task::AtomicWaker;
use tributary_protocol::limits::MAX_CONTROL_FRAME;

use crate::handle::SendError;
use crate::wire::HEADER;

/// Frames that wait to be sent to one peer: several rounds' worth of messages.
const QUEUE_FRAMES: usize = 256;

/// Bytes that wait to be sent to one peer: four of the largest frames.
const QUEUE_BYTES: usize = 4 * MAX_CONTROL_FRAME;

/// How a link is ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// Send what waits, then say why, for at most this long.
    Leave(String, Duration),
    /// The peer broke the rules: drop what waits, say why, for at most this long.
    Refuse(String, Duration),
    /// The connection is closed: take what already came, then end.
    HungUp(String),
    /// The connection is dead: end now.
    Cut(String),
}

/// What the host's handle, the events and the session share.
#[derive(Default)]
pub(crate) struct Link {
    state: Mutex<LinkState>,
    waker: AtomicWaker,
    /// Bytes (with headers) of frames that the host took since the session last looked.
    taken: AtomicUsize,
}

#[derive(Default)]
struct LinkState {
    queue: VecDeque<Bytes>,
    bytes: usize,
    end: Option<End>,
    closed: bool,
}

impl Link {
    fn lock(&self) -> MutexGuard<'_, LinkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a frame.
    pub(crate) fn push(&self, frame: Bytes) -> Result<(), SendError> {
        if frame.len() > MAX_CONTROL_FRAME {
            return Err(SendError::TooLarge);
        }
        let mut state = self.lock();
        if state.closed || state.end.is_some() {
            return Err(SendError::NotConnected);
        }
        if state.queue.len() >= QUEUE_FRAMES || state.bytes + frame.len() > QUEUE_BYTES {
            return Err(SendError::Full);
        }
        state.bytes += frame.len();
        state.queue.push_back(frame);
        drop(state);
        self.waker.wake();
        Ok(())
    }

    /// Ends the link. A later end replaces an earlier one only if it is more urgent.
    pub(crate) fn end(&self, end: End) {
        let urgency = |end: &End| match end {
            End::Leave(..) => 0,
            End::Refuse(..) => 1,
            End::HungUp(_) => 2,
            End::Cut(_) => 3,
        };
        let mut state = self.lock();
        if state.end.as_ref().is_none_or(|now| urgency(now) < urgency(&end)) {
            state.end = Some(end);
        }
        drop(state);
        self.waker.wake();
    }

    /// The host took a frame of this many bytes.
    pub(crate) fn took(&self, bytes: usize) {
        self.taken.fetch_add(bytes, Ordering::Relaxed);
        self.waker.wake();
    }

    /// How the link is to end, if it is.
    pub(crate) fn ordered_end(&self) -> Option<End> {
        self.lock().end.clone()
    }

    /// Bytes that the host took since the last call.
    pub(crate) fn taken(&self) -> usize {
        self.taken.swap(0, Ordering::Relaxed)
    }

    /// Wakes this task when something changes.
    pub(crate) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// The next frame, if it costs at most `allowance`.
    pub(crate) fn pop(&self, allowance: usize) -> Option<Bytes> {
        let mut state = self.lock();
        if state.queue.front()?.len() + HEADER > allowance {
            return None;
        }
        let frame = state.queue.pop_front()?;
        state.bytes -= frame.len();
        Some(frame)
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().queue.is_empty()
    }

    /// Drops what waits.
    pub(crate) fn clear(&self) {
        let mut state = self.lock();
        state.queue.clear();
        state.bytes = 0;
    }

    /// Takes no more.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.clear();
    }
}
