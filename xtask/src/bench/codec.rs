//! `bench codec`: how fast updates are compressed, encoded, decoded and folded, natively and in a tab's worker, by the
//! same lines of code (`core/protocol/examples/codec`). Rates are of f32 weights; the fold is of 20 updates.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use super::json_lines;
use crate::paths::Paths;
use crate::run::{logged, minutes, say, shown};
use crate::{build, setup, wasm};

/// The model's size that goals are set for, in parameters.
const GOAL: u64 = 10_000_000;
/// What is measured beside a plain copy.
const OPERATIONS: [&str; 4] = ["compress", "encode", "decode", "fold"];

/// Runs it; it has no settings.
pub(crate) fn run(paths: &Paths, args: &[&str]) -> Result<()> {
    if let Some(arg) = args.first() {
        bail!("bench codec has no settings, and so no {arg}");
    }
    setup::for_build(paths)?;
    setup::for_browser(paths)?;
    let mut cargo = paths.command("cargo");
    cargo.args(["build", "--release", "--example", "codec"]);
    logged(paths, "build the codec's bench", build::native_workspace(&mut cargo), minutes(60))?;
    say("   natively …");
    let (status, lines) = shown(&mut paths.command(paths.target.join("release/examples/codec")), minutes(20))?;
    if !status.success() {
        bail!("The native measurement failed ({status}).");
    }
    let native = speeds(&lines);
    say("   in a tab …");
    // In the profile of the modules that a page loads.
    let mut pack = crate::test::in_browser(paths, "core/protocol", "web");
    pack.args(["--test", "speed", "--", "--include-ignored", "--nocapture"]);
    let (status, lines) = shown(wasm::with_compiler(paths, &mut pack), minutes(30))?;
    let tab = speeds(&lines);
    if !status.success() {
        bail!("The measurement in the browser failed ({status}) after {} of its sizes.", tab.len());
    }
    table(&[("native", &native), ("tab", &tab)]);
    say(result(&native, &tab)?);
    Ok(())
}

/// What was measured, one line a size, the smallest first.
fn speeds(lines: &[String]) -> Vec<Value> {
    let mut speeds: Vec<Value> = json_lines(lines.iter().map(String::as_str)).collect();
    speeds.sort_by_key(|speeds| speeds["params"].as_u64());
    speeds
}

fn table(places: &[(&str, &Vec<Value>)]) {
    say(format_args!(
        "\n{:<10}{:>12}{:>10}{:>12}{:>12}{:>12}{:>12}{:>12}{:>14}",
        "where", "parameters", "bytes", "copy MB/s", "compress", "encode", "decode", "fold", "20 folded, s"
    ));
    for (place, speeds) in places {
        for one in *speeds {
            let rate = |what: &str| rate(one, what).unwrap_or(f64::NAN);
            say(format_args!(
                "{place:<10}{:>12}{:>10}{:>12.0}{:>12.0}{:>12.0}{:>12.0}{:>12.0}{:>14.3}",
                one["params"].as_u64().unwrap_or(0),
                one["bytes"].as_u64().unwrap_or(0),
                rate("copy"),
                rate("compress"),
                rate("encode"),
                rate("decode"),
                rate("fold"),
                one["fold_20_s"].as_f64().unwrap_or(f64::NAN),
            ));
        }
    }
    say("");
}

fn rate(speeds: &Value, what: &str) -> Option<f64> {
    speeds[format!("{what}_mb_s")].as_f64()
}

/// The figures that goals are set for.
fn result(native: &[Value], tab: &[Value]) -> Result<Value> {
    let at_goal = |speeds: &[Value], place: &str| {
        let found = speeds.iter().find(|one| one["params"] == GOAL).cloned();
        found.with_context(|| format!("nothing was measured {place} with {GOAL} parameters"))
    };
    let (native_goal, tab_goal) = (at_goal(native, "natively")?, at_goal(tab, "in the tab")?);
    let wasm = ratios(|what| Some(rate(&tab_goal, what)? / rate(&native_goal, what)?))?;
    let memcpy = ratios(|what| Some(rate(&native_goal, what)? / rate(&native_goal, "copy")?))?;
    let peak = native.iter().filter_map(|one| one["peak_copies"].as_f64()).reduce(f64::max);
    Ok(json!({
        "fold_20x10m_s": { "native": native_goal["fold_20_s"], "tab": tab_goal["fold_20_s"] },
        "wasm_over_native": wasm.values().filter_map(Value::as_f64).reduce(f64::min),
        "wasm_over_native_by": wasm,
        "ratio_memcpy": memcpy,
        "peak_copies": peak,
        "speeds": { "native": native, "tab": tab },
    }))
}

/// A ratio of rates for each operation.
fn ratios(ratio: impl Fn(&str) -> Option<f64>) -> Result<Map<String, Value>> {
    let of = |what: &str| Ok((what.to_owned(), json!(ratio(what).with_context(|| format!("no rate of {what}"))?)));
    OPERATIONS.into_iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_operation_in_the_tab_is_the_one_that_counts() {
        let line = |params: u64, rate: u64, decode: u64, peak: Option<f64>| {
            let speeds = json!({
                "params": params, "copy_mb_s": 10 * rate, "compress_mb_s": rate, "encode_mb_s": rate,
                "decode_mb_s": decode, "fold_mb_s": rate, "fold_20_s": 0.25, "peak_copies": peak,
            });
            speeds.to_string()
        };
        let native = [line(50_000_000, 1, 1, Some(1.5)), "a log".to_owned(), line(GOAL, 1000, 1000, Some(0.5))];
        let native = speeds(&native);
        assert_eq!(native.iter().map(|one| one["params"].as_u64()).collect::<Vec<_>>(), [Some(GOAL), Some(50_000_000)]);
        let tab = speeds(&[line(GOAL, 900, 600, None)]);
        let figures = result(&native, &tab).expect("all is there");
        assert_eq!((&figures["wasm_over_native"], &figures["peak_copies"]), (&json!(0.6), &json!(1.5)));
        assert_eq!(figures["ratio_memcpy"]["encode"], json!(0.1));
        assert!(result(&native, &[]).is_err(), "without a tab there is no comparison");
    }
}
