//! `bench step`: one training step of the same model, batch and length, measured on each backend here, in
//! PyTorch, and in the same browser in TensorFlow.js. One after the other: they share the cores.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::last_json;
use crate::paths::Paths;
use crate::run::{self, capture, logged, minutes, say};
use crate::world::{self, Contributor, Coordinator};
use crate::{browser, build, setup, text, wasm};

/// Seconds of timed steps, natively: hundreds of steps of the tiny model.
const SECONDS: &str = "10";
/// Tokens in the tab that are not timed, in steps: they compile and tune kernels.
const WARM_UP_STEPS: u64 = 5;
/// How long the tab is timed. On an emulated adapter a step takes seconds.
const TAB_TIMED: Duration = Duration::from_secs(45);
/// How long it may take to get there.
const TAB_LIMIT: Duration = minutes(6);

/// What is measured.
struct Case<'a> {
    preset: &'a str,
    batch: &'a str,
    seq: &'a str,
}

/// One line of the table.
struct Row {
    backend: &'static str,
    tokens_per_s: f64,
    gflops: f64,
    matmul_gflops: Option<f64>,
}

/// Runs it: `[--preset tiny|small|base] [--batch N] [--seq N] [--gpu] [--no-browser]`.
pub(crate) fn run(paths: &Paths, args: &[&str]) -> Result<()> {
    let mut case = Case { preset: "tiny", batch: "8", seq: "256" };
    let (mut gpu, mut in_browser) = (false, true);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().copied().with_context(|| format!("{arg} needs a value"));
        match *arg {
            "--preset" => case.preset = value()?,
            "--batch" => case.batch = value()?,
            "--seq" => case.seq = value()?,
            "--gpu" => gpu = true,
            "--no-browser" => in_browser = false,
            _ => bail!("bench step knows --preset, --batch, --seq, --gpu and --no-browser, not {arg}"),
        }
    }
    setup::for_reference(paths)?;
    let mut cargo = paths.command("cargo");
    cargo.args(["build", "--release", "--example", "step", "--bin", "tributary"]);
    logged(paths, "build the bench", build::native_workspace(&mut cargo), minutes(60))?;
    if in_browser {
        setup::for_build(paths)?;
        setup::for_browser(paths)?;
        build::page(paths)?;
    }

    let mut rows = Vec::new();
    let cpu = native(paths, &case, "cpu")?;
    let torch_cpu = pytorch(paths, cpu.clone())?;
    rows.push(Row::of("cpu", &cpu, &cpu));
    rows.push(Row::of("pytorch_cpu", &torch_cpu, &cpu));
    let mut result = json!({ "preset": case.preset, "batch": case.batch, "seq": case.seq });
    result["ratio_pytorch_cpu"] = json!(ratio(&cpu, &torch_cpu));
    if gpu {
        let own = native(paths, &case, "gpu")?;
        rows.push(Row::of("gpu", &own, &own));
        for (name, compile) in [("pytorch_gpu", false), ("pytorch_gpu_compiled", true)] {
            let mut settings = own.clone();
            settings["device"] = json!("cuda");
            settings["compile"] = json!(compile);
            match pytorch(paths, settings) {
                Ok(torch) => {
                    rows.push(Row::of(name, &torch, &own));
                    result[format!("ratio_{name}")] = json!(ratio(&own, &torch));
                }
                Err(error) => say(format_args!("   {name}: {error:#}")),
            }
        }
    }
    if in_browser {
        // An emulated adapter is a thousand times slower: a step of the full batch would take minutes.
        let small = Case { preset: "tiny", batch: "2", seq: "64" };
        let shape = native(paths, &small, "cpu")?;
        let mut tab = tab(paths, &small)?;
        tab["matmul_gflops"] = matmul_in_tab(paths)?["matmul_gflops"].clone();
        let tfjs = tfjs(paths, &shape)?;
        result["ratio_tfjs_webgpu"] = json!(ratio(&tab, &tfjs));
        rows.push(Row::of("webgpu", &tab, &shape));
        rows.push(Row::of("tfjs_webgpu", &tfjs, &shape));
    }
    table(&rows);
    let by = |value: fn(&Row) -> Option<f64>| -> Value {
        rows.iter().map(|row| (row.backend.to_owned(), json!(value(row)))).collect::<serde_json::Map<_, _>>().into()
    };
    result["tokens_per_s"] = by(|row| Some(row.tokens_per_s));
    result["fraction_of_matmul"] = by(Row::fraction);
    say(result);
    Ok(())
}

impl Row {
    /// A measurement; `shape` is one of our own with the same model, which knows the work of a token.
    fn of(backend: &'static str, measured: &Value, shape: &Value) -> Self {
        let number = |value: &Value, key: &str| value[key].as_f64();
        let tokens_per_s = number(measured, "tokens_per_s").unwrap_or(0.0);
        let work = number(shape, "gflops").unwrap_or(0.0) / number(shape, "tokens_per_s").unwrap_or(1.0);
        Self { backend, tokens_per_s, gflops: tokens_per_s * work, matmul_gflops: number(measured, "matmul_gflops") }
    }

