//! Replicas that train side by side, and the coordinator's part: fold, step, state.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use futures::executor::block_on;
use serde_json::json;
use tributary_protocol::coordinator::{FULL, Received, accept};
use tributary_protocol::data::DataManifest;
use tributary_protocol::fold::{self, Clip, OuterState, Term, state_hash};
use tributary_protocol::limits::MAX_AGE;
use tributary_protocol::message::Accepted;
use tributary_protocol::spec::RunSpec;
use tributary_protocol::update::{self, Update};
use tributary_protocol::{BlobRef, Hash, Id};
use tributary_trainer::burn::tensor::{Device, Tensor};
use tributary_trainer::{Batch, Evaluator, Feed, Replica, initial_weights, open_device};

use crate::arm::{Arm, Merge};

/// Evaluations on the way, evenly spaced.
const POINTS: u64 = 8;
/// Held-out windows of each; the last evaluation has the arm's own number.
const WINDOWS: usize = 128;
/// Steps that are queued before one is waited for: a GPU is kept busy.
const QUEUED: usize = 8;

/// What is trained on and evaluated with.
struct Text {
    manifest: Vec<u8>,
    train: BTreeMap<Hash, Bytes>,
    heldout: Vec<Bytes>,
}

/// A replica and the data that it trains on.
struct Worker {
    id: Id,
    replica: Replica,
    feed: Feed,
    tokens: u64,
}

/// Runs the arm in `file`.
pub(crate) fn run(file: &Path, data: &Path) -> Result<(), String> {
    let read = |path: &Path| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let arm: Arm =
        serde_json::from_slice(&read(file)?).map_err(|error| format!("{} is no arm: {error}", file.display()))?;
    let text = Text::load(data)?;
    let spec = arm.spec(&text.manifest)?;
    let (device, info) = block_on(open_device(arm.device))?;
    let began = Instant::now();
    let evaluator = Evaluator::new(&spec, arm.device).map_err(|error| error.to_string())?;
    let evaluate = |weights: &[f32], windows| {
        let bits = evaluator.bits_per_byte(weights, &text.heldout, windows).map_err(|error| error.to_string())?;
        Ok::<_, String>(f64::from(bits) * std::f64::consts::LN_2)
    };
    let mut lab = Laboratory::new(&arm, &spec, &text, &device);
    let mut points = 0;
    while lab.tokens < arm.tokens {
        lab.round()?;
        if lab.tokens * POINTS / arm.tokens > points && lab.tokens < arm.tokens {
            points = lab.tokens * POINTS / arm.tokens;
            println!("{}", json!({ "tokens": lab.tokens, "loss": evaluate(lab.weights()?.as_slice(), WINDOWS)? }));
        }
    }
    lab.settle()?;
    let loss = evaluate(lab.weights()?.as_slice(), arm.windows)?;
    println!("{}", json!({ "tokens": lab.tokens, "loss": loss }));
    let mean = |bytes: u64, count: u64| if count > 0 { Some(bytes as f64 / count as f64) } else { None };
    let Traffic { uploads, up, firsts, first, down } = lab.bytes;
    println!(
        "{}",
        json!({
            "arm": arm, "loss": loss, "tokens": lab.tokens, "rounds": lab.round, "clipped": lab.clipped,
            "bytes_f32": 4 * spec.model.params(), "bytes_up": mean(up, uploads), "bytes_first": mean(first, firsts),
            "bytes_up_all": mean(up + first, uploads + firsts), "bytes_down": mean(down, lab.round),
            "seconds": began.elapsed().as_secs_f64(), "backend": info.backend, "device": info.name,
        })
    );
    Ok(())
}

impl Text {
    fn load(folder: &Path) -> Result<Self, String> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
        };
        let bytes = read("manifest.json")?;
        let manifest: DataManifest = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        let shard = |hash: &Hash| read(&format!("blobs/{hash}")).map(Bytes::from);
        let train = manifest.train.iter().map(|blob| Ok((blob.hash, shard(&blob.hash)?)));
        let heldout = manifest.heldout.iter().map(|blob| shard(&blob.hash));
        Ok(Self {
            train: train.collect::<Result<_, String>>()?,
            heldout: heldout.collect::<Result<_, String>>()?,
            manifest: bytes,
        })
    }
}

/// An update on its way to the fold.
struct Sent {
    peer: Id,
    blob: BlobRef,
    tokens: u64,
    /// Rounds that it is late.
    age: u8,
    norms: Vec<f64>,
    update: Update,
}

/// What crossed the network.
#[derive(Default)]
struct Traffic {
    uploads: u64,
    up: u64,
    /// First updates, which have a form of their own.
    firsts: u64,
    first: u64,
    down: u64,
}

impl Traffic {
    fn count(&mut self, is_first: bool, bytes: usize) {
        let (count, sum) =
            if is_first { (&mut self.firsts, &mut self.first) } else { (&mut self.uploads, &mut self.up) };
        (*count, *sum) = (*count + 1, *sum + bytes as u64);
    }
}

