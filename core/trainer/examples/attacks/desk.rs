//! What the coordinator's host does: blobs, scores, replays and folds, and how long the checking took.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::executor::block_on;
use tributary_protocol::check::{Finding, ReplayOrder};
use tributary_protocol::coordinator::{Examined, FoldPlan, Input, Probe};
use tributary_protocol::fold::{self, OuterState, Term};
use tributary_protocol::job::DeviceChoice;
use tributary_protocol::message::Reason;
use tributary_protocol::sketch::Sketch;
use tributary_protocol::spec::RunSpec;
use tributary_protocol::update::Update;
use tributary_protocol::{BlobRef, Hash, Id, update};
use tributary_trainer::{Evaluator, Evidence, Judgement, Look, Prober, Replayer, Scorer, open_device};

use crate::order::Text;

/// Held-out windows of an evaluation.
const WINDOWS: usize = 512;

/// The same where two states are compared on them.
const FEW: usize = 256;

/// See the module.
pub(crate) struct Desk {
    spec: RunSpec,
    text: Text,
    blobs: BTreeMap<Hash, Bytes>,
    prober: Prober,
    replayer: Replayer,
    evaluator: Evaluator,
    pub(crate) scoring: Duration,
    pub(crate) replaying: Duration,
    pub(crate) replayed: u64,
}

impl Desk {
    pub(crate) fn new(spec: &RunSpec, text: &Text) -> Result<Self, String> {
        let (device, _) = block_on(open_device(DeviceChoice::Cpu))?;
        let evaluator = Evaluator::new(spec, DeviceChoice::Cpu).map_err(|error| error.to_string())?;
        let prober = Prober::new(spec, text.manifest.train.clone(), Scorer::new(spec, device.clone()));
        Ok(Self {
            prober,
            replayer: Replayer::new(spec, text.bytes.clone(), device),
            evaluator,
            spec: spec.clone(),
            text: text.clone(),
            blobs: BTreeMap::new(),
            scoring: Duration::ZERO,
            replaying: Duration::ZERO,
            replayed: 0,
        })
    }

    /// Tokens that went forward through the model for scores.
    pub(crate) fn scored(&self) -> u64 {
        self.prober.tokens()
    }

    pub(crate) fn put(&mut self, bytes: Bytes) -> BlobRef {
        let blob = BlobRef::of(&bytes);
        self.blobs.insert(blob.hash, bytes);
        blob
    }

    pub(crate) fn get(&self, hash: &Hash) -> Option<&Bytes> {
        self.blobs.get(hash)
    }

    /// Decodes and measures an update.
    pub(crate) fn examine(&mut self, from: Id, update: BlobRef, probe: &Probe) -> Result<Examined, Reason> {
        let bytes = self.blobs.get(&update.hash).ok_or(Reason::Unavailable)?;
        let decoded = update::decode(&self.spec.sent_formats(), bytes, self.spec.model.params());
        let decoded = decoded.map_err(|_| Reason::Malformed)?;
        let began = Instant::now();
        let base = |hash: &Hash| self.blobs.get(hash).map(|bytes| fold::f32_from_le(bytes));
        let shard = |blob: &BlobRef| self.text.shards.get(&blob.hash).cloned();
        let score = block_on(self.prober.score(from, &decoded, probe, base, shard));
        self.scoring += began.elapsed();
        let norms = decoded.norms(&self.spec.model.ranges());
        Ok(Examined {
            format: decoded.format(),
            norms,
            sketch: Sketch::of(&decoded, &self.spec.id()),
            score: score.ok().flatten(),
        })
    }

    /// Looks at a dossier.
    pub(crate) fn gather(&self, order: &ReplayOrder) -> Input {
        let (who, round, dossier) = (order.who, order.commit.round, order.dossier.hash);
        let look = self.blobs.get(&dossier).map(|bytes| self.replayer.look(bytes, &self.evidence(order)));
        let result = match look {
            Some(Look::Telling { tokens, .. }) => Ok(tokens),
            Some(Look::Ended(Judgement { finding, .. })) => Err(finding),
            None => Err(Some(Finding::Missing)),
        };
        Input::Gathered { who, round, dossier, result }
    }

