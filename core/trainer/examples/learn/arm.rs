//! One arm of an experiment, as JSON.

use serde::{Deserialize, Serialize};
use tributary_protocol::BlobRef;
use tributary_protocol::check::Check;
use tributary_protocol::job::DeviceChoice;
use tributary_protocol::spec::{
    Average, FEEDBACK, Inner, ModelSpec, Optimizer, Outer, Reward, RoundRule, RunSpec, Tokenizer, UPDATE_STEPS,
    UpdateFormat,
};

/// What is tried. What isn't said is as in a run file that doesn't say it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Arm {
    /// The model.
    pub(crate) preset: String,
    /// Draws the first weights, the data and who misses what.
    pub(crate) seed: u64,
    /// Tokens in all, of all replicas.
    pub(crate) tokens: u64,
    /// Replicas; 0 is one model trained on the whole batch at every step.
    pub(crate) replicas: usize,
    /// Sequences of all replicas in one step.
    pub(crate) batch: u32,
    /// Tokens a sequence.
    pub(crate) seq: u32,
    /// Inner steps a round of a replica of speed one.
    pub(crate) steps: u32,
    pub(crate) optimizer: Optimizer,
    pub(crate) lr: f32,
    pub(crate) warmup: u32,
    /// For 1, 2, 4, … replicas.
    pub(crate) outer_lr: Vec<f32>,
    pub(crate) momentum: f32,
    pub(crate) average: Average,
    pub(crate) update: UpdateFormat,
    pub(crate) first: UpdateFormat,
    pub(crate) step: UpdateFormat,
    pub(crate) update_steps: u32,
    pub(crate) feedback: f32,
    /// Part of a round's steps that pass before its fold arrives.
    pub(crate) delay: f32,
    /// Probability that a contributor's update of a round is not folded.
    pub(crate) miss: f64,
    /// Probability that a contributor leaves for good after a round, and another takes its place.
    pub(crate) leave: f64,
    /// Probability that an update comes a round late.
    pub(crate) late: f64,
    /// What is left of an update's tokens with each round that it is late.
    pub(crate) stale: f32,
    /// By what updates are weighed.
    pub(crate) merge: Merge,
    /// Parts of the model that are sent in turn, one a round: Streaming DiLoCo (arXiv 2501.18512).
    pub(crate) fragments: usize,
    /// Relative speeds, in turn; empty: all alike.
    pub(crate) speeds: Vec<u32>,
    pub(crate) device: DeviceChoice,
    /// Held-out windows of the last evaluation.
    pub(crate) windows: usize,
}

/// By what updates are weighed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Merge {
    /// Their tokens, as the coordinator does.
    Tokens,
    /// All alike.
    Equal,
    /// Tokens, and each brought to the mean of their norms (arXiv 2604.21428).
    Norms,
}

/// As in a run file that doesn't say it.
const STALE: f32 = 0.5;

impl Default for Arm {
    fn default() -> Self {
        let outer = Outer::default();
        Self {
            preset: "tiny".to_owned(),
            seed: 1,
            tokens: 100_000,
            replicas: 0,
            batch: 24,
            seq: 64,
            steps: 5,
            optimizer: Optimizer::AdamW,
            lr: 3e-3,
            warmup: 20,
            outer_lr: outer.lr,
            momentum: outer.momentum,
            average: outer.average,
            update: UpdateFormat::UPDATE,
            first: UpdateFormat::FIRST,
            step: UpdateFormat::STEP,
            update_steps: UPDATE_STEPS,
            feedback: FEEDBACK,
            delay: 0.0,
            miss: 0.0,
            leave: 0.0,
            late: 0.0,
            stale: STALE,
            merge: Merge::Tokens,
            fragments: 1,
            speeds: Vec::new(),
            device: DeviceChoice::Cpu,
            windows: 1024,
        }
    }
}

impl Arm {
    /// A preset, or `micro`: a tenth of `tiny`, of which a processor makes hundreds of steps for each of many rounds.
    fn model(&self) -> Option<ModelSpec> {
        if self.preset != "micro" {
            return ModelSpec::preset(&self.preset);
        }
        let tiny = ModelSpec::preset("tiny")?;
        Some(ModelSpec { width: 64, layers: 2, heads: 2, kv_heads: 1, hidden: 192, ..tiny })
    }

    /// The run that this arm is.
    pub(crate) fn spec(&self, manifest: &[u8]) -> Result<RunSpec, String> {
        let model = self.model().ok_or_else(|| format!("there is no preset {}", self.preset))?;
        let parts = self.replicas.max(1) as u32;
        if !self.batch.is_multiple_of(parts) {
            return Err(format!("{} sequences don't share out among {parts} replicas", self.batch));
        }
        let spec = RunSpec {
            name: "laboratory".to_owned(),
            seed: self.seed,
            model,
            tokenizer: Tokenizer::Bytes,
            data: BlobRef::of(manifest),
            inner: Inner {
                optimizer: self.optimizer,
                lr: self.lr,
                warmup: self.warmup,
                beta1: 0.9,
                beta2: 0.95,
                weight_decay: 0.1,
                clip: 1.0,
                batch: self.batch / parts,
                seq: self.seq,
            },
            outer: Outer { lr: self.outer_lr.clone(), momentum: self.momentum, average: self.average },
            round: RoundRule { seconds: 60, grace: 20, quorum: 1, stale: self.stale },
            update: self.update,
            first: self.first,
            step: self.step,
            update_steps: self.update_steps,
            feedback: self.feedback,
            reward: Reward { pool: 1 },
            check: Check::default(),
        };
        spec.check().map_err(|error| error.to_string())?;
        Ok(spec)
    }

    /// Inner steps of each replica in one round. Together they are as many as if all were alike.
    pub(crate) fn steps_by_replica(&self) -> Vec<u32> {
        let replicas = self.replicas.max(1);
        let speed = |i: usize| self.speeds.get(i % self.speeds.len().max(1)).copied().unwrap_or(1);
        let total: u32 = (0..replicas).map(speed).sum();
        let share = |i| (f64::from(self.steps * replicas as u32 * speed(i)) / f64::from(total)).round() as u32;
        (0..replicas).map(|i| share(i).max(1)).collect()
    }
}
