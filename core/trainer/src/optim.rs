//! The inner optimiser: AdamW (Loshchilov and Hutter, arXiv 1711.05101) with a clip of the
//! gradient's global norm and a linear warm-up.
//!
//! burn's AdamW clips each tensor by its own norm; a clip by the norm of all of them is what
//! training recipes mean, so the step stands here.

use burn::tensor::Tensor;
use tributary_protocol::spec::Inner;

use crate::parallel;
use crate::params::{Block, Kind, Params};

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

    /// Moves every parameter one step, on up to `threads` threads. Nothing here waits for the device.
    pub(crate) fn step(&mut self, blocks: &[Block], params: Params, grads: Vec<Tensor<2>>, threads: usize) -> Params {
        let factor = clip_factor(&grads, self.inner.clip);
        self.steps += 1;
        let scalars = Scalars::new(&self.inner, self.steps);
        // Parameters and moments are handed over, so that the backend may write over them.
        let moments = std::mem::take(&mut self.moments);
        let items = params.0.into_iter().zip(grads).zip(moments).zip(blocks).collect();
        let moved = parallel::map(threads, items, |(((param, grad), moments), block)| {
            scalars.step(block.kind, param, grad * factor.clone(), moments)
        });
        let (params, moments) = moved.into_iter().map(|(param, moments)| (param, Some(moments))).unzip();
        self.moments = moments;
        Params(params)
    }
}

/// The numbers of one step.
struct Scalars {
    beta1: f64,
    beta2: f64,
    /// Learning rate over the first moment's bias correction.
    rate: f64,
    /// One over the root of the second moment's bias correction.
    correction: f64,
    decay: f64,
}

impl Scalars {
    fn new(inner: &Inner, step: u32) -> Self {
        let (beta1, beta2) = (f64::from(inner.beta1), f64::from(inner.beta2));
        let warm = (f64::from(step) / f64::from(inner.warmup.max(1))).min(1.0);
        let lr = warm * f64::from(inner.lr);
        let power = step.min(i32::MAX as u32) as i32;
        Self {
            beta1,
            beta2,
            rate: lr / (1.0 - beta1.powi(power)),
            correction: 1.0 / (1.0 - beta2.powi(power)).sqrt(),
            decay: lr * f64::from(inner.weight_decay),
        }
    }

    fn step(
        &self,
        kind: Kind,
        param: Tensor<2>,
        grad: Tensor<2>,
        moments: Option<[Tensor<2>; 2]>,
    ) -> (Tensor<2>, [Tensor<2>; 2]) {
        let (first, second) = (grad.clone() * (1.0 - self.beta1), grad.square() * (1.0 - self.beta2));
        let [first, second] = match moments {
            Some([m, v]) => [m * self.beta1 + first, v * self.beta2 + second],
            None => [first, second],
        };
        // lr·m̂ / (√v̂ + ε), the bias corrections folded into the numbers.
        let update = first.clone() / (second.clone().sqrt() * self.correction + EPSILON) * self.rate;
        let param = if kind == Kind::Norm { param } else { param * (1.0 - self.decay) };
        (param - update, [first, second])
    }
}

/// `[1, 1]`: what brings the gradient's norm to at most `clip`.
fn clip_factor(grads: &[Tensor<2>], clip: f32) -> Tensor<2> {
    let squares = grads.iter().map(|grad| grad.clone().square().sum()).reduce(|a, b| a + b);
    let Some(squares) = squares else { unreachable!("a model has parameters") };
    let norm = squares.sqrt() + 1e-6;
    (norm.recip() * clip).clamp_max(1.0).reshape([1, 1])
}
