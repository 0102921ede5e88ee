//! A trainer behind its jobs, on a clock that lets it tell of every step.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::{poll_fn, ready};
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use futures::channel::mpsc;
use futures::executor::block_on;
use futures::future::LocalBoxFuture;
use futures::{FutureExt, StreamExt};
use tributary_protocol::check::TraceRef;
use tributary_protocol::fold::{apply, f32_to_le, state_hash};
use tributary_protocol::job::{DeviceChoice, Job, Report};
use tributary_protocol::spec::RunSpec;
use tributary_protocol::update::{Update, encode};
use tributary_protocol::{Hash, Id};
use tributary_trainer::{Host, run};

/// Milliseconds by which the clock goes on each time that it is read: as many as lie between two reports of
/// progress, so that each step is told of.
const TICK_MS: u64 = 300;

/// Times that the trainer reads it in a step, about.
const READS: u64 = 5;

/// Jobs and reports under way.
const QUEUE: usize = 64;

struct Clock(Rc<Cell<u64>>);

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

/// What a trainer is given.
pub(crate) struct World<'a> {
    pub(crate) spec: RunSpec,
    pub(crate) manifest: Bytes,
    pub(crate) shards: &'a BTreeMap<Hash, Bytes>,
    pub(crate) base: Vec<f32>,
    pub(crate) me: Id,
    pub(crate) device: DeviceChoice,
}

/// What a cut led to.
pub(crate) struct Sent {
    pub(crate) update: Bytes,
    pub(crate) tokens: u64,
    pub(crate) trace: TraceRef,
}

/// The trainer's driver.
pub(crate) struct Driver<'a> {
    jobs: mpsc::Sender<Job>,
    reports: mpsc::Receiver<Report>,
    world: &'a World<'a>,
    pub(crate) backend: String,
    pub(crate) base: Vec<f32>,
}

/// The seconds of rounds of so many steps on this clock.
pub(crate) fn seconds(steps: u64) -> u32 {
    (steps * READS * TICK_MS / 1000).max(1) as u32
}

/// The seed of a round.
pub(crate) fn seed(round: u64) -> Hash {
    Hash::of(&round.to_le_bytes())
}

/// Runs a trainer and `body` beside it.
pub(crate) fn play<T>(
    world: &World<'_>,
    body: impl AsyncFnOnce(&mut Driver<'_>) -> Result<T, String>,
) -> Result<T, String> {
    let (jobs, orders) = mpsc::channel(QUEUE);
    let (answers, reports) = mpsc::channel(QUEUE);
    block_on(async {
        let driven = async {
            let mut driver = Driver { jobs, reports, world, backend: String::new(), base: world.base.clone() };
            driver.begin().await?;
            body(&mut driver).await
        };
        futures::join!(run(Clock(Rc::default()), orders, answers), driven).1
    })
}

impl Driver<'_> {
    fn send(&mut self, job: Job) -> Result<(), String> {
        self.jobs.try_send(job).map_err(|error| error.to_string())
    }

    /// The next report; shards are handed over as they are asked for.
    async fn report(&mut self) -> Result<Report, String> {
        loop {
            match self.reports.next().await.ok_or("the trainer stopped")? {
                Report::Need(blob) => {
                    let bytes = self.world.shards[&blob.hash].clone();
                    self.send(Job::Shard { hash: blob.hash, bytes })?;
                }
                Report::Trouble { what, .. } | Report::Withheld { why: what, .. } => return Err(what),
                other => return Ok(other),
            }
        }
    }

    async fn begin(&mut self) -> Result<(), String> {
        let World { spec, manifest, me, device, .. } = self.world;
        self.send(Job::Start { spec: Box::new(spec.clone()), data: manifest.clone(), me: *me, device: *device })?;
        let (hash, weights) = (state_hash(&self.base), f32_to_le(&self.base).into());
        self.send(Job::Base { round: 0, hash, weights })?;
        loop {
            match self.report().await? {
                Report::Ready(info) => self.backend = format!("{:?}", info.backend).to_lowercase(),
                Report::Based { .. } => return Ok(()),
                other => return Err(format!("{other:?}")),
            }
        }
    }

    /// Trains, with the data of a seed, until there are so many steps since the last cut.
    pub(crate) async fn train(&mut self, round: u64, seed: Hash, steps: u64) -> Result<(), String> {
        self.send(Job::Train { round, seed })?;
        loop {
            if let Report::Progress(progress) = self.report().await?
                && progress.steps >= steps
            {
                return self.send(Job::Pause);
            }
        }
    }

    pub(crate) async fn cut(&mut self, round: u64) -> Result<Sent, String> {
        self.send(Job::Cut { round })?;
        loop {
            if let Report::Update { update, tokens, trace, .. } = self.report().await? {
                return Ok(Sent { update, tokens, trace });
            }
        }
    }

    pub(crate) async fn fold(&mut self, round: u64, step: &Update) -> Result<(), String> {
        apply(&mut self.base, step);
        self.send(Job::Fold { round, step: encode(step), next: state_hash(&self.base) })?;
        loop {
            match self.report().await? {
                Report::Based { .. } => return Ok(()),
                Report::Mismatch { .. } => return Err("the step led elsewhere".to_owned()),
                _ => {}
            }
        }
    }

    pub(crate) async fn disclose(&mut self, round: u64, segment: u8) -> Result<Bytes, String> {
        self.send(Job::Disclose { round, segment })?;
        loop {
            if let Report::Dossier { dossier, .. } = self.report().await? {
                return dossier.ok_or_else(|| "the dossier is gone".to_owned());
            }
        }
    }
}
