//! Writes what `tests/python/reference.py` compares with PyTorch: `reference FOLDER`.
//!
//! Leaves in the folder the exported model, and `reference.safetensors` with a batch (`tokens`,
//! `targets`), its `loss` and gradients (`grad.NAME`), and 100 random `prompts` with their `logits`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use futures::executor::block_on;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use tributary_protocol::BlobRef;
use tributary_protocol::check::Check;
use tributary_protocol::spec::{
    Average, Inner, ModelSpec, Optimizer, Outer, Reward, RoundRule, RunSpec, Tokenizer, UpdateFormat,
};
use tributary_trainer::burn::tensor::Device;
use tributary_trainer::{Trainer, export, initial_weights};

/// Prompts whose logits are compared, each of `SEQ` random bytes.
const PROMPTS: usize = 100;
const BATCH: usize = 4;
const SEQ: usize = 64;
/// Steps before the comparison, so that no weight is near its first value.
const STEPS: usize = 30;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: reference FOLDER");
        return ExitCode::FAILURE;
    };
    match write(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    let spec = spec();
    let mut draws = Draws(1);
    let mut trainer = Trainer::new(&spec, &initial_weights(&spec), Device::flex());
    for _ in 0..STEPS {
        let (tokens, targets) = draws.batch();
        trainer.step(tokens, targets);
    }
    let weights = block_on(trainer.weights())?;
    export(&spec.model, spec.tokenizer, &weights, folder)?;

    let (tokens, targets) = draws.batch();
    let (loss, grads) = block_on(trainer.gradients(tokens.clone(), targets.clone()))?;
    let (mut prompts, mut logits) = (Vec::new(), Vec::new());
    for _ in 0..PROMPTS / BATCH {
        let tokens: Vec<i32> = (0..BATCH * SEQ).map(|_| draws.below(256)).collect();
        logits.extend(trainer.logits(tokens.clone()).into_data().try_to_vec::<f32>()?);
        prompts.extend(tokens);
    }

    let mut tensors = BTreeMap::new();
    let ints = |values: &[i32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let floats = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    tensors.insert("tokens".to_owned(), (Dtype::I32, vec![BATCH, SEQ], ints(&tokens)));
    tensors.insert("targets".to_owned(), (Dtype::I32, vec![BATCH, SEQ], ints(&targets)));
    tensors.insert("loss".to_owned(), (Dtype::F32, vec![1], floats(&[loss])));
    tensors.insert("prompts".to_owned(), (Dtype::I32, vec![PROMPTS, SEQ], ints(&prompts)));
    tensors.insert("logits".to_owned(), (Dtype::F32, vec![PROMPTS, SEQ, spec.model.vocab as usize], floats(&logits)));
    for tensor in spec.model.layout() {
        let shape = tensor.shape.iter().map(|&n| n as usize).collect();
        tensors.insert(format!("grad.{}", tensor.name), (Dtype::F32, shape, floats(&grads[tensor.range()])));
    }
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, bytes))| Ok((name, TensorView::new(*dtype, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    safetensors::serialize_to_file(views, None, &folder.join("reference.safetensors"))?;
    Ok(())
}

/// The tiny preset.
fn spec() -> RunSpec {
    let model = ModelSpec::preset("tiny").expect("the preset is there");
    let (batch, seq) = (BATCH as u32, SEQ as u32);
    RunSpec {
        name: "reference".to_owned(),
        seed: 7,
        model,
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
            batch,
            seq,
        },
        outer: Outer { lr: vec![0.7], momentum: 0.9, average: Average::All },
        round: RoundRule { seconds: 10, grace: 5, quorum: 1, stale: 0.5 },
        update: UpdateFormat::F32,
        first: UpdateFormat::F32,
        step: UpdateFormat::F32,
        update_steps: 0,
        feedback: 1.0,
        reward: Reward { pool: 1 },
        check: Check::default(),
    }
}

/// A multiplicative congruential generator (Lehmer 1951 with L'Ecuyer's multiplier).
struct Draws(u64);

impl Draws {
    fn below(&mut self, below: u64) -> i32 {
        self.0 = self.0.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
        ((self.0 >> 33) % below) as i32
    }

    /// Text with structure to learn: every token is near the one before.
    fn batch(&mut self) -> (Vec<i32>, Vec<i32>) {
        let (mut tokens, mut targets) = (Vec::new(), Vec::new());
        for _ in 0..BATCH {
            let mut token = self.below(256);
            for _ in 0..SEQ {
                tokens.push(token);
                token = (token + self.below(6)) % 256;
                targets.push(token);
            }
        }
        (tokens, targets)
    }
}
