//! Who runs others' work again, what its word is worth, and what it is paid for it.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use tributary_ledger::{Code, Entry, Finding};
use tributary_protocol::check::{Check, ReplayOrder};
use tributary_protocol::coordinator::{Coordinator, Input};
use tributary_protocol::message::{Hello, Reason, ToContributor, ToCoordinator, Verdict};
use tributary_protocol::spec::RoundRule;
use tributary_protocol::{Id, Identity};
use tributary_tests::desk::{Desk, hello, people};
use tributary_tests::world::{Config, Crash, Node, World};
use tributary_tests::{Morals, Run, Word, tiny_run};

/// A run in which everybody's work is run again in every round, and whoever was folded in two can be a witness.
fn run() -> Run {
    let mut run = tiny_run(RoundRule { seconds: 10, grace: 5, quorum: 1, stale: 0.5 });
    run.spec.check = Check { first: 2, rate: 1.0, ..Check::default() };
    run
}

/// A desk of [`run`] after two rounds in which these became known; the first `able` of them run others' work again.
fn desk(people: &[Identity], able: usize) -> Desk {
    let mut desk = Desk::with(run());
    join(&mut desk, people, able);
    for _ in 0..2 {
        round(&mut desk, people, |desk, order, by| {
            assert!(by.is_empty(), "nobody is known yet");
            desk.ran(order, Finding::Same);
        });
    }
    desk
}

fn join(desk: &mut Desk, people: &[Identity], able: usize) {
    for (at, who) in people.iter().enumerate() {
        desk.message(who, ToCoordinator::Hello(Hello { witness: at < able, ..hello() }));
    }
}

/// A round in which everybody shows what it is asked for; `play` says what becomes of each order.
fn round(desk: &mut Desk, people: &[Identity], mut play: impl FnMut(&mut Desk, &ReplayOrder, &[Id])) {
    desk.sent.clear();
    for who in people {
        desk.update(who, 64);
    }
    for who in people {
        if asked(desk, who).is_some() {
            let order = desk.shown(who);
            let by = desk.witnesses(&order);
            play(desk, &order, &by);
        }
    }
    settle(desk);
}

/// For which round's work somebody was asked last.
fn asked(desk: &Desk, who: &Identity) -> Option<u64> {
    desk.sent.iter().rev().find_map(|(to, message)| match message {
        ToContributor::Disclose { round, .. } if *to == who.id() => Some(*round),
        _ => None,
    })
}

/// All its witnesses say this of an order, and the coordinator finds something else, if it runs it: whether it does.
fn heard(desk: &mut Desk, order: &ReplayOrder, by: &[Id], said: Finding, truth: Finding) -> bool {
    by.iter().for_each(|by| desk.says(*by, order, Some(said)));
    let itself = !desk.replays.is_empty();
    if itself {
        desk.ran(order, truth);
    }
    itself
}

fn settle(desk: &mut Desk) {
    desk.now += 15_000;
    desk.input(Input::Tick);
    desk.folded();
}

/// The newest settled round's entries.
fn batch(desk: &Desk) -> &[Entry] {
    desk.entries.rsplit(|entry| matches!(entry, Entry::Opened { .. })).next().unwrap()
}

/// Tokens that everybody is paid for as a witness in the newest settled round.
fn witnessed(desk: &Desk) -> BTreeMap<Id, u64> {
    let paid = |entry: &Entry| match entry {
        Entry::Paid { who, witness, .. } if *witness > 0 => Some((Id(*who), *witness)),
        _ => None,
    };
    batch(desk).iter().filter_map(paid).collect()
}

/// Who lost what it had in the newest settled round, and why.
fn forfeited(desk: &Desk) -> Vec<(Id, Code)> {
    let lost = |entry: &Entry| match entry {
        Entry::Forfeited { who, code, .. } => Some((Id(*who), *code)),
        _ => None,
    };
    batch(desk).iter().filter_map(lost).collect()
}

