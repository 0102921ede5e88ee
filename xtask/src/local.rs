//! A chain on this machine, with the contracts on it, for the demo. It is gone when the demo ends.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::paths::Paths;
use crate::run::{self, Group, minutes};
use crate::{chain, setup, world};

/// The key of anvil's first account, which everybody knows: it pays for gas and submits.
const OPERATOR: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
/// Where anvil is, if that is free.
const PORT: u16 = 8545;
/// Terms under which a person sees an epoch end within minutes.
const TERMS: [&str; 8] =
    ["--guardian", "0x7777777777777777777777777777777777777777", "--rounds", "4", "--period", "1", "--delay", "60"];

/// The chain.
#[derive(Debug)]
pub(crate) struct Chain {
    _node: Group,
    folder: PathBuf,
    /// The node's address.
    pub(crate) rpc: String,
}

impl Chain {
    /// Starts a node without a past; what was deployed on an earlier one is forgotten.
    pub(crate) fn start(paths: &Paths, dir: &Path) -> Result<Self> {
        setup::for_chain(paths)?;
        let folder = dir.join("chain");
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        let port = world::port(PORT)?;
        let mut anvil = paths.command(chain::anvil(paths)?);
        // Its clock stands still between blocks, and delays end by the clock.
        anvil.args(["--block-time", "2", "--port", &port.to_string()]);
        let node = Group::spawn_logged(&mut anvil, &dir.join("anvil.log"))?;
        Ok(Self { _node: node, folder, rpc: format!("http://127.0.0.1:{port}") })
    }

    /// Deploys for the run of a coordinator, and gives the settings that tell it so.
    pub(crate) fn deploy(&self, paths: &Paths, url: &str) -> Result<PathBuf> {
        let (status, lines) = run::shown(self.operate(paths, "deploy").arg(url).args(TERMS), minutes(2))?;
        ensure!(status.success(), "The contracts could not be deployed: {}", lines.join("\n"));
        let file = self.folder.join("tributary.toml");
        std::fs::write(&file, format!("[serve.chain]\ndeployment = \"chain.json\"\nrpc = \"{}\"\n", self.rpc))?;
        Ok(file)
    }

    /// Submits the next epoch that has closed; a line about it if there is one.
    pub(crate) fn submit(&self, paths: &Paths, url: &str) -> Option<String> {
        // That nothing has closed is usual.
        let said = run::capture(self.operate(paths, "submit").arg(url)).ok()?;
        let said: Value = serde_json::from_str(said.trim()).ok()?;
        let (epoch, total, wallets) = (&said["epoch"], &said["total"], &said["wallets"]);
        said["transaction"]
            .is_string()
            .then(|| format!("epoch {epoch} is on the chain: {total} credits, {wallets} wallets"))
    }

    fn operate(&self, paths: &Paths, what: &str) -> Command {
        let mut command = paths.command(paths.tributary());
        command.env("TRIBUTARY_CHAIN_KEY", OPERATOR).env("TRIBUTARY_CHAIN_RPC", &self.rpc);
        command.env("TRIBUTARY_CHAIN_STATE", &self.folder).args(["chain", what]);
        command
    }
}
