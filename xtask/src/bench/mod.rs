//! Benches: each prints a table for people and, as its last line, one JSON object with the figures.

mod learn;
mod step;
mod swarm;
mod transport;

use anyhow::{Result, bail};

use crate::paths::Paths;

/// Runs one by name; what follows the name goes to it.
pub(crate) fn run(paths: &Paths, name: &str, args: &[&str]) -> Result<()> {
    match name {
        "learn" => learn::run(paths, args),
        "step" => step::run(paths, args),
        "swarm" => swarm::run(paths, args),
        "transport" => transport::run(paths, args),
        _ => bail!("There is no bench {name}. There are: learn, step, swarm, transport."),
    }
}