/// What the newest settled round's log says of work that was run again: by whom, and what came out.
fn found(desk: &Desk) -> Vec<(Id, Finding)> {
    let found = |entry: &Entry| match entry {
        Entry::Replayed { by, finding, .. } => Some((Id(*by), *finding)),
        _ => None,
    };
    batch(desk).iter().filter_map(found).collect()
}

fn restart(desk: &mut Desk) {
    let (identity, spec) = (desk.identity.clone(), desk.run.spec.clone());
    desk.machine = Coordinator::restore(identity, spec, desk.journal.clone(), desk.entries.clone()).unwrap();
    desk.sent.clear();
}

#[test]
fn a_witness_is_asked_and_paid_for_what_it_ran() {
    let people = people(6);
    let mut desk = desk(&people, 5);
    let unable = people[5].id();
    let (mut orders, mut pairs, mut again) = (0, 0, 0);
    for _ in 0..25 {
        let mut due: BTreeMap<Id, u64> = BTreeMap::new();
        round(&mut desk, &people, |desk, order, by| {
            assert!((1..=2).contains(&by.len()) && !by.contains(&order.who) && !by.contains(&unable), "{by:?}");
            by.iter().for_each(|by| *due.entry(*by).or_default() += order.commit.tokens / 4);
            let itself = heard(desk, order, by, Finding::Same, Finding::Same);
            (orders, pairs, again) = (orders + 1, pairs + by.len() - 1, again + usize::from(itself));
        });
        assert_eq!((witnessed(&desk), forfeited(&desk)), (due, vec![]));
    }
    assert_eq!(orders, 150);
    // A quarter is run by two, an eighth by the coordinator as well; with five standard deviations of room.
    assert!((11..=64).contains(&pairs) && (1..=39).contains(&again), "{pairs} pairs, {again} by the coordinator");
    assert!(desk.discarded.len() >= 150, "dossiers are let go");
}

#[test]
fn whoever_vouches_for_a_cheat_is_caught_by_the_lot_and_loses_as_much() {
    let people = people(4);
    // The only witness is the cheat's friend.
    let mut desk = desk(&people, 1);
    let (friend, cheat) = (&people[0], &people[1]);
    let truth = |who: &Id| if *who == cheat.id() { Finding::Different } else { Finding::Same };
    let mut unnoticed = 0;
    loop {
        round(&mut desk, &people, |desk, order, by| {
            heard(desk, order, by, Finding::Same, truth(&order.who));
        });
        if !forfeited(&desk).is_empty() {
            break;
        }
        unnoticed += 1;
        assert!(unnoticed < 60, "never caught");
    }
    let mut lost = vec![(cheat.id(), Code::Different), (friend.id(), Code::Vouched)];
    lost.sort();
    assert_eq!((forfeited(&desk), witnessed(&desk)), (lost, BTreeMap::new()));
    for who in [friend, cheat] {
        let balance = desk.machine.book().ledger().balance(&who.id().0);
        assert_eq!((balance.held(), balance.forfeited > 0), (0, true), "{balance:?}");
        assert_eq!(desk.verdicts(who).last().unwrap().1, Verdict::Refused(Reason::Struck));
    }
    for restarted in [false, true] {
        if restarted {
            restart(&mut desk);
            join(&mut desk, &people, 1);
        }
        round(&mut desk, &people[2..], |desk, order, by| {
            assert!(by.is_empty(), "it is not asked again");
            desk.ran(order, Finding::Same);
        });
        let commit = desk.commit_of(friend, 64);
        desk.commit(friend, &commit);
        assert_eq!(desk.verdicts(friend).last().unwrap().1, Verdict::Refused(Reason::Struck));
    }
}

