//! Tells any number of tasks that something they share has changed.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A count of changes that can be waited on. Holds one waker for each task that waits.
#[derive(Default)]
pub(crate) struct Signal(Mutex<(u64, Vec<Waker>)>);

impl Signal {
    fn lock(&self) -> MutexGuard<'_, (u64, Vec<Waker>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something changed.
    pub(crate) fn raise(&self) {
        let mut inner = self.lock();
        inner.0 += 1;
        let wakers = std::mem::take(&mut inner.1);
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// How often something has changed. Whoever looks at the state after this misses nothing.
    pub(crate) fn seen(&self) -> u64 {
        self.lock().0
    }

    /// Ready once something has changed since `seen`.
    pub(crate) fn poll_after(&self, seen: u64, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.lock();
        if inner.0 != seen {
            return Poll::Ready(());
        }
        if !inner.1.iter().any(|waker| waker.will_wake(cx.waker())) {
            inner.1.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Waits until something has changed since `seen`.
    pub(crate) async fn after(&self, seen: u64) {
        std::future::poll_fn(|cx| self.poll_after(seen, cx)).await;
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
        let mut waiters = [signal.after(seen).boxed(), signal.after(seen).boxed()];
        assert!(waiters.iter_mut().all(|waiter| waiter.now_or_never().is_none()));
        signal.raise();
        assert!(waiters.iter_mut().all(|waiter| waiter.now_or_never().is_some()));
        assert!(signal.after(seen).now_or_never().is_some(), "it changed before the wait");
        assert!(signal.after(signal.seen()).now_or_never().is_none());
    }
}
