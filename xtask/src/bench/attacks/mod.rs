//! `bench attacks`: cheats against the real coordinator. What each keeps of what an honest contributor of its world is
//! paid, what it does to the model, what honest work is refused, and what checking costs. One process of the example
//! `attacks` for every cheat and seed; what has run already with the same program is read from its file.

mod report;

use std::hash::{DefaultHasher, Hasher};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{last_json, pool};
use crate::paths::Paths;
use crate::run::{logged, minutes, say};
use crate::{build, setup, text};

/// Worlds without a cheat, with one that is as large as many, and with one that is split into as many.
const NOBODY: &str = "nobody";
const WHOLE: &str = "whole";
const SPLIT: &str = "split";

/// Honest contributors of a world, and their steps in a round.
const HONEST: u64 = 6;
const STEPS: u64 = 8;

/// The cheats, by the names that the example gives them.
const CHEATS: [&str; 23] = [
    "nothing",
    "noise",
    "random",
    "copied",
    "noisy",
    "blended",
    "scaled",
    "flipped",
    "stale",
    "replayed",
    "foreign",
    "not-a-number",
    "twice-the-tokens",
    "tenfold-tokens",
    "own-data",
    "quarter",
    "silent",
    "mute",
    "turned",
    "turned-silent",
    "poisoned",
    "hopping",
    "colluding",
];

struct Settings {
    seeds: u64,
    rounds: u64,
    only: Option<Vec<String>>,
}

/// Runs it: `[--quick] [--seeds N] [--rounds N] [--only A,B]`.
pub(crate) fn run(paths: &Paths, args: &[&str]) -> Result<()> {
    let settings = Settings::read(args)?;
    setup::for_build(paths)?;
    let mut cargo = paths.command("cargo");
    cargo.args(["build", "--release", "--example", "attacks", "--bin", "tributary"]);
    logged(paths, "build the attacks", build::native_workspace(&mut cargo), minutes(60))?;
    let data = text::import(paths)?;
    let program = paths.target.join("release/examples/attacks");
    let dir = paths.work.join("attacks").join(fingerprint(&program)?);
    std::fs::create_dir_all(&dir)?;
    let (orders, began) = (settings.orders(), Instant::now());
    let total = orders.len();
    let outcomes = pool::all(orders, pool::cores(), |core, index, order: Value| {
        let name = format!("{}-s{}-r{}", order["cheat"].as_str().unwrap_or("?"), order["seed"], order["rounds"]);
        let (file, written) = (dir.join(format!("{name}.jsonl")), dir.join(format!("{name}.json")));
        if let Ok(outcome) = read(&file) {
            return Ok(outcome);
        }
        std::fs::write(&written, order.to_string())?;
        let began = Instant::now();
        pool::to_file(pool::on_core(paths, core, &program).arg(&written).arg(&data), &file)?;
        let outcome = read(&file)?;
        let (kept, seconds) = (100.0 * outcome["kept"].as_f64().unwrap_or(f64::NAN), began.elapsed().as_secs_f64());
        say(format_args!("   {:>3} of {total}  {name:<28} kept {kept:6.2} %  {seconds:4.0} s", index + 1));
        Ok(outcome)
    })?;
    say(format_args!("\n{total} worlds, {:.0} minutes\n", began.elapsed().as_secs_f64() / 60.0));
    report::print(&outcomes)
}

/// The figures that a world printed.
fn read(file: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(file)?;
    last_json(&text).with_context(|| format!("{} does not end with the figures of its world", file.display()))
}

/// Names a program by its bytes: figures of another one say nothing of it.
fn fingerprint(program: &Path) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    hasher.write(&std::fs::read(program)?);
    Ok(format!("{:016x}", hasher.finish()))
}

impl Settings {
    fn read(args: &[&str]) -> Result<Self> {
        let mut settings = Self { seeds: 20, rounds: 50, only: None };
        if args.contains(&"--quick") {
            (settings.seeds, settings.rounds) = (1, 25);
        }
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().copied().with_context(|| format!("{arg} needs a value"));
            match *arg {
                "--quick" => {}
                "--seeds" => settings.seeds = value()?.parse().context("--seeds takes a number")?,
                "--rounds" => settings.rounds = value()?.parse().context("--rounds takes a number")?,
                "--only" => settings.only = Some(value()?.split(',').map(str::to_owned).collect()),
                _ => bail!("bench attacks knows --quick, --seeds, --rounds and --only, not {arg}"),
            }
        }
        if let Some(unknown) = settings.only.iter().flatten().find(|name| !names().any(|known| known == *name)) {
            bail!("No cheat is called {unknown}. There are: {}.", names().collect::<Vec<_>>().join(", "));
        }
        Ok(settings)
    }

    /// Every world, the seeds one after the other.
    fn orders(&self) -> Vec<Value> {
        let wanted = |name: &&str| self.only.as_ref().is_none_or(|only| only.iter().any(|of| of == name));
        let order = |seed: u64, cheat: &str| {
            // One who has fifty times the work of a step should not do most of all.
            let steps = if [WHOLE, SPLIT].contains(&cheat) { 2 * STEPS } else { STEPS };
            json!({ "cheat": cheat, "seed": seed, "rounds": self.rounds, "honest": HONEST, "steps": steps })
        };
        let of = |seed| {
            let cheats = names().filter(move |name| wanted(name));
            std::iter::once(NOBODY).chain(cheats).map(move |cheat| order(seed, cheat))
        };
        (1..=self.seeds).flat_map(of).collect()
    }
}

/// Every world but that of nobody.
fn names() -> impl Iterator<Item = &'static str> {
    CHEATS.into_iter().chain([WHOLE, SPLIT])
}
