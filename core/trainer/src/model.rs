//! The decoder's forward pass: a Llama, as Hugging Face's `LlamaForCausalLM` computes it.
//!
//! Activations are matrices of one row a token, so that every projection is one matrix product
//! and every weight gradient another. Rotary positions act on the whole fused query-key-value row
//! at once: the tables rotate query and key heads, scale the query by 1/√d and leave the value
//! heads as they are. Query heads that share a key head are stacked along the sequence, so that
//! grouped-query attention copies no keys. Whoever generates keeps the keys and values of what was read before and
//! gives them to the attention of the next tokens; all else is one computation for both.

use burn::tensor::activation::{sigmoid, softmax};
use burn::tensor::{Device, Int, Tensor, TensorData};
use tributary_protocol::spec::ModelSpec;

use crate::params::{LAYER_BLOCKS, Params};

/// What a masked score gets added. Far below any score, and finite, since WebGPU promises nothing
/// about infinities.
const MASKED: f32 = -1e9;

/// The sizes that shape the computation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dims {
    /// Sequences.
    pub(crate) batch: usize,
    /// Tokens a sequence.
    pub(crate) seq: usize,
    pub(crate) vocab: usize,
    pub(crate) width: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head: usize,
    pub(crate) hidden: usize,
    pub(crate) norm_eps: f32,
}

impl Dims {
    pub(crate) fn new(spec: &ModelSpec, batch: usize, seq: usize) -> Self {
        Self {
            batch,
            seq,
            vocab: spec.vocab as usize,
            width: spec.width as usize,
            layers: spec.layers as usize,
            heads: spec.heads as usize,
            kv_heads: spec.kv_heads as usize,
            head: spec.head_dim() as usize,
            hidden: spec.hidden as usize,
            norm_eps: spec.norm_eps,
        }
    }

    /// Tokens of a batch.
    pub(crate) fn rows(&self) -> usize {
        self.batch * self.seq
    }

    /// Heads of a fused query-key-value row.
    pub(crate) fn all_heads(&self) -> usize {
        self.heads + 2 * self.kv_heads
    }

    /// Query heads a key head.
    pub(crate) fn group(&self) -> usize {
        self.heads / self.kv_heads
    }
}

/// The computation for one shape of batch on one device, with its constant tables.
pub(crate) struct Model {
    pub(crate) dims: Dims,
    /// `[1, seq, all_heads, 2, head / 2]`: what a value is multiplied with.
    pub(crate) cos: Tensor<5>,
    /// The same shape: what the other half's value is multiplied with.
    pub(crate) sin: Tensor<5>,
    /// `[1, 1, group * seq, keys]`: 0 where a query may look, else [`MASKED`]. Keys are the sequence's own, or all that
    /// a generator has room for.
    pub(crate) mask: Tensor<4>,
}

/// A layer's keys, rotated, and values, each `[batch, kv_heads, tokens, head]`.
pub(crate) type KeysAndValues = [Tensor<4>; 2];

/// What the backward pass needs of a layer's forward pass.
pub(crate) struct LayerTape {
    pub(crate) attention_in: Normed,
    /// `[batch, kv_heads, group * seq, head]`, rotated and scaled.
    pub(crate) query: Tensor<4>,
    /// `[batch, kv_heads, seq, head]`, rotated.
    pub(crate) key: Tensor<4>,
    pub(crate) value: Tensor<4>,
    /// `[batch, kv_heads, group * seq, seq]`.
    pub(crate) weights: Tensor<4>,
    /// `[batch, kv_heads, group * seq, head]`.
    pub(crate) attended: Tensor<4>,
    /// `[rows, width]`: the same as rows.
    pub(crate) attended_rows: Tensor<2>,
    pub(crate) mlp_in: Normed,
    /// `[rows, hidden]`.
    pub(crate) gate: Tensor<2>,
    pub(crate) up: Tensor<2>,
    pub(crate) sigmoid: Tensor<2>,
    /// silu(gate) · up.
    pub(crate) active: Tensor<2>,
}

/// An RMSNorm with what its backward pass needs.
pub(crate) struct Normed {
    pub(crate) input: Tensor<2>,
    /// `[rows, 1]`: 1 / √(mean square + eps).
    pub(crate) scale: Tensor<2>,
    pub(crate) output: Tensor<2>,
}

/// What the backward pass needs of the whole forward pass.
pub(crate) struct Tape {
    pub(crate) layers: Vec<LayerTape>,
    pub(crate) last: Normed,
}

