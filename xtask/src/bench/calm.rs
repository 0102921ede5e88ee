//! `bench calm`: what training in a tab leaves of the machine (`tests/browser/calm.mjs`).

use anyhow::{Context, Result, bail};

use super::last_json;
use crate::paths::Paths;
use crate::run::{minutes, say, shown};
use crate::{browser, build, setup};

/// Minutes of training for the memory, if nothing else is asked for.
const HOUR: u64 = 60;

/// Runs it: `[--minutes N]`, an hour otherwise. It judges nothing: on a busy machine every figure but the share suffers.
pub(crate) fn run(paths: &Paths, args: &[&str]) -> Result<()> {
    let length = match args {
        [] => HOUR,
        ["--minutes", length] => length.parse().context("--minutes takes a number")?,
        _ => bail!("bench calm knows --minutes, not {}", args.join(" ")),
    };
    build::all(paths)?;
    setup::for_browser(paths)?;
    let world = browser::page_world(paths)?;
    let mut script = browser::script(paths, "calm.mjs")?;
    let (status, lines) = shown(script.arg(world.url()).arg(length.to_string()), minutes(length + 30))?;
    if !status.success() {
        bail!("The measurement failed ({status}).");
    }
    say(last_json(&lines.join("\n"))?);
    Ok(())
}
