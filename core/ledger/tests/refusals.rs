//! What a log must not say: each mistake at the end of a good beginning.
#![allow(clippy::unwrap_used)]

mod common;

use common::{
    COORDINATOR, RULE, counted, key, linked, opened, refused, replayed, run, settle, state, submitted, wallet,
};
use tributary_ledger::{Balance, Book, BookError, Code, Entry, EntryError, Finding, LedgerError, Place, Rule};

/// A log with these entries; `settled` rounds of one contributor's work before them.
fn book(settled: u64, entries: &[Entry]) -> Book {
    let mut book = Book::default();
    let mut add = |entry: &Entry| {
        book.append(entry).unwrap_or_else(|error| panic!("{error}"));
    };
    add(&run());
    for round in 0..settled {
        [opened(round), submitted(round, 1, 10), counted(round, 1, 10, 1_000_000)].iter().for_each(&mut add);
        let paid = Entry::Paid { round, who: key(1), work: 10, witness: 0, amount: RULE.pool };
        let (next, fold, paid_all) = (state(round + 1), [3; 32], RULE.pool);
        [paid, Entry::Settled { round, next, fold, work: 10, witness: 0, paid: paid_all }].iter().for_each(&mut add);
    }
    entries.iter().for_each(add);
    book
}

#[track_caller]
fn check(mut book: Book, entry: Entry, expected: LedgerError) {
    let before = book.clone();
    let error = book.append(&entry).unwrap_err();
    assert_eq!(error, BookError::Ledger { index: before.len(), why: expected });
    assert_eq!(book, before, "a refusal changes nothing");
}

fn order(after: Place, got: Place) -> LedgerError {
    LedgerError::Order { after, got }
}

#[test]
fn entries_stand_in_their_order() {
    check(Book::default(), opened(0), LedgerError::NoRun);
    check(book(0, &[]), run(), order(Place::Run, Place::Run));
    check(book(0, &[]), submitted(0, 1, 1), order(Place::Run, Place::Submitted));
    check(book(1, &[]), submitted(0, 2, 1), order(Place::Settled, Place::Submitted));
    check(book(0, &[opened(0)]), opened(1), order(Place::Opened, Place::Opened));
    check(book(0, &[opened(0)]), run(), order(Place::Opened, Place::Run));
    let judged = [opened(0), submitted(0, 1, 1), refused(0, 1, Code::Norm)];
    check(book(0, &judged), submitted(0, 2, 1), order(Place::Judged, Place::Submitted));
    let rule = Rule { settle: 9, hold: 8, ..RULE };
    let entry = Entry::Run { run: [0; 32], coordinator: COORDINATOR, rule };
    check(Book::default(), entry, LedgerError::Rule("credits would be final before they are verified"));
}

#[test]
fn rounds_follow_one_another() {
    check(book(0, &[]), opened(1), LedgerError::Round { expected: 0, got: 1 });
    check(book(2, &[]), opened(1), LedgerError::Round { expected: 2, got: 1 });
    let base = Entry::Opened { round: 2, seed: [0; 32], base: [0; 32], signed: vec![] };
    check(book(2, &[]), base, LedgerError::Base(2));
    assert_eq!(book(1, &[]).settlement(1, [0; 32], [0; 32]), Err(LedgerError::Round { expected: 1, got: 1 }));
    let open = book(1, &[opened(1)]);
    assert_eq!(open.settlement(0, [0; 32], [0; 32]), Err(LedgerError::Round { expected: 1, got: 0 }));
}

