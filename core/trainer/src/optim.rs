//! The inner optimisers, with a clip of the gradient's global norm and a linear warm-up: AdamW (Loshchilov and
//! Hutter, arXiv 1711.05101), or for the layers' matrices Muon (Jordan 2024), its steps brought to AdamW's size
//! (Liu et al., arXiv 2502.16982, section 2.2), so that both go by one learning rate.
//!
//! burn's AdamW clips each tensor by its own norm; a clip by the norm of all of them is what
//! training recipes mean, so the step stands here.

use burn::tensor::{Device, Tensor, TensorData};
use tributary_protocol::spec::{Inner, Optimizer};

use crate::parallel;
use crate::params::{Block, Kind, Params};

/// Keeps the quotient finite where the second moment is zero, as PyTorch's default does.
const EPSILON: f64 = 1e-8;

/// Muon's momentum.
const MUON_MOMENTUM: f64 = 0.95;

/// Root mean square of a step of AdamW at learning rate one, about.
const ADAM_RMS: f64 = 0.2;

/// Newton–Schulz: the odd polynomial that brings singular values near 1, and how often it is applied.
const POLYNOMIAL: [f64; 3] = [3.4445, -4.7750, 2.0315];
const NEWTON_SCHULZ: usize = 5;

/// What is kept of a block's gradients so far.
#[derive(Clone)]
enum Moments {
    Adam([Tensor<2>; 2]),
    Muon(Tensor<2>),
}

/// What an optimiser keeps, in flat form.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Averages {
    /// Steps that they have seen.
    pub(crate) steps: u32,
    /// First moments; Muon's momentum where it is used.
    pub(crate) first: Vec<f32>,
    /// Second moments; where Muon is used, which has none, the mean square of its block's momentum.
    pub(crate) second: Vec<f32>,
}

/// Moments of every block, and how many steps they have seen.
pub(crate) struct Optim {
    inner: Inner,
    steps: u32,
    moments: Vec<Option<Moments>>,
}

impl Optim {
    /// Empty moments for `blocks` matrices.
    pub(crate) fn new(inner: Inner, blocks: usize) -> Self {
        Self { inner, steps: 0, moments: (0..blocks).map(|_| None).collect() }
    }

    /// Takes up what another optimiser of the same model kept.
    pub(crate) fn restore(inner: Inner, blocks: &[Block], averages: &Averages, device: &Device) -> Self {
        let upload = |block: &Block, flat: &[f32]| {
            Tensor::from_data(TensorData::new(flat[block.range.clone()].to_vec(), block.shape), device)
        };
        let moments = blocks.iter().map(|block| {
            let first = upload(block, &averages.first);
            Some(match is_orthogonal(inner.optimizer, block.kind) {
                true => Moments::Muon(first),
                false => Moments::Adam([first, upload(block, &averages.second)]),
            })
        });
        Self { moments: moments.collect(), steps: averages.steps, inner }
    }

    /// Writes into second moments what stands there where there are none.
    pub(crate) fn fill(&self, blocks: &[Block], averages: &mut Averages) {
        for block in blocks.iter().filter(|block| is_orthogonal(self.inner.optimizer, block.kind)) {
            let momentum = &averages.first[block.range.clone()];
            let squares: f64 = momentum.iter().map(|value| f64::from(*value) * f64::from(*value)).sum();
            averages.second[block.range.clone()].fill((squares / momentum.len() as f64) as f32);
        }
    }

    /// Steps so far.
    pub(crate) fn steps(&self) -> u32 {
        self.steps
    }

