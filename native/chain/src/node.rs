//! A chain's node: JSON-RPC over HTTP.

use std::io::Read;
use std::time::Duration;

use serde_json::{Value, json};
use tributary_ledger::Wallet;
use tributary_ledger::abi::{self, hex, unhex};

use crate::ChainError;

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes of an answer: what is asked here has a few kilobytes.
const MOST_ANSWER: u64 = 1 << 20;

/// A node, which is believed about the chain and nothing else: what it says of an epoch is compared with the log.
#[derive(Debug, Clone)]
pub struct Node {
    url: String,
    agent: ureq::Agent,
}

impl Node {
    /// The node at a URL.
    pub fn new(url: &str) -> Self {
        // A node that refuses says why in the body, whatever the status.
        let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false).build();
        Self { url: url.to_owned(), agent: ureq::Agent::new_with_config(config) }
    }

    /// The chain's id.
    pub fn chain(&self) -> Result<u64, ChainError> {
        self.number("eth_chainId", json!([]))
    }

    /// The newest block's time in seconds since 1970.
    pub fn time(&self) -> Result<u64, ChainError> {
        let block = self.ask("eth_getBlockByNumber", &json!(["latest", false]))?;
        number(&block["timestamp"]).ok_or_else(|| answer("eth_getBlockByNumber", &block))
    }

    /// The coins of an account, in the smallest unit.
    pub fn coins(&self, of: &Wallet) -> Result<u128, ChainError> {
        let found = self.ask("eth_getBalance", &json!([hex(of), "latest"]))?;
        let coins = found.as_str().and_then(|text| u128::from_str_radix(text.strip_prefix("0x")?, 16).ok());
        coins.ok_or_else(|| answer("eth_getBalance", &found))
    }

    /// Whether there is a contract.
    pub(crate) fn has_code(&self, at: &Wallet) -> Result<bool, ChainError> {
        Ok(self.ask("eth_getCode", &json!([hex(at), "latest"]))?.as_str().is_some_and(|code| code.len() > 2))
    }

    /// Calls a contract's function without a transaction; its answer in words of 32 bytes.
    pub(crate) fn view(&self, at: &Wallet, data: &[u8]) -> Result<Vec<[u8; 32]>, ChainError> {
        let found = self.ask("eth_call", &json!([{"to": hex(at), "data": hex(data)}, "latest"]))?;
        let bytes = found.as_str().and_then(unhex).ok_or_else(|| answer("eth_call", &found))?;
        Ok(bytes.as_chunks().0.to_vec())
    }

    /// A number that is answered as one.
    pub(crate) fn number(&self, method: &str, params: Value) -> Result<u64, ChainError> {
        let found = self.ask(method, &params)?;
        number(&found).ok_or_else(|| answer(method, &found))
    }

    /// Asks anything.
    pub(crate) fn ask(&self, method: &str, params: &Value) -> Result<Value, ChainError> {
        let gone = |why: String| ChainError::Unreachable { url: self.url.clone(), why };
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let sent = self.agent.post(&self.url).header("content-type", "application/json").send(&request);
        let mut body = String::new();
        let mut got = sent.map_err(|error| gone(error.to_string()))?;
        let read = got.body_mut().as_reader().take(MOST_ANSWER).read_to_string(&mut body);
        read.map_err(|error| gone(error.to_string()))?;
        let mut found: Value = serde_json::from_str(&body).map_err(|_| answer(method, &Value::String(body)))?;
        if let Some(error) = found.get("error") {
            return Err(ChainError::Refused { method: method.to_owned(), why: reason(error) });
        }
        match found.get_mut("result") {
            Some(result) => Ok(result.take()),
            None => Err(answer(method, &found)),
        }
    }
}

/// Why a node refused, with the name of a contract's error in place of its four bytes.
fn reason(error: &Value) -> String {
    let said = error["message"].as_str().unwrap_or("no reason given");
    let data = error["data"].as_str().and_then(unhex).unwrap_or_default();
    abi::error_name(&data).map_or_else(|| said.to_owned(), |name| format!("{said}: {name}"))
}

fn answer(method: &str, found: &Value) -> ChainError {
    let answer = found.to_string().chars().take(200).collect();
    ChainError::Answer { method: method.to_owned(), answer }
}

/// A number as nodes write it.
pub(crate) fn number(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}
