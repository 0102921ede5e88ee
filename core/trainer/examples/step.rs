//! Measures training steps: `step PRESET BATCH SEQ SECONDS [cpu|gpu|auto]`.
//!
//! Prints one JSON object: the model's sizes, tokens a second, the floating-point rate that this means,
//! and the same backend's best rate of plain matrix products in the same run.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tributary_protocol::BlobRef;
use tributary_protocol::check::Check;
use tributary_protocol::job::DeviceChoice;
use tributary_protocol::spec::{
    Average, Inner, ModelSpec, Optimizer, Outer, Reward, RoundRule, RunSpec, Tokenizer, UpdateFormat,
};
use tributary_trainer::burn::tensor::{Device, Distribution, Tensor};
use tributary_trainer::{Trainer, initial_weights, open_device};

/// Steps before the clock starts: they compile and tune kernels.
const WARM_UP: usize = 3;

/// Shapes `[m, k, n]` whose fastest product is the matrix-product rate, the smallest first: square ones,
/// and the models' own kind of many rows by few columns.
const PRODUCTS: [[usize; 3]; 6] =
    [[256, 256, 256], [512, 512, 512], [1024, 1024, 1024], [4096, 384, 1024], [2048, 2048, 2048], [4096, 4096, 4096]];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match measure(&args) {
        Some(Ok(report)) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Some(Err(why)) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
        None => {
            eprintln!("usage: step tiny|small|base BATCH SEQ SECONDS [cpu|gpu|auto]");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &[String]) -> Option<Result<Value, String>> {
    let model = ModelSpec::preset(args.first()?)?;
    let [batch, seq] = [args.get(1)?.parse().ok()?, args.get(2)?.parse().ok()?];
    let seconds = Duration::from_secs_f64(args.get(3)?.parse().ok()?);
    let choice = match args.get(4).map(String::as_str) {
        None | Some("auto") => DeviceChoice::Auto,
        Some("gpu") => DeviceChoice::Gpu,
        Some("cpu") => DeviceChoice::Cpu,
        Some(_) => return None,
    };
    let (device, info) = match futures::executor::block_on(open_device(choice)) {
        Ok(opened) => opened,
        Err(why) => return Some(Err(why)),
    };
    let flops = flops_a_token(&model, f64::from(seq));
    let report = json!({
        "preset": args[0], "batch": batch, "seq": seq, "params": model.params(),
        "vocab": model.vocab, "width": model.width, "layers": model.layers, "heads": model.heads,
        "kv_heads": model.kv_heads, "hidden": model.hidden, "backend": info.backend, "device": info.name,
        "threads": std::thread::available_parallelism().map_or(1, |n| n.get()),
    });
    let (step_ms, loss) = steps(model, batch, seq, seconds, &device);
    let matmul = matmul_rate(&device);
    let tokens_per_s = f64::from(batch * seq) * 1000.0 / step_ms;
    let Value::Object(mut report) = report else { return None };
    let rate = tokens_per_s * flops / 1e9;
    for (key, value) in [
        ("step_ms", step_ms),
        ("tokens_per_s", tokens_per_s),
        ("gflops", rate),
        ("matmul_gflops", matmul / 1e9),
        ("fraction_of_matmul", rate / (matmul / 1e9)),
        ("loss", loss),
    ] {
        report.insert(key.to_owned(), json!(value));
    }
    Some(Ok(Value::Object(report)))
}

/// Floating-point operations a token of a training step: two a weight forward and four backward, and
/// the attention's two products over the whole sequence, likewise thrice.
fn flops_a_token(model: &ModelSpec, seq: f64) -> f64 {
    // The embedding is looked up, not multiplied with; the tied head is multiplied with.
    6.0 * model.params() as f64 + 12.0 * f64::from(model.layers) * f64::from(model.width) * seq
}

/// Median milliseconds of a step and the last loss.
fn steps(model: ModelSpec, batch: u32, seq: u32, seconds: Duration, device: &Device) -> (f64, f64) {
    let model = ModelSpec { context: model.context.max(seq), ..model };
    let spec = RunSpec {
        name: "bench".to_owned(),
        seed: 1,
        model,
        tokenizer: Tokenizer::Bytes,
        data: BlobRef::of(b""),
        inner: Inner {
            optimizer: Optimizer::AdamW,
            lr: 1e-3,
            warmup: 10,
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
    };
    let mut trainer = Trainer::new(&spec, &initial_weights(&spec), device.clone());
    let count = (batch * seq) as i32;
    let mut step = |n: i32| {
        let tokens: Vec<i32> = (0..count).map(|i| (i * 7 + i / 5 + n) % 256).collect();
        let targets = tokens.iter().map(|&token| (token + 7) % 256).collect();
        trainer.step(tokens, targets)
    };
    (0..WARM_UP).for_each(|n| drop(step(n as i32).into_data()));
    // A GPU is kept busy as in training: a few steps are queued before one is waited for.
    const GROUP: i32 = 4;
    let (began, mut times, mut loss) = (Instant::now(), Vec::new(), f64::NAN);
    while began.elapsed() < seconds || times.len() < 3 {
        let group = Instant::now();
        let losses: Vec<Tensor<1>> = (0..GROUP).map(&mut step).collect();
        loss = f64::from(losses.into_iter().last().map_or(f32::NAN, |loss| loss.into_scalar::<f32>()));
        times.push(group.elapsed().as_secs_f64() * 1000.0 / f64::from(GROUP));
    }
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], loss)
}

/// The best rate of f32 matrix products, in operations a second. Shapes that would take a slow device
/// longer than all of this may take are passed over.
fn matmul_rate(device: &Device) -> f64 {
    /// Seconds that the products of one shape may take.
    const SECONDS: f64 = 1.0;
    let mut best: f64 = 0.0;
    for [m, k, n] in PRODUCTS {
        let operations = 2.0 * m as f64 * k as f64 * n as f64;
        if best > 0.0 && operations / best > SECONDS {
            continue;
        }
        let a = Tensor::<2>::random([m, k], Distribution::Default, device);
        let b = Tensor::<2>::random([k, n], Distribution::Default, device);
        let run = |count: u32| {
            let began = Instant::now();
            let mut last = a.clone().matmul(b.clone());
            (1..count).for_each(|_| last = a.clone().matmul(b.clone()));
            drop(last.slice([0..1, 0..1]).into_data());
            began.elapsed().as_secs_f64()
        };
        // The first compiles and tunes, the second says how many are enough that waiting for the last
        // is not what is measured.
        run(1);
        let count = (SECONDS / 3.0 / run(1)).clamp(1.0, 500.0) as u32;
        let seconds = (0..3).map(|_| run(count)).fold(f64::INFINITY, f64::min);
        best = best.max(operations * f64::from(count) / seconds);
    }
    best
}
