//! Who is paid for what: copies, useless work, work that is done again, and receipts that a contributor checks.
#![allow(clippy::unwrap_used)]

use tributary_ledger::{Book, Checkpoint, Code, Entry, Finding, Verdict as Judgement};
use tributary_protocol::check::Check;
use tributary_protocol::contributor::{self, Contributor};
use tributary_protocol::coordinator::{Coordinator, FoldPlan, Gain, Input, Score};
use tributary_protocol::job::DeviceChoice;
use tributary_protocol::message::{PeerKind, Reason, Receipt, ToContributor, ToCoordinator, Verdict, Welcome};
use tributary_protocol::spec::RoundRule;
use tributary_protocol::view::ProofView;
use tributary_protocol::{BlobRef, Identity, Signed};
use tributary_tests::desk::{Desk, people};
use tributary_tests::tiny_run;

/// A desk with these contributors, in the first round.
fn desk(people: &[Identity]) -> Desk {
    let mut run = tiny_run(RoundRule { seconds: 10, grace: 5, quorum: 1, stale: 0.5 });
    run.spec.check = Check::default();
    let mut desk = Desk::with(run);
    people.iter().for_each(|who| desk.hello(who));
    desk
}

/// Whether somebody was asked for a dossier.
fn is_asked(desk: &Desk, who: &Identity) -> bool {
    let asks = |message: &ToContributor| matches!(message, ToContributor::Disclose { .. });
    desk.sent.iter().any(|(to, message)| *to == who.id() && asks(message))
}

/// Closes the round and folds.
fn fold(desk: &mut Desk) -> FoldPlan {
    desk.now += 15_000;
    desk.input(Input::Tick);
    desk.folded()
}

/// The same; the credits of each.
fn settle(desk: &mut Desk, people: &[Identity]) -> Vec<u64> {
    fold(desk);
    people.iter().map(|who| paid(desk, who)).collect()
}

/// What somebody was paid in the newest settled round.
fn paid(desk: &Desk, who: &Identity) -> u64 {
    let pay = |entry: &Entry| match entry {
        Entry::Paid { who: of, amount, .. } if *of == who.id().0 => Some(*amount),
        _ => None,
    };
    let newest = desk.entries.rsplit(|entry| matches!(entry, Entry::Opened { .. })).next().unwrap();
    newest.iter().find_map(pay).unwrap_or(0)
}

fn score(mean: f32) -> Score {
    let gain = Gain { mean, error: mean.abs() / 100.0 };
    Score { random: gain, own: gain }
}

/// The newest receipt that somebody was sent.
fn receipt(desk: &Desk, to: &Identity) -> Receipt {
    let receipt = desk.sent.iter().rev().find_map(|(of, message)| match message {
        ToContributor::Receipt(receipt) if *of == to.id() => Some((**receipt).clone()),
        _ => None,
    });
    receipt.expect("a receipt")
}

fn verdict(desk: &Desk, of: &Identity) -> Verdict {
    desk.verdicts(of).last().unwrap().1
}

#[test]
fn of_an_update_and_its_copy_the_earlier_promise_counts() {
    let people = people(4);
    // Whoever's blob is here first.
    for copy_is_first in [false, true] {
        let mut desk = desk(&people);
        let (own, copy) = (desk.commit_of(&people[0], 64), desk.commit_of(&people[1], 64));
        desk.copy(&copy.update, &own.update);
        desk.commit(&people[0], &own);
        desk.commit(&people[1], &copy);
        let mut order = [(&people[0], own.update), (&people[1], copy.update)];
        if copy_is_first {
            order.reverse();
        }
        order.iter().for_each(|(who, update)| desk.fetched(who.id(), *update));
        desk.update(&people[2], 64);
        assert_eq!(verdict(&desk, &people[1]), Verdict::Refused(Reason::Copied));
        let pool = desk.run.spec.reward.pool;
        let credits = settle(&mut desk, &people);
        assert_eq!((credits[1], credits[3], credits.iter().sum::<u64>()), (0, 0, pool));
        let refused = Entry::Judged { origin: 0, who: people[1].id().0, verdict: Judgement::Refused(Code::Copied) };
        assert!(desk.entries.contains(&refused));
    }
}

