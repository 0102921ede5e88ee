//! What contracts say of signatures, on a real chain: of the right one, of another, and where there is none to ask.
#![allow(clippy::unwrap_used)]

mod common;

use common::Anvil;
use tributary_chain::{ChainError, Node};

/// A contract that says yes to one hash, whatever the signature: the hash is compared with the call's first word, and
/// what EIP-1271 answers is multiplied with the outcome.
fn wallet_of(hash: [u8; 32]) -> String {
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("0x6004357f{hash}14631626ba7e60e01b0260005260206000f3")
}

#[test]
fn a_contract_is_asked_and_the_block_is_known() {
    let Some(anvil) = Anvil::start() else { return };
    let (says_yes, reverts, odd, nobody) = ([0x31; 20], [0x32; 20], [0x33; 20], [0x34; 20]);
    let at = |wallet: [u8; 20]| format!("0x{}", wallet.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    let code = |wallet, code: &str| anvil.tell("anvil_setCode", &format!("[\"{}\",\"{code}\"]", at(wallet)));
    code(says_yes, &wallet_of([9; 32]));
    code(reverts, "0x60006000fd");
    // True, in Solidity's encoding.
    code(odd, "0x600160005260206000f3");
    for _ in 0..3 {
        anvil.tell("evm_mine", "[]");
    }
    let node = anvil.node();
    assert_eq!(node.consents(&says_yes, &[9; 32], &[1; 65]).unwrap(), Some(3));
    assert_eq!(node.consents(&says_yes, &[9; 32], &[1; 700]).unwrap(), Some(3));
    for (wallet, hash) in [(says_yes, [8; 32]), (reverts, [9; 32]), (odd, [9; 32]), (nobody, [9; 32])] {
        assert_eq!(node.consents(&wallet, &hash, &[1; 65]).unwrap(), None, "{}", at(wallet));
    }
}

#[test]
fn a_node_that_is_away_is_no_answer() {
    let error = Node::new("http://127.0.0.1:9").consents(&[1; 20], &[9; 32], &[]).unwrap_err();
    assert!(matches!(error, ChainError::Unreachable { .. }) && !error.is_fatal(), "{error}");
}