struct Laboratory<'a> {
    arm: &'a Arm,
    spec: &'a RunSpec,
    text: &'a Text,
    device: &'a Device,
    layout: Vec<Range<usize>>,
    workers: Vec<Worker>,
    base: Vec<f32>,
    outer: OuterState,
    /// A fold that has not reached the replicas yet.
    pending: Option<(u64, Update)>,
    /// Updates that come a round late.
    late: Vec<Sent>,
    /// Whose updates the last folds had.
    recent: VecDeque<Vec<Id>>,
    round: u64,
    born: u64,
    tokens: u64,
    bytes: Traffic,
    /// Updates that were clipped.
    clipped: u64,
    /// Draws so far, for chances.
    draws: u64,
}

impl<'a> Laboratory<'a> {
    fn new(arm: &'a Arm, spec: &'a RunSpec, text: &'a Text, device: &'a Device) -> Self {
        let base = initial_weights(spec);
        let mut lab = Self {
            arm,
            spec,
            text,
            device,
            layout: spec.model.ranges(),
            workers: Vec::new(),
            outer: OuterState::default(),
            base,
            pending: None,
            late: Vec::new(),
            recent: VecDeque::new(),
            round: 0,
            born: 0,
            tokens: 0,
            bytes: Traffic::default(),
            clipped: 0,
            draws: 0,
        };
        lab.workers = (0..arm.replicas.max(1)).map(|_| lab.newcomer()).collect();
        lab
    }

    fn newcomer(&mut self) -> Worker {
        self.born += 1;
        let mut id = [0; 32];
        id[..8].copy_from_slice(&self.born.to_le_bytes());
        let (base, id) = (self.base.clone(), Id(id));
        let hash = state_hash(&base);
        let feed = Feed::new(self.spec, &self.text.manifest, id).expect("the manifest was read before");
        Worker { id, replica: Replica::new(self.spec, base, hash, self.device.clone()), feed, tokens: 0 }
    }

    /// True with this probability: the same draws for the same seed.
    fn chance(&mut self, probability: f64) -> bool {
        self.draws += 1;
        let word = Hash::of(format!("chance {} {}", self.arm.seed, self.draws).as_bytes());
        let unit = u64::from_le_bytes(std::array::from_fn(|i| word.0[i])) as f64 / 2f64.powi(64);
        unit < probability
    }

    /// One round of training, and its fold.
    fn round(&mut self) -> Result<(), String> {
        let seed = Hash::of(format!("round {} {}", self.arm.seed, self.round).as_bytes());
        let steps = self.arm.steps_by_replica();
        for (worker, &steps) in self.workers.iter_mut().zip(&steps) {
            worker.feed.enter(seed);
            let before = (f64::from(self.arm.delay) * f64::from(steps)) as u32;
            train(worker, self.text, before.min(steps))?;
            if let Some((round, step)) = &self.pending {
                adopt(worker, *round, step, &self.base);
            }
            train(worker, self.text, steps - before.min(steps))?;
        }
        self.tokens +=
            self.workers.iter().zip(&steps).map(|(w, &n)| u64::from(n) * w.replica.tokens_a_step()).sum::<u64>();
        self.pending = None;
        if self.arm.replicas == 0 {
            self.round += 1;
            return Ok(());
        }
        let mut sent = std::mem::take(&mut self.late);
        for at in 0..self.workers.len() {
            if self.chance(self.arm.miss) {
                continue;
            }
            let worker = &mut self.workers[at];
            let is_first = worker.replica.rest().is_none();
            let local = block_on(worker.replica.mark()).map_err(|error| error.to_string())?;
            let part = part(self.layout.len(), self.arm.fragments, self.round);
            let part = self.layout[part.start].start..self.layout[part.end - 1].end;
            let update = local.and_then(|local| match self.arm.fragments {
                1 => worker.replica.cut(self.spec, self.round, worker.tokens, local),
                _ => worker.replica.cut_part(self.spec, self.round, worker.tokens, local, part),
            });
            let bytes = update::encode(&update.ok_or("the weights were no longer numbers")?);
            let update = update::decode(&self.spec.sent_formats(), &bytes, self.spec.model.params())
                .map_err(|error| error.to_string())?;
            self.bytes.count(is_first, bytes.len());
            let (peer, tokens) = (worker.id, std::mem::take(&mut worker.tokens));
            let norms = update.norms(&self.layout);
            let one = Sent { peer, blob: BlobRef::of(&bytes), tokens, age: 0, norms, update };
            if self.chance(self.arm.late) {
                self.late.push(Sent { age: 1, ..one });
            } else {
                sent.push(one);
            }
        }
        if !sent.is_empty() {
            self.fold(sent);
        }
        self.round += 1;
        for at in 0..self.workers.len() {
            if self.chance(self.arm.leave) {
                self.workers[at] = self.newcomer();
            }
        }
        if self.arm.delay == 0.0 {
            self.settle()?;
        }
        Ok(())
    }