#[test]
fn work_is_submitted_judged_and_run_again_once() {
    let (who, other) = (key(1), key(2));
    let open = [opened(0), submitted(0, 1, 10)];
    check(book(0, &open), submitted(0, 1, 11), LedgerError::SubmittedTwice { who, origin: 0 });
    check(book(0, &open), submitted(1, 1, 11), LedgerError::Origin { round: 0, origin: 1 });
    check(book(6, &[opened(6)]), submitted(0, 1, 11), LedgerError::Origin { round: 6, origin: 0 });
    check(book(0, &open), counted(0, 2, 1, 1), LedgerError::NotSubmitted { who: other, origin: 0 });
    check(book(0, &open), counted(0, 1, 11, 1), LedgerError::TooMuch { who, origin: 0 });
    check(book(0, &open), counted(0, 1, 10, 1_000_001), LedgerError::TooMuch { who, origin: 0 });
    check(book(3, &[opened(3), submitted(0, 2, 9)]), counted(0, 2, 9, 1), LedgerError::TooOld { origin: 0, round: 3 });
    check(book(1, &[opened(1)]), counted(0, 1, 1, 1), LedgerError::JudgedTwice { who, origin: 0 });
    let same = |by, tokens| replayed(0, 1, by, tokens, Finding::Same);
    check(book(0, &open), same(who, 1), LedgerError::Witness { by: who, origin: 0 });
    check(book(0, &open), same(other, 11), LedgerError::TooMuch { who, origin: 0 });
    let witnessed = [&open[..], &[same(other, 5)]].concat();
    check(book(0, &witnessed), same(other, 5), LedgerError::Witness { by: other, origin: 0 });
    let huge = [opened(0), submitted(0, 1, u64::MAX), submitted(0, 2, 2), counted(0, 1, u64::MAX, 1_000_000)];
    check(book(0, &huge), counted(0, 2, 1, 1_000_000), LedgerError::Overflow);
}

#[test]
fn a_round_pays_what_the_rule_gives() {
    let works = [opened(0), submitted(0, 1, 30), submitted(0, 2, 10), submitted(0, 3, 7)];
    let judged = [counted(0, 1, 30, 1_000_000), counted(0, 2, 10, 500_000), refused(0, 3, Code::Copied)];
    let witnessed = [replayed(0, 1, key(3), 20, Finding::Same), replayed(0, 2, COORDINATOR, 10, Finding::Same)];
    let entries = [&works[..], &judged, &witnessed].concat();
    // 12 % of 1,000,003 for the witness, rounded down; the rest in 30 to 5.
    let pay = |who, work, witness, amount| Entry::Paid { round: 0, who: key(who), work, witness, amount };
    let due = [pay(1, 30, 0, 754_288), pay(2, 5, 0, 125_715), pay(3, 0, 20, 120_000)];
    let end = |work, witness, paid| Entry::Settled { round: 0, next: state(1), fold: [3; 32], work, witness, paid };
    let good = book(0, &entries);
    let rest = good.settlement(0, state(1), [3; 32]).unwrap();
    assert_eq!(rest, [&due[..], &[end(35, 20, 1_000_003)]].concat());

    let refused_pay = LedgerError::Pay { who: key(1), round: 0 };
    check(good.clone(), pay(1, 30, 0, 754_289), refused_pay);
    check(good.clone(), pay(1, 31, 0, 754_288), refused_pay);
    check(good.clone(), due[1].clone(), LedgerError::Pay { who: key(2), round: 0 });
    check(good.clone(), pay(9, 0, 0, 0), LedgerError::Pay { who: key(9), round: 0 });
    let other_round = Entry::Paid { round: 1, who: key(1), work: 30, witness: 0, amount: 754_288 };
    check(good.clone(), other_round, LedgerError::Round { expected: 0, got: 1 });
    check(good, end(35, 20, 1_000_003), LedgerError::Unpaid { who: key(1), round: 0 });
    let two = book(0, &[&entries[..], &due[..2]].concat());
    check(two.clone(), due[1].clone(), LedgerError::Pay { who: key(2), round: 0 });
    check(two, end(35, 20, 1_000_003), LedgerError::Unpaid { who: key(3), round: 0 });
    let all = book(0, &[&entries[..], &due].concat());
    for sums in [end(36, 20, 1_000_003), end(35, 21, 1_000_003), end(35, 20, 1_000_002)] {
        check(all.clone(), sums, LedgerError::Sums(0));
    }
    check(all, due[2].clone(), LedgerError::Pay { who: key(3), round: 0 });
}

