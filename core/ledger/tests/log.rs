//! What must hold in every log: nothing is lost or made, every receipt shows what was paid, and a log that was
//! tampered with is found out.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Log, RULE, logs};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use tributary_ledger::{Balance, Book, Entry, Ledger, Receipt, ReceiptError, Verdict};

proptest! {
    #[test]
    fn credits_are_conserved(log in logs()) {
        let sum = |b: Balance| b.held() + b.forfeited;
        let ledger = log.book.ledger();
        prop_assert_eq!(ledger.balances().map(|(_, balance)| sum(balance)).sum::<u64>(), ledger.total());
        let mut total = 0;
        for entry in &log.entries {
            let Entry::Settled { work, witness, paid, .. } = *entry else { continue };
            let (for_work, for_witness) = RULE.parts(witness);
            prop_assert_eq!(paid, if work > 0 { for_work } else { 0 } + for_witness);
            total += paid;
        }
        prop_assert_eq!(ledger.total(), total);
        prop_assert_eq!(&Ledger::replay(&log.entries).unwrap(), ledger);
        prop_assert_eq!(&Book::read(log.bytes(), log.book.checkpoint().as_ref()).unwrap(), &log.book);
    }

    #[test]
    fn every_receipt_shows_what_was_paid_and_no_other(log in logs()) {
        let last = log.book.checkpoint().unwrap();
        let prove = |index: usize, size| log.book.prove(index as u64, &log.entries[index], size).unwrap();
        let mut settled = None;
        for index in (0..log.entries.len()).rev() {
            match log.entries[index] {
                Entry::Settled { .. } => settled = Some(index),
                Entry::Paid { round, who, work, witness, amount } => {
                    let settled = settled.unwrap();
                    // The round's own checkpoint and the newest.
                    for at in [log.checkpoints[round as usize], last] {
                        let receipt = Receipt { settled: prove(settled, at.size), paid: Some(prove(index, at.size)) };
                        let earned = receipt.check(&who, &RULE, &at).unwrap();
                        prop_assert_eq!((earned.round, earned.work, earned.witness, earned.amount), (round, work, witness, amount));
                        prop_assert_eq!(receipt.check(&[77; 32], &RULE, &at), Err(ReceiptError::Foreign));
                        let more = Entry::Paid { round, who, work, witness, amount: amount + 1 };
                        let mut forged = receipt;
                        forged.paid.as_mut().unwrap().entry = more.to_bytes();
                        prop_assert!(matches!(forged.check(&who, &RULE, &at), Err(ReceiptError::Proof(_))));
                    }
                }
                _ => {}
            }
        }
    }

    #[test]
    fn every_checkpoint_continues_those_before_it(log in logs(), flip in any::<(prop::sample::Index, prop::sample::Index)>()) {
        for new in &log.checkpoints {
            for old in log.checkpoints.iter().filter(|old| old.round <= new.round) {
                let mut path = log.book.tree().consistency(old.size, new.size).unwrap();
                prop_assert_eq!(new.continues(old, &path), Ok(()));
                prop_assert_eq!(log.book.check(old), Ok(()));
                prop_assert!(old == new || old.continues(new, &path).is_err());
                if !path.is_empty() {
                    let hash = flip.0.index(path.len());
                    path[hash][flip.1.index(32)] ^= 4;
                    prop_assert!(new.continues(old, &path).is_err());
                }
            }
        }
    }

    #[test]
    fn a_log_that_was_tampered_with_is_found_out(
        log in logs(),
        at in any::<prop::sample::Index>(),
        byte in any::<prop::sample::Index>(),
        bits in 1u8..,
    ) {
        let remembered = log.book.checkpoint().unwrap();
        let bytes = log.bytes();
        let index = at.index(bytes.len());
        let tampered = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
            let mut copy = bytes.clone();
            change(&mut copy);
            copy == bytes || Book::read(&copy, Some(&remembered)).is_err()
        };
        prop_assert!(tampered(&|log| { let at = byte.index(log[index].len()); log[index][at] ^= bits; }), "a byte");
        prop_assert!(tampered(&|log| { log.remove(index); }), "dropped");
        prop_assert!(tampered(&|log| log.insert(index, log[index].clone())), "doubled");
        prop_assert!(tampered(&|log| { let other = byte.index(log.len()); log.swap(index, other); }), "swapped");
        prop_assert!(tampered(&|log| log.truncate(index)), "cut off");
        prop_assert!(tampered(&|log| log[index].push(bits)), "longer");
    }
}