    /// The coordinator's part of a round: weighs and clips as it does, and folds.
    fn fold(&mut self, mut sent: Vec<Sent>) {
        sent.retain(|sent| self.spec.round.counted(sent.tokens, sent.age) > 0);
        if sent.is_empty() {
            return;
        }
        sent.sort_by_key(|sent| sent.peer);
        let mut received = Vec::new();
        for Sent { peer, blob, tokens, age, norms, .. } in &sent {
            let counted = self.spec.round.counted(*tokens, *age);
            let tokens = if self.arm.merge == Merge::Equal { 1 } else { counted };
            received.push((
                Received { peer: *peer, update: *blob, age: *age, tokens, say: tokens, norms, score: None },
                FULL,
            ));
        }
        let accepted = accept(&received);
        let mut clips: Vec<_> = accepted.iter().map(|accepted| accepted.factors(self.layout.len())).collect();
        if self.arm.merge == Merge::Norms {
            alike(&accepted, &sent, &mut clips);
        }
        let mut terms = Vec::new();
        for ((accepted, clips), Sent { update, .. }) in accepted.iter().zip(&clips).zip(&sent) {
            self.clipped += u64::from(!clips.is_empty());
            terms.push(Term { weight: accepted.weight, clips, update });
        }
        // As the coordinator does: by all who were there in the last rounds.
        self.recent.push_back(sent.iter().map(|sent| sent.peer).collect());
        while self.recent.len() > 1 + usize::from(MAX_AGE) {
            self.recent.pop_front();
        }
        let makers: BTreeSet<&Id> = self.recent.iter().flatten().collect();
        let rate = self.spec.outer.rate(makers.len());
        let step = fold::fold(&terms, &self.layout, &mut self.outer, &self.spec.outer, rate, self.spec.step);
        self.bytes.down += update::encode(&step).len() as u64;
        fold::apply(&mut self.base, &step);
        self.pending = Some((self.round, step));
    }

    /// Every replica gets the last fold.
    fn settle(&mut self) -> Result<(), String> {
        if let Some((round, step)) = self.pending.take() {
            for worker in &mut self.workers {
                adopt(worker, round, &step, &self.base);
            }
        }
        Ok(())
    }

    /// The model that there is to evaluate.
    fn weights(&mut self) -> Result<Vec<f32>, String> {
        if self.arm.replicas > 0 {
            return Ok(self.base.clone());
        }
        block_on(self.workers[0].replica.weights()).map_err(|error| error.to_string())
    }
}

/// The tensors that are sent in a round, of so many fragments in turn.
fn part(tensors: usize, fragments: usize, round: u64) -> Range<usize> {
    let at = (round % fragments as u64) as usize;
    at * tensors / fragments..(at + 1) * tensors / fragments
}

/// Brings every update to the mean of their norms.
fn alike(accepted: &[Accepted], sent: &[Sent], clips: &mut [Vec<Clip>]) {
    let norm = |sent: &Sent| sent.norms.iter().map(|norm| norm * norm).sum::<f64>().sqrt();
    let mean: f64 = accepted.iter().zip(sent).map(|(accepted, sent)| f64::from(accepted.weight) * norm(sent)).sum();
    for (clips, sent) in clips.iter_mut().zip(sent) {
        let factor = (mean / norm(sent).max(f64::MIN_POSITIVE)) as f32;
        *clips = (0..sent.norms.len() as u16).map(|tensor| Clip { tensor, factor }).collect();
    }
}

fn adopt(worker: &mut Worker, round: u64, step: &Update, base: &[f32]) {
    let next = state_hash(base);
    // A newcomer has begun with it.
    if worker.replica.hash() != next {
        block_on(worker.replica.fold(round, step, next)).expect("every replica has the coordinator's weights");
    }
}

fn train(worker: &mut Worker, text: &Text, steps: u32) -> Result<(), String> {
    let mut queued: Vec<Tensor<1>> = Vec::new();
    for n in 1..=steps {
        let batch = batch(&mut worker.feed, text)?;
        queued.push(worker.replica.step(batch));
        worker.tokens += worker.replica.tokens_a_step();
        if queued.len() == QUEUED || n == steps {
            let losses = Tensor::cat(std::mem::take(&mut queued), 0).into_data().try_into_vec::<f32>();
            if losses.map_err(|error| error.to_string())?.iter().any(|loss| !loss.is_finite()) {
                return Err("the loss is no longer a number".to_owned());
            }
        }
    }
    Ok(())
}

/// The next batch, with the shards that it asks for. A shard that comes may push out another that is needed.
fn batch(feed: &mut Feed, text: &Text) -> Result<Batch, String> {
    for _ in 0..4 {
        for blob in feed.wants(0) {
            feed.accept(blob.hash, text.train[&blob.hash].clone())?;
        }
        if let Some(batch) = feed.next() {
            return Ok(batch);
        }
    }
    Err("a shard that was asked for is missing".to_owned())
}
