//! A training step, and a text, on WebGPU in a dedicated worker against the CPU backend in the same wasm.
#![cfg(target_arch = "wasm32")]

use tributary_protocol::BlobRef;
use tributary_protocol::check::Check;
use tributary_protocol::job::{Ask, Backend, DeviceChoice};
use tributary_protocol::spec::{
    Average, Inner, ModelSpec, Optimizer, Outer, Reward, RoundRule, RunSpec, Tokenizer, UpdateFormat,
};
use tributary_trainer::burn::tensor::{Distribution, Tensor};
use tributary_trainer::{Generator, Trainer, Turn, initial_weights, open_device};
use wasm_bindgen_test::{console_log, wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_dedicated_worker);

/// Small, since the browser's adapter may be an emulation, but with every kind of layer and with grouped heads.
fn spec() -> RunSpec {
    RunSpec {
        name: "webgpu".to_owned(),
        seed: 3,
        model: ModelSpec {
            vocab: 256,
            width: 64,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            hidden: 128,
            context: 32,
            rope_theta: 10_000.0,
            norm_eps: 1e-5,
        },
        tokenizer: Tokenizer::Bytes,
        data: BlobRef::of(b""),
        inner: Inner {
            optimizer: Optimizer::AdamW,
            lr: 3e-3,
            warmup: 0,
            beta1: 0.9,
            beta2: 0.95,
            weight_decay: 0.1,
            clip: 1.0,
            batch: 2,
            seq: 32,
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

/// The losses before and after one step.
async fn losses(choice: DeviceChoice, backend: Backend) -> [f32; 2] {
    let (device, info) = open_device(choice).await.expect("the device opens");
    console_log!("{info:?}");
    assert_eq!(info.backend, backend);
    let spec = spec();
    let mut trainer = Trainer::new(&spec, &initial_weights(&spec), device);
    let tokens: Vec<i32> = (0..64).map(|i| (i * 37 + i * i) % 256).collect();
    let targets: Vec<i32> = (1..65).map(|i| (i * 37 + i * i) % 256).collect();
    let first = trainer.step(tokens.clone(), targets.clone()).into_scalar_async().await.expect("the loss is read");
    let second = trainer.step(tokens, targets).into_scalar_async().await.expect("the loss is read");
    [first, second]
}

#[wasm_bindgen_test]
async fn a_step_on_webgpu_is_the_cpus() {
    let gpu = losses(DeviceChoice::Gpu, Backend::WebGpu).await;
    let cpu = losses(DeviceChoice::Cpu, Backend::Cpu).await;
    console_log!("WebGPU {gpu:?}, CPU {cpu:?}");
    assert!(cpu[1] < cpu[0], "{cpu:?}");
    for (gpu, cpu) in gpu.into_iter().zip(cpu) {
        assert!((gpu - cpu).abs() <= 1e-3, "{gpu} {cpu}");
    }
}

/// The likeliest text, by weights so large that no two tokens are almost as likely.
async fn text(choice: DeviceChoice) -> Vec<u8> {
    let (device, _) = open_device(choice).await.expect("the device opens");
    let spec = spec();
    let weights: Vec<f32> = initial_weights(&spec).iter().map(|weight| 8.0 * weight).collect();
    let ask = Ask { id: 0, prompt: "The rain in Spain stays".to_owned(), tokens: 8, temperature: 0.0, seed: 0 };
    let mut generator = Generator::new(&spec.model, &weights, device, &ask).expect("there is a prompt");
    let mut text = Vec::new();
    loop {
        match generator.turn().await.expect("the device computes") {
            Turn::Read => {}
            Turn::Wrote(byte) => text.push(byte),
            Turn::Ended(_) => return text,
        }
    }
}

#[wasm_bindgen_test]
async fn a_text_on_webgpu_is_the_cpus() {
    let (gpu, cpu) = (text(DeviceChoice::Gpu).await, text(DeviceChoice::Cpu).await);
    assert!(!cpu.is_empty());
    assert_eq!(gpu, cpu);
}

/// A measurement, which `cargo xtask bench step` asks for: the best rate of square matrix products.
#[wasm_bindgen_test]
#[ignore = "a measurement, not a test"]
async fn matmul_rate() {
    let (device, _) = open_device(DeviceChoice::Gpu).await.expect("the device opens");
    let mut best: f64 = 0.0;
    for n in [256, 512, 1024] {
        let random = || Tensor::<2>::random([n, n], Distribution::Default, &device);
        let (a, b) = (random(), random());
        // The first ones compile and tune.
        for _ in 0..4 {
            let began = js_sys::Date::now();
            let corner = a.clone().matmul(b.clone()).slice([0..1, 0..1]);
            corner.into_data_async().await.expect("the product is read");
            let seconds = (js_sys::Date::now() - began) / 1000.0;
            best = best.max(2.0 * (n as f64).powi(3) / seconds);
        }
    }
    console_log!("{{\"matmul_gflops\":{}}}", best / 1e9);
    assert!(best > 0.0);
}
