//! The contracts: what compiles them, and the tests that hold them to their rules.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::paths::Paths;
use crate::run::{minutes, say, shown};
use crate::setup;

/// Where the sources, their compiler and the scripts are.
const FOLDER: &str = "core/contracts";

/// Scripts that each write files which are kept, or check them.
const SCRIPTS: [&str; 3] = ["compile.mjs", "trees.mjs", "links.mjs"];

/// Compiles the contracts, for those who changed them.
pub(crate) fn compile(paths: &Paths) -> Result<()> {
    setup::for_chain(paths)?;
    for name in SCRIPTS {
        anyhow::ensure!(shown(&mut script(paths, name, "write"), minutes(5))?.0.success(), "{name} failed");
    }
    say("The contracts are compiled. What calls cost may have changed: cargo xtask test --only chain");
    Ok(())
}

/// What the suite runs: that the kept files are what their sources give, then the contracts in revm.
pub(crate) fn suite(paths: &Paths) -> Vec<Command> {
    let mut cargo = paths.command("cargo");
    cargo.args(["test", "--release", "--manifest-path"]).arg(paths.root.join("tests/contracts/Cargo.toml"));
    // Its workspace is not ours, but what it builds may lie beside what ours does.
    cargo.arg("--target-dir").arg(&paths.target);
    SCRIPTS.iter().map(|name| script(paths, name, "check")).chain([cargo]).collect()
}

/// The node that tests talk to, of whatever system this is.
pub(crate) fn anvil(paths: &Paths) -> Result<PathBuf> {
    let packages = paths.root.join(FOLDER).join("node_modules/@foundry-rs");
    let folders = std::fs::read_dir(&packages).into_iter().flatten().filter_map(Result::ok);
    let mut programs = folders.map(|folder| folder.path().join("bin/anvil")).filter(|program| program.is_file());
    programs
        .next()
        .context("There is no anvil for this system among npm's packages, so the chain can't be tested here.")
}

fn script(paths: &Paths, name: &str, what: &str) -> Command {
    let mut node = paths.command("node");
    node.arg(paths.root.join(FOLDER).join(name)).arg(what);
    node
}
