//! Payouts: who is paid what in which epoch, and the tree against OpenZeppelin's package, whose roots and proofs stand
//! in `trees.json`.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use common::{RULE, counted, linked, logs, opened, run, settle, submitted};
use proptest::prelude::*;
use serde_json::Value;
use tributary_ledger::{
    Book, Distributor, Entry, Ledger, PayoutError, PayoutTree, Payouts, Wallet, payout_leaf, verify_payout,
};

fn bytes<const N: usize>(hex: &Value) -> [u8; N] {
    let hex = hex.as_str().unwrap().strip_prefix("0x").unwrap();
    let all: Vec<u8> = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    all.try_into().unwrap()
}

#[test]
fn the_tree_is_openzeppelins() {
    let trees: Vec<Value> = serde_json::from_str(include_str!("trees.json")).unwrap();
    assert_eq!(trees.len(), 12);
    for theirs in trees {
        let at = Distributor { chain: theirs["chain"].as_u64().unwrap(), contract: bytes(&theirs["contract"]) };
        let leaves = theirs["leaves"].as_array().unwrap();
        let sum = |leaf: &Value| leaf["sum"].as_str().unwrap().parse::<u64>().unwrap();
        let sums: BTreeMap<Wallet, u64> = leaves.iter().map(|leaf| (bytes(&leaf["wallet"]), sum(leaf))).collect();
        let ours = PayoutTree::new(&at, &sums).unwrap();
        let root = bytes(&theirs["root"]);
        assert_eq!(ours.root(), root);
        assert_eq!(ours.total(), sums.values().sum::<u64>());
        for leaf in leaves {
            let (wallet, sum) = (bytes(&leaf["wallet"]), sum(leaf));
            let proof: Vec<_> = leaf["proof"].as_array().unwrap().iter().map(bytes).collect();
            assert_eq!(ours.proof(&wallet), Some(proof.clone()));
            assert!(verify_payout(&root, &payout_leaf(&at, &wallet, sum), &proof));
            assert!(!verify_payout(&root, &payout_leaf(&at, &wallet, sum + 1), &proof));
            let elsewhere = Distributor { chain: at.chain + 1, ..at };
            assert!(!verify_payout(&root, &payout_leaf(&elsewhere, &wallet, sum), &proof));
        }
        assert_eq!(ours.proof(&[0xee; 20]), None);
    }
}

#[test]
fn nothing_has_no_tree_and_too_much_neither() {
    let at = Distributor { chain: 1, contract: [1; 20] };
    assert_eq!(PayoutTree::new(&at, &BTreeMap::new()), None);
    assert_eq!(PayoutTree::new(&at, &BTreeMap::from([([1; 20], u64::MAX), ([2; 20], 1)])), None);
}

/// A log of rounds in which contributors 1 and 2 work alike, with wallets named in some of them, and each epoch's sums.
fn epochs(rounds: u64, epoch: u64, links: &[(u64, u8, u8)]) -> Vec<BTreeMap<Wallet, u64>> {
    let (mut book, mut payouts, mut closed) = (Book::default(), Payouts::new(epoch).unwrap(), Vec::new());
    book.append(&run()).unwrap();
    for round in 0..rounds {
        let named = links.iter().filter(|(when, _, _)| *when == round);
        let named = named.map(|(_, who, to)| linked(*who, *to, named_before(links, *who, round), round));
        let work = [submitted(round, 1, 9), submitted(round, 2, 9)];
        let judged = [counted(round, 1, 9, 1_000_000), counted(round, 2, 9, 1_000_000)];
        let all = std::iter::once(opened(round)).chain(named).chain(work).chain(judged);
        all.for_each(|entry| assert!(book.append(&entry).is_ok()));
        settle(&mut book, round);
        if payouts.settled(book.ledger()).unwrap() {
            closed.push(payouts.wallets().clone());
        }
    }
    assert_eq!(payouts.epochs(), closed.len() as u64);
    closed
}

/// The wallet that somebody named last before a round.
fn named_before(links: &[(u64, u8, u8)], who: u8, round: u64) -> Option<u8> {
    links.iter().filter(|(when, whose, _)| *when < round && *whose == who).map(|(_, _, to)| *to).next_back()
}

/// What each of two gets in a round; the odd unit is the first one's.
const PAY: [u64; 2] = [RULE.pool.div_ceil(2), RULE.pool / 2];

/// Wallets with the rounds that the first and the second contributor were paid there.
fn sums<const N: usize>(of: [(u8, [u64; 2]); N]) -> BTreeMap<Wallet, u64> {
    of.into_iter().map(|(wallet, [one, two])| (common::wallet(wallet), one * PAY[0] + two * PAY[1])).collect()
}

/// Credits of round r are final when round r + 3 has settled.
#[test]
fn final_credits_go_to_the_wallet_in_force() {
    // Two wait for their wallets; one names its in round 5 and gets all that waited.
    assert_eq!(epochs(8, 4, &[(5, 1, 0xa)]), [sums([]), sums([(0xa, [5, 0])])]);
    // Two contributors to one wallet.
    assert_eq!(epochs(8, 4, &[(0, 1, 0xa), (0, 2, 0xa)]), [sums([(0xa, [1, 1])]), sums([(0xa, [5, 5])])]);
    // A wallet that takes another's place in the second epoch is paid from the third on.
    let moved = epochs(12, 4, &[(0, 1, 0xa), (5, 1, 0xb)]);
    assert_eq!(moved, [sums([(0xa, [1, 0])]), sums([(0xa, [5, 0])]), sums([(0xa, [5, 0]), (0xb, [4, 0])])]);
    // In an epoch's last round it is in force for the next; in its first not yet for it.
    assert_eq!(epochs(12, 4, &[(0, 1, 0xa), (7, 1, 0xb)]), moved);
    assert_eq!(epochs(12, 4, &[(0, 1, 0xa), (4, 1, 0xb)]), moved);
}

#[test]
fn rounds_are_taken_one_after_the_other() {
    let mut payouts = Payouts::new(2).unwrap();
    assert_eq!(Payouts::new(0), Err(PayoutError::NoRounds));
    assert_eq!(payouts.settled(&Ledger::default()), Err(PayoutError::Round { expected: 0 }));
    let mut book = Book::default();
    [run(), opened(0)].iter().for_each(|entry| assert!(book.append(entry).is_ok()));
    assert_eq!(payouts.settled(book.ledger()), Err(PayoutError::Round { expected: 0 }), "it has not settled");
    settle(&mut book, 0);
    assert_eq!(payouts.settled(book.ledger()), Ok(false));
    assert_eq!(payouts.settled(book.ledger()), Err(PayoutError::Round { expected: 1 }));
}

proptest! {
    /// Whatever happens, sums never fall, and together they are what is final of those who have wallets.
    #[test]
    fn sums_never_fall_and_nothing_is_lost(log in logs(), epoch in 1u64..4) {
        let (mut ledger, mut payouts) = (Ledger::default(), Payouts::new(epoch).unwrap());
        let mut before = BTreeMap::new();
        for entry in &log.entries {
            ledger.append(entry).unwrap();
            if !matches!(entry, Entry::Settled { .. }) {
                continue;
            }
            if payouts.settled(&ledger).unwrap() {
                prop_assert!(before.iter().all(|(wallet, sum)| payouts.wallets().get(wallet) >= Some(sum)));
                before = payouts.wallets().clone();
                let linked = ledger.balances().filter(|(who, _)| ledger.wallet(who).is_some());
                prop_assert_eq!(before.values().sum::<u64>(), linked.map(|(_, balance)| balance.r#final).sum::<u64>());
            }
        }
    }
}