#[test]
fn work_that_does_harm_is_not_folded_and_work_that_does_little_is_paid_little() {
    let people = people(5);
    let mut desk = desk(&people);
    for (who, mean) in people.iter().zip([0.1, 0.1, 0.1, -0.1, 0.0002]) {
        let commit = desk.commit_of(who, 64);
        desk.score(&commit.update, score(mean));
        desk.commit(who, &commit);
        desk.fetched(who.id(), commit.update);
    }
    let credits = settle(&mut desk, &people);
    assert_eq!(verdict(&desk, &people[3]), Verdict::Refused(Reason::Useless));
    assert_eq!(credits[3], 0);
    assert!(credits[4] < credits[0] / 50 && credits[..3].iter().all(|paid| *paid >= credits[0] - 1), "{credits:?}");
}

#[test]
fn who_did_harm_has_no_benefit_of_the_doubt_in_the_next_round() {
    let people = people(4);
    let mut desk = desk(&people);
    let little = Gain { mean: 0.002, error: 0.005 };
    // The same measurement, of a newcomer and of somebody who has just done harm.
    for (harm, counts) in [(false, true), (true, false)] {
        let last = if harm { score(-0.1) } else { score(0.1) };
        for last in [last, Score { random: little, own: little }] {
            for (who, score) in people.iter().zip([score(0.1), score(0.1), score(0.1), last]) {
                let commit = desk.commit_of(who, 64);
                desk.score(&commit.update, score);
                desk.commit(who, &commit);
                desk.fetched(who.id(), commit.update);
            }
            settle(&mut desk, &people);
        }
        assert_eq!(paid(&desk, &people[3]) > 0, counts);
    }
}

#[test]
fn a_newcomers_update_waits_until_it_was_run_again_and_counts_for_little_where_it_cannot_be() {
    let people = people(5);
    let mut desk = desk(&people);
    let (old, new) = (&people[..4], &people[4]);
    let tokens_of = |plan: &FoldPlan| {
        let of_new = plan.accepted.iter().filter(|accepted| accepted.peer == new.id());
        of_new.map(|accepted| (accepted.age, accepted.tokens)).collect::<Vec<_>>()
    };
    for _ in 0..3 {
        old.iter().for_each(|who| drop(desk.update(who, 64)));
        old.iter().for_each(|who| desk.replayed(who, Finding::Same));
        fold(&mut desk);
    }
    old.iter().for_each(|who| drop(desk.update(who, 64)));
    desk.update(new, 64);
    assert_eq!(tokens_of(&fold(&mut desk)), []);
    desk.replayed(new, Finding::Same);
    old.iter().for_each(|who| drop(desk.update(who, 64)));
    let commit = desk.update(new, 64_000);
    let (who, round) = (new.id(), commit.round);
    // The coordinator's device is too busy to run it.
    let segment = desk.shown(new).segment;
    desk.input(Input::Replayed { who, round, segment, tokens: 0, finding: None });
    assert_eq!(tokens_of(&fold(&mut desk)), [(1, 32), (0, 256)]);
    // One who never shows anything is never folded.
    for _ in 0..4 {
        old.iter().for_each(|who| drop(desk.update(who, 64)));
        desk.update(new, 64_000);
        assert_eq!(tokens_of(&fold(&mut desk)), []);
    }
}

