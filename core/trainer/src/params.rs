//! The weights as the device holds them, and as one flat list.
//!
//! The flat form is [`ModelSpec::layout`]'s. On the device, tensors that lie next to each other
//! there and are always multiplied by the same input are one matrix: query, key and value; gate and
//! up. So a matrix is always one range of the flat form, and neither direction reorders a value.

use std::ops::Range;

use burn::tensor::{Device, ExecutionError, Tensor, TensorData, Transaction};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use tributary_protocol::spec::{ModelSpec, RunSpec};

/// Standard deviation of the first weights (GPT-2's, which Llama keeps).
const INIT_STD: f32 = 0.02;

/// One matrix on the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// Its place in the flat form.
    pub(crate) range: Range<usize>,
    /// `[out, in]`; a norm is one row.
    pub(crate) shape: [usize; 2],
    /// What it is.
    pub(crate) kind: Kind,
}

/// What a matrix is, as far as initialisation and weight decay care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A norm's gain: begins at 1, is not decayed.
    Norm,
    /// Writes into the residual stream: begins smaller, the deeper the model.
    Residual,
    /// Looked up by token, and at the end multiplied with.
    Embedding,
    /// Every other.
    Plain,
}

/// Blocks of one layer, in order: `norm1, qkv, out, norm2, gate_up, down`.
pub(crate) const LAYER_BLOCKS: usize = 6;

/// Every block in the order of the flat form: the embedding, the layers' blocks, the last norm.
pub(crate) fn blocks(spec: &ModelSpec) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for tensor in spec.layout() {
        let (kind, joins) = match tensor.name.rsplit('.').nth(1).unwrap_or_default() {
            "input_layernorm" | "post_attention_layernorm" | "norm" => (Kind::Norm, false),
            "embed_tokens" => (Kind::Embedding, false),
            "o_proj" | "down_proj" => (Kind::Residual, false),
            "k_proj" | "v_proj" | "up_proj" => (Kind::Plain, true),
            _ => (Kind::Plain, false),
        };
        let range = tensor.range();
        match (blocks.last_mut(), tensor.shape.as_slice()) {
            (Some(last), [out, _]) if joins => {
                last.range.end = range.end;
                last.shape[0] += *out as usize;
            }
            (_, [out, width]) => blocks.push(Block { range, shape: [*out as usize, *width as usize], kind }),
            (_, shape) => blocks.push(Block { range, shape: [1, shape.iter().product::<u32>() as usize], kind }),
        }
    }
    blocks
}

/// The run's first weights: a function of its seed, computed on the CPU without libm, so that every
/// machine gets the same bits.
pub fn initial_weights(spec: &RunSpec) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(spec.seed);
    let mut weights = vec![0.0; spec.model.params() as usize];
    for block in blocks(&spec.model) {
        let std = match block.kind {
            Kind::Norm => {
                weights[block.range].fill(1.0);
                continue;
            }
            Kind::Embedding | Kind::Plain => INIT_STD,
            Kind::Residual => INIT_STD / (2.0 * spec.model.layers as f32).sqrt(),
        };
        weights[block.range].fill_with(|| std * normal(&mut rng));
    }
    weights
}

/// Nearly a standard normal draw: the sum of twelve uniform ones (Irwin–Hall), less its mean. Its
/// tails end at 6, which does no harm here.
fn normal(rng: &mut ChaCha8Rng) -> f32 {
    const UNIT: f32 = 1.0 / (1 << 24) as f32;
    let sum: f32 = (0..12).map(|_| (rng.next_u32() >> 8) as f32 * UNIT).sum();
    sum - 6.0
}

/// The matrices of one model on a device.
#[derive(Clone)]
pub(crate) struct Params(pub(crate) Vec<Tensor<2>>);

impl Params {
    /// Uploads flat weights.
    pub(crate) fn upload(blocks: &[Block], flat: &[f32], device: &Device) -> Self {
        let tensor =
            |block: &Block| Tensor::from_data(TensorData::new(flat[block.range.clone()].to_vec(), block.shape), device);
        Self(blocks.iter().map(tensor).collect())
    }

    /// Reads the flat weights back.
    pub(crate) async fn download(&self, blocks: &[Block]) -> Result<Vec<f32>, ExecutionError> {
        let list = self.0.iter().cloned().map(Some).collect();
        Ok(download(blocks, vec![list]).await?.pop().unwrap_or_default())
    }
}

/// Reads lists of one matrix a block back into flat form, all at once, so that the device is waited for
/// once. Where a list lacks a block it is zero.
pub(crate) async fn download(
    blocks: &[Block],
    lists: Vec<Vec<Option<Tensor<2>>>>,
) -> Result<Vec<Vec<f32>>, ExecutionError> {
    let (mut read, mut places) = (Transaction::default(), Vec::new());
    let mut flat = vec![vec![0.0; blocks.last().map_or(0, |block| block.range.end)]; lists.len()];
    for (at, list) in lists.into_iter().enumerate() {
        for (block, tensor) in blocks.iter().zip(list) {
            if let Some(tensor) = tensor {
                read = read.register(tensor);
                places.push((at, block.range.clone()));
            }
        }
    }
    for ((at, range), data) in places.into_iter().zip(read.execute_async().await?) {
        let values = data.as_slice::<f32>().map_err(|error| ExecutionError::generic(error.to_string()))?;
        flat[at][range].copy_from_slice(values);
    }
    Ok(flat)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;

    #[test]
    fn blocks_cover_the_flat_form_in_order() {
        for preset in ["tiny", "small", "base"] {
            let spec = ModelSpec::preset(preset).unwrap();
            let blocks = blocks(&spec);
            assert_eq!(blocks.len(), 2 + LAYER_BLOCKS * spec.layers as usize);
            let mut end = 0;
            for block in &blocks {
                assert_eq!(block.range, end..end + block.shape[0] * block.shape[1]);
                end = block.range.end;
            }
            assert_eq!(end as u64, spec.params());
        }
    }

    #[test]
    fn weights_return_from_the_device_bit_for_bit() {
        let spec = crate::testing::spec();
        let blocks = blocks(&spec.model);
        let mut flat = initial_weights(&spec);
        flat[..3].copy_from_slice(&[-0.0, f32::MIN_POSITIVE / 4.0, f32::MAX]);
        let back = block_on(Params::upload(&blocks, &flat, &Device::flex()).download(&blocks)).unwrap();
        assert!(flat.iter().zip(&back).all(|(a, b)| a.to_bits() == b.to_bits()));
    }

    #[test]
    fn first_weights_are_a_function_of_the_seed_and_normal() {
        let mut spec = crate::testing::spec();
        let flat = initial_weights(&spec);
        assert_eq!(flat, initial_weights(&spec));
        let embed = &flat[blocks(&spec.model)[0].range.clone()];
        let n = embed.len() as f32;
        let mean = embed.iter().sum::<f32>() / n;
        let std = (embed.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / n).sqrt();
        assert!(mean.abs() < 3.0 * INIT_STD / n.sqrt() && (std / INIT_STD - 1.0).abs() < 0.05, "{mean} {std}");
        spec.seed += 1;
        assert_ne!(flat, initial_weights(&spec));
    }
}
