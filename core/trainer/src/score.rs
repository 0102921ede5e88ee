//! What an update does to the loss: before it and after it, on the same windows.
//!
//! Enters: a base, updates that its round got, and windows of text. Leaves: mean gains with their standard errors.
//! Forward passes only. Windows are drawn from a seed that must be unknown until the updates are committed.

use burn::tensor::{Device, Int, Tensor};
use bytes::Bytes;
use tributary_protocol::assign::Assignment;
use tributary_protocol::spec::RunSpec;
use tributary_protocol::update::Update;
use tributary_protocol::{Hash, Id};

use crate::data::Batch;
use crate::error::TrainerError;
use crate::eval::upload;
use crate::model::{Model, losses, one_hot};
use crate::params::{Block, Params, blocks};

/// Windows a forward pass: few enough for any device's memory.
const BATCH: usize = 8;

/// By how much an update lowers the loss, in nats a token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gain {
    /// Mean over windows; positive is better.
    pub mean: f64,
    /// The standard error of that mean. Infinite for fewer than two windows.
    pub error: f64,
}

/// What an update did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// On text that is the same for all updates.
    pub random: Gain,
    /// On text that its maker was given to train on.
    pub own: Gain,
    /// Tokens that went through the model for it.
    pub tokens: u64,
}

/// Scores updates of one run on one device.
pub struct Scorer {
    device: Device,
    blocks: Vec<Block>,
    params: u64,
    model: Model,
}

/// The base of a round, and what it makes of the windows that are the same for all.
pub struct Baseline {
    base: Vec<f32>,
    params: Params,
    random: Vec<Vec<u8>>,
    before: Vec<f32>,
    /// Tokens that went through the model for it.
    pub tokens: u64,
}

/// Windows of a run's sequence length and the token after, drawn from `shards` by a seed: `count` of them.
/// None if a shard is shorter than that.
pub fn windows(spec: &RunSpec, seed: &Hash, shards: &[Bytes], count: usize) -> Option<Vec<Vec<u8>>> {
    let len = spec.inner.seq as usize + 1;
    // The assignment of nobody: the draw is the same as for a contributor's data, and no contributor's.
    let draw = Assignment::new(seed, &Id([0; 32]));
    let window = |nth: usize| {
        let shard = shards.get(draw.shard(nth as u32, shards.len()))?;
        let start = draw.window(nth as u32, 0, shard.len() as u64, len as u64) as usize;
        shard.get(start..start + len).map(<[u8]>::to_vec)
    };
    (0..count).map(window).collect()
}

impl Scorer {
    /// For a run.
    pub fn new(spec: &RunSpec, device: Device) -> Self {
        Self {
            model: Model::new(&spec.model, BATCH, spec.inner.seq as usize, &device),
            blocks: blocks(&spec.model),
            params: spec.model.params(),
            device,
        }
    }

    /// Measures a round's base on the windows that are the same for all. Waits for the device.
    pub async fn baseline(&self, base: Vec<f32>, random: Vec<Vec<u8>>) -> Result<Baseline, TrainerError> {
        TrainerError::check_weights(self.params, base.len())?;
        let params = Params::upload(&self.blocks, &base, &self.device);
        let before = self.losses(&params, &random).await?;
        Ok(Baseline { base, params, tokens: self.tokens(random.len()), random, before })
    }

    /// What base − update makes of the first `count` of the same windows, and of `own`, which only this update is
    /// measured on. Waits for the device.
    pub async fn score(
        &self,
        baseline: &Baseline,
        update: &Update,
        count: usize,
        own: &[Vec<u8>],
    ) -> Result<Score, TrainerError> {
        TrainerError::check_weights(self.params, update.count())?;
        let mut moved = baseline.base.clone();
        update.zip(&mut moved, |weight, delta| *weight -= delta);
        let moved = Params::upload(&self.blocks, &moved, &self.device);
        let count = count.min(baseline.random.len());
        let random = self.losses(&moved, &baseline.random[..count]).await?;
        let [before, after] = [&baseline.params, &moved].map(|params| self.losses(params, own));
        let own_gain = Gain::of(&before.await?, &after.await?);
        let tokens = self.tokens(count) + 2 * self.tokens(own.len());
        Ok(Score { random: Gain::of(&baseline.before[..count], &random), own: own_gain, tokens })
    }

    /// Tokens of so many windows, those included that fill the last forward pass.
    fn tokens(&self, windows: usize) -> u64 {
        (windows.next_multiple_of(BATCH) * self.model.dims.seq) as u64
    }