#[test]
fn a_forfeit_needs_its_replay_and_takes_what_is_not_final() {
    let (who, origin) = (key(1), 4);
    let forfeit = |origin| Entry::Forfeited { who, origin, code: Code::Different };
    let work =
        [opened(5), submitted(5, 1, 10), submitted(5, 2, 10), counted(5, 1, 10, 1_000_000), counted(5, 2, 10, 1)];
    check(book(5, &work), forfeit(4), LedgerError::NoReplay { who, origin });
    let same = [&work[..], &[replayed(4, 1, COORDINATOR, 1, Finding::Same)]].concat();
    check(book(5, &same), forfeit(4), LedgerError::NoReplay { who, origin });
    let caught = [&work[..], &[replayed(4, 1, COORDINATOR, 1, Finding::Different), forfeit(4)]].concat();
    check(book(5, &caught), forfeit(4), LedgerError::ForfeitedTwice(who));

    // Rounds 0 and 1 are final after round 4, with a hold of 3.
    let pool = RULE.pool;
    let mut book = book(5, &caught);
    let balance = Balance { r#final: 2 * pool, forfeited: 3 * pool, ..Balance::default() };
    assert_eq!(book.ledger().balance(&who), balance);
    settle(&mut book, 5);
    assert_eq!(book.ledger().balance(&who), balance, "this round pays it nothing");
    // Quality one millionth of ten tokens is no work.
    assert_eq!(book.ledger().balance(&key(2)), Balance::default());
    assert_eq!(book.ledger().total(), 5 * pool);
}

#[test]
fn whoever_vouched_for_work_that_was_proved_wrong_forfeits_too() {
    let (witness, origin) = (key(1), 1);
    let forfeit = |code| Entry::Forfeited { who: witness, origin, code };
    let open = [opened(1), submitted(1, 1, 10), submitted(1, 2, 10), counted(1, 1, 10, 1_000_000)];
    let said = |finding| replayed(1, 2, witness, 5, finding);
    let proved = replayed(1, 2, COORDINATOR, 5, Finding::Different);
    let no_replay = LedgerError::NoReplay { who: witness, origin };
    // Its word alone, and a word that was right, are no reason; nor is proof about it that isn't there.
    for entries in [vec![said(Finding::Same)], vec![said(Finding::Different), proved.clone()], vec![proved.clone()]] {
        check(book(1, &[&open[..], &entries].concat()), forfeit(Code::Vouched), no_replay);
    }
    let caught = [&open[..], &[said(Finding::Same), proved]].concat();
    check(book(1, &caught), forfeit(Code::Different), no_replay);
    let mut book = book(1, &[&caught[..], &[forfeit(Code::Vouched)]].concat());
    settle(&mut book, 1);
    let balance = Balance { forfeited: RULE.pool, ..Balance::default() };
    assert_eq!(book.ledger().balance(&witness), balance, "this round pays it nothing, as a witness neither");
}

#[test]
fn the_newest_wallet_is_remembered() {
    let book = book(0, &[opened(0), linked(1, 8, None, 1), linked(1, 9, Some(8), 2)]);
    assert_eq!((book.ledger().wallet(&key(1)), book.ledger().wallet(&key(2))), (Some((&wallet(9), 1)), None));
}

#[test]
fn a_log_is_whole_and_its_entries_are_bounded() {
    let cut = [run(), opened(0)].map(|entry| entry.to_bytes());
    assert_eq!(Book::read(cut, None), Err(BookError::Cut(2)));
    let long = Entry::Linked { who: key(1), wallet: [0; 20], proof: vec![0; 4096] };
    let bytes = long.to_bytes().len();
    let error = BookError::Entry { index: 1, why: EntryError::TooLong(bytes) };
    assert_eq!(book(0, &[]).append(&long), Err(error));
    assert_eq!(book(0, &[]).append_bytes(&long.to_bytes()), Err(error));
}

/// Every refusal is a sentence about the contributor and round that it is about.
#[test]
fn refusals_are_in_words() {
    for (error, text) in [
        (order(Place::Paid, Place::Judged), "a Judged entry must not stand after a Paid entry"),
        (
            LedgerError::NotSubmitted { who: [0xab; 32], origin: 7 },
            "contributor abababab submitted nothing for round 7",
        ),
    ] {
        assert_eq!(error.to_string(), text);
    }
}
