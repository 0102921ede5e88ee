//! A trainer behind its jobs, with a driver beside it on one thread.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{poll_fn, ready};
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use futures::channel::mpsc;
use futures::executor::block_on;
use futures::future::LocalBoxFuture;
use futures::{FutureExt, StreamExt};
use tributary_protocol::check::{Check, TraceRef};
use tributary_protocol::data::DataManifest;
use tributary_protocol::fold::{apply, f32_to_le, state_hash};
use tributary_protocol::job::{Backend, DeviceChoice, Job, Progress, Report};
use tributary_protocol::spec::{
    Average, Inner, ModelSpec, Optimizer, Outer, Reward, RoundRule, RunSpec, Tokenizer, UpdateFormat,
};
use tributary_protocol::update::{Update, compress, decode, encode};
use tributary_protocol::{BlobRef, Hash, Id};
use tributary_trainer::{Host, initial_weights, run};

/// A clock that goes on by itself, and an event loop that gets a turn after every step.
pub struct World(pub Rc<Cell<u64>>, pub Storage);

pub type Storage = Rc<RefCell<BTreeMap<String, Vec<u8>>>>;

impl Host for World {
    fn now_ms(&self) -> u64 {
        self.0.set(self.0.get() + 20);
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

    fn rest(&self, ms: u64) -> LocalBoxFuture<'static, ()> {
        self.0.set(self.0.get() + ms);
        self.breathe()
    }

    fn keep(&self, name: &str, bytes: Vec<u8>) -> LocalBoxFuture<'static, ()> {
        self.1.borrow_mut().insert(name.to_owned(), bytes);
        ready(()).boxed_local()
    }

    fn recall(&self, name: &str) -> LocalBoxFuture<'static, Option<Vec<u8>>> {
        ready(self.1.borrow().get(name).cloned()).boxed_local()
    }
}

pub struct Driver {
    pub jobs: mpsc::Sender<Job>,
    pub reports: mpsc::Receiver<Report>,
    pub spec: RunSpec,
    pub shard: Bytes,
    pub base: Vec<f32>,
}

/// What a cut led to.
pub struct Sent {
    pub update: Update,
    pub tokens: u64,
    pub trace: TraceRef,
}

impl Driver {
    pub fn send(&mut self, job: Job) {
        self.jobs.try_send(job).unwrap();
    }

    /// The next report that is not progress. Data is handed over as it is asked for.
    pub async fn report(&mut self) -> Report {
        loop {
            match self.reports.next().await.unwrap() {
                Report::Progress(_) => {}
                Report::Need(blob) => {
                    let bytes = self.shard.clone();
                    self.send(Job::Shard { hash: blob.hash, bytes });
                }
                other => return other,
            }
        }
    }

