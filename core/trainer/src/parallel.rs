//! The processor's cores, for the CPU backend.
//!
//! That backend spreads matrix products over the cores and nothing else, so a batch is cut into parts
//! that go through the model side by side. Where there are no threads (a tab) everything is one part.

use std::sync::{Mutex, PoisonError};

/// Threads that can run at once.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

/// `work` of every item, in order, on up to `threads` threads. A panic in one is this call's.
pub(crate) fn map<T: Send, R: Send>(threads: usize, items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let threads = threads.min(items.len());
    if threads <= 1 {
        return items.into_iter().map(work).collect();
    }
    let queue = Mutex::new(items.into_iter().enumerate());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let run = || std::iter::from_fn(next).map(|(index, item)| (index, work(item))).collect::<Vec<_>>();
    let mut results = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let mut results = run();
        for other in others {
            results.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        results
    });
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_whatever_the_threads() {
        for threads in [0, 1, 2, 7] {
            assert_eq!(map(threads, (0..100).collect(), |n| n * n), (0..100).map(|n| n * n).collect::<Vec<_>>());
            assert!(map(threads, Vec::<u8>::new(), |n| n).is_empty());
        }
    }

    #[test]
    #[should_panic(expected = "seven")]
    fn a_panic_is_passed_on() {
        map(3, (0..20).collect(), |n| assert_ne!(n, 7, "seven"));
    }
}
