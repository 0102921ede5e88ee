//! A channel of one place in which the latest snapshot replaces the one before.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::Stream;
use tributary_protocol::view::Snapshot;

#[derive(Debug, Default)]
struct Slot {
    value: Option<Snapshot>,
    reader: Option<Waker>,
    closed: bool,
}

/// Snapshots as they come. A slow reader misses some and always gets the newest.
#[derive(Debug)]
pub struct Snapshots(Arc<Mutex<Slot>>);

#[derive(Debug)]
pub(crate) struct Show(Arc<Mutex<Slot>>);

pub(crate) fn latest() -> (Show, Snapshots) {
    let slot = Arc::new(Mutex::new(Slot::default()));
    (Show(slot.clone()), Snapshots(slot))
}

fn lock(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    // Nothing in here panics with the lock held; a poisoned slot is still a whole one.
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Show {
    pub(crate) fn show(&self, snapshot: Snapshot) {
        let mut slot = lock(&self.0);
        slot.value = Some(snapshot);
        wake(slot);
    }
}

impl Drop for Show {
    fn drop(&mut self) {
        let mut slot = lock(&self.0);
        slot.closed = true;
        wake(slot);
    }
}

fn wake(mut slot: MutexGuard<'_, Slot>) {
    let reader = slot.reader.take();
    drop(slot);
    if let Some(reader) = reader {
        reader.wake();
    }
}

impl Stream for Snapshots {
    type Item = Snapshot;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Snapshot>> {
        let mut slot = lock(&self.0);
        if let Some(snapshot) = slot.value.take() {
            return Poll::Ready(Some(snapshot));
        }
        if slot.closed {
            return Poll::Ready(None);
        }
        slot.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}