#[test]
fn an_accuser_that_lies_harms_nobody_and_is_not_asked_again() {
    let people = people(3);
    let mut desk = desk(&people, 1);
    let liar = people[0].id();
    let mut lies = 0;
    round(&mut desk, &people, |desk, order, by| {
        lies += by.len();
        assert!(heard(desk, order, by, Finding::Different, Finding::Same), "its word alone counts for nothing");
    });
    assert_eq!(lies, 1, "one is enough");
    assert!(!found(&desk).iter().any(|(by, _)| *by == liar));
    assert_eq!((forfeited(&desk), witnessed(&desk)), (vec![], BTreeMap::new()));
    // Its own work goes on counting, and after a restart it is still not believed.
    let paid = |entry: &Entry| matches!(entry, Entry::Paid { who, amount, .. } if *who == liar.0 && *amount > 0);
    assert!(batch(&desk).iter().any(paid));
    restart(&mut desk);
    join(&mut desk, &people, 1);
    round(&mut desk, &people, |desk, order, by| {
        assert!(by.is_empty(), "it is not asked again");
        desk.ran(order, Finding::Same);
    });
}

#[test]
fn two_that_disagree_call_the_coordinator() {
    let people = people(5);
    for truth in [Finding::Same, Finding::Different] {
        let lie = if truth == Finding::Same { Finding::Different } else { Finding::Same };
        let mut desk = desk(&people, 4);
        let mut pair = None;
        while pair.is_none() {
            round(&mut desk, &people, |desk, order, by| match *by {
                [right, wrong] if pair.is_none() => {
                    desk.says(right, order, Some(truth));
                    assert!(desk.replays.is_empty(), "one of two is waited for");
                    desk.says(wrong, order, Some(lie));
                    desk.ran(order, truth);
                    pair = Some((order.who, right, wrong));
                }
                _ => drop(heard(desk, order, by, Finding::Same, Finding::Same)),
            });
        }
        let (subject, right, wrong) = pair.unwrap();
        assert!(found(&desk).contains(&(right, truth)) && witnessed(&desk).contains_key(&right));
        let mut lost = match truth {
            Finding::Different => vec![(subject, Code::Different), (wrong, Code::Vouched)],
            _ => vec![],
        };
        lost.sort();
        assert_eq!(forfeited(&desk), lost);
        round(&mut desk, &people, |desk, order, by| {
            assert!(!by.contains(&wrong));
            heard(desk, order, by, Finding::Same, Finding::Same);
        });
    }
}

#[test]
fn whoever_cannot_is_done_without_and_so_after_a_round_is_whoever_says_nothing() {
    let people = people(2);
    let mut desk = desk(&people, 1);
    let witness = people[0].id();
    let mut silent = None;
    round(&mut desk, &people, |desk, order, by| match by {
        // The witness's own work: there is nobody else.
        [] => desk.ran(order, Finding::Same),
        _ => silent = Some(order.clone()),
    });
    let order = silent.expect("it was asked");
    assert!(desk.replays.is_empty());
    round(&mut desk, &people, |desk, order, by| match by {
        [] => {
            // Its first order is overdue only when this round closes, and this one it cannot run.
            assert_eq!(desk.replays.len(), 1);
            desk.ran(order, Finding::Same);
        }
        _ => {
            desk.says(witness, order, None);
            desk.ran(order, Finding::Same);
            // Another, and the same again, are nobody's.
            desk.says(witness, order, Some(Finding::Different));
            desk.says(people[1].id(), order, Some(Finding::Different));
        }
    });
    assert_eq!(desk.replays, std::slice::from_ref(&order), "the coordinator runs it itself now");
    desk.says(witness, &order, Some(Finding::Different));
    desk.ran(&order, Finding::Same);
    // Of what a witness calls the same the coordinator may run one in eight as well.
    let mut twice = 0;
    round(&mut desk, &people, |desk, order, by| {
        let itself = heard(desk, order, by, Finding::Same, Finding::Same);
        twice += usize::from(itself && !by.is_empty());
    });
    assert_eq!((forfeited(&desk), found(&desk).len()), (vec![], 3 + twice));
    // Without time for both, the coordinator runs it itself at once.
    let mut hasty = run();
    hasty.spec.check.settle = 2;
    let mut desk = Desk::with(hasty);
    join(&mut desk, &people, 2);
    for _ in 0..4 {
        round(&mut desk, &people, |desk, order, by| {
            assert!(by.is_empty());
            desk.ran(order, Finding::Same);
        });
    }
}

