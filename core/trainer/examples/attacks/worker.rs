//! A real trainer behind its jobs, driven step by step.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::{poll_fn, ready};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::channel::mpsc;
use futures::executor::block_on;
use futures::future::LocalBoxFuture;
use futures::{FutureExt, StreamExt};
use tributary_protocol::fold::f32_to_le;
use tributary_protocol::job::{DeviceChoice, Job, Report};
use tributary_protocol::spec::RunSpec;
use tributary_protocol::{Hash, Id, fold};
use tributary_trainer::{Dossier, Host, run};

use crate::account::Account;
use crate::order::Text;

/// Milliseconds by which the clock goes on each time that it is read: as many as lie between two reports of
/// progress, so that each step is told of.
const TICK_MS: u64 = 300;

/// Times that the trainer reads it in a step, about.
const READS: u64 = 5;

/// Jobs and reports under way.
const QUEUE: usize = 64;

struct Clock(Cell<u64>);

impl Host for Clock {
    fn now_ms(&self) -> u64 {
        self.0.set(self.0.get() + TICK_MS);
        self.0.get()
    }

    fn breathe(&self) -> LocalBoxFuture<'static, ()> {
        let mut breathed = false;
        poll_fn(move |context| {
            if std::mem::replace(&mut breathed, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .boxed_local()
    }

    fn keep(&self, _: &str, _: Vec<u8>) -> LocalBoxFuture<'static, ()> {
        ready(()).boxed_local()
    }

    fn recall(&self, _: &str) -> LocalBoxFuture<'static, Option<Vec<u8>>> {
        ready(None).boxed_local()
    }
}

/// The seconds of rounds of so many steps on that clock.
pub(crate) fn seconds(steps: u64) -> u32 {
    (steps * READS * TICK_MS / 1000).max(1) as u32
}

/// What was made of a round.
#[derive(Clone)]
pub(crate) struct Work {
    pub(crate) update: Bytes,
    pub(crate) tokens: u64,
    pub(crate) losses: [f32; 2],
    pub(crate) account: Account,
}

/// See the module.
pub(crate) struct Worker {
    run: LocalBoxFuture<'static, ()>,
    jobs: mpsc::Sender<Job>,
    reports: mpsc::Receiver<Report>,
    shards: Rc<BTreeMap<Hash, Bytes>>,
    /// Time spent training, and in making updates and adding steps.
    pub(crate) spent: Duration,
}

impl Worker {
    /// Starts from the weights of a round.
    pub(crate) fn start(spec: &RunSpec, text: &Text, me: Id, round: u64, weights: &[f32]) -> Result<Self, String> {
        let (jobs, orders) = mpsc::channel(QUEUE);
        let (answers, reports) = mpsc::channel(QUEUE);
        let run = run(Clock(Cell::default()), orders, answers).boxed_local();
        let mut worker = Self { run, jobs, reports, shards: text.shards.clone(), spent: Duration::ZERO };
        let device = DeviceChoice::Cpu;
        worker.send(Job::Start { spec: Box::new(spec.clone()), data: text.bytes.clone(), me, device })?;
        worker.rebase(round, weights)?;
        Ok(worker)
    }

    fn send(&mut self, job: Job) -> Result<(), String> {
        self.jobs.try_send(job).map_err(|error| error.to_string())
    }

    /// The next report. The trainer goes on until there is one and no further.
    fn report(&mut self) -> Result<Report, String> {
        loop {
            let (run, reports) = (&mut self.run, &mut self.reports);
            let next = poll_fn(|context| match reports.poll_next_unpin(context) {
                Poll::Ready(report) => Poll::Ready(report),
                Poll::Pending => run.poll_unpin(context).map(|()| None),
            });
            match block_on(next).ok_or("the trainer stopped")? {
                Report::Need(blob) => {
                    let bytes = self.shards[&blob.hash].clone();
                    self.send(Job::Shard { hash: blob.hash, bytes })?;
                }
                Report::Trouble { what, .. } | Report::Withheld { why: what, .. } => return Err(what),
                other => return Ok(other),
            }
        }
    }

    /// Waits for what `wanted` picks out.
    fn wait<T>(&mut self, wanted: impl Fn(Report) -> Option<T>) -> Result<T, String> {
        loop {
            if let Some(found) = wanted(self.report()?) {
                return Ok(found);
            }
        }
    }

    /// Goes to these weights.
    pub(crate) fn rebase(&mut self, round: u64, weights: &[f32]) -> Result<(), String> {
        let (hash, weights) = (fold::state_hash(weights), f32_to_le(weights).into());
        self.send(Job::Base { round, hash, weights })?;
        self.wait(|report| matches!(report, Report::Based { .. }).then_some(()))
    }

    /// Trains so many steps of a round and makes the update.
    pub(crate) fn work(&mut self, round: u64, seed: Hash, steps: u64) -> Result<Work, String> {
        let began = Instant::now();
        self.send(Job::Train { round, seed })?;
        self.wait(|report| matches!(report, Report::Progress(progress) if progress.steps >= steps).then_some(()))?;
        self.send(Job::Pause)?;
        self.send(Job::Cut { round })?;
        let (update, tokens, losses, trace) = self.wait(|report| match report {
            Report::Update { update, tokens, loss_first, loss_last, trace, .. } => {
                Some((update, tokens, [loss_first, loss_last], trace))
            }
            _ => None,
        })?;
        self.spent += began.elapsed();
        let mut dossiers = Vec::new();
        for segment in 0..trace.segments {
            self.send(Job::Disclose { round, segment })?;
            let bytes = self.wait(|report| match report {
                Report::Dossier { dossier, .. } => Some(dossier),
                _ => None,
            })?;
            let bytes = bytes.ok_or("a dossier that was just made is gone")?;
            dossiers.push(postcard::from_bytes::<Dossier>(&bytes).map_err(|error| error.to_string())?);
        }
        Ok(Work { update, tokens, losses, account: Account::of(dossiers)? })
    }

    /// Adds a round's step.
    pub(crate) fn fold(&mut self, round: u64, step: Bytes, next: Hash) -> Result<(), String> {
        let began = Instant::now();
        self.send(Job::Fold { round, step, next })?;
        let right = self.wait(|report| match report {
            Report::Based { .. } => Some(true),
            Report::Mismatch { .. } => Some(false),
            _ => None,
        })?;
        self.spent += began.elapsed();
        if right { Ok(()) } else { Err(format!("the step of round {round} led elsewhere")) }
    }
}
