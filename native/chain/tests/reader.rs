//! Somebody who has none of our code recomputes a payout from a log and claims it (`core/contracts/claim.mjs`).
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::process::Command;

use common::{Anvil, OPERATOR, RUN, terms};
use ed25519_dalek::{Signer, SigningKey};
use tributary_chain::{Deployment, Submission, close};
use tributary_ledger::{
    Book, Code, Entry, Finding, LinkMessage, LinkProof, Rule, Verdict, Wallet, WalletProof, address_of, checksummed,
    personal_hash,
};

const COORDINATOR: [u8; 32] = [0xc0; 32];
const RULE: Rule = Rule { pool: 1_000_003, witness_ppm: 0, settle: 1, hold: 2, relink: 2 };

fn identity(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

fn key(n: u8) -> [u8; 32] {
    identity(n).verifying_key().to_bytes()
}

fn wallet_key(n: u8) -> k256::ecdsa::SigningKey {
    k256::ecdsa::SigningKey::from_slice(&[n; 32]).unwrap()
}

fn wallet(n: u8) -> Wallet {
    address_of(wallet_key(n).verifying_key())
}

fn signs(n: u8, text: &str) -> Vec<u8> {
    let (signature, parity) = wallet_key(n).sign_prehash_recoverable(&personal_hash(text)).unwrap();
    [&signature.to_bytes()[..], &[27 + parity.to_byte()]].concat()
}

fn linked(who: u8, to: u8, before: Option<u8>, issued: u64) -> Entry {
    let (domain, uri, nonce) = ("a.example".to_owned(), "https://a.example/".to_owned(), format!("nonce{issued:05}"));
    let expires = issued + 60;
    let said = LinkMessage { domain, uri, wallet: wallet(to), chain: 1, nonce, issued, expires, peer: key(who) };
    let message = said.to_string();
    let peer = identity(who).sign(&LinkProof::peer_signs(&message)).to_bytes().to_vec();
    let proof = WalletProof::Key(signs(to, &message));
    let handover = before.map(|before| signs(before, &said.handover()));
    let proof = LinkProof { message, peer, wallet: proof, handover }.to_bytes();
    Entry::Linked { who: key(who), wallet: wallet(to), proof }
}

/// Three contributors: the first moves to another wallet at once, the second after the wait and with something lost on
/// the way, the third never names one.
fn log(rounds: u64) -> Vec<Vec<u8>> {
    let mut book = Book::default();
    let mut log = Vec::new();
    let mut add = |book: &mut Book, entry: Entry| {
        book.append(&entry).unwrap();
        log.push(entry.to_bytes());
    };
    add(&mut book, Entry::Run { run: RUN, coordinator: COORDINATOR, rule: RULE });
    for round in 0..rounds {
        let signed = vec![1; 3];
        add(&mut book, Entry::Opened { round, seed: [7; 32], base: [round as u8; 32], signed });
        let links = [(0, 1, 11, None), (0, 2, 12, None), (5, 1, 13, Some(11)), (4, 2, 14, None)];
        for (_, who, to, before) in links.into_iter().filter(|(when, ..)| *when == round) {
            add(&mut book, linked(who, to, before, 100 + round));
        }
        for who in 1..=3 {
            let (update, tokens, signed) = ([who; 32], 300, vec![who]);
            add(&mut book, Entry::Submitted { origin: round, who: key(who), update, tokens, signed });
        }
        for who in 1..=3 {
            let verdict = Verdict::Counted { tokens: 100 + 7 * u64::from(who) + round, quality: 1_000_000 };
            add(&mut book, Entry::Judged { origin: round, who: key(who), verdict });
        }
        let replays = [(5, 2, Finding::Same), (6, 2, Finding::Missing), (7, 1, Finding::Different)];
        let replays: Vec<_> = replays.into_iter().filter(|(when, ..)| *when == round).collect();
        for (_, who, finding) in &replays {
            let (who, by, finding) = (key(*who), COORDINATOR, *finding);
            add(&mut book, Entry::Replayed { origin: round, who, by, tokens: 10, finding });
        }
        for (_, who, finding) in replays.into_iter().filter(|(.., finding)| *finding != Finding::Same) {
            let code = if finding == Finding::Missing { Code::Missing } else { Code::Different };
            add(&mut book, Entry::Forfeited { who: key(who), origin: round, code });
        }
        for entry in book.settlement(round, [round as u8 + 1; 32], [3; 32]).unwrap() {
            add(&mut book, entry);
        }
    }
    log
}

#[test]
fn a_stranger_recomputes_a_payout_and_claims_it() {
    let Some(anvil) = Anvil::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let sender = anvil.sender(dir.path());
    let made = Deployment::make(&sender, &terms(&sender), &dir.path().join("chain.json")).unwrap();
    let rows = log(12);
    let (run, epochs) = close(&rows, made.rounds(&anvil.node()).unwrap()).unwrap();
    assert_eq!(epochs.iter().map(|epoch| epoch.sums.len()).collect::<Vec<_>>(), [2, 2, 4]);
    for epoch in 0..3 {
        assert!(
            matches!(made.submit(&sender, &run, &epochs).unwrap(), (number, Submission::Sent(_)) if number == epoch)
        );
        anvil.tell("evm_increaseTime", "[60]");
        anvil.tell("evm_mine", "[]");
    }
    // As `tributary ledger verify --save` writes it: no checkpoint, then the entries.
    let frame = |row: &Vec<u8>| [&(row.len() as u32).to_le_bytes()[..], row].concat();
    let file = dir.path().join("log");
    std::fs::write(&file, [vec![0; 4], rows.iter().flat_map(frame).collect()].concat()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../core/contracts/claim.mjs");
    let mut minted = 0;
    for (wallet, sum) in &epochs[2].sums {
        let mut node = Command::new("node");
        node.arg(&script).arg(&file).arg(format!("http://127.0.0.1:{}", anvil.port)).arg(made.distributor());
        let output = node.arg(checksummed(wallet)).env("CLAIM_KEY", format!("0x{OPERATOR}")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let expected = format!("success: {} has earned {sum} in all\n", checksummed(wallet));
        assert_eq!(said, expected, "{}", String::from_utf8_lossy(&output.stderr));
        minted += u128::from(*sum);
        assert_eq!(made.status(&anvil.node()).unwrap().minted, minted);
    }
    let fees = made.deposit(&sender, "first", 1_000).unwrap();
    assert_eq!(made.deposit(&sender, "first", 1_000).unwrap(), fees, "paid once");
    assert_eq!(made.status(&anvil.node()).unwrap().deposited, 1_000);
}