/// The tables of rotary positions 0 to `dims.seq`, as [`Model`] has them: cosines and sines.
pub(crate) fn rotary(spec: &ModelSpec, dims: &Dims, device: &Device) -> [Tensor<5>; 2] {
    let half = dims.head / 2;
    let (mut cos, mut sin) = (Vec::new(), Vec::new());
    for position in 0..dims.seq {
        for head in 0..dims.all_heads() {
            let scale = if head < dims.heads { 1.0 / (dims.head as f64).sqrt() } else { 1.0 };
            let rotated = head < dims.heads + dims.kv_heads;
            for sign in [-1.0, 1.0] {
                for i in 0..half {
                    // The angle in f32, as the reference has it.
                    let exponent = -2.0 * i as f64 / dims.head as f64;
                    let angle = position as f32 * f64::from(spec.rope_theta).powf(exponent) as f32;
                    let angle = if rotated { f64::from(angle) } else { 0.0 };
                    cos.push((scale * angle.cos()) as f32);
                    sin.push((scale * sign * angle.sin()) as f32);
                }
            }
        }
    }
    let shape = [1, dims.seq, dims.all_heads(), 2, half];
    [cos, sin].map(|table| Tensor::from_data(TensorData::new(table, shape), device))
}

/// `[1, 1, group * seq, keys]`: what `dims.seq` queries from position `first` on may see of so many keys from
/// position 0 on.
pub(crate) fn mask(dims: &Dims, first: usize, keys: usize, device: &Device) -> Tensor<4> {
    let rows = dims.group() * dims.seq;
    let allowed = |query: usize, key: usize| if key <= query { 0.0 } else { MASKED };
    let mask: Vec<f32> = (0..rows * keys).map(|i| allowed(first + i / keys % dims.seq, i % keys)).collect();
    Tensor::from_data(TensorData::new(mask, [1, 1, rows, keys]), device)
}

/// `x` to the rows of `weight`, `[out, in]`.
fn project(x: &Tensor<2>, weight: &Tensor<2>) -> Tensor<2> {
    x.clone().matmul(weight.clone().transpose())
}

impl Model {
    /// Tables for batches of `batch` sequences of `seq` tokens.
    pub(crate) fn new(spec: &ModelSpec, batch: usize, seq: usize, device: &Device) -> Self {
        let dims = Dims::new(spec, batch, seq);
        let [cos, sin] = rotary(spec, &dims, device);
        Self { dims, cos, sin, mask: mask(&dims, 0, seq, device) }
    }

    /// Logits `[rows, vocab]` for `tokens`, `[rows]`, and what the backward pass needs. The tape of a
    /// forward pass alone is dropped layer by layer if `keep` is false.
    pub(crate) fn forward(&self, params: &Params, tokens: Tensor<1, Int>, keep: bool) -> (Tensor<2>, Tape) {
        self.forward_among(params, tokens, keep, |_, own| own)
    }

    /// The same where tokens look at more than each other: `all` gets a layer's number with the keys and values of
    /// these tokens, and gives those that they look at, in the order of the mask's columns.
    pub(crate) fn forward_among(
        &self,
        Params(params): &Params,
        tokens: Tensor<1, Int>,
        keep: bool,
        mut all: impl FnMut(usize, KeysAndValues) -> KeysAndValues,
    ) -> (Tensor<2>, Tape) {
        let mut x = params[0].clone().select(0, tokens);
        let mut layers = Vec::new();
        for layer in 0..self.dims.layers {
            let first = 1 + layer * LAYER_BLOCKS;
            let (next, tape) = self.layer(x, &params[first..first + LAYER_BLOCKS], |own| all(layer, own));
            x = next;
            if keep {
                layers.push(tape);
            }
        }
        let last = self.norm(x, &params[params.len() - 1]);
        let logits = project(&last.output, &params[0]);
        (logits, Tape { layers, last })
    }

    fn layer(
        &self,
        x: Tensor<2>,
        params: &[Tensor<2>],
        all: impl FnOnce(KeysAndValues) -> KeysAndValues,
    ) -> (Tensor<2>, LayerTape) {
        let [norm1, qkv, out, norm2, gate_up, down] = params else { unreachable!("a layer has six blocks") };
        let dims = &self.dims;
        let attention_in = self.norm(x.clone(), norm1);
        let (query, own) = self.heads(project(&attention_in.output, qkv));
        let [key, value] = all(own);
        let scores = query.clone().matmul(key.clone().transpose()) + self.mask.clone();
        let weights = softmax(scores, 3);
        let attended = weights.clone().matmul(value.clone());
        let attended_rows = self.rows(attended.clone()).reshape([dims.rows(), dims.width]);
        let x = x + project(&attended_rows, out);

        let mlp_in = self.norm(x.clone(), norm2);
        let both = project(&mlp_in.output, gate_up);
        let gate = both.clone().narrow(1, 0, dims.hidden);
        let up = both.narrow(1, dims.hidden, dims.hidden);
        let sigmoid = sigmoid(gate.clone());
        let active = gate.clone() * sigmoid.clone() * up.clone();
        let x = x + project(&active, down);
        let tape = LayerTape {
            attention_in,
            query,
            key,
            value,
            weights,
            attended,
            attended_rows,
            mlp_in,
            gate,
            up,
            sigmoid,
            active,
        };
        (x, tape)
    }

