//! The chain on which earnings are claimed, as far as a coordinator knows it.
//!
//! Enters: the `[serve.chain]` table. Leaves: what a page must know to claim, and what wallets that are contracts say.
//! Refuses a deployment of another run, and a node of another chain. Its node's address is told to nobody: it may hold a key.

use std::sync::OnceLock;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tributary_chain::{ChainError, Deployment, Node};
use tributary_ledger::{Digest, Wallet};
use tributary_protocol::Hash;

use crate::config;

/// Wallets that are asked about at a time: each holds a thread for as long as the node takes.
pub(super) const AT_ONCE: usize = 4;

/// The chain.
#[derive(Debug)]
pub(super) struct Chain {
    made: Deployment,
    id: u64,
    explorer: Option<String>,
    node: Node,
    rounds: OnceLock<u64>,
    /// Who may ask the node now.
    pub(super) asking: Semaphore,
}

impl Chain {
    /// The chain of these settings, which must be about this run. Asks nobody yet.
    pub(super) fn new(config: &config::Chain, run: &Hash) -> anyhow::Result<Self> {
        let path = &config.deployment;
        let made = Deployment::read(path)?.with_context(|| {
            format!(
                "there is no deployment at {} ([serve.chain] in the settings): name the chain.json that `tributary chain deploy` wrote",
                path.display()
            )
        })?;
        let id = made.at().map(|at| at.chain).with_context(|| format!("{} names no contract", path.display()))?;
        if made.run() != Some(run.0) {
            bail!(
                "{} is the deployment of another run than this one ({}): name this run's, or take [serve.chain] out of the settings",
                path.display(),
                run.short()
            );
        }
        let (node, asking) = (Node::new(&config.rpc), Semaphore::new(AT_ONCE));
        Ok(Self { made, id, explorer: config.explorer.clone(), node, rounds: OnceLock::new(), asking })
    }

    /// Its id.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Rounds of an epoch, from the contract, once; whether the node is of the right chain is found out with it. Blocking.
    pub(super) fn rounds(&self) -> Result<u64, ChainError> {
        if let Some(rounds) = self.rounds.get() {
            return Ok(*rounds);
        }
        self.made.check(&self.node)?;
        let rounds = self.made.rounds(&self.node)?;
        Ok(*self.rounds.get_or_init(|| rounds))
    }

    /// The block at which a wallet's contract said that this is its signature, if it did. Blocking.
    pub(super) fn consents(&self, wallet: &Wallet, hash: &Digest, signature: &[u8]) -> Result<Option<u64>, ChainError> {
        self.rounds()?;
        self.node.consents(wallet, hash, signature)
    }

    /// What a page is told.
    pub(super) fn json(&self) -> Value {
        json!({
            "chain": self.id.to_string(), "distributor": self.made.distributor(), "share": self.made.share(),
            "rounds": self.rounds.get(), "explorer": self.explorer,
        })
    }
}