    fn fraction(&self) -> Option<f64> {
        Some(self.gflops / self.matmul_gflops?)
    }
}

fn table(rows: &[Row]) {
    say(format_args!(
        "\n{:<22}{:>14}{:>12}{:>16}{:>12}",
        "backend", "tokens/s", "GFLOP/s", "matmul GFLOP/s", "fraction"
    ));
    for row in rows {
        let or_dash = |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |n| format!("{n:.digits$}"));
        say(format_args!(
            "{:<22}{:>14.0}{:>12.2}{:>16}{:>12}",
            row.backend,
            row.tokens_per_s,
            row.gflops,
            or_dash(row.matmul_gflops, 2),
            or_dash(row.fraction(), 3),
        ));
    }
    say("");
}

fn ratio(own: &Value, other: &Value) -> Option<f64> {
    Some(own["tokens_per_s"].as_f64()? / other["tokens_per_s"].as_f64()?)
}

fn native(paths: &Paths, case: &Case<'_>, device: &str) -> Result<Value> {
    say(format_args!("   {} {} × {} on {device} …", case.preset, case.batch, case.seq));
    let mut step = paths.command(paths.target.join("release/examples/step"));
    last_json(&capture(step.args([case.preset, case.batch, case.seq, SECONDS, device]))?)
}

fn pytorch(paths: &Paths, settings: Value) -> Result<Value> {
    say("   the same in PyTorch …");
    let mut python = paths.command(setup::python(paths));
    python.arg(paths.root.join("tests/python/step.py")).arg(settings.to_string()).arg(SECONDS);
    last_json(&capture(&mut python)?)
}

/// The page itself, on WebGPU, as a contributor to a coordinator of its own: what a person gets.
fn tab(paths: &Paths, case: &Case<'_>) -> Result<Value> {
    say("   the page on WebGPU …");
    let data = text::import(paths)?;
    let dir = paths.work.join("bench");
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    let Case { preset, batch, seq } = case;
    // One round that outlasts the measurement.
    let run = format!(
        "[model]\npreset = \"{preset}\"\n[inner]\nbatch = {batch}\nseq = {seq}\n[round]\nseconds = 3600\nquorum = 1\n"
    );
    let run = world::run_file(&dir, "Bench", &run)?;
    let mut coordinator = Coordinator::start(paths, &dir, &run, &data, world::port(0)?)?;
    let mut tab = Contributor::tab(paths, &dir, &format!("{}?device=gpu", coordinator.url()))?;
    let step: u64 = batch.parse::<u64>()? * seq.parse::<u64>()?;
    let started = Instant::now();
    loop {
        coordinator.check()?;
        tab.check()?;
        let points: Vec<(f64, u64)> = tab
            .events()
            .iter()
            .filter_map(|event| Some((event["at_ms"].as_f64()?, event["tokens"].as_u64()?)))
            .filter(|(_, tokens)| *tokens >= WARM_UP_STEPS * step)
            .collect();
        if let (Some(first), Some(last)) = (points.first(), points.last()) {
            let seconds = (last.0 - first.0) / 1000.0;
            if seconds >= TAB_TIMED.as_secs_f64() {
                return Ok(json!({ "tokens_per_s": (last.1 - first.1) as f64 / seconds }));
            }
        }
        if started.elapsed() > TAB_LIMIT {
            bail!("The tab did not train long enough. Its log: {}", tab.log.display());
        }
        run::tick()?;
    }
}

/// The matrix products of the tab's own backend: a measurement among its tests, which knows that backend.
fn matmul_in_tab(paths: &Paths) -> Result<Value> {
    say("   matrix products on WebGPU …");
    let mut pack = crate::test::in_browser(paths, "web/trainer", "web");
    pack.args(["--test", "webgpu", "--", "--include-ignored", "--nocapture", "matmul_rate"]);
    last_json(&capture(wasm::with_compiler(paths, &mut pack))?)
}

fn tfjs(paths: &Paths, shape: &Value) -> Result<Value> {
    say("   the same in TensorFlow.js on WebGPU …");
    let mut model = shape.clone();
    model["rope_theta"] = json!(10_000.0);
    model["norm_eps"] = json!(1e-5);
    let inner = json!({ "lr": 1e-3, "beta1": 0.9, "beta2": 0.95, "weight_decay": 0.1, "clip": 1.0 });
    let settings = json!({ "shape": model, "batch": shape["batch"], "seq": shape["seq"], "inner": inner });
    let mut script = browser::script(paths, "tfjs.mjs")?;
    last_json(&capture(script.arg(settings.to_string()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_follows_from_the_work_of_a_token() {
        let own = json!({ "tokens_per_s": 100.0, "gflops": 50.0, "matmul_gflops": 100.0 });
        let row = Row::of("cpu", &own, &own);
        assert_eq!((row.gflops, row.fraction()), (50.0, Some(0.5)));
        let other = json!({ "tokens_per_s": 200.0 });
        let row = Row::of("pytorch_cpu", &other, &own);
        assert_eq!((row.gflops, row.fraction()), (100.0, None));
        assert_eq!(ratio(&own, &other), Some(0.5));
    }
}