    /// The mean loss of each window.
    async fn losses(&self, params: &Params, windows: &[Vec<u8>]) -> Result<Vec<f32>, TrainerError> {
        let dims = self.model.dims;
        let length = dims.seq as u32 + 1;
        if windows.is_empty() {
            return Ok(Vec::new());
        }
        if windows.iter().any(|window| window.len() != length as usize) {
            return Err(TrainerError::NoText(length));
        }
        let mut rows = Vec::new();
        for batch in windows.chunks(BATCH) {
            // The last pass is filled up with its last window.
            let filled = batch.iter().chain(std::iter::repeat(&batch[batch.len() - 1])).take(BATCH);
            let Batch { tokens, targets } = Batch::of(filled.map(Vec::as_slice));
            let (logits, _) = self.model.forward(params, self.upload(tokens), false);
            let rowed: Tensor<2> = losses(logits, one_hot(self.upload(targets), dims.vocab));
            rows.push(rowed.reshape([BATCH, dims.seq]).mean_dim(1).reshape([BATCH]));
        }
        let failed = |error: String| TrainerError::Execution(error);
        let read = Tensor::<1>::cat(rows, 0).into_data_async().await.map_err(|error| failed(error.to_string()))?;
        let mut means = read.try_into_vec::<f32>().map_err(|error| failed(error.to_string()))?;
        means.truncate(windows.len());
        Ok(means)
    }

    fn upload(&self, tokens: Vec<i32>) -> Tensor<1, Int> {
        upload(tokens, &self.device)
    }
}

impl Gain {
    /// Of losses on the same windows before and after.
    fn of(before: &[f32], after: &[f32]) -> Self {
        let gains: Vec<f64> = before.iter().zip(after).map(|(a, b)| f64::from(*a) - f64::from(*b)).collect();
        let count = gains.len() as f64;
        let mean = gains.iter().sum::<f64>() / count.max(1.0);
        let squares: f64 = gains.iter().map(|gain| (gain - mean) * (gain - mean)).sum();
        let error = if count > 1.0 { (squares / (count - 1.0) / count).sqrt() } else { f64::INFINITY };
        Self { mean, error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;

    #[test]
    fn a_trained_update_gains_more_than_its_error_and_its_opposite_loses() {
        let mut spec = crate::testing::spec();
        (spec.inner.warmup, spec.inner.batch) = (0, 8);
        let text = Bytes::from(b"the rain in Spain stays mainly in the plain. ".repeat(40));
        let draw = |name: &[u8], count| windows(&spec, &Hash::of(name), &[text.clone()], count).unwrap();
        let base = crate::initial_weights(&spec);
        let mut trainer = crate::Trainer::new(&spec, &base, Device::flex());
        for step in 0..10_u8 {
            let batch = Batch::of(draw(&[step], 8).iter().map(Vec::as_slice));
            let _ = trainer.step(batch.tokens, batch.targets);
        }
        let local = block_on(trainer.weights()).unwrap();
        let delta: Vec<f32> = base.iter().zip(&local).map(|(base, local)| base - local).collect();
        let scorer = Scorer::new(&spec, Device::flex());
        let baseline = block_on(scorer.baseline(base.clone(), draw(b"random", 20))).unwrap();
        assert_eq!(baseline.tokens, 24 * 16);
        let score = |delta| block_on(scorer.score(&baseline, &Update::dense(delta), 20, &draw(b"own", 9))).unwrap();
        let good = score(delta.clone());
        assert_eq!(good.tokens, 24 * 16 + 2 * 16 * 16);
        for gain in [good.random, good.own] {
            assert!(gain.mean > 4.0 * gain.error && gain.error > 0.0, "{good:?}");
        }
        // The way back.
        let trained = block_on(scorer.baseline(local.clone(), draw(b"random", 20))).unwrap();
        let back = Update::dense(delta.iter().map(|value| -value).collect());
        let bad = block_on(scorer.score(&trained, &back, 20, &draw(b"own", 9))).unwrap();
        assert!(bad.random.mean < -4.0 * bad.random.error, "{bad:?}");
        let none = score(vec![0.0; delta.len()]);
        assert_eq!((none.random.mean, none.random.error), (0.0, 0.0));
        assert!(block_on(scorer.score(&baseline, &Update::dense(vec![0.0]), 20, &[])).is_err());
        assert!(block_on(scorer.baseline(base, vec![vec![1; 3]])).is_err());
        assert_eq!(windows(&spec, &Hash::default(), &[text.slice(..3)], 1), None);
    }

    #[test]
    fn the_error_is_that_of_the_mean_of_differences() {
        let gain = Gain::of(&[3.0, 4.0, 5.0], &[1.0, 3.0, 5.0]);
        assert!((gain.mean - 1.0).abs() < 1e-12 && (gain.error - (1.0_f64 / 3.0).sqrt()).abs() < 1e-12, "{gain:?}");
        assert_eq!(Gain::of(&[1.0], &[0.0]).error, f64::INFINITY);
    }
}
