//! Rounds that wait for nobody: an update that comes late counts for less in the fold that is next, and not at
//! all once it is three rounds old.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;

use tributary_protocol::coordinator::{Coordinator, Input};
use tributary_protocol::limits::{MAX_AGE, MAX_REFUSALS};
use tributary_protocol::message::{Commit, Reason, Verdict};
use tributary_protocol::view;
use tributary_protocol::{BlobRef, Identity};
use tributary_tests::desk::{Desk, people};
use tributary_tests::world::{Config, Crash, World};

/// Two contributors; `me` misses rounds and `other` makes them fold.
fn desk() -> (Desk, Identity, Identity) {
    let [me, other] = <[Identity; 2]>::try_from(people(2)).unwrap();
    let mut desk = Desk::new(1);
    [&me, &other].into_iter().for_each(|who| desk.hello(who));
    (desk, me, other)
}

/// Lets the open round end and fold; age, tokens and weight of what it took.
fn fold(desk: &mut Desk) -> Vec<(u8, u64, f32)> {
    desk.now += 15_000;
    desk.input(Input::Tick);
    desk.folded().accepted.iter().map(|a| (a.age, a.tokens, a.weight)).collect()
}

#[test]
fn each_round_late_halves_what_an_update_counts_for() {
    let (mut desk, me, other) = desk();
    let mut late = Vec::new();
    for _ in 0..=MAX_AGE {
        late.push(desk.commit_of(&me, 101));
        desk.update(&other, 50);
        assert_eq!(fold(&mut desk), [(0, 50, 1.0)]);
    }
    // Rounds 1 and 2 are one and two late in round 3, and round 0 is three.
    for commit in &late {
        desk.commit(&me, commit);
        desk.fetched(me.id(), commit.update);
    }
    let fresh = desk.update(&me, 25);
    assert_eq!(fresh.round, 3);
    let verdicts =
        [(0, Verdict::Refused(Reason::Late)), (1, Verdict::Received), (2, Verdict::Received), (3, Verdict::Received)];
    assert_eq!(desk.verdicts(&me), verdicts);
    assert_eq!(fold(&mut desk), [(2, 25, 0.25), (1, 50, 0.5), (0, 25, 0.25)]);
    // Everything that was earned in the round is one entry of the ledger.
    assert_eq!(desk.machine.book().ledger().balance(&me.id().0).paid(), desk.run.spec.reward.pool);
    assert!(Reason::Late.to_string().contains("the 2 rounds before it"), "{}", Reason::Late);
}

#[test]
fn a_blob_that_is_on_its_way_when_its_round_folds_comes_with_the_next() {
    let (mut desk, me, other) = desk();
    let late = desk.commit_of(&me, 64);
    desk.commit(&me, &late);
    desk.update(&other, 64);
    desk.now += 15_000;
    desk.input(Input::Tick);
    // It comes while the coordinator folds, when no round is open.
    desk.fetched(me.id(), late.update);
    assert_eq!(desk.folded().accepted.len(), 1);
    desk.update(&other, 64);
    assert_eq!(fold(&mut desk), [(0, 64, 64.0 / 96.0), (1, 32, 32.0 / 96.0)]);
    assert_eq!(desk.fetches.iter().filter(|(from, _)| *from == me.id()).count(), 1, "fetched once");
}

#[test]
fn late_updates_keep_nobody_waiting_and_never_make_a_round_fold_twice() {
    let (mut desk, me, other) = desk();
    let late = desk.commit_of(&me, 64);
    desk.commit(&me, &late);
    desk.update(&other, 64);
    fold(&mut desk);
    // Both have sent what is of this round; what is late is still on its way.
    for who in [&me, &other] {
        desk.update(who, 64);
    }
    desk.now = desk.open().deadline_ms;
    desk.input(Input::Tick);
    assert_eq!(desk.folded().accepted.len(), 2, "closed at the deadline");
}

