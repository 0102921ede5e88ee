//! Measures for how long a round holds up training: `pause FOLDER tiny|small|base [cpu|gpu|auto]`.
//!
//! Runs the trainer behind its jobs, as the program does: training, a cut, what the cut left out kept in the folder,
//! training on, and the step of the round added. A job counts until the trainer takes the next one. Prints one JSON
//! object: medians in milliseconds, and the bytes of what is sent.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use bytes::Bytes;
use futures::StreamExt;
use futures::channel::mpsc;
use futures::executor::block_on;
use futures::future::{self, LocalBoxFuture};
use serde_json::{Value, json};
use tributary_protocol::check::Check;
use tributary_protocol::data::DataManifest;
use tributary_protocol::fold::{self, OuterState, Term, f32_to_le, state_hash};
use tributary_protocol::job::{DeviceChoice, Job, Report};
use tributary_protocol::spec::{
    FEEDBACK, Inner, ModelSpec, Optimizer, Outer, Reward, RoundRule, RunSpec, Tokenizer, UPDATE_STEPS, UpdateFormat,
};
use tributary_protocol::{BlobRef, Hash, Id, update};
use tributary_trainer::{Host, initial_weights, run};

/// Rounds that count, of which the medians are taken. The one before begins with a first update.
const ROUNDS: usize = 5;
/// Reports of progress to wait for, so that weights have moved: each tells of a step at least.
const PROGRESS: usize = 3;
/// Jobs and reports under way. Progress beyond that is not told.
const QUEUE: usize = 16;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let choice = match args.get(2).map(String::as_str) {
        None | Some("cpu") => Some(DeviceChoice::Cpu),
        Some("gpu") => Some(DeviceChoice::Gpu),
        Some("auto") => Some(DeviceChoice::Auto),
        Some(_) => None,
    };
    let model = args.get(1).and_then(|name| ModelSpec::preset(name));
    let (Some(folder), Some(model), Some(choice)) = (args.first(), model, choice) else {
        eprintln!("usage: pause FOLDER tiny|small|base [cpu|gpu|auto]");
        return ExitCode::FAILURE;
    };
    match Bench::start(PathBuf::from(folder), model, choice).and_then(Bench::measure) {
        Ok(figures) => {
            println!("{figures}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// The trainer's thread, which keeps what it must in a folder.
struct Thread {
    began: Instant,
    folder: PathBuf,
}

impl Host for Thread {
    fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    fn breathe(&self) -> LocalBoxFuture<'static, ()> {
        Box::pin(future::ready(()))
    }

    fn keep(&self, name: &str, bytes: Vec<u8>) -> LocalBoxFuture<'static, ()> {
        // Flushed, as the program does it: that is part of what is measured.
        let mut file = File::create(self.folder.join(name)).expect("the folder can be written to");
        file.write_all(&bytes).and_then(|()| file.sync_all()).expect("there is room for the weights in the folder");
        Box::pin(future::ready(()))
    }

    fn recall(&self, _: &str) -> LocalBoxFuture<'static, Option<Vec<u8>>> {
        // Every measurement begins as a newcomer.
        Box::pin(future::ready(None))
    }
}

/// The trainer, and the coordinator's part of a swarm of one.
struct Bench {
    spec: RunSpec,
    /// What opens the device; when it is open already, answered at once.
    start: Job,
    shard: Bytes,
    jobs: mpsc::Sender<Job>,
    reports: mpsc::Receiver<Report>,
    base: Vec<f32>,
    outer: OuterState,
}

impl Bench {
    fn start(folder: PathBuf, model: ModelSpec, device: DeviceChoice) -> Result<Self, String> {
        let text: Vec<u8> = (0..256_u32 * 1024).map(|i| (i * 7 + i / 5) as u8 | 1).collect();
        let shard = Bytes::from(text);
        let (name, tokenizer, train) = ("pause".to_owned(), Tokenizer::Bytes, vec![BlobRef::of(&shard)]);
        let manifest = DataManifest { version: 1, name, tokenizer, train, heldout: Vec::new(), sources: Vec::new() };
        let data = Bytes::from(serde_json::to_vec(&manifest).map_err(|error| error.to_string())?);
        let spec = spec(model, BlobRef::of(&data));
        let (jobs, orders) = mpsc::channel(QUEUE);
        let (answers, reports) = mpsc::channel(QUEUE);
        let host = Thread { began: Instant::now(), folder };
        std::thread::spawn(move || block_on(run(host, orders, answers)));

        let base = initial_weights(&spec);
        let start = Job::Start { spec: Box::new(spec.clone()), data, me: Id([1; 32]), device };
        let mut bench = Self { spec, start, shard, jobs, reports, base, outer: OuterState::default() };
        bench.ready()?;
        let (hash, weights) = (state_hash(&bench.base), Bytes::from(f32_to_le(&bench.base)));
        bench.send(Job::Base { round: 0, hash, weights })?;
        match bench.report()? {
            Report::Based { .. } => Ok(bench),
            other => Err(unexpected(&other)),
        }
    }

