//! A run so small that a thousand contributors fit into one test.

use bytes::Bytes;
use tributary_protocol::BlobRef;
use tributary_protocol::check::Check;
use tributary_protocol::data::DataManifest;
use tributary_protocol::fold::f32_to_le;
use tributary_protocol::spec::{
    Average, Inner, ModelSpec, Optimizer, Outer, Reward, RoundRule, RunSpec, Tokenizer, UpdateFormat,
};

use crate::Random;

/// A run with the blobs that it begins from.
#[derive(Debug, Clone)]
pub struct Run {
    /// What everybody must agree on.
    pub spec: RunSpec,
    /// The data manifest.
    pub data: Bytes,
    /// The only shard.
    pub shard: Bytes,
    /// The first weights.
    pub weights: Bytes,
}

/// A run of 540 parameters: the bytes tokenizer's vocabulary of 256 at a width of 2.
pub fn tiny_run(round: RoundRule) -> Run {
    let shard = Bytes::from(b"No clock, no network: only the round. ".repeat(4));
    let data = DataManifest {
        version: 1,
        name: "simulated".to_owned(),
        tokenizer: Tokenizer::Bytes,
        train: vec![BlobRef::of(&shard)],
        heldout: Vec::new(),
        sources: Vec::new(),
    };
    let data = Bytes::from(serde_json::to_vec(&data).unwrap());
    let model = ModelSpec {
        vocab: 256,
        width: 2,
        layers: 1,
        heads: 1,
        kv_heads: 1,
        hidden: 1,
        context: 16,
        rope_theta: 10_000.0,
        norm_eps: 1e-5,
    };
    let inner = Inner {
        optimizer: Optimizer::AdamW,
        lr: 1e-3,
        warmup: 0,
        beta1: 0.9,
        beta2: 0.95,
        weight_decay: 0.0,
        clip: 1.0,
        batch: 4,
        seq: 16,
    };
    let spec = RunSpec {
        name: "simulated".to_owned(),
        seed: 1,
        model,
        tokenizer: Tokenizer::Bytes,
        data: BlobRef::of(&data),
        inner,
        outer: Outer { lr: vec![0.5, 0.7], momentum: 0.9, average: Average::All },
        round,
        update: UpdateFormat::F32,
        first: UpdateFormat::F32,
        step: UpdateFormat::F32,
        update_steps: 0,
        feedback: 1.0,
        reward: Reward { pool: 1_000_003 },
        // Nobody here can run work again; tests about that say so.
        check: Check { first: 0, rate: 0.0, ..Check::default() },
    };
    assert_eq!(spec.check(), Ok(()));
    let mut random = Random::new(spec.seed);
    let weights: Vec<f32> =
        (0..spec.model.params()).map(|_| (random.below(1 << 20) as f32 / (1 << 20) as f32) - 0.5).collect();
    Run { spec, data, shard, weights: f32_to_le(&weights).into() }
}