    fn norm(&self, input: Tensor<2>, gain: &Tensor<2>) -> Normed {
        let scale = (input.clone().square().mean_dim(1) + self.dims.norm_eps).sqrt().recip();
        let output = input.clone() * scale.clone() * gain.clone();
        Normed { input, scale, output }
    }

    /// Fused rows `[rows, all_heads * head]` to rotated query, key and value.
    fn heads(&self, fused: Tensor<2>) -> (Tensor<4>, KeysAndValues) {
        let Dims { batch, seq, heads, kv_heads, head, .. } = self.dims;
        let fused = fused.reshape([batch, seq, self.dims.all_heads(), 2, head / 2]);
        let rotated = fused.clone() * self.cos.clone() + fused.flip([3]) * self.sin.clone();
        let rotated = rotated.reshape([batch, seq, self.dims.all_heads(), head]);
        let query = rotated.clone().narrow(2, 0, heads).reshape([batch, seq, kv_heads, self.dims.group(), head]);
        let query = query.permute([0, 2, 3, 1, 4]).reshape([batch, kv_heads, self.dims.group() * seq, head]);
        let key = rotated.clone().narrow(2, heads, kv_heads).swap_dims(1, 2);
        let value = rotated.narrow(2, heads + kv_heads, kv_heads).swap_dims(1, 2);
        (query, [key, value])
    }

    /// Stacked query heads `[batch, kv_heads, group * seq, head]` to `[batch, seq, heads, head]`.
    pub(crate) fn rows(&self, stacked: Tensor<4>) -> Tensor<4> {
        let Dims { batch, seq, heads, kv_heads, head, .. } = self.dims;
        let stacked = stacked.reshape([batch, kv_heads, self.dims.group(), seq, head]);
        stacked.permute([0, 3, 1, 2, 4]).reshape([batch, seq, heads, head])
    }

    /// The opposite of [`Self::rows`].
    pub(crate) fn stack(&self, rows: Tensor<4>) -> Tensor<4> {
        let Dims { batch, seq, kv_heads, head, .. } = self.dims;
        let rows = rows.reshape([batch, seq, kv_heads, self.dims.group(), head]);
        rows.permute([0, 2, 3, 1, 4]).reshape([batch, kv_heads, self.dims.group() * seq, head])
    }
}

/// The loss of next-token prediction, and what the backward pass begins with.
pub(crate) struct Loss {
    /// `[1]`: mean cross entropy, in nats a token.
    pub(crate) mean: Tensor<1>,
    /// `[rows, vocab]`: its gradient by the logits.
    pub(crate) by_logits: Tensor<2>,
}

/// Cross entropy of `logits`, `[rows, vocab]`, with the token that came, as a one-hot row each; both
/// as one of `parts` equal shares of a mean.
pub(crate) fn cross_entropy(logits: Tensor<2>, target: Tensor<2>, parts: usize) -> Loss {
    let rows = (logits.dims()[0] * parts) as f32;
    let shifted = logits.clone() - logits.max_dim(1);
    let exp = shifted.clone().exp();
    let sum = exp.clone().sum_dim(1);
    let picked = (shifted * target.clone()).sum_dim(1);
    let mean = (sum.clone().log() - picked).sum() / rows;
    Loss { mean, by_logits: (exp / sum - target) / rows }
}

/// `[rows, 1]`: the cross entropy of each row alone, as [`cross_entropy`] has their mean.
pub(crate) fn losses(logits: Tensor<2>, target: Tensor<2>) -> Tensor<2> {
    let shifted = logits.clone() - logits.max_dim(1);
    let picked = (shifted.clone() * target).sum_dim(1);
    shifted.exp().sum_dim(1).log() - picked
}

/// `[rows, vocab]`: 1 where the column is the row's token.
pub(crate) fn one_hot(tokens: Tensor<1, Int>, vocab: usize) -> Tensor<2> {
    let columns = Tensor::<1, Int>::arange(0..vocab as i64, &tokens.device()).reshape([1, vocab]);
    let rows = tokens.dims()[0];
    tokens.reshape([rows, 1]).equal(columns).float()
}
