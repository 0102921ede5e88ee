//! `bench learn`: the laboratory. What low-communication training costs in loss, and what it saves in bytes, against
//! data-parallel training on the same tokens. One process per run of the example `learn`, as many at once as there are
//! cores; what has run already is read from its file, so that an interrupted bench goes on where it was.

mod arms;
mod plot;
mod report;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::pool;
use crate::paths::Paths;
use crate::run::{logged, minutes, say};
use crate::{build, setup, text};
use arms::Arm;
use report::Outcome;

/// What is tried, and how long.
struct Settings {
    preset: String,
    arms: Option<Vec<String>>,
    replicas: Option<Vec<u64>>,
    tokens: u64,
    seeds: u64,
    gpu: bool,
    quick: bool,
}

/// Runs it: `[--quick] [--preset tiny|small|base] [--arms A,B] [--replicas 2,4,8] [--tokens N] [--seeds N] [--gpu]`.
pub(crate) fn run(paths: &Paths, args: &[&str]) -> Result<()> {
    let settings = Settings::read(args)?;
    setup::for_build(paths)?;
    let mut cargo = paths.command("cargo");
    cargo.args(["build", "--release", "--example", "learn", "--bin", "tributary"]);
    logged(paths, "build the laboratory", build::native_workspace(&mut cargo), minutes(60))?;
    let data = text::import(paths)?;
    let dir = paths.work.join("learn");
    std::fs::create_dir_all(&dir)?;
    let arms = settings.plan()?;
    let began = Instant::now();
    let lab = Lab { paths, dir: &dir, data: &data, total: arms.len(), gpu: settings.gpu };
    let side_by_side = if settings.gpu { 1 } else { pool::cores() };
    let outcomes = pool::all(arms, side_by_side, |core, index, arm| lab.one(index, core, arm))?;
    say(format_args!("\n{} runs, {:.0} minutes\n", outcomes.len(), began.elapsed().as_secs_f64() / 60.0));
    for outcome in &outcomes {
        std::fs::write(dir.join(format!("{}.svg", outcome.name())), plot::curve(outcome))?;
    }
    report::table(&outcomes);
    std::fs::write(dir.join("learn.svg"), plot::all(&outcomes))?;
    say(format_args!("Every run's figures and curve, and a picture of all of them: {}", dir.display()));
    say(report::json(&outcomes));
    Ok(())
}

impl Settings {
    fn read(args: &[&str]) -> Result<Self> {
        let mut settings = Self {
            preset: "tiny".to_owned(),
            arms: None,
            replicas: None,
            tokens: 400_000,
            seeds: 3,
            gpu: false,
            quick: false,
        };
        let quick = args.contains(&"--quick");
        if quick {
            (settings.quick, settings.tokens, settings.seeds) = (true, 200_000, 1);
        }
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().copied().with_context(|| format!("{arg} needs a value"));
            match *arg {
                "--quick" => {}
                "--gpu" => settings.gpu = true,
                "--preset" => settings.preset = value()?.to_owned(),
                "--arms" => settings.arms = Some(value()?.split(',').map(str::to_owned).collect()),
                "--replicas" => {
                    let list: Result<_, _> = value()?.split(',').map(str::parse).collect();
                    settings.replicas = Some(list.context("--replicas takes numbers with commas between")?);
                }
                "--tokens" => settings.tokens = value()?.parse().context("--tokens takes a number")?,
                "--seeds" => settings.seeds = value()?.parse().context("--seeds takes a number")?,
                _ => bail!(
                    "bench learn knows --quick, --preset, --arms, --replicas, --tokens, --seeds and --gpu, not {arg}"
                ),
            }
        }
        Ok(settings)
    }

    /// Every run, the seeds one after the other so that a first table is there soon.
    fn plan(&self) -> Result<Vec<Arm>> {
        let mut plan = Vec::new();
        for seed in 1..=self.seeds {
            plan.extend(arms::all(self.quick).into_iter().filter(|arm| self.wants(arm)).map(|mut arm| {
                for (key, value) in [
                    ("preset", Value::from(self.preset.as_str())),
                    ("seed", Value::from(seed)),
                    ("tokens", Value::from(self.tokens)),
                    ("device", Value::from(if self.gpu { "auto" } else { "cpu" })),
                ] {
                    // What an arm fixes itself it needs so.
                    arm.settings.entry(key).or_insert(value);
                }
                arm
            }));
        }
        if plan.is_empty() {
            bail!("No arm is called that. There are: {}.", arms::names().join(", "));
        }
        Ok(plan)
    }

    fn wants(&self, arm: &Arm) -> bool {
        let named = match &self.arms {
            Some(names) => names.iter().any(|name| name == arm.name),
            None => arm.usual,
        };
        named && (arm.replicas == 0 || self.replicas.as_ref().is_none_or(|list| list.contains(&arm.replicas)))
    }
}

/// What all runs have in common.
struct Lab<'a> {
    paths: &'a Paths,
    dir: &'a Path,
    data: &'a Path,
    total: usize,
    gpu: bool,
}

impl Lab<'_> {
    /// One run, from its file if it has run before.
    fn one(&self, index: usize, core: usize, arm: Arm) -> Result<Outcome> {
        let file = self.dir.join(format!("{}.jsonl", arm.file_name()));
        let settings = Value::Object(arm.settings.clone());
        if let Some(outcome) = Outcome::read(&file, &arm, &settings) {
            return Ok(outcome);
        }
        let order = file.with_extension("json");
        std::fs::write(&order, settings.to_string())?;
        let began = Instant::now();
        pool::to_file(self.command(core).arg(&order).arg(self.data), &file)?;
        let outcome = Outcome::read(&file, &arm, &settings)
            .with_context(|| format!("{} does not end with the result of its arm", file.display()))?;
        say(format_args!(
            "   {:>3} of {}  {:<34} loss {:.4}  {:.1} min",
            index + 1,
            self.total,
            arm.file_name(),
            outcome.loss,
            began.elapsed().as_secs_f64() / 60.0
        ));
        Ok(outcome)
    }

    /// The example, on a core of its own.
    fn command(&self, core: usize) -> std::process::Command {
        let learn = self.paths.target.join("release/examples/learn");
        if self.gpu { self.paths.command(learn) } else { pool::on_core(self.paths, core, &learn) }
    }
}
