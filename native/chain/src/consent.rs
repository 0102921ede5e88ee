//! What a wallet that is a contract says of a signature: EIP-1271.
//!
//! Enters: the wallet, the hash that was to be signed, the bytes that are said to be its signature. Leaves: the block at
//! which the contract said yes, so that anyone with an archive node can ask again. Refuses, by giving nothing: an address
//! without a contract, a contract that says no, says something else or ends with an error.

use serde_json::json;
use tributary_ledger::abi::{self, Word, hex, unhex};
use tributary_ledger::{Digest, Wallet};

use crate::{ChainError, Node};

/// The function, and with its first four bytes also the answer that means yes.
const FUNCTION: &str = "isValidSignature(bytes32,bytes)";

impl Node {
    /// The newest block, if a contract at this address says in it that this is its signature of the hash.
    pub fn consents(&self, wallet: &Wallet, hash: &Digest, signature: &[u8]) -> Result<Option<u64>, ChainError> {
        let block = self.number("eth_blockNumber", json!([]))?;
        let call = json!([{"to": hex(wallet), "data": hex(&question(hash, signature))}, format!("{block:#x}")]);
        let answer = match self.ask("eth_call", &call) {
            Ok(answer) => answer.as_str().and_then(unhex),
            Err(ChainError::Refused { why, .. }) if why.to_lowercase().contains("revert") => None,
            Err(error) => return Err(error),
        };
        Ok(answer.filter(|answer| *answer == yes()).map(|_| block))
    }
}

/// The function's call: the hash, where the bytes begin, how many they are, and they in whole words.
fn question(hash: &Digest, signature: &[u8]) -> Vec<u8> {
    let head: [Word; 3] = [*hash, abi::number(64u8), abi::number(signature.len() as u128)];
    let mut call = abi::call(FUNCTION, &head);
    call.extend(signature);
    call.resize(4 + 32 * (3 + signature.len().div_ceil(32)), 0);
    call
}

fn yes() -> Word {
    let mut word = [0; 32];
    word[..4].copy_from_slice(&abi::call(FUNCTION, &[]));
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes that viem's encodeFunctionData gives, and the answer that EIP-1271 fixes.
    #[test]
    fn the_question_is_encoded_as_solidity_does() {
        let asked = hex(&question(&[7; 32], &[0xaa; 33]));
        let word = |n: u8| format!("{n:064x}");
        let bytes = format!("{}{}", "aa".repeat(33), "00".repeat(31));
        assert_eq!(asked, format!("0x1626ba7e{}{}{}{bytes}", "07".repeat(32), word(0x40), word(33)));
        assert_eq!(question(&[7; 32], &[]).len(), 4 + 3 * 32);
        assert_eq!(hex(&yes()), format!("0x1626ba7e{}", "00".repeat(28)));
    }
}
