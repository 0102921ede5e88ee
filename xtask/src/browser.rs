//! The scripts of `tests/browser`, which drive Chromium from Node.

use std::process::Command;

use anyhow::{Context, Result};

use crate::paths::Paths;
use crate::world::{self, Coordinator};
use crate::{chain, setup, text};

/// Rounds that a page test sees the end of.
const RUN: &str = "\
[model]\npreset = \"tiny\"\n[inner]\nbatch = 2\nseq = 64\nwarmup = 5\n[round]\nseconds = 10\ngrace = 10\nquorum = 1\n";

/// A command that runs one of the scripts; they find the browser by `CHROMIUM`.
pub(crate) fn script(paths: &Paths, name: &str) -> Result<Command> {
    let chromium = setup::chromium_path(paths).context("Chromium is not there. `cargo xtask setup` installs it.")?;
    let mut node = paths.command("node");
    node.env("CHROMIUM", chromium).arg(paths.root.join("tests/browser").join(name));
    Ok(node)
}

/// The same for those that have peers in tabs and natively talk over WebRTC.
pub(crate) fn webrtc_script(paths: &Paths, name: &str) -> Result<Command> {
    let mut node = script(paths, name)?;
    node.arg(paths.webrtc_peer()).arg(paths.webrtc_module());
    Ok(node)
}

/// Wallets from end to end: the page, a coordinator and a chain, which the script starts itself.
pub(crate) fn wallet_script(paths: &Paths) -> Result<Command> {
    let mut node = script(paths, "wallet.mjs")?;
    node.arg(paths.tributary()).arg(text::import(paths)?).arg(chain::anvil(paths)?);
    node.arg(paths.root.join("www/dist")).arg(paths.work.join("wallet-test"));
    Ok(node)
}

/// A coordinator for the page's tests.
pub(crate) fn page_world(paths: &Paths) -> Result<Coordinator> {
    let data = text::import(paths)?;
    let dir = paths.work.join("page-test");
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    let run = world::run_file(&dir, "Page test", RUN)?;
    Coordinator::start(paths, &dir, &run, &data, world::port(0)?)
}