#[test]
fn an_update_counts_once_whatever_is_said_again() {
    let (mut desk, me, other) = desk();
    let commit = desk.update(&me, 64);
    desk.update(&other, 64);
    fold(&mut desk);
    let pool = desk.run.spec.reward.pool;
    let half = desk.machine.book().ledger().balance(&me.id().0).paid();
    assert!(half == pool / 2 || half == pool / 2 + 1);
    let before = desk.verdicts(&me).len();
    // It missed the fold; it has second thoughts; it sells the same work as that of the next round.
    desk.commit(&me, &commit);
    desk.commit(&me, &Commit { update: BlobRef::of(b"second thoughts"), ..commit.clone() });
    let open = desk.open();
    desk.commit(&me, &Commit { round: 1, base: open.base, ..commit });
    let verdicts = [
        (0, Verdict::Folded { credits: half }),
        (0, Verdict::Refused(Reason::Twice)),
        (1, Verdict::Refused(Reason::Twice)),
    ];
    assert_eq!(desk.verdicts(&me)[before..], verdicts);
    desk.update(&other, 64);
    assert_eq!(fold(&mut desk).len(), 1);
}

#[test]
fn a_restart_keeps_late_commits_and_what_was_folded() {
    let (mut desk, me, other) = desk();
    let late = desk.commit_of(&me, 64);
    desk.commit(&me, &late);
    let folded = desk.update(&other, 64);
    fold(&mut desk);
    let (identity, spec) = (desk.identity.clone(), desk.run.spec.clone());
    desk.machine = Coordinator::restore(identity, spec, desk.journal.clone(), desk.entries.clone()).unwrap();
    desk.fetches.clear();
    desk.input(Input::Tick);
    assert_eq!(desk.fetches, [(me.id(), late.update)], "what was under way is asked for again");
    desk.fetched(me.id(), late.update);
    desk.hello(&other);
    desk.commit(&other, &folded);
    let pool = desk.run.spec.reward.pool;
    assert_eq!(desk.verdicts(&other).last(), Some(&(0, Verdict::Folded { credits: pool })));
    desk.now += 15_000;
    desk.input(Input::Tick);
    assert_eq!(fold(&mut desk), [(1, 32, 1.0)]);
}

#[test]
fn a_run_can_refuse_whatever_is_late() {
    let (mut desk, me, other) = desk();
    desk.run.spec.round.stale = 0.0;
    let journal = vec![tributary_protocol::coordinator::Event::Genesis {
        run: desk.run.spec.id(),
        base: BlobRef::of(&desk.run.weights),
    }];
    desk.machine = Coordinator::restore(desk.identity.clone(), desk.run.spec.clone(), journal, []).unwrap();
    [&me, &other].into_iter().for_each(|who| desk.hello(who));
    let [in_time, late] = [64, 65].map(|tokens| desk.commit_of(&me, tokens));
    desk.commit(&me, &in_time);
    desk.update(&other, 64);
    fold(&mut desk);
    // One blob was on its way, the other commit is yet to come.
    desk.commit(&me, &Commit { update: BlobRef::of(b"another"), ..late });
    let refused: Vec<_> = desk.verdicts(&me).into_iter().map(|(_, verdict)| verdict).collect();
    assert_eq!(refused, [Verdict::Refused(Reason::Late), Verdict::Refused(Reason::Twice)]);
}

#[test]
fn an_honest_contributor_that_is_always_too_late_is_not_a_liar() {
    let (mut desk, me, other) = desk();
    let mut on_their_way = VecDeque::new();
    let mut expected = Vec::new();
    for round in 0..3 * u64::from(MAX_REFUSALS) {
        on_their_way.push_back(desk.commit_of(&me, 64));
        desk.update(&other, 64);
        fold(&mut desk);
        if round >= u64::from(MAX_AGE) {
            let commit = on_their_way.pop_front().unwrap();
            desk.commit(&me, &commit);
            expected.push((commit.round, Verdict::Refused(Reason::Late)));
        }
    }
    assert_eq!(desk.verdicts(&me), expected);
    assert!(expected.len() > 2 * MAX_REFUSALS as usize && desk.dropped.is_empty());
}