#[test]
fn what_was_under_way_at_a_restart_is_asked_for_again_and_absence_says_nothing() {
    let people = people(3);
    let mut desk = desk(&people, 1);
    let mut asked_of = Vec::new();
    // Nobody answers in this round, which settles nevertheless.
    round(&mut desk, &people, |_, order, _| asked_of.push((order.who, order.commit.round)));
    desk.replays.clear();
    restart(&mut desk);
    // The third doesn't come back.
    join(&mut desk, &people[..2], 1);
    for who in &people[..2] {
        assert!(asked_of.contains(&(who.id(), asked(&desk, who).unwrap())));
        let order = desk.shown(who);
        let by = desk.witnesses(&order);
        heard(&mut desk, &order, &by, Finding::Same, Finding::Same);
    }
    let mut before = Vec::new();
    for _ in 0..6 {
        round(&mut desk, &people[..2], |desk, order, by| {
            heard(desk, order, by, Finding::Same, Finding::Same);
        });
        assert_eq!(forfeited(&desk), [], "it couldn't be asked");
        before.extend(found(&desk));
    }
    assert!(before.len() >= 14, "two of the round before the restart, and two in each since");
}

/// What the coordinator keeps besides its ledger, which must grow.
fn size(world: &World) -> usize {
    let text = format!("{:?}", world.host.machine.as_ref().unwrap());
    text.split_once("docket: ").unwrap().1.len()
}

#[test]
fn a_swarm_that_checks_itself_finds_the_cheat_and_grows_no_fatter_in_a_thousand_rounds() {
    let mut run = run();
    run.spec.check = Check { first: 2, rate: 0.25, hold: 16, ..Check::default() };
    let mut world = World::with_run(Config::calm(7, 7), run);
    let word = |word| Morals { cheats: false, word };
    let all =
        [Morals { cheats: true, word: Word::Vouches }, word(Word::Vouches), word(Word::Accuses), word(Word::Silent)];
    // The accuser and the silent one from the start; the cheat and its friend once they are trusted.
    world.tempt(2, all[2]);
    world.tempt(3, all[3]);
    let mut sizes = Vec::new();
    for stretch in 0..10_u64 {
        if stretch == 1 {
            world.tempt(0, all[0]);
            world.tempt(1, all[1]);
        }
        world.run_rounds(100 * (stretch + 1));
        world.crash_host(Crash { after: 7 * stretch, durable: stretch % 2 == 0, down_ms: 3_000 });
        sizes.push(size(&world));
    }
    let audit = world.audit();
    assert!(audit.states.len() > 1_000);
    let ledger = world.host.machine.as_ref().unwrap().book().ledger();
    let balances: Vec<_> = world.nodes.iter().map(|node| ledger.balance(&node.id().0)).collect();
    assert!(balances[0].forfeited > 0 && balances[0].provisional + balances[0].verified == 0, "{:?}", balances[0]);
    assert!(balances[2..].iter().all(|balance| balance.forfeited == 0), "{balances:?}");
    let ran = |node: &Node| {
        let paid = |entry: &Entry| match entry {
            Entry::Paid { who, witness, .. } if *who == node.id().0 => *witness,
            _ => 0,
        };
        world.host.entries.iter().map(paid).sum::<u64>()
    };
    let ran: Vec<u64> = world.nodes.iter().map(ran).collect();
    assert!(ran[4..].iter().all(|tokens| *tokens > 0) && ran[2..4] == [0, 0], "{ran:?}");
    let seen = world.nodes[4].snapshot(world.now()).witness;
    assert!(seen.segments > 0 && seen.tokens > 0, "{seen:?}");
    let (early, late) = (sizes[3], sizes[9]);
    assert!(late < early + early / 4, "{sizes:?}");
}
