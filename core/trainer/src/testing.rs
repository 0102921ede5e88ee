//! Small runs for this crate's tests.

use bytes::Bytes;
use tributary_protocol::BlobRef;
use tributary_protocol::check::Check;
use tributary_protocol::data::DataManifest;
use tributary_protocol::spec::{
    Average, Inner, ModelSpec, Optimizer, Outer, Reward, RoundRule, RunSpec, Tokenizer, UpdateFormat,
};

/// 27,000 parameters, 4 × 16 tokens a step.
pub(crate) fn spec() -> RunSpec {
    RunSpec {
        name: "test".to_owned(),
        seed: 1,
        model: ModelSpec {
            vocab: 256,
            width: 32,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            hidden: 64,
            context: 32,
            rope_theta: 10_000.0,
            norm_eps: 1e-5,
        },
        tokenizer: Tokenizer::Bytes,
        data: BlobRef::of(b""),
        inner: Inner {
            optimizer: Optimizer::AdamW,
            lr: 3e-3,
            warmup: 5,
            beta1: 0.9,
            beta2: 0.95,
            weight_decay: 0.1,
            clip: 1.0,
            batch: 4,
            seq: 16,
        },
        outer: Outer { lr: vec![0.7], momentum: 0.9, average: Average::All },
        round: RoundRule { seconds: 10, grace: 5, quorum: 1, stale: 0.5 },
        update: UpdateFormat::F32,
        first: UpdateFormat::F32,
        step: UpdateFormat::F32,
        update_steps: 0,
        feedback: 1.0,
        reward: Reward { pool: 1000 },
        check: Check::default(),
    }
}

/// A run on these shards, and its manifest's bytes.
pub(crate) fn run(shards: &[Bytes]) -> (RunSpec, Vec<u8>) {
    let manifest = DataManifest {
        version: 1,
        name: "test".to_owned(),
        tokenizer: Tokenizer::Bytes,
        train: shards.iter().map(|shard| BlobRef::of(shard)).collect(),
        heldout: Vec::new(),
        sources: Vec::new(),
    };
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let spec = RunSpec { data: BlobRef::of(&manifest), ..spec() };
    (spec, manifest)
}