    /// First and second moments of every block, as far as it has them.
    pub(crate) fn moments(&self) -> [Vec<Option<Tensor<2>>>; 2] {
        let first = self.moments.iter().map(|moments| match moments {
            Some(Moments::Adam([first, _]) | Moments::Muon(first)) => Some(first.clone()),
            None => None,
        });
        let second = self.moments.iter().map(|moments| match moments {
            Some(Moments::Adam([_, second])) => Some(second.clone()),
            _ => None,
        });
        [first.collect(), second.collect()]
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
    optimizer: Optimizer,
    lr: f64,
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
            optimizer: inner.optimizer,
            lr,
            beta1,
            beta2,
            rate: lr / (1.0 - beta1.powi(power)),
            correction: 1.0 / (1.0 - beta2.powi(power)).sqrt(),
            decay: lr * f64::from(inner.weight_decay),
        }
    }

    fn step(&self, kind: Kind, param: Tensor<2>, grad: Tensor<2>, moments: Option<Moments>) -> (Tensor<2>, Moments) {
        let (update, moments) =
            if is_orthogonal(self.optimizer, kind) { self.muon(grad, moments) } else { self.adam(grad, moments) };
        let param = if kind == Kind::Norm { param } else { param * (1.0 - self.decay) };
        (param - update, moments)
    }

    fn adam(&self, grad: Tensor<2>, moments: Option<Moments>) -> (Tensor<2>, Moments) {
        let (first, second) = (grad.clone() * (1.0 - self.beta1), grad.square() * (1.0 - self.beta2));
        let [first, second] = match moments {
            Some(Moments::Adam([m, v])) => [m * self.beta1 + first, v * self.beta2 + second],
            _ => [first, second],
        };
        // lr·m̂ / (√v̂ + ε), the bias corrections folded into the numbers.
        let update = first.clone() / (second.clone().sqrt() * self.correction + EPSILON) * self.rate;
        (update, Moments::Adam([first, second]))
    }

    fn muon(&self, grad: Tensor<2>, moments: Option<Moments>) -> (Tensor<2>, Moments) {
        let momentum = match moments {
            Some(Moments::Muon(m)) => m * MUON_MOMENTUM + grad.clone(),
            _ => grad.clone(),
        };
        let [rows, columns] = momentum.dims();
        let size = self.lr * ADAM_RMS * (rows.max(columns) as f64).sqrt();
        (orthogonal(grad + momentum.clone() * MUON_MOMENTUM) * size, Moments::Muon(momentum))
    }
}

/// Whether blocks of this kind get Muon's steps.
fn is_orthogonal(optimizer: Optimizer, kind: Kind) -> bool {
    optimizer == Optimizer::Muon && matches!(kind, Kind::Plain | Kind::Residual)
}

/// Nearly the orthogonal matrix next to `matrix`: its singular values brought to about 1.
fn orthogonal(matrix: Tensor<2>) -> Tensor<2> {
    let [rows, columns] = matrix.dims();
    // The smaller side is the one that is squared.
    let mut x = if rows > columns { matrix.transpose() } else { matrix };
    let norm = x.clone().square().sum().sqrt().reshape([1, 1]) + 1e-7;
    x = x / norm;
    let [a, b, c] = POLYNOMIAL;
    for _ in 0..NEWTON_SCHULZ {
        let gram = x.clone().matmul(x.clone().transpose());
        let poly = gram.clone() * b + gram.clone().matmul(gram) * c;
        x = x.clone() * a + poly.matmul(x);
    }
    if rows > columns { x.transpose() } else { x }
}

/// `[1, 1]`: what brings the gradient's norm to at most `clip`.
fn clip_factor(grads: &[Tensor<2>], clip: f32) -> Tensor<2> {
    let squares = grads.iter().map(|grad| grad.clone().square().sum()).reduce(|a, b| a + b);
    let Some(squares) = squares else { unreachable!("a model has parameters") };
    let norm = squares.sqrt() + 1e-6;
    (norm.recip() * clip).clamp_max(1.0).reshape([1, 1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Distribution;

    #[test]
    fn singular_values_come_near_one_whatever_the_shape() {
        let device = Device::flex();
        for shape in [[24, 24], [16, 40], [40, 16]] {
            let x = orthogonal(Tensor::random(shape, Distribution::Normal(0.0, 3.0), &device));
            let [rows, columns] = x.dims();
            assert_eq!([rows, columns], shape);
            let gram = if rows > columns { x.clone().transpose().matmul(x) } else { x.clone().matmul(x.transpose()) };
            let side = rows.min(columns);
            let values = gram.into_data().try_into_vec::<f32>().unwrap();
            // The trace of the Gram matrix is the sum of the squared singular values; each is within 0.7 and 1.2.
            let trace: f32 = (0..side).map(|i| values[i * side + i]).sum();
            assert!((0.45..1.45).contains(&(trace / side as f32)), "{shape:?}: {trace}");
        }
    }
}