    fn measure(mut self) -> Result<Value, String> {
        let (first_cut_ms, first) = self.round(0)?.cut;
        let rounds: Vec<Round> = (1..=ROUNDS as u64).map(|round| self.round(round)).collect::<Result<_, _>>()?;
        let median_of = |value: fn(&Round) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            values[ROUNDS / 2]
        };
        Ok(json!({
            "params": self.spec.model.params(),
            "weights_bytes": 4 * self.spec.model.params(),
            "first_cut_ms": first_cut_ms,
            "cut_ms": median_of(|round| round.cut.0),
            "fold_ms": median_of(|round| round.fold.0),
            "first_bytes": first,
            "update_bytes": median_of(|round| round.cut.1 as f64),
            "step_bytes": median_of(|round| round.fold.1 as f64),
        }))
    }

    /// One round, with training before the cut and between cut and fold.
    fn round(&mut self, round: u64) -> Result<Round, String> {
        self.train(round)?;
        let (cut_ms, report) = self.timed(Job::Cut { round })?;
        let Report::Update { update, .. } = report else { return Err(unexpected(&report)) };
        self.train(round)?;
        let (step, next) = self.fold(&update)?;
        let step_bytes = step.len();
        let (fold_ms, report) = self.timed(Job::Fold { round, step, next })?;
        let Report::Based { .. } = report else { return Err(unexpected(&report)) };
        Ok(Round { cut: (cut_ms, update.len()), fold: (fold_ms, step_bytes) })
    }

    /// Some training, after which the trainer waits for a job: what is measured then is the job alone.
    fn train(&mut self, round: u64) -> Result<(), String> {
        self.send(Job::Train { round, seed: Hash::of(&round.to_le_bytes()) })?;
        let mut left = PROGRESS;
        while left > 0 {
            match self.next()? {
                Report::Progress(_) => left -= 1,
                other => return Err(unexpected(&other)),
            }
        }
        self.send(Job::Pause)?;
        self.ready()
    }

    /// Milliseconds of a job, and its report. What comes after the report, such as keeping what is left, belongs to it.
    fn timed(&mut self, job: Job) -> Result<(f64, Report), String> {
        let began = Instant::now();
        self.send(job)?;
        let report = self.report()?;
        self.ready()?;
        Ok((began.elapsed().as_secs_f64() * 1000.0, report))
    }

    /// Waits until the trainer has done all that it was told.
    fn ready(&mut self) -> Result<(), String> {
        self.send(self.start.clone())?;
        match self.report()? {
            Report::Ready(_) => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// The step that the update becomes, and the name of the state that it leads to.
    fn fold(&mut self, update: &[u8]) -> Result<(Bytes, Hash), String> {
        let spec = &self.spec;
        let update = update::decode(&spec.sent_formats(), update, spec.model.params());
        let update = update.map_err(|error| error.to_string())?;
        let term = Term { weight: 1.0, clips: &[], update: &update };
        let rate = spec.outer.rate(1);
        let step = fold::fold(&[term], &spec.model.ranges(), &mut self.outer, &spec.outer, rate, spec.step);
        fold::apply(&mut self.base, &step);
        Ok((update::encode(&step), state_hash(&self.base)))
    }

    fn send(&mut self, job: Job) -> Result<(), String> {
        self.jobs.try_send(job).map_err(|error| format!("the trainer takes no jobs any more: {error}"))
    }

    /// The next report but for progress.
    fn report(&mut self) -> Result<Report, String> {
        loop {
            match self.next()? {
                Report::Progress(_) => {}
                other => return Ok(other),
            }
        }
    }

    /// The next report. Data is handed over as it is asked for.
    fn next(&mut self) -> Result<Report, String> {
        loop {
            match block_on(self.reports.next()).ok_or("the trainer has ended")? {
                Report::Need(blob) => self.send(Job::Shard { hash: blob.hash, bytes: self.shard.clone() })?,
                other => return Ok(other),
            }
        }
    }
}

/// Milliseconds and bytes.
struct Round {
    cut: (f64, usize),
    fold: (f64, usize),
}

fn unexpected(report: &Report) -> String {
    match report {
        Report::Trouble { what, .. } | Report::Withheld { why: what, .. } => what.clone(),
        Report::Mismatch { round, .. } => format!("the step of round {round} led to another state than announced"),
        _ => "the trainer reported something out of turn".to_owned(),
    }
}

/// The usual forms of updates and steps. Little text a step, since steps are not what is measured.
fn spec(model: ModelSpec, data: BlobRef) -> RunSpec {
    RunSpec {
        name: "pause".to_owned(),
        seed: 1,
        model,
        tokenizer: Tokenizer::Bytes,
        data,
        inner: Inner {
            optimizer: Optimizer::AdamW,
            lr: 3e-4,
            warmup: 0,
            beta1: 0.9,
            beta2: 0.95,
            weight_decay: 0.1,
            clip: 1.0,
            batch: 1,
            seq: 64,
        },
        outer: Outer::default(),
        round: RoundRule { seconds: 60, grace: 20, quorum: 1, stale: 0.5 },
        update: UpdateFormat::UPDATE,
        first: UpdateFormat::FIRST,
        step: UpdateFormat::STEP,
        update_steps: UPDATE_STEPS,
        feedback: FEEDBACK,
        reward: Reward { pool: 1 },
        check: Check::default(),
    }
}