/// The properties above say something only about what the random logs have in them.
#[test]
fn random_logs_have_everything_in_them() {
    let mut runner = TestRunner::deterministic();
    let mut seen = [0; 4];
    for _ in 0..100 {
        let log = logs().new_tree(&mut runner).unwrap().current();
        let held = log.book.ledger().balances().map(|(_, balance)| balance);
        let lost = held.filter(|balance| balance.forfeited > 0).count();
        let count = |of: fn(&Entry) -> bool| log.entries.iter().filter(|entry| of(entry)).count();
        let both = count(|entry| matches!(entry, Entry::Paid { work: 1.., witness: 1.., .. }));
        let late = count(|entry| matches!(entry, Entry::Judged { origin: 1.., verdict: Verdict::Counted { .. }, .. }));
        let linked = count(|entry| matches!(entry, Entry::Linked { .. }));
        for (sum, number) in seen.iter_mut().zip([lost, both, late, linked]) {
            *sum += number;
        }
    }
    assert!(seen.iter().all(|number| *number > 10), "{seen:?}");
}

/// A history that is valid by itself and differs in one entry from the one that somebody remembers.
#[test]
fn two_histories_are_told_apart_by_their_checkpoints() {
    let history = |tokens| {
        let mut log = Log { book: Book::default(), entries: Vec::new(), checkpoints: Vec::new() };
        for round in 0..3 {
            let first = (round == 0).then(common::run);
            let work = [common::submitted(round, 1, 10), common::counted(round, 1, tokens, 500_000)];
            for entry in first.into_iter().chain([common::opened(round)]).chain(work) {
                log.book.append(&entry).unwrap();
            }
            common::settle(&mut log.book, round);
            log.checkpoints.extend(log.book.checkpoint());
        }
        log
    };
    let (one, other) = (history(10), history(9));
    let (old, new) = (one.checkpoints[1], other.checkpoints[2]);
    let path = other.book.tree().consistency(old.size, new.size).unwrap();
    assert!(new.continues(&old, &path).is_err());
    assert!(new.continues(&other.checkpoints[1], &path).is_ok());
    assert!(other.book.check(&old).is_err());
}

/// What one identity earns, and the same work under fifty names.
#[test]
fn splitting_an_identity_gains_nothing_but_rounding() {
    const NAMES: u8 = 50;
    for (tokens, others, quality) in [(50_000, 7_777, 1_000_000), (1_000_000, 3, 654_321), (50, 1 << 30, 1_000_000)] {
        let earn = |names: u8| {
            let mut book = Book::default();
            let mut add = |entries: Vec<Entry>| {
                for entry in &entries {
                    book.append(entry).unwrap();
                }
            };
            add(vec![common::run(), common::opened(0), common::submitted(0, 200, others)]);
            add((0..names).map(|name| common::submitted(0, name, tokens / u64::from(names))).collect());
            add(vec![common::counted(0, 200, others, 1_000_000)]);
            add((0..names).map(|name| common::counted(0, name, tokens / u64::from(names), quality)).collect());
            common::settle(&mut book, 0);
            let balances = book.ledger().balances().filter(|(who, _)| **who != common::key(200));
            balances.map(|(_, balance)| balance.held()).sum::<u64>()
        };
        let (one, fifty) = (earn(1), earn(NAMES));
        assert!(one.abs_diff(fifty) <= u64::from(NAMES), "{one} and {fifty}");
    }
}