    pub async fn progress(&mut self) -> Progress {
        loop {
            match self.reports.next().await.unwrap() {
                Report::Progress(progress) => return progress,
                Report::Need(blob) => {
                    let bytes = self.shard.clone();
                    self.send(Job::Shard { hash: blob.hash, bytes });
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Starts, adopts the first weights and trains.
    pub async fn begin(&mut self) {
        let manifest = manifest(&self.shard);
        let (spec, data) = (Box::new(self.spec.clone()), Bytes::from(manifest));
        self.send(Job::Start { spec, data, me: Id([3; 32]), device: DeviceChoice::Cpu });
        assert!(matches!(self.report().await, Report::Ready(info) if info.backend == Backend::Cpu));
        let base = self.base.clone();
        self.rebase(0, base).await;
        self.train(0);
    }

    pub fn train(&mut self, round: u64) {
        self.send(Job::Train { round, seed: Hash::of(&round.to_le_bytes()) });
    }

    pub async fn rebase(&mut self, round: u64, base: Vec<f32>) {
        let (weights, hash) = (Bytes::from(f32_to_le(&base)), state_hash(&base));
        self.send(Job::Base { round, hash, weights });
        assert_eq!(self.report().await, Report::Based { round, hash });
        self.base = base;
    }

    /// Some steps.
    pub async fn work(&mut self) {
        for _ in 0..3 {
            self.progress().await;
        }
    }

    /// Cuts and stops at once.
    pub async fn cut(&mut self, round: u64) -> Sent {
        self.send(Job::Cut { round });
        self.send(Job::Pause);
        match self.report().await {
            Report::Update { round: of, base, update, tokens, loss_first, loss_last, trace } => {
                assert_eq!((of, base), (round, state_hash(&self.base)));
                assert!(loss_first.is_finite() && loss_last.is_finite());
                let update = decode(&self.spec.sent_formats(), &update, self.spec.model.params()).unwrap();
                Sent { update, tokens, trace }
            }
            other => panic!("{other:?}"),
        }
    }

    /// Cuts and stops at once: the pseudo-gradient, and its tokens.
    pub async fn cut_and_pause(&mut self, round: u64) -> (Vec<f32>, u64) {
        let sent = self.cut(round).await;
        (sent.update.values(), sent.tokens)
    }

    /// What the trainer has to show of a segment.
    pub async fn disclose(&mut self, round: u64, segment: u8) -> Option<Bytes> {
        self.send(Job::Disclose { round, segment });
        match self.report().await {
            Report::Dossier { round: of, segment: which, dossier } => {
                assert_eq!((of, which), (round, segment));
                dossier
            }
            other => panic!("{other:?}"),
        }
    }

    /// Folds a step into the base.
    pub async fn fold(&mut self, round: u64, step: &[f32]) {
        let step = compress(step, self.spec.step);
        apply(&mut self.base, &step);
        let (next, step) = (state_hash(&self.base), encode(&step));
        self.send(Job::Fold { round, step, next });
        assert_eq!(self.report().await, Report::Based { round: round + 1, hash: next });
    }
}

pub fn manifest(shard: &Bytes) -> Vec<u8> {
    let (name, tokenizer, train) = ("test".to_owned(), Tokenizer::Bytes, vec![BlobRef::of(shard)]);
    serde_json::to_vec(&DataManifest { version: 1, name, tokenizer, train, heldout: vec![], sources: vec![] }).unwrap()
}

pub fn spec() -> RunSpec {
    RunSpec {
        name: "test".to_owned(),
        seed: 1,
        model: ModelSpec {
            vocab: 256,
            width: 32,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            hidden: 64,
            context: 32,
            rope_theta: 10_000.0,
            norm_eps: 1e-5,
        },
        tokenizer: Tokenizer::Bytes,
        data: BlobRef::of(b""),
        inner: Inner {
            optimizer: Optimizer::AdamW,
            lr: 3e-3,
            warmup: 5,
            beta1: 0.9,
            beta2: 0.95,
            weight_decay: 0.1,
            clip: 1.0,
            batch: 4,
            seq: 16,
        },
        outer: Outer { lr: vec![0.7], momentum: 0.9, average: Average::All },
        round: RoundRule { seconds: 10, grace: 5, quorum: 1, stale: 0.5 },
        update: UpdateFormat::F32,
        first: UpdateFormat::F32,
        step: UpdateFormat::F32,
        update_steps: 0,
        feedback: 1.0,
        reward: Reward { pool: 1000 },
        check: Check::default(),
    }
}

/// Runs a trainer and the body of a test beside it on one thread, in an order that is always the same.
pub fn play(spec: RunSpec, body: impl AsyncFnOnce(&mut Driver)) {
    play_on(spec, Storage::default(), body);
}

/// The same, on a machine that keeps what it was given earlier.
pub fn play_on(spec: RunSpec, kept: Storage, body: impl AsyncFnOnce(&mut Driver)) {
    let (jobs, jobs_in) = mpsc::channel(16);
    let (reports_out, reports) = mpsc::channel(16);
    let base = initial_weights(&spec);
    let shard = Bytes::from(b"the rain in Spain stays mainly in the plain. ".repeat(20));
    block_on(async {
        let test = async {
            let mut driver = Driver { jobs, reports, spec, shard, base };
            body(&mut driver).await;
        };
        futures::join!(run(World(Rc::default(), kept), jobs_in, reports_out), test);
    });
}