#[test]
fn proof_takes_what_is_not_final_and_the_right_to_more() {
    let people = people(2);
    let mut desk = desk(&people);
    for round in 0..3 {
        people.iter().for_each(|who| drop(desk.update(who, 64)));
        let finding = if round == 2 { Finding::Different } else { Finding::Same };
        desk.replayed(&people[0], finding);
        desk.replayed(&people[1], Finding::Same);
        settle(&mut desk, &people);
    }
    // The third round's replay ended before its fold, so the cheat has no part of it.
    let balance = |desk: &Desk, who: &Identity| desk.machine.book().ledger().balance(&who.id().0);
    let (cheat, honest) = (balance(&desk, &people[0]), balance(&desk, &people[1]));
    assert_eq!((cheat.held(), honest.forfeited), (0, 0));
    assert!(cheat.forfeited > 0 && honest.held() > cheat.forfeited, "{cheat:?} {honest:?}");
    assert_eq!(verdict(&desk, &people[0]), Verdict::Refused(Reason::Struck));
    let commit = desk.commit_of(&people[0], 64);
    desk.commit(&people[0], &commit);
    assert_eq!(verdict(&desk, &people[0]), Verdict::Refused(Reason::Struck), "nor does it ever count again");
    // Neither after a restart.
    let (identity, spec) = (desk.identity.clone(), desk.run.spec.clone());
    desk.machine = Coordinator::restore(identity, spec, desk.journal.clone(), desk.entries.clone()).unwrap();
    desk.hello(&people[0]);
    desk.commit(&people[0], &commit);
    assert_eq!(verdict(&desk, &people[0]), Verdict::Refused(Reason::Struck));
}

#[test]
fn silence_does_not_keep_the_only_contributor_from_the_next_round() {
    let people = people(1);
    let mut desk = desk(&people);
    desk.update(&people[0], 64);
    fold(&mut desk);
    // It started anew meanwhile and has nothing to show: its next update does not count, and the round goes again.
    desk.update(&people[0], 64);
    let asked = |(_, message): &(_, ToContributor)| match message {
        ToContributor::Disclose { round: 0, segment } => Some(*segment),
        _ => None,
    };
    let segment = desk.sent.iter().find_map(asked).unwrap();
    desk.message(&people[0], ToCoordinator::Disclosed { round: 0, segment, dossier: None });
    desk.now += 15_000;
    desk.input(Input::Tick);
    assert_eq!((verdict(&desk, &people[0]), desk.machine.head().0), (Verdict::Refused(Reason::Struck), 1));
    desk.update(&people[0], 64);
    assert_eq!(fold(&mut desk).round, 1);
}

#[test]
fn silence_costs_what_nothing_speaks_for() {
    let people = people(2);
    let mut desk = desk(&people);
    let settle_after = desk.run.spec.check.settle;
    let mut first = 0;
    for round in 0..=settle_after {
        people.iter().for_each(|who| drop(desk.update(who, 64)));
        if is_asked(&desk, &people[1]) {
            desk.replayed(&people[1], Finding::Same);
        }
        if round == 0 {
            desk.replayed(&people[0], Finding::Same);
        }
        // What it is asked for later it leaves unanswered.
        desk.sent.clear();
        let credits = settle(&mut desk, &people);
        if round == 0 {
            first = credits[0];
        }
    }
    people.iter().for_each(|who| drop(desk.update(who, 64)));
    settle(&mut desk, &people);
    let balance = desk.machine.book().ledger().balance(&people[0].id().0);
    assert_eq!(balance.held(), first, "the round that was run again stands");
    assert!(balance.forfeited > 0);
}

#[test]
fn after_the_first_rounds_few_are_asked() {
    let people = people(3);
    let mut desk = desk(&people);
    let Check { first, rate, .. } = desk.run.spec.check;
    let mut asked = 0;
    for round in 0..200 {
        desk.sent.clear();
        people.iter().for_each(|who| drop(desk.update(who, 64)));
        for who in &people {
            if is_asked(&desk, who) {
                asked += u32::from(round >= first);
                desk.replayed(who, Finding::Same);
            } else {
                assert!(round >= first, "round {round}");
            }
        }
        settle(&mut desk, &people);
    }
    let expected = f64::from(200 - first) * 3.0 * f64::from(rate);
    assert!((f64::from(asked) - expected).abs() < 5.0 * expected.sqrt(), "{asked} of {expected}");
}

