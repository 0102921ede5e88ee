//! The decoder's backward pass, written out.
//!
//! The architecture is fixed and small, and writing its gradient down takes fewer passes over memory
//! and fewer GPU launches than recording the forward pass operation by operation: what can be
//! recomputed in a fused kernel is, sums that are known are not taken again, and a projection's
//! gradient comes out in the layout of its weights. `tests/reference.rs` checks every gradient
//! against PyTorch's.

use burn::tensor::{Int, Tensor};

use crate::model::{Dims, LayerTape, Model, Normed, Tape, one_hot};
use crate::params::{LAYER_BLOCKS, Params};

impl Model {
    /// Gradients in the order of the blocks, from the loss's gradient by the logits.
    pub(crate) fn backward(
        &self,
        params: &Params,
        tape: Tape,
        tokens: Tensor<1, Int>,
        by_logits: Tensor<2>,
    ) -> Vec<Tensor<2>> {
        let Params(params) = params;
        let Tape { mut layers, last } = tape;
        let by_head = by_logits.clone().transpose().matmul(last.output.clone());
        let (mut by_x, by_last_norm) =
            self.norm_backward(&last, &params[params.len() - 1], by_logits.matmul(params[0].clone()));
        let mut reversed = vec![by_last_norm];
        for layer in (0..self.dims.layers).rev() {
            let first = 1 + layer * LAYER_BLOCKS;
            let Some(tape) = layers.pop() else { break };
            let grads;
            (by_x, grads) = self.layer_backward(&tape, &params[first..first + LAYER_BLOCKS], by_x);
            reversed.extend(grads.into_iter().rev());
        }
        // A scatter with repeated rows is a serial loop on a GPU; with a byte's 256 rows the product
        // with the one-hot rows costs 1 % of the step.
        let embedded = one_hot(tokens, self.dims.vocab).transpose().matmul(by_x);
        reversed.push(by_head + embedded);
        reversed.reverse();
        reversed
    }

    /// The gradients by the layer's input and by its six blocks.
    fn layer_backward(
        &self,
        tape: &LayerTape,
        params: &[Tensor<2>],
        by_x: Tensor<2>,
    ) -> (Tensor<2>, [Tensor<2>; LAYER_BLOCKS]) {
        let [norm1, qkv, out, norm2, gate_up, down] = params else { unreachable!("a layer has six blocks") };

        let by_active = by_x.clone().matmul(down.clone());
        let by_down = by_x.clone().transpose().matmul(tape.active.clone());
        let silu = tape.gate.clone() * tape.sigmoid.clone();
        let by_up = by_active.clone() * silu.clone();
        // silu' = σ + silu · (1 − σ) = silu + σ · (1 − silu)
        let slope = silu.clone() + tape.sigmoid.clone() * (silu.neg() + 1.0);
        let by_gate = by_active * tape.up.clone() * slope;
        let by_both = Tensor::cat(vec![by_gate, by_up], 1);
        let by_gate_up = by_both.clone().transpose().matmul(tape.mlp_in.output.clone());
        let (by_mlp_in, by_norm2) = self.norm_backward(&tape.mlp_in, norm2, by_both.matmul(gate_up.clone()));
        let by_x = by_x + by_mlp_in;

        let by_rows = by_x.clone().matmul(out.clone());
        let by_out = by_x.clone().transpose().matmul(tape.attended_rows.clone());
        let by_fused = self.attention_backward(tape, by_rows);
        let by_qkv = by_fused.clone().transpose().matmul(tape.attention_in.output.clone());
        let (by_attention_in, by_norm1) = self.norm_backward(&tape.attention_in, norm1, by_fused.matmul(qkv.clone()));
        (by_x + by_attention_in, [by_norm1, by_qkv, by_out, by_norm2, by_gate_up, by_down])
    }

    /// From the gradient by the attended rows to that by the fused query-key-value rows.
    fn attention_backward(&self, tape: &LayerTape, by_rows: Tensor<2>) -> Tensor<2> {
        let Dims { batch, seq, heads, head, .. } = self.dims;
        let by_attended = self.stack(by_rows.reshape([batch, seq, heads, head]));
        let by_value = tape.weights.clone().transpose().matmul(by_attended.clone());
        let by_weights = by_attended.clone().matmul(tape.value.clone().transpose());
        // softmax': w · (g − Σ w g), and Σ w g = Σ attended · by_attended, a shorter sum.
        let mean = (tape.attended.clone() * by_attended).sum_dim(3);
        let by_scores = tape.weights.clone() * (by_weights - mean);
        let by_query = by_scores.clone().matmul(tape.key.clone());
        let by_key = by_scores.transpose().matmul(tape.query.clone());
        let by_heads = vec![self.rows(by_query), by_key.swap_dims(1, 2), by_value.swap_dims(1, 2)];
        let all = self.dims.all_heads();
        let by_rotated = Tensor::cat(by_heads, 2).reshape([batch, seq, all, 2, head / 2]);
        let by_fused = by_rotated.clone() * self.cos.clone() + (by_rotated * self.sin.clone()).flip([3]);
        by_fused.reshape([batch * seq, all * head])
    }

    /// The gradients by a norm's input and by its gain.
    ///
    /// With y = x·s·g, s = (mean x² + ε)^−½ and u = y'·g: x' = s·u − x·s³·mean(u·x).
    fn norm_backward(&self, norm: &Normed, gain: &Tensor<2>, by_output: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let Normed { input, scale, .. } = norm;
        let by_gain = (by_output.clone() * input.clone() * scale.clone()).sum_dim(0);
        let by_scaled = by_output * gain.clone();
        let mean = (by_scaled.clone() * input.clone()).mean_dim(1);
        let cubed = scale.clone().square() * scale.clone();
        let by_input = by_scaled * scale.clone() - input.clone() * (cubed * mean);
        (by_input, by_gain)
    }
}
