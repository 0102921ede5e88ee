//! Evaluation on held-out text, in bits per byte.

use burn::tensor::{Device, Int, Tensor, TensorData};
use bytes::Bytes;
use futures::executor::block_on;
use tributary_protocol::job::{DeviceChoice, DeviceInfo};
use tributary_protocol::spec::RunSpec;

use crate::data::Batch;
use crate::device;
use crate::error::TrainerError;
use crate::model::{Model, cross_entropy, one_hot};
use crate::params::{Block, Params, blocks};

/// Windows a forward pass: few enough for any device's memory.
const BATCH: usize = 8;

/// Evaluates weights of one run. Native only: it waits for the device.
pub struct Evaluator {
    device: Device,
    info: DeviceInfo,
    params: u64,
    blocks: Vec<Block>,
    model: Model,
}

impl Evaluator {
    /// Opens a device.
    pub fn new(spec: &RunSpec, device: DeviceChoice) -> Result<Self, TrainerError> {
        let opened = block_on(device::open(device)).map_err(TrainerError::Device)?;
        Ok(Self {
            model: Model::new(&spec.model, BATCH, spec.inner.seq as usize, &opened.device),
            blocks: blocks(&spec.model),
            params: spec.model.params(),
            device: opened.device,
            info: opened.info,
        })
    }

    /// What computes.
    pub fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// Mean bits a byte that `weights` need to predict `shards`, over evenly spaced windows of the
    /// run's sequence length: `windows` of them, rounded up to whole batches. With the bytes
    /// tokenizer this is the mean loss in nats over ln 2.
    pub fn bits_per_byte(&self, weights: &[f32], shards: &[Bytes], windows: usize) -> Result<f32, TrainerError> {
        TrainerError::check_weights(self.params, weights.len())?;
        let dims = self.model.dims;
        let windows = spread(shards, dims.seq + 1, windows.max(1).next_multiple_of(BATCH));
        if windows.is_empty() {
            return Err(TrainerError::NoText(dims.seq as u32 + 1));
        }
        let params = Params::upload(&self.blocks, weights, &self.device);
        let mut losses = Vec::new();
        for windows in windows.chunks(BATCH) {
            let Batch { tokens, targets } = Batch::of(windows.iter().copied());
            let (logits, _) = self.model.forward(&params, self.upload(tokens), false);
            losses.push(cross_entropy(logits, one_hot(self.upload(targets), dims.vocab), 1).mean);
        }
        let batches = losses.len() as f64;
        let read = block_on(Tensor::cat(losses, 0).into_data_async());
        let losses = read.map_err(|error| TrainerError::Execution(error.to_string()))?;
        let losses = losses.try_into_vec::<f32>().map_err(|error| TrainerError::Execution(error.to_string()))?;
        let nats = losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / batches;
        Ok((nats / std::f64::consts::LN_2) as f32)
    }

    fn upload(&self, tokens: Vec<i32>) -> Tensor<1, Int> {
        upload(tokens, &self.device)
    }
}

/// Tokens on a device.
pub(crate) fn upload(tokens: Vec<i32>, device: &Device) -> Tensor<1, Int> {
    let shape = [tokens.len()];
    Tensor::from_data(TensorData::new(tokens, shape), device)
}

/// `count` windows of `len` bytes, evenly spaced over every place where one fits.
fn spread(shards: &[Bytes], len: usize, count: usize) -> Vec<&[u8]> {
    let places: Vec<usize> = shards.iter().map(|shard| (shard.len() + 1).saturating_sub(len)).collect();
    let total: usize = places.iter().sum();
    let window = |i: usize| {
        let mut place = (i as u128 * total as u128 / count as u128) as usize;
        for (shard, &places) in shards.iter().zip(&places) {
            if place < places {
                return Some(&shard[place..place + len]);
            }
            place -= places;
        }
        None
    };
    (0..count).filter_map(window).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_spread_over_every_shard() {
        let shards = [Bytes::from(vec![1; 100]), Bytes::from(vec![2; 9]), Bytes::from(vec![3; 100])];
        let windows = spread(&shards, 10, 8);
        assert_eq!(windows.iter().map(|w| w[0]).collect::<Vec<_>>(), [1, 1, 1, 1, 3, 3, 3, 3]);
        assert!(spread(&shards[1..2], 10, 8).is_empty());
    }

    #[test]
    fn a_model_that_knows_nothing_needs_eight_bits() {
        let spec = crate::testing::spec();
        let evaluator = Evaluator::new(&spec, DeviceChoice::Cpu).unwrap();
        let text = Bytes::from((0..5000u32).map(|i| (i * 7 % 256) as u8).collect::<Vec<_>>());
        let mut weights = crate::initial_weights(&spec);
        let bits = evaluator.bits_per_byte(&weights, &[text.clone()], 20).unwrap();
        assert!((bits - 8.0).abs() < 0.1, "{bits}");
        assert_eq!(bits, evaluator.bits_per_byte(&weights, &[text.clone()], 20).unwrap());
        assert!(evaluator.bits_per_byte(&weights, &[text.slice(..3)], 20).is_err());
        weights.pop();
        assert!(evaluator.bits_per_byte(&weights, &[text], 20).is_err());
    }
}