/// A contributor of the desk's run that has been welcomed, and what it was given to remember.
fn contributor(desk: &Desk, who: &Identity, remembered: Option<bytes::Bytes>) -> Contributor {
    let mut machine = Contributor::new(contributor::Config {
        identity: who.clone(),
        coordinator: desk.identity.id(),
        kind: PeerKind::Native,
        agent: "test".to_owned(),
        run: None,
        device: DeviceChoice::Cpu,
        links: true,
        jitter: 1,
        remembered,
    });
    let (round, base) = desk.machine.head();
    let welcome = Welcome { spec: desk.run.spec.clone(), round, base, open: None, credits: 0, evaluations: Vec::new() };
    for input in [
        contributor::Input::Start,
        contributor::Input::Connected,
        contributor::Input::Message(ToContributor::Welcome(Box::new(welcome))),
    ] {
        machine.handle(0, input);
    }
    machine
}

/// Takes a receipt; what to remember, and what the person sees.
fn take(machine: &mut Contributor, receipt: &Receipt) -> (Option<bytes::Bytes>, ProofView) {
    machine.handle(0, contributor::Input::Message(ToContributor::Receipt(Box::new(receipt.clone()))));
    let mut remember = None;
    while let Some(output) = machine.poll() {
        if let contributor::Output::Remember(bytes) = output {
            remember = Some(bytes);
        }
    }
    (remember, machine.snapshot(0).earnings.proof)
}

#[test]
fn a_contributor_checks_its_receipts_and_what_it_remembers_outlives_it() {
    let people = people(2);
    let mut desk = desk(&people);
    let mut machine = contributor(&desk, &people[0], None);
    let mut remembered = None;
    for round in 0..4u64 {
        people.iter().for_each(|who| drop(desk.update(who, 64)));
        let credits = settle(&mut desk, &people);
        let (remember, proof) = take(&mut machine, &receipt(&desk, &people[0]));
        assert!(matches!(proof, ProofView::Good { round: at, .. } if at == round), "{proof:?}");
        let row = machine.snapshot(0).earnings.receipts[0];
        assert_eq!((row.round, row.amount), (round, credits[0]));
        remembered = remember.or(remembered);
        if round == 1 {
            machine = contributor(&desk, &people[0], remembered.clone());
        }
    }
    // What the log was is remembered: another one, however well signed, is not its continuation.
    let mut other = self::desk(&people);
    for _ in 0..4 {
        people.iter().for_each(|who| drop(other.update(who, 32)));
        settle(&mut other, &people);
    }
    let mut machine = contributor(&desk, &people[0], remembered);
    let since = Some(desk.entries.len() as u64);
    let (remember, proof) = take(&mut machine, &Receipt { since, ..receipt(&other, &people[0]) });
    let ProofView::Bad { why } = proof else { panic!("{proof:?}") };
    assert!(remember.is_none() && why.contains("has changed its ledger"), "{why}");
    // And that stays said.
    let (_, proof) = take(&mut machine, &receipt(&desk, &people[0]));
    assert_eq!(proof, ProofView::Bad { why });
}

#[test]
fn a_receipt_that_does_not_hold_is_said() {
    let people = people(2);
    let mut desk = desk(&people);
    people.iter().for_each(|who| drop(desk.update(who, 64)));
    settle(&mut desk, &people);
    let good = receipt(&desk, &people[0]);
    let bad = |change: &dyn Fn(&mut Receipt)| {
        let mut receipt = good.clone();
        change(&mut receipt);
        let (remember, proof) = take(&mut contributor(&desk, &people[0], None), &receipt);
        let is_bad = matches!(proof, ProofView::Bad { .. });
        assert_eq!(remember.is_none(), is_bad);
        is_bad
    };
    let checkpoint = good.checkpoint.open(&desk.identity.id()).unwrap();
    assert!(bad(&|receipt| receipt.checkpoint = Signed::new(&people[0], &checkpoint)), "signed by another");
    let other = Checkpoint { run: [7; 32], ..checkpoint };
    assert!(bad(&|receipt| receipt.checkpoint = Signed::new(&desk.identity, &other)), "of another run");
    assert!(bad(&|receipt| receipt.receipt.settled.path.clear()), "without its proof");
    let others = receipt(&desk, &people[1]);
    assert!(bad(&|receipt| receipt.receipt.paid = others.receipt.paid.clone()), "somebody else's pay");
    for at in 0..good.receipt.paid.as_ref().unwrap().entry.len() {
        assert!(bad(&|receipt| receipt.receipt.paid.as_mut().unwrap().entry[at] ^= 1), "byte {at}");
    }
    assert!(!bad(&|_| {}));
}

