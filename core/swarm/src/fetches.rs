//! Which fetches run and which wait.
//!
//! Enters: jobs. Leaves: jobs to start. Refuses: more jobs than can wait. Two jobs for one blob run
//! one after the other, so that the second finds what the first brought.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use futures::channel::oneshot;
use tributary_protocol::{BlobRef, Hash, Id};

use crate::blob::FetchError;

/// Fetches that wait: one for each peer of the largest round.
const WAITING: usize = 2048;

/// Fetches that run at a time: each is a stream and at most a megabyte under way.
const RUNNING: usize = 256;

/// Fetches that run at a time from one peer; below `serve::PER_PEER`, so that a peer whose last
/// stream is still closing is not refused.
const PER_PEER: usize = 4;

/// One blob to fetch from one peer.
pub(crate) struct Job {
    pub(crate) peer: Id,
    pub(crate) blob: BlobRef,
    pub(crate) reply: oneshot::Sender<Result<Bytes, FetchError>>,
}

/// The jobs of a node.
pub(crate) struct Fetches {
    waiting: VecDeque<Job>,
    running: HashMap<Hash, (Id, u64)>,
    most_bytes: u64,
}

impl Fetches {
    /// At most `most_bytes` of blobs at a time, or one.
    pub(crate) fn new(most_bytes: u64) -> Self {
        Self { waiting: VecDeque::new(), running: HashMap::new(), most_bytes }
    }

    /// Takes a job, or tells its owner that there are too many.
    pub(crate) fn push(&mut self, job: Job) {
        self.waiting.retain(|job| !job.reply.is_canceled());
        if self.waiting.len() >= WAITING {
            let _ = job.reply.send(Err(FetchError::Busy));
        } else {
            self.waiting.push_back(job);
        }
    }

    /// The first job that may start now. It counts as running until [`Self::done`].
    pub(crate) fn next(&mut self) -> Option<Job> {
        if self.running.len() >= RUNNING {
            return None;
        }
        let bytes: u64 = self.running.values().map(|(_, bytes)| bytes).sum();
        let may_start = |job: &Job| {
            !self.running.contains_key(&job.blob.hash)
                && (self.running.is_empty() || bytes + job.blob.bytes <= self.most_bytes)
                && self.running.values().filter(|(peer, _)| *peer == job.peer).count() < PER_PEER
        };
        let index = self.waiting.iter().position(may_start)?;
        let job = self.waiting.remove(index)?;
        self.running.insert(job.blob.hash, (job.peer, job.blob.bytes));
        Some(job)
    }

    /// The running job for this blob has ended.
    pub(crate) fn done(&mut self, hash: &Hash) {
        self.running.remove(hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Answer = oneshot::Receiver<Result<Bytes, FetchError>>;

    fn push(fetches: &mut Fetches, peer: u8, name: u8, bytes: u64) -> Answer {
        let (reply, answer) = oneshot::channel();
        let blob = BlobRef { hash: Hash([name; 32]), bytes };
        fetches.push(Job { peer: Id([peer; 32]), blob, reply });
        answer
    }

    fn started(fetches: &mut Fetches) -> Vec<u8> {
        std::iter::from_fn(|| fetches.next().map(|job| job.blob.hash.0[0])).collect()
    }

    #[test]
    fn bounds_hold_and_what_waits_starts_in_order() {
        let mut fetches = Fetches::new(100);
        let _answers: Vec<_> = (0..6).map(|name| push(&mut fetches, 1, name, 10)).collect();
        let _same = push(&mut fetches, 2, 0, 10);
        let _large = push(&mut fetches, 2, 9, 70);
        let _other = push(&mut fetches, 3, 8, 10);
        assert_eq!(started(&mut fetches), [0, 1, 2, 3, 8], "four of one peer, one of each blob, 100 bytes");
        fetches.done(&Hash([0; 32]));
        assert_eq!(started(&mut fetches), [4, 0]);
        (0..10).for_each(|name| fetches.done(&Hash([name; 32])));
        assert_eq!(started(&mut fetches), [5, 9]);
    }

    #[test]
    fn a_blob_over_the_bound_runs_alone_and_too_many_are_refused() {
        let mut fetches = Fetches::new(100);
        let _large = push(&mut fetches, 1, 0, 1000);
        assert_eq!(started(&mut fetches), [0]);
        let mut answers: Vec<_> = (0..WAITING).map(|_| push(&mut fetches, 2, 0, 1)).collect();
        let mut refused = push(&mut fetches, 2, 1, 1);
        assert!(matches!(refused.try_recv(), Ok(Some(Err(FetchError::Busy)))));
        answers.pop();
        let mut taken = push(&mut fetches, 2, 1, 1);
        assert!(matches!(taken.try_recv(), Ok(None)), "whoever gave up makes room");
    }
}
