//! One arm of an experiment, as JSON.

use serde::{Deserialize, Serialize};
use tributary_protocol::BlobRef;
use tributary_protocol::check::Check;
use tributary_protocol::job::DeviceChoice;
use tributary_protocol::spec::{
    Average, FEEDBACK, Inner, ModelSpec, Optimizer, Outer, Reward, RoundRule, RunSpec, Tokenizer, UpdateFormat,
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
    pub(crate) feedback: f32,
    /// Part of a round's steps that pass before its fold arrives.
    pub(crate) delay: f32,
    /// Probability that a contributor's update of a round is not folded.
    pub(crate) miss: f64,
    /// Probability that a contributor leaves for good after a round, and another takes its place.
    pub(crate) leave: f64,
    /// Relative speeds, in turn; empty: all alike.
    pub(crate) speeds: Vec<u32>,
    pub(crate) device: DeviceChoice,
    /// Held-out windows of the last evaluation.
    pub(crate) windows: usize,
}

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
            feedback: FEEDBACK,
            delay: 0.0,
            miss: 0.0,
            leave: 0.0,
            speeds: Vec::new(),
            device: DeviceChoice::Cpu,
            windows: 1024,
        }
    }
}

impl Arm {
    /// The run that this arm is.
    pub(crate) fn spec(&self, manifest: &[u8]) -> Result<RunSpec, String> {
        let model = ModelSpec::preset(&self.preset).ok_or_else(|| format!("there is no preset {}", self.preset))?;
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
            round: RoundRule { seconds: 60, grace: 20, quorum: 1, stale: 1.0 },
            update: self.update,
            first: self.first,
            step: self.step,
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