#[test]
fn two_histories_are_noticed_by_the_peers() {
    let people = people(2);
    let histories = [64, 65].map(|tokens| {
        let mut desk = desk(&people);
        desk.update(&people[0], tokens);
        desk.update(&people[1], 64);
        settle(&mut desk, &people);
        desk
    });
    let mut machine = contributor(&histories[0], &people[0], None);
    let (_, proof) = take(&mut machine, &receipt(&histories[0], &people[0]));
    assert!(matches!(proof, ProofView::Good { .. }));
    let mut hear = |checkpoint: &Signed<Checkpoint>| {
        let bytes = postcard::to_stdvec(checkpoint).unwrap().into();
        machine.handle(0, contributor::Input::Gossip { from: people[1].id(), bytes });
        machine.snapshot(0).earnings.proof
    };
    let [ours, theirs] = histories.each_ref().map(|desk| receipt(desk, &people[1]).checkpoint);
    let forged = Signed::new(&people[1], &theirs.open(&histories[1].identity.id()).unwrap());
    for harmless in [&ours, &forged] {
        assert!(matches!(hear(harmless), ProofView::Good { .. }));
    }
    let ProofView::Bad { why } = hear(&theirs) else { panic!("not noticed") };
    assert!(why.contains("two different ledgers for round 0"), "{why}");
}

#[test]
fn the_log_says_everything_and_any_other_is_refused() {
    let people = people(3);
    let mut desk = desk(&people);
    for _ in 0..3 {
        people.iter().for_each(|who| drop(desk.update(who, 64)));
        desk.replayed(&people[0], Finding::Same);
        settle(&mut desk, &people);
    }
    let bytes: Vec<_> = desk.entries.iter().map(Entry::to_bytes).collect();
    let checkpoint = desk.machine.checkpoint().unwrap().open(&desk.identity.id()).unwrap();
    assert_eq!(&Book::read(&bytes, Some(&checkpoint)).unwrap(), desk.machine.book());
    for index in 0..bytes.len() {
        let mut dropped = bytes.clone();
        dropped.remove(index);
        assert!(Book::read(&dropped, Some(&checkpoint)).is_err(), "without entry {index}");
        for at in 0..bytes[index].len() {
            let mut changed = bytes.clone();
            changed[index][at] ^= 1;
            assert!(Book::read(&changed, Some(&checkpoint)).is_err(), "entry {index}, byte {at}");
        }
    }
}

#[test]
fn a_dossier_that_is_not_kept_any_more_is_said_at_once() {
    let people = people(2);
    let mut desk = desk(&people);
    people.iter().for_each(|who| drop(desk.update(who, 64)));
    let asked = desk.sent.iter().find_map(|(to, message)| match message {
        ToContributor::Disclose { round, segment } if *to == people[0].id() => Some((*round, *segment)),
        _ => None,
    });
    let (round, segment) = asked.unwrap();
    // Another's, and another segment than the one that was asked for, are nobody's.
    let other = ToCoordinator::Disclosed { round, segment: segment ^ 1, dossier: Some(BlobRef::of(b"dossier")) };
    desk.message(&people[0], other);
    assert!(desk.replays.is_empty());
    desk.message(&people[0], ToCoordinator::Disclosed { round, segment, dossier: None });
    settle(&mut desk, &people);
    let missing = |entry: &Entry| matches!(entry, Entry::Replayed { finding: Finding::Missing, .. });
    assert!(desk.entries.iter().any(missing));
    assert_eq!(paid(&desk, &people[0]), 0);
}
