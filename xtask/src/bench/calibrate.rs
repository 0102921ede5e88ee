//! `bench calibrate`: what replays of honest work and of cheats look like, on all cores, on one, and if there is one
//! on a GPU: the figures that the thresholds of `core/trainer/src/likeness.rs` stand on, as two tables.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::json;

use super::json_lines;
use crate::paths::Paths;
use crate::run::{capture, logged, minutes, say};
use crate::{build, setup, text};

/// How long a recording or a replay of all of it may take on two cores.
const LIMIT: Duration = minutes(30);
/// Steps of the longest rounds that are replayed on one core or on an emulated GPU.
const FEW: &str = "50";

/// Runs it: `[--gpu]`.
pub(crate) fn run(paths: &Paths, args: &[&str]) -> Result<()> {
    let gpu = match args {
        [] => false,
        ["--gpu"] => true,
        _ => bail!("bench calibrate knows --gpu and nothing else"),
    };
    setup::for_build(paths)?;
    let mut cargo = paths.command("cargo");
    cargo.args(["build", "--release", "--example", "calibrate", "--bin", "tributary"]);
    logged(paths, "build the bench", build::native_workspace(&mut cargo), minutes(60))?;
    let data = text::import(paths)?;
    let dir = paths.work.join("calibrate");
    std::fs::create_dir_all(&dir)?;
    let program = paths.target.join("release/examples/calibrate");
    let recorded = dir.join("recorded.bin");
    let mut record = paths.command(&program);
    record.arg("record").arg(&data).arg(&recorded).arg("cpu");
    logged(paths, "train honestly and otherwise", &mut record, LIMIT)?;
    let mut ways = vec![("all-cores", vec![], "cpu", "1000000"), ("one-core", vec!["taskset", "-c", "0"], "cpu", FEW)];
    if gpu {
        ways.push(("gpu", vec![], "gpu", FEW));
    }
    let mut files = Vec::new();
    let (mut honest, mut refused, mut cheats, mut passed) = (0, 0, 0, 0);
    for (name, before, device, most) in ways {
        let mut replay = match before.as_slice() {
            [] => paths.command(&program),
            [first, rest @ ..] => {
                let mut command = paths.command(first);
                command.args(rest).arg(&program);
                command
            }
        };
        say(format_args!("   replaying: {name} …"));
        let lines = capture(replay.arg("replay").arg(&recorded).args([device, most]))?;
        for line in json_lines(lines.lines()) {
            let is_same = line["same"] == true;
            let (count, wrong) = if line["name"] == "honest" {
                (&mut honest, (&mut refused, !is_same))
            } else {
                (&mut cheats, (&mut passed, is_same))
            };
            *count += 1;
            *wrong.0 += u64::from(wrong.1);
        }
        let file = dir.join(format!("{name}.jsonl"));
        std::fs::write(&file, lines)?;
        files.push(file);
    }
    say(capture(paths.command(&program).arg("report").args(&files))?);
    say(json!({ "honest": honest, "refused": refused, "cheats": cheats, "passed": passed }));
    Ok(())
}
