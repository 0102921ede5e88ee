//! `bench round`: for what part of their time eight contributors train, with 10 million parameters, rounds of a minute
//! and a link of 10 Mbit/s and 50 ms each. What holds up the real trainer and what its blobs weigh is measured here
//! (`pause`); the rounds are then run in the tests' simulated world with that (`round`), in virtual time.

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::last_json;
use crate::paths::Paths;
use crate::run::{capture, logged, minutes, say};
use crate::{build, setup};

/// The preset of 10 million parameters.
const PRESET: &str = "small";
/// The size of which the coordinator's fold is measured: that preset's, roundly.
const PARAMS: &str = "10000000";

/// Runs it; it has no settings.
pub(crate) fn run(paths: &Paths, args: &[&str]) -> Result<()> {
    if let Some(arg) = args.first() {
        bail!("bench round has no settings, and so no {arg}");
    }
    setup::for_build(paths)?;
    let mut cargo = paths.command("cargo");
    cargo.args(["build", "--release", "--example", "pause", "--example", "codec", "--example", "round"]);
    logged(paths, "build the rounds' bench", build::native_workspace(&mut cargo), minutes(60))?;
    let dir = paths.work.join("round");
    std::fs::create_dir_all(&dir)?;
    let example = |name: &str| paths.command(paths.target.join("release/examples").join(name));
    say("   what holds up a trainer …");
    let mut figures = last_json(&capture(example("pause").arg(&dir).args([PRESET, "cpu"]))?)?;
    say("   the coordinator's fold …");
    let codec = last_json(&capture(example("codec").arg(PARAMS))?)?;
    // Of 20 updates, where these rounds have 8.
    figures["coordinator_fold_ms"] = json!(codec["fold_20_s"].as_f64().unwrap_or(f64::NAN) * 1000.0);
    table(&figures);
    say("   rounds …");
    let rounds = last_json(&capture(example("round").arg(figures.to_string()))?)?;
    say(result(&figures, rounds));
    Ok(())
}

fn table(figures: &Value) {
    let number = |key: &str| figures[key].as_f64().unwrap_or(f64::NAN);
    say(format_args!("\n{:<28}{:>12}{:>14}", "", "ms", "bytes"));
    for (name, ms, bytes) in [
        ("a first update", "first_cut_ms", "first_bytes"),
        ("an update", "cut_ms", "update_bytes"),
        ("adding a step", "fold_ms", "step_bytes"),
    ] {
        say(format_args!("{name:<28}{:>12.1}{:>14.0}", number(ms), number(bytes)));
    }
    say(format_args!("{:<28}{:>12.1}\n", "the coordinator's fold", number("coordinator_fold_ms")));
}

/// What the rounds came to, and what of the lost time is the trainer's own: the rest is waiting for the first data.
fn result(figures: &Value, mut rounds: Value) -> Value {
    let sum = ["cut_ms", "fold_ms"].iter().filter_map(|key| figures[*key].as_f64()).sum::<f64>();
    rounds["pause_ms"] = json!(sum);
    rounds["measured"] = figures.clone();
    rounds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_pauses_for_its_cut_and_its_fold() {
        let figures = json!({ "cut_ms": 200.0, "fold_ms": 150.5, "first_cut_ms": 1000.0 });
        let result = result(&figures, json!({ "utilisation": 0.98 }));
        assert_eq!((&result["pause_ms"], &result["utilisation"]), (&json!(350.5), &json!(0.98)));
    }
}
