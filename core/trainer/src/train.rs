//! Training steps on one device: one struct, one `step`.
//!
//! A step's loss stays a lazy tensor; whoever wants to know it reads it back, which waits for the
//! device.

use burn::tensor::{Device, ExecutionError, Int, Tensor, TensorData};
use tributary_protocol::spec::RunSpec;

use crate::data::Batch;
use crate::model::{Model, cross_entropy, one_hot};
use crate::optim::AdamW;
use crate::params::{Block, Params, blocks};

/// A model with its weights and its optimiser on a device.
pub struct Trainer {
    spec: RunSpec,
    device: Device,
    blocks: Vec<Block>,
    params: Params,
    model: Model,
    optim: AdamW,
}

impl Trainer {
    /// Uploads `weights`, which must be as many as the model has, with empty moments.
    pub fn new(spec: &RunSpec, weights: &[f32], device: Device) -> Self {
        let blocks = blocks(&spec.model);
        let (batch, seq) = (spec.inner.batch as usize, spec.inner.seq as usize);
        Self {
            params: Params::upload(&blocks, weights, &device),
            model: Model::new(&spec.model, batch, seq, &device),
            optim: AdamW::new(spec.inner.clone(), blocks.len()),
            spec: spec.clone(),
            device,
            blocks,
        }
    }

    /// One step on `batch` sequences of `seq` tokens (flat) and the tokens that follow each. Queues
    /// the work and returns the loss `[1]`, in nats a token, before the step.
    pub fn step(&mut self, tokens: Vec<i32>, targets: Vec<i32>) -> Tensor<1> {
        let (loss, grads) = self.loss(tokens, targets);
        self.optim.step(&self.blocks, &mut self.params.0, grads);
        loss
    }

    pub(crate) fn step_on(&mut self, batch: Batch) -> Tensor<1> {
        self.step(batch.tokens, batch.targets)
    }

    /// The loss, in nats a token, and its gradient in flat form. Leaves the weights as they are and
    /// waits for the device.
    pub async fn gradients(&self, tokens: Vec<i32>, targets: Vec<i32>) -> Result<(f32, Vec<f32>), ExecutionError> {
        let (loss, grads) = self.loss(tokens, targets);
        let loss = loss.into_scalar_async().await?;
        Ok((loss, Params(grads).download(&self.blocks).await?))
    }

    fn loss(&self, tokens: Vec<i32>, targets: Vec<i32>) -> (Tensor<1>, Vec<Tensor<2>>) {
        let (tokens, targets) = (self.upload(tokens), self.upload(targets));
        let (logits, tape) = self.model.forward(&self.params, tokens.clone(), true);
        let loss = cross_entropy(logits, one_hot(targets, self.model.dims.vocab));
        let grads = self.model.backward(&self.params, tape, tokens, loss.by_logits);
        (loss.mean, grads)
    }

    /// Logits `[batch * seq, vocab]` for one batch of tokens.
    pub fn logits(&self, tokens: Vec<i32>) -> Tensor<2> {
        self.model.forward(&self.params, self.upload(tokens), false).0
    }

    /// The weights, in flat form. Waits for the device.
    pub async fn weights(&self) -> Result<Vec<f32>, ExecutionError> {
        self.params.download(&self.blocks).await
    }

    /// Replaces the weights and empties the moments.
    pub(crate) fn restart(&mut self, weights: &[f32]) {
        self.place(weights);
        self.optim = AdamW::new(self.spec.inner.clone(), self.blocks.len());
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
        self.model.dims.rows() as u64
    }

    fn upload(&self, tokens: Vec<i32>) -> Tensor<1, Int> {
        let shape = [tokens.len()];
        Tensor::from_data(TensorData::new(tokens, shape), &self.device)
    }
}