/// Five contributors with rounds of 15 s at most, of whom the first one's updates take so many of those.
fn slow(seed: u64, rounds: f64) -> World {
    let mut world = World::new(Config::calm(seed, 5));
    let ms = (rounds * 15_000.0) as u64;
    world.upload_takes(0, (ms, ms + 500));
    world
}

#[test]
fn a_link_that_takes_a_round_and_a_half_is_credited_for_every_round() {
    let mut world = slow(1, 1.5);
    world.run_rounds(12);
    let audit = world.audit();
    let slow = &world.nodes[0];
    // The newest two rounds' updates are still on their way.
    assert!(audit.accepted[&slow.id()] >= 10, "{:?}", audit.accepted);
    assert!(audit.steps[&slow.id()] > 0 && world.nodes[1..].iter().all(|node| audit.accepted[&node.id()] == 12));
    let rows = slow.snapshot(world.now()).rounds;
    let judged = rows.iter().filter(|row| row.round < 10);
    assert_eq!(judged.clone().count(), 10);
    for row in judged {
        assert!(matches!(row.verdict, view::Verdict::Credited { credits: 1.. }), "{row:?}");
    }
    // Late work counts for half or less.
    let per_update = |id| audit.credits[&id] / audit.accepted[&id];
    assert!(per_update(slow.id()) < per_update(world.nodes[1].id()) * 6 / 10);
}

#[test]
fn a_link_that_takes_three_rounds_is_refused_and_told_why() {
    let mut world = slow(2, 3.5);
    world.run_rounds(8);
    let audit = world.audit();
    let slow = &world.nodes[0];
    assert_eq!(audit.accepted.get(&slow.id()), None);
    let rows = slow.snapshot(world.now()).rounds;
    let judged: Vec<_> = rows.iter().filter(|row| row.round < 5).map(|row| &row.verdict).collect();
    assert_eq!(judged, [&view::Verdict::Refused { why: Reason::Late.to_string() }; 5]);
    assert_eq!(world.host.machine.as_ref().unwrap().stats().bad_frames, 0, "it isn't a liar");
    assert!(world.nodes[1..].iter().all(|node| audit.accepted[&node.id()] == 8), "and nobody waited for it");
}

#[test]
fn late_updates_survive_a_coordinator_that_dies_and_contributors_that_reconnect() {
    for seed in 0..20 {
        let mut world = slow(seed, 1.5);
        world.run_rounds(3);
        world.crash_host(Crash { after: seed * 7, durable: seed % 2 == 0, down_ms: 3_000 });
        world.run_rounds(6);
        world.cut_off(0, true);
        world.run_for(2_000);
        world.cut_off(0, false);
        world.run_rounds(12);
        let audit = world.audit();
        // A restart delays a round; whoever is late may lose one to it.
        assert!(audit.accepted[&world.nodes[0].id()] >= 8, "seed {seed}: {:?}", audit.accepted);
    }
}

#[test]
fn a_late_update_is_fetched_again_when_its_contributor_is_back() {
    let (mut desk, me, other) = desk();
    let late = desk.commit_of(&me, 64);
    desk.commit(&me, &late);
    desk.input(Input::Gone(me.id()));
    desk.input(Input::Fetched { from: me.id(), update: late.update.hash, result: Err(Reason::Unavailable) });
    desk.update(&other, 64);
    fold(&mut desk);
    desk.fetches.clear();
    // It is back in the next round and repeats what it promised.
    desk.hello(&me);
    desk.commit(&me, &late);
    assert_eq!(desk.fetches, [(me.id(), late.update)], "once");
}
