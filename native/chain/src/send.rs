//! A transaction that is sent once, however often the command is run and wherever it was stopped.
//!
//! The nonce is written down before the first byte leaves: a chain includes one transaction of each nonce, so whatever is
//! sent under it again, with a higher fee perhaps, can happen only once.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tributary_ledger::Wallet;
use tributary_ledger::abi::{hex, unhex};

use crate::node::number;
use crate::tx::{Transaction, deployed};
use crate::{ChainError, Key, Node};

/// How long a run of a command waits for a block.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often it asks.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// Nodes replace a waiting transaction by one whose fees are a tenth higher; an eighth has room for rounding.
const RAISE: u128 = 8;
/// A tip that is taken on every chain, where the node names none: 1 gwei.
const TIP: u128 = 1_000_000_000;
/// Fees that are tried for one transaction: with an eighth more each time, forty times the first.
const MOST_TRIES: usize = 32;

/// Sends in the name of one account, with a folder for what is under way.
#[derive(Debug)]
pub struct Sender {
    node: Node,
    key: Key,
    folder: PathBuf,
}

/// What a transaction is for. The same purpose is never under way twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purpose(pub String);

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The transaction's hash.
    pub hash: String,
    /// The contract that it deployed, if it deployed one.
    pub contract: Wallet,
    /// What it cost, in gas.
    pub gas: u64,
}

/// What is written down.
#[derive(Debug, Serialize, Deserialize)]
struct UnderWay {
    chain: u64,
    from: String,
    nonce: u64,
    fee: u128,
    tip: u128,
    hashes: Vec<String>,
}

impl Sender {
    /// Sends through a node, signed by a key, and keeps what is under way in a folder.
    pub fn new(node: Node, key: Key, folder: PathBuf) -> Self {
        Self { node, key, folder }
    }

    /// The account.
    pub fn address(&self) -> Wallet {
        self.key.address()
    }

    /// The node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Sends, or goes on with what is under way for the same purpose, until it is in a block.
    pub(crate) fn once(
        &self,
        purpose: &Purpose,
        to: Option<Wallet>,
        value: u128,
        data: &[u8],
    ) -> Result<Sent, ChainError> {
        let chain = self.node.chain()?;
        let from = hex(&self.address());
        let mut known = self.read(purpose)?.filter(|known| known.chain == chain && known.from == from);
        match known.as_ref().map_or(Ok(None), |known| self.included(known)) {
            Ok(Some(sent)) => return Ok(sent),
            Ok(None) => {}
            // It was told when it happened, and changed nothing: once more.
            Err(ChainError::Reverted(_)) => known = None,
            Err(error) => return Err(error),
        }
        let next = self.node.number("eth_getTransactionCount", json!([from, "latest"]))?;
        // A nonce that was used by something else, a replacement from a wallet for instance, is used up. Whether it was
        // something else is for a person to say where money went with it: a node that is behind knows no receipt either.
        if let Some(UnderWay { nonce, hashes, .. }) = &known
            && (*nonce < next && value > 0)
        {
            return Err(ChainError::UsedUp(hashes.last().cloned().unwrap_or_default()));
        }
        let known = known.filter(|known| known.nonce >= next && known.hashes.len() < MOST_TRIES);
        let (fee, tip) = self.fees()?;
        let mut way =
            known.unwrap_or(UnderWay { chain, from: from.clone(), nonce: next, fee: 0, tip: 0, hashes: vec![] });
        (way.fee, way.tip) = (fee.max(way.fee + way.fee / RAISE), tip.max(way.tip + way.tip / RAISE));
        let call =
            json!({"from": from, "to": to.map(|to| hex(&to)), "value": format!("{value:#x}"), "data": hex(data)});
        let gas = self.node.number("eth_estimateGas", json!([call]))?;
        // A quarter more than estimated: what is stored meanwhile by others changes costs.
        let (gas, nonce, fee, tip) = (gas + gas / 4, way.nonce, way.fee, way.tip);
        let (signed, hash) =
            Transaction { chain, nonce, tip, fee, gas, to, value, data: data.to_vec() }.sign(&self.key);
        way.hashes.push(hex(&hash));
        self.write(purpose, &way)?;
        self.node.ask("eth_sendRawTransaction", &json!([hex(&signed)]))?;
        let started = Instant::now();
        loop {
            if let Some(sent) = self.included(&way)? {
                return Ok(sent);
            }
            if started.elapsed() > PATIENCE {
                return Err(ChainError::Waiting(hex(&hash)));
            }
            std::thread::sleep(ASK_EVERY);
        }
    }

    /// Forgets what was under way for a purpose: what it was for has happened.
    pub(crate) fn done(&self, purpose: &Purpose) -> Result<(), ChainError> {
        let path = self.path(purpose);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(file(path, &error)),
            _ => Ok(()),
        }
    }

    /// The receipt of whichever of the transactions is in a block.
    fn included(&self, way: &UnderWay) -> Result<Option<Sent>, ChainError> {
        for hash in &way.hashes {
            let receipt = self.node.ask("eth_getTransactionReceipt", &json!([hash]))?;
            if receipt.is_null() {
                continue;
            }
            if receipt["status"] != "0x1" {
                return Err(ChainError::Reverted(hash.clone()));
            }
            let contract = deployed(&self.address(), way.nonce);
            return Ok(Some(Sent { hash: hash.clone(), contract, gas: number(&receipt["gasUsed"]).unwrap_or(0) }));
        }
        Ok(None)
    }

    /// The most for a unit of gas, and the tip in it: twice the newest block's price, so that six full blocks in a row
    /// don't leave it behind.
    fn fees(&self) -> Result<(u128, u128), ChainError> {
        let block = self.node.ask("eth_getBlockByNumber", &json!(["latest", false]))?;
        let base = number(&block["baseFeePerGas"]).unwrap_or(0);
        let tip = self.node.number("eth_maxPriorityFeePerGas", json!([])).map_or(TIP, u128::from);
        Ok((2 * u128::from(base) + tip, tip))
    }

    fn path(&self, purpose: &Purpose) -> PathBuf {
        self.folder.join(format!("{}.sending.json", purpose.0))
    }

    fn read(&self, purpose: &Purpose) -> Result<Option<UnderWay>, ChainError> {
        let path = self.path(purpose);
        match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(file(path, &error)),
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| ChainError::File { path, why: error.to_string() }),
        }
    }

    fn write(&self, purpose: &Purpose, way: &UnderWay) -> Result<(), ChainError> {
        write_json(&self.path(purpose), way)
    }
}

/// Writes a file whole or not at all.
pub(crate) fn write_json(path: &std::path::Path, value: &impl Serialize) -> Result<(), ChainError> {
    let trouble = |error: &std::io::Error| file(path.to_owned(), error);
    let text = serde_json::to_vec_pretty(value).map_err(|error| trouble(&error.into()))?;
    let new = path.with_extension("new");
    let mut out = std::fs::File::create(&new).map_err(|error| trouble(&error))?;
    std::io::Write::write_all(&mut out, &text).and_then(|()| out.sync_all()).map_err(|error| trouble(&error))?;
    std::fs::rename(&new, path).map_err(|error| trouble(&error))
}

pub(crate) fn file(path: PathBuf, error: &std::io::Error) -> ChainError {
    ChainError::File { path, why: error.to_string() }
}

/// Bytes of a contract file, which this crate brings along.
pub(crate) fn bytecode(json: &str) -> Vec<u8> {
    let compiled: Value = serde_json::from_str(json).unwrap_or_default();
    compiled["bytecode"].as_str().and_then(unhex).unwrap_or_default()
}
