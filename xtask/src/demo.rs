//! The demo: a coordinator, one native contributor and the page, on real text, until Ctrl-C.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use crate::local::Chain;
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

/// With a chain: credits that are final while a person waits.
const SOON: &str = "[check]\nsettle = 1\nhold = 2\n";

/// Builds, starts and stays. `chain`: with one on this machine.
pub(crate) fn run(paths: &Paths, chain: bool) -> Result<()> {
    build::all(paths)?;
    let data = text::import(paths)?;
    // Another rule is another run.
    let dir = paths.work.join(if chain { "demo-chain" } else { "demo" });
    let text = format!("{RUN}{}", if chain { SOON } else { "" });
    let run_toml = world::run_file(&dir, "Tributary demo", &text)?;
    let port = world::port(PORT)?;
    let mut coordinator = Coordinator::start(paths, &dir, &run_toml, &data, port)?;
    let url = coordinator.url();
    let mut native = Contributor::native(paths, &dir, &url, "auto")?;
    let chain = if chain { Some(Chain::start(paths, &dir)?) } else { None };
    if let Some(chain) = &chain {
        let settings = deploy(paths, chain, &mut coordinator, &mut native)?;
        stop(&mut native, &mut coordinator)?;
        let mut serve = paths.command(paths.tributary());
        serve.arg("--config").arg(settings);
        coordinator = Coordinator::start_as(serve, paths, &dir, &run_toml, &data, port)?;
        native = Contributor::native(paths, &dir, &url, "auto")?;
    }
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
            // Of an earlier demo there are many at first.
            while let Some(submitted) = chain.as_ref().and_then(|chain| chain.submit(paths, &url))
                && !run::interrupted()
            {
                say(submitted);
            }
        }
        // A round takes half a minute; an interrupt is looked at more often.
        for _ in 0..20 {
            if run::tick().is_err() {
                break;
            }
        }
    }
    say("\nStopping the contributor and the coordinator …");
    stop(&mut native, &mut coordinator)
}

/// Deploys once a round has settled, says what a wallet needs, and gives the coordinator's settings.
fn deploy(paths: &Paths, chain: &Chain, coordinator: &mut Coordinator, native: &mut Contributor) -> Result<PathBuf> {
    say("\nContracts are deployed for a run once its first round has settled: a minute …");
    while newest_round(&coordinator.get("/api/rounds").unwrap_or_default()).is_none() {
        coordinator.check()?;
        native.check()?;
        run::tick()?;
    }
    let settings = chain.deploy(paths, &coordinator.url())?;
    say(format_args!(
        "\nThe contracts are on a chain of this machine, which ends with the demo. In your wallet add a network with the \
         address {} and the chain id 31337, and import the account of this key, which everybody knows and which has \
         coins for gas there and nowhere else:\n\n\
         \x20 0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d\n\n\
         Then link it on the page. Epochs have four rounds, and a root counts a minute after it is submitted, which \
         happens here.",
        chain.rpc
    ));
    Ok(settings)
}

fn stop(native: &mut Contributor, coordinator: &mut Coordinator) -> Result<()> {
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
