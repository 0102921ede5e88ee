//! The demo: a coordinator, one native contributor and the page, on real text, until Ctrl-C.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use crate::paths::Paths;
use crate::run::{self, say};
use crate::world::{self, Contributor, Coordinator};
use crate::{build, text};

/// The page's port, if it is free.
const PORT: u16 = 8080;
/// How long the programs may take to end when asked.
const END: Duration = Duration::from_secs(15);
/// A model that any machine trains, in rounds short enough to watch.
const RUN: &str = "[model]\npreset = \"tiny\"\n[round]\nseconds = 30\ngrace = 15\nquorum = 1\n";

/// Builds, starts and stays.
pub(crate) fn run(paths: &Paths) -> Result<()> {
    build::all(paths)?;
    let data = text::import(paths)?;
    let dir = paths.work.join("demo");
    let run_toml = world::run_file(&dir, "Tributary demo", RUN)?;
    let mut coordinator = Coordinator::start(paths, &dir, &run_toml, &data, world::port(PORT)?)?;
    let url = coordinator.url();
    let mut native = Contributor::native(paths, &dir, &url, "auto")?;
    say(format_args!(
        "\nA coordinator and one native contributor are training a small language model on real books.\n\n\
         \x20 The page, and the coordinator for further contributors:  {url}\n\n\
         Open it in a browser, agree to compute and press Start: the tab joins the same model.\n\
         Another native contributor: {} train {url}\n\
         Logs: {} and {}\n\
         Ctrl-C ends everything; what was learned is kept for the next demo.\n",
        paths.tributary().display(),
        coordinator.log.display(),
        native.log.display(),
    ));
    let mut shown = None;
    while !run::interrupted() {
        coordinator.check()?;
        native.check()?;
        if let Some((round, line)) = newest_round(&coordinator.get("/api/rounds").unwrap_or_default())
            && shown != Some(round)
        {
            shown = Some(round);
            say(line);
        }
        // A round takes half a minute; an interrupt is looked at more often.
        for _ in 0..20 {
            if run::tick().is_err() {
                break;
            }
        }
    }
    say("\nStopping the contributor and the coordinator …");
    // The second asks a contributor to stop without finishing its round.
    native.process.signal("INT");
    std::thread::sleep(Duration::from_millis(300));
    native.process.signal("INT");
    native.process.wait(END)?;
    coordinator.process.signal("INT");
    coordinator.process.wait(END)?;
    Ok(())
}

/// The newest round that was folded and measured, with a line about it.
fn newest_round(rounds: &Value) -> Option<(u64, String)> {
    let measured = rounds["rounds"].as_array()?.iter().filter(|one| one["bits_per_byte"].is_f64());
    let newest = measured.max_by_key(|one| one["round"].as_u64())?;
    let (round, heldout) = (newest["round"].as_u64()?, newest["bits_per_byte"].as_f64()?);
    let accepted = newest["accepted"].as_array().map_or(0, Vec::len);
    Some((round, format!("round {round}: {accepted} accepted, held-out bits per byte {heldout:.3}")))
}
