//! The inner optimiser: AdamW (Loshchilov and Hutter, arXiv 1711.05101) with a clip of the
//! gradient's global norm and a linear warm-up.
//!
//! burn's AdamW clips each tensor by its own norm; a clip by the norm of all of them is what
//! training recipes mean, so the step stands here.

use burn::tensor::Tensor;
use tributary_protocol::spec::Inner;

use crate::params::{Block, Kind};

/// Keeps the quotient finite where the second moment is zero, as PyTorch's default does.
const EPSILON: f64 = 1e-8;

/// Moments of every block, and how many steps they have seen.
pub(crate) struct AdamW {
    inner: Inner,
    steps: u32,
    moments: Vec<Option<[Tensor<2>; 2]>>,
}

impl AdamW {
    /// Empty moments for `blocks` matrices.
    pub(crate) fn new(inner: Inner, blocks: usize) -> Self {
        Self { inner, steps: 0, moments: vec![None; blocks] }
    }

    /// Moves every parameter one step. Nothing here waits for the device.
    pub(crate) fn step(&mut self, blocks: &[Block], params: &mut [Tensor<2>], grads: Vec<Tensor<2>>) {
        let factor = clip_factor(&grads, self.inner.clip);
        self.steps += 1;
        let steps = self.steps as i32;
        let (beta1, beta2) = (f64::from(self.inner.beta1), f64::from(self.inner.beta2));
        let warm = (f64::from(self.steps) / f64::from(self.inner.warmup.max(1))).min(1.0);
        let lr = warm * f64::from(self.inner.lr);
        // Bias corrections fold into the scalars: lr·m̂ / (√v̂ + ε).
        let rate = lr / (1.0 - beta1.powi(steps));
        let correction = 1.0 / (1.0 - beta2.powi(steps)).sqrt();
        for (((block, param), grad), moments) in blocks.iter().zip(params).zip(grads).zip(&mut self.moments) {
            let grad = grad * factor.clone();
            let (first, second) = (grad.clone() * (1.0 - beta1), grad.square() * (1.0 - beta2));
            let [first, second] = match moments.take() {
                Some([m, v]) => [m * beta1 + first, v * beta2 + second],
                None => [first, second],
            };
            let update = first.clone() / (second.clone().sqrt() * correction + EPSILON) * rate;
            let decay = if block.kind == Kind::Norm { 0.0 } else { lr * f64::from(self.inner.weight_decay) };
            *param = param.clone() * (1.0 - decay) - update;
            *moments = Some([first, second]);
        }
    }
}

/// `[1, 1]`: what brings the gradient's norm to at most `clip`.
fn clip_factor(grads: &[Tensor<2>], clip: f32) -> Tensor<2> {
    let squares = grads.iter().map(|grad| grad.clone().square().sum()).reduce(|a, b| a + b);
    let Some(squares) = squares else { unreachable!("a model has parameters") };
    let norm = squares.sqrt() + 1e-6;
    (norm.recip() * clip).clamp_max(1.0).reshape([1, 1])
}
