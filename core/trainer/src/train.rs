//! Training steps on one device: one struct, one `step`.
//!
//! A step's loss stays a lazy tensor; whoever wants to know it reads it back, which waits for the
//! device.

use burn::tensor::{Device, ExecutionError, Int, Tensor, TensorData};
use tributary_protocol::spec::RunSpec;

use crate::model::{Model, cross_entropy, one_hot};
use crate::optim::{Averages, Optim};
use crate::parallel;
use crate::params::{Block, Params, blocks, download};

/// Everything about a model in training that its next step depends on, in flat form.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Local {
    /// The local weights.
    pub(crate) weights: Vec<f32>,
    /// `None` before the first step.
    pub(crate) averages: Option<Averages>,
}

impl Local {
    /// Whether all of it are numbers.
    pub(crate) fn is_finite(&self) -> bool {
        let all = |values: &[f32]| values.iter().all(|value| value.is_finite());
        all(&self.weights) && self.averages.as_ref().is_none_or(|moments| all(&moments.first) && all(&moments.second))
    }
}

/// A model with its weights and its optimiser on a device.
pub struct Trainer {
    spec: RunSpec,
    device: Device,
    blocks: Vec<Block>,
    params: Params,
    /// For one part of a batch.
    model: Model,
    /// Equal parts that a batch is cut into, side by side on the processor's cores.
    parts: usize,
    optim: Optim,
}

impl Trainer {
    /// Uploads `weights`, which must be as many as the model has, with empty moments.
    pub fn new(spec: &RunSpec, weights: &[f32], device: Device) -> Self {
        let blocks = blocks(&spec.model);
        let (batch, seq) = (spec.inner.batch as usize, spec.inner.seq as usize);
        let cores = if device == Device::flex() { parallel::cores() } else { 1 };
        let parts = (1..=cores.min(batch)).rev().find(|parts| batch.is_multiple_of(*parts)).unwrap_or(1);
        Self {
            params: Params::upload(&blocks, weights, &device),
            model: Model::new(&spec.model, batch / parts, seq, &device),
            parts,
            optim: Optim::new(spec.inner.clone(), blocks.len()),
            spec: spec.clone(),
            device,
            blocks,
        }
    }

    /// Takes up weights and moments of another trainer.
    pub(crate) fn restore(spec: &RunSpec, local: &Local, device: Device) -> Self {
        let mut trainer = Self::new(spec, &local.weights, device);
        trainer.adopt(local);
        trainer
    }

    /// Replaces weights and moments.
    pub(crate) fn adopt(&mut self, local: &Local) {
        self.restart(&local.weights);
        if let Some(averages) = &local.averages {
            self.optim = Optim::restore(self.spec.inner.clone(), &self.blocks, averages, &self.device);
        }
    }

    /// Weights and moments, read in one go. Waits for the device.
    pub(crate) async fn read(&self) -> Result<Local, ExecutionError> {
        let [first, second] = self.optim.moments();
        let weights = self.params.0.iter().cloned().map(Some).collect();
        let mut lists = download(&self.blocks, vec![weights, first, second]).await?.into_iter();
        let mut next = || lists.next().unwrap_or_default();
        let (weights, first, second, steps) = (next(), next(), next(), self.optim.steps());
        if steps == 0 {
            return Ok(Local { weights, averages: None });
        }
        let mut averages = Averages { steps, first, second };
        self.optim.fill(&self.blocks, &mut averages);
        Ok(Local { weights, averages: Some(averages) })
    }

    /// One step on `batch` sequences of `seq` tokens (flat) and the tokens that follow each. Queues
    /// the work and returns the loss `[1]`, in nats a token, before the step.
    pub fn step(&mut self, tokens: Vec<i32>, targets: Vec<i32>) -> Tensor<1> {
        let (loss, grads) = self.loss(tokens, targets);
        let params = std::mem::replace(&mut self.params, Params(Vec::new()));
        self.params = self.optim.step(&self.blocks, params, grads, self.parts);
        loss
    }

    /// The loss, in nats a token, and its gradient in flat form. Leaves the weights as they are and
    /// waits for the device.
    pub async fn gradients(&self, tokens: Vec<i32>, targets: Vec<i32>) -> Result<(f32, Vec<f32>), ExecutionError> {
        let (loss, grads) = self.loss(tokens, targets);
        let loss = loss.into_scalar_async().await?;
        Ok((loss, Params(grads).download(&self.blocks).await?))
    }

    fn loss(&self, tokens: Vec<i32>, targets: Vec<i32>) -> (Tensor<1>, Vec<Tensor<2>>) {
        let rows = self.model.dims.rows();
        let parts = tokens.chunks(rows).zip(targets.chunks(rows)).collect();
        let parts = parallel::map(self.parts, parts, |(tokens, targets)| self.part(tokens, targets));
        let (losses, grads): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        // Parts are equal and each carries its share, so sums are the whole batch's means.
        let sum = |parts: Vec<Tensor<2>>| parts.into_iter().reduce(|a, b| a + b);
        let mut columns: Vec<Vec<Tensor<2>>> = self.blocks.iter().map(|_| Vec::new()).collect();
        grads.into_iter().for_each(|part| columns.iter_mut().zip(part).for_each(|(column, grad)| column.push(grad)));
        let grads = parallel::map(self.parts, columns, sum).into_iter().flatten().collect();
        (Tensor::cat(losses, 0).sum(), grads)
    }

    /// A part's share of the batch's loss, and its gradients.
    fn part(&self, tokens: &[i32], targets: &[i32]) -> (Tensor<1>, Vec<Tensor<2>>) {
        let (tokens, targets) = (self.upload(tokens), self.upload(targets));
        let (logits, tape) = self.model.forward(&self.params, tokens.clone(), true);
        let loss = cross_entropy(logits, one_hot(targets, self.model.dims.vocab), self.parts);
        let grads = self.model.backward(&self.params, tape, tokens, loss.by_logits);
        (loss.mean, grads)
    }

    /// Logits `[batch * seq, vocab]` for one batch of tokens.
    pub fn logits(&self, tokens: Vec<i32>) -> Tensor<2> {
        let parts = tokens.chunks(self.model.dims.rows());
        let logits = parts.map(|tokens| self.model.forward(&self.params, self.upload(tokens), false).0);
        Tensor::cat(logits.collect(), 0)
    }

    /// The weights, in flat form. Waits for the device.
    pub async fn weights(&self) -> Result<Vec<f32>, ExecutionError> {
        self.params.download(&self.blocks).await
    }

    /// Replaces the weights and empties the moments.
    pub(crate) fn restart(&mut self, weights: &[f32]) {
        self.place(weights);
        self.optim = Optim::new(self.spec.inner.clone(), self.blocks.len());
    }

    /// Replaces the weights; the moments stay.
    pub(crate) fn place(&mut self, weights: &[f32]) {
        self.params = Params::upload(&self.blocks, weights, &self.device);
    }

    /// Adds `by` to the weights; the moments stay.
    pub(crate) fn shift(&mut self, by: &[f32]) {
        let by = Params::upload(&self.blocks, by, &self.device);
        for (param, by) in self.params.0.iter_mut().zip(by.0) {
            *param = param.clone() + by;
        }
    }

    /// Tokens a step.
    pub(crate) fn tokens_a_step(&self) -> u64 {
        (self.parts * self.model.dims.rows()) as u64
    }

    fn upload(&self, tokens: &[i32]) -> Tensor<1, Int> {
        Tensor::from_data(TensorData::new(tokens.to_vec(), [tokens.len()]), &self.device)
    }
}
