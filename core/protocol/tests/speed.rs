//! The codec in a browser's worker, where trainers use it: what `examples/codec` measures natively, measured by
//! the same lines. Run by `cargo xtask bench codec`.
#![cfg(target_arch = "wasm32")]

#[path = "../examples/codec/measure.rs"]
mod measure;

use wasm_bindgen_test::{console_log, wasm_bindgen_test, wasm_bindgen_test_configure};
use web_time::Instant;

wasm_bindgen_test_configure!(run_in_dedicated_worker);

fn print(params: usize) {
    let start = Instant::now();
    let speeds = measure::measure(params, || start.elapsed().as_secs_f64() * 1000.0);
    console_log!("{}", speeds.json(None));
    assert!(speeds.fold_20_s > 0.0, "{speeds:?}");
}

#[wasm_bindgen_test]
#[ignore = "a measurement, not a test"]
fn one_million() {
    print(1_000_000);
}

#[wasm_bindgen_test]
#[ignore = "a measurement, not a test"]
fn ten_million() {
    print(10_000_000);
}

#[wasm_bindgen_test]
#[ignore = "a measurement, not a test"]
fn fifty_million() {
    print(50_000_000);
}
