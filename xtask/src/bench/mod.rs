//! Benches: each prints a table for people and, as its last line, one JSON object with the figures.

mod attacks;
mod calibrate;
mod calm;
mod codec;
mod learn;
mod ledger;
mod mean;
mod page;
mod pool;
mod round;
mod step;
mod swarm;
mod transport;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::paths::Paths;

/// Runs one by name; what follows the name goes to it.
pub(crate) fn run(paths: &Paths, name: &str, args: &[&str]) -> Result<()> {
    match name {
        "attacks" => attacks::run(paths, args),
        "calibrate" => calibrate::run(paths, args),
        "calm" => calm::run(paths, args),
        "codec" => codec::run(paths, args),
        "learn" => learn::run(paths, args),
        "ledger" => ledger::run(paths, args),
        "page" => page::run(paths, args),
        "round" => round::run(paths, args),
        "step" => step::run(paths, args),
        "swarm" => swarm::run(paths, args),
        "transport" => transport::run(paths, args),
        _ => bail!(
            "There is no bench {name}. There are: attacks, calibrate, calm, codec, learn, ledger, page, round, step, swarm, transport."
        ),
    }
}

/// The lines that are JSON objects.
fn json_lines<'a>(lines: impl Iterator<Item = &'a str>) -> impl Iterator<Item = Value> {
    lines.filter_map(|line| serde_json::from_str(line.trim()).ok().filter(Value::is_object))
}

/// The last line that is a JSON object.
fn last_json(output: &str) -> Result<Value> {
    json_lines(output.lines()).last().with_context(|| format!("no figures in: {output}"))
}
