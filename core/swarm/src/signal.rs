//! Tells any number of tasks that something they share has changed.

use std::collections::HashMap;
use std::future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::StreamExt;
use futures::stream::FuturesUnordered;

/// A count of changes that can be waited on. Holds one waker for each [`After`] that waits.
#[derive(Default)]
pub(crate) struct Signal(Mutex<State>);

#[derive(Default)]
struct State {
    changes: u64,
    next: u64,
    waiting: HashMap<u64, Waker>,
}

impl Signal {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something changed.
    pub(crate) fn raise(&self) {
        let mut state = self.lock();
        state.changes += 1;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_values().for_each(Waker::wake);
    }

    /// How often something has changed. Whoever looks at the state after this misses nothing.
    pub(crate) fn seen(&self) -> u64 {
        self.lock().changes
    }

    /// Waits until something has changed since `seen`.
    pub(crate) fn after(&self, seen: u64) -> After<'_> {
        let mut state = self.lock();
        state.next += 1;
        After { signal: self, seen, key: state.next }
    }
}

/// A wait for a change; dropped, it leaves nothing behind.
pub(crate) struct After<'a> {
    signal: &'a Signal,
    seen: u64,
    key: u64,
}

impl Future for After<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.signal.lock();
        if state.changes != self.seen {
            return Poll::Ready(());
        }
        state.waiting.insert(self.key, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for After<'_> {
    fn drop(&mut self) {
        self.signal.lock().waiting.remove(&self.key);
    }
}

/// Waits until one of these has changed; for ever if there are none.
pub(crate) async fn any(waits: impl IntoIterator<Item = After<'_>>) {
    let mut waits: FuturesUnordered<_> = waits.into_iter().collect();
    if waits.next().await.is_none() {
        future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn every_waiter_is_told_and_no_change_is_missed() {
        let signal = Signal::default();
        let seen = signal.seen();
        let mut waiters = [signal.after(seen), signal.after(seen)];
        assert!(waiters.iter_mut().all(|waiter| waiter.now_or_never().is_none()));
        signal.raise();
        assert!(waiters.iter_mut().all(|waiter| waiter.now_or_never().is_some()));
        assert!(signal.after(seen).now_or_never().is_some(), "it changed before the wait");
        assert!(signal.after(signal.seen()).now_or_never().is_none());
    }

    #[test]
    fn who_gives_up_waiting_leaves_nothing_behind() {
        let signal = Signal::default();
        for _ in 0..100 {
            assert!(signal.after(0).now_or_never().is_none());
        }
        assert!(signal.lock().waiting.is_empty());
    }
}