    /// Runs a segment again.
    pub(crate) fn replay(&mut self, order: &ReplayOrder) -> Judgement {
        let began = Instant::now();
        let dossier = self.blobs.get(&order.dossier.hash);
        let judged = dossier.map(|dossier| block_on(self.replayer.judge(dossier, &self.evidence(order))));
        let judgement = judged.unwrap_or_default();
        self.replaying += began.elapsed();
        self.replayed += judgement.tokens;
        judgement
    }

    fn evidence<'a>(&'a self, order: &'a ReplayOrder) -> Evidence<'a, impl Fn(&Hash) -> Option<Bytes>> {
        Evidence::new(order, |hash| self.blobs.get(hash).or_else(|| self.text.shards.get(hash)).cloned())
    }

    /// Folds, and stores what came out. With it what the crew's updates add to the held-out loss of the new base: that
    /// of the same fold without them, which is exact where two whole runs go apart by themselves.
    pub(crate) fn fold(&mut self, plan: &FoldPlan, crew: &BTreeSet<Id>) -> Result<(Input, f64), String> {
        let (base, step, state) = self.folded(plan)?;
        let mut harm = 0.0;
        if plan.accepted.iter().any(|accepted| crew.contains(&accepted.peer)) {
            let mut others = plan.clone();
            others.accepted.retain(|accepted| !crew.contains(&accepted.peer));
            let whole: f32 = others.accepted.iter().map(|accepted| accepted.weight).sum();
            others.accepted.iter_mut().for_each(|accepted| accepted.weight /= whole);
            let (without, ..) = self.folded(&others)?;
            harm = self.loss_of(&base, FEW)? - self.loss_of(&without, FEW)?;
        }
        let blobs = [update::encode(&step), fold::f32_to_le(&base).into(), state.to_bytes().into()];
        let [step, next, momentum] = blobs.map(|bytes| self.put(bytes));
        Ok((Input::Folded { round: plan.round, step, next, momentum }, harm))
    }

    fn folded(&self, plan: &FoldPlan) -> Result<(Vec<f32>, Update, OuterState), String> {
        let need = |hash: &Hash| self.blobs.get(hash).ok_or("a blob of the fold is gone");
        let mut base = fold::f32_from_le(need(&plan.base.hash)?);
        let mut state = match plan.momentum {
            Some(blob) => {
                OuterState::from_bytes(need(&blob.hash)?, base.len(), &plan.outer, self.spec.step).ok_or("no state")?
            }
            None => OuterState::default(),
        };
        let layout = self.spec.model.ranges();
        let mut updates = Vec::new();
        for accepted in &plan.accepted {
            let bytes = need(&accepted.update.hash)?;
            updates.push((accepted, accepted.factors(layout.len()), crate::cheat::decode(&self.spec, bytes)?));
        }
        let terms = updates.iter().map(|(of, clips, update)| Term { weight: of.weight, clips, update });
        let terms: Vec<_> = terms.collect();
        let step = fold::fold(&terms, &layout, &mut state, &plan.outer, plan.rate, self.spec.step);
        fold::apply(&mut base, &step);
        Ok((base, step, state))
    }

    /// The held-out loss of weights, in nats a token.
    pub(crate) fn loss(&self, base: &Hash) -> Result<f64, String> {
        self.loss_of(&fold::f32_from_le(self.blobs.get(base).ok_or("the base is gone")?), WINDOWS)
    }

    fn loss_of(&self, weights: &[f32], windows: usize) -> Result<f64, String> {
        let bits = self.evaluator.bits_per_byte(weights, &self.text.heldout, windows);
        Ok(f64::from(bits.map_err(|error| error.to_string())?) * std::f64::consts::LN_2)
    }
}
