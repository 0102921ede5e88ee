//! What one contributor can do to a round: little, if its update is too large, and nothing by leaving.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use tributary_protocol::Identity;
use tributary_protocol::coordinator::{Event, Examined, Gain, Input, Score};
use tributary_protocol::message::{FoldManifest, Reason, Verdict};
use tributary_protocol::spec::RoundRule;
use tributary_tests::desk::{Desk, people};
use tributary_tests::tiny_run;
use tributary_tests::world::{Config, World};

fn folds(world: &World) -> Vec<FoldManifest> {
    let coordinator = world.host.identity.id();
    let fold = |event: &Event| match event {
        Event::Settled { fold, .. } => Some(fold.open(&coordinator).unwrap()),
        _ => None,
    };
    world.host.journal.iter().filter_map(fold).collect()
}

#[test]
fn updates_that_are_far_too_large_are_clipped_and_only_they() {
    let mut world = World::new(Config::calm(1, 7));
    world.exaggerate(0, 200.0);
    world.run_rounds(5);
    world.audit();
    let loud = world.nodes[0].id();
    for fold in folds(&world) {
        assert_eq!(fold.accepted.len(), 7);
        for accepted in &fold.accepted {
            // The embedding, which every simulated step changes; smaller tensors are hit by chance.
            let factor = accepted.factors(11).iter().find(|clip| clip.tensor == 0).map(|clip| clip.factor);
            assert!(factor.is_some_and(|factor| factor < 0.9) == (accepted.peer == loud), "{accepted:?}");
        }
    }
    // Everybody's weights stay within what honest steps can do.
    let base = world.host.machine.as_ref().unwrap().head().1;
    let weights = tributary_protocol::fold::f32_from_le(&world.host.blobs[&base.hash]);
    assert!(tributary_protocol::fold::norm(&weights) < 1e4);
}

#[test]
fn an_update_without_a_size_is_refused_in_words() {
    let me = &people(1)[0];
    let tensors = 11;
    let check = |norms: Vec<f64>, expected: Verdict| {
        let mut desk = Desk::new(1);
        desk.hello(me);
        let commit = desk.commit_of(me, 64);
        desk.commit(me, &commit);
        let examined = Examined { norms, ..desk.examined(&commit.update) };
        desk.input(Input::Fetched { from: me.id(), update: commit.update.hash, result: Ok(examined) });
        assert_eq!(desk.verdicts(me), [(0, expected)]);
    };
    let one = |norm: f64| [vec![norm], vec![0.0; tensors - 1]].concat();
    check(one(1.0), Verdict::Received);
    for bad in [one(0.0), one(f64::NAN), one(f64::INFINITY), one(-1.0), vec![], vec![1.0; tensors + 1]] {
        check(bad, Verdict::Refused(Reason::Norm));
    }
    assert_eq!(
        Reason::Norm.to_string(),
        "the update's size is zero, not a number, or far from that of the round's others"
    );
}

#[test]
fn a_round_closes_when_everybody_is_in_and_otherwise_after_its_grace() {
    let people = people(4);
    let check = |vanish: usize, quorum: u32, folds_at_ms: Option<u64>| {
        let mut desk = Desk::new(quorum);
        people.iter().for_each(|who| desk.hello(who));
        let opened = desk.now;
        for (n, who) in people.iter().enumerate() {
            let commit = desk.commit_of(who, 64);
            desk.commit(who, &commit);
            if n < vanish {
                // Gone between the promise and the blob.
                desk.input(Input::Gone(who.id()));
                let result = Err(Reason::Unavailable);
                desk.input(Input::Fetched { from: who.id(), update: commit.update.hash, result });
            } else {
                desk.fetched(who.id(), commit.update);
            }
        }
        for ms in [9_999, 10_000, 14_999, 15_000] {
            desk.now = opened + ms;
            desk.input(Input::Tick);
            assert_eq!(desk.plan.is_some(), folds_at_ms.is_some_and(|at| ms >= at), "{vanish} of 4 vanish, {ms} ms");
        }
        if let Some(plan) = &desk.plan {
            assert_eq!(plan.accepted.len(), people.len() - vanish);
            assert_eq!(plan.rate, plan.outer.rate(people.len() - vanish));
        } else {
            assert_eq!((desk.machine.head().0, desk.machine.remaining(desk.now)), (0, None), "void");
            desk.hello(&people[0]);
            assert_eq!(desk.open().deadline_ms, desk.now + 10_000, "open again once there are enough for it");
            let refused = Verdict::Refused(Reason::Unavailable);
            assert_eq!(desk.verdicts(&people[0]), [(0, refused)], "what never came is void with it");
        }
    };
    check(0, 4, Some(10_000));
    check(2, 2, Some(15_000));
    check(2, 3, None);
}

#[test]
fn a_contributor_with_two_updates_is_one_of_the_quorum() {
    let people = people(2);
    let mut desk = Desk::new(2);
    people.iter().for_each(|who| desk.hello(who));
    let late = desk.commit_of(&people[0], 64);
    // Round 0 folds with others; then one contributor is alone with two updates.
    let others = [[50; 32], [51; 32]].map(tributary_protocol::Identity::from_secret);
    for who in &others {
        desk.hello(who);
        desk.update(who, 64);
    }
    desk.now += 15_000;
    desk.input(Input::Tick);
    desk.folded();
    others.iter().for_each(|who| desk.input(Input::Gone(who.id())));
    desk.commit(&people[0], &late);
    desk.fetched(people[0].id(), late.update);
    desk.update(&people[0], 64);
    desk.now += 15_000;
    desk.input(Input::Tick);
    assert!(desk.plan.is_none(), "two updates of one contributor are no quorum of two");
    // The round goes again, and what was late for it before is in it still.
    for who in &people {
        desk.update(who, 64);
    }
    desk.now += 10_000;
    desk.input(Input::Tick);
    let accepted = desk.folded().accepted;
    assert_eq!(accepted.iter().map(|a| a.age).sum::<u8>(), 1);
    assert_eq!((accepted.len(), accepted.iter().map(|a| a.peer).collect::<BTreeSet<_>>().len()), (3, 2));
}

#[test]
fn half_the_contributors_vanish_and_the_rest_go_on() {
    let round = RoundRule { seconds: 10, grace: 5, quorum: 3, stale: 0.5 };
    let mut world = World::new(Config { round, ..Config::calm(4, 8) });
    world.run_rounds(2);
    world.run_for(5_000);
    (0..4).for_each(|node| world.crash(node));
    let (rounds, since) = (world.host.settled(), world.now());
    world.run_rounds(rounds + 4);
    // Not one of these rounds needed its whole grace but the first.
    assert!(world.now() - since < 4 * 12_000 + 5_000, "{} ms", world.now() - since);
    let audit = world.audit();
    let sizes: Vec<_> = audit.sets[rounds as usize + 1..].iter().map(Vec::len).collect();
    assert!(sizes.len() >= 3 && sizes.iter().all(|size| *size == 4), "{sizes:?}");
    // With half of these gone too there is no quorum, so nothing moves and nobody is paid.
    (4..6).for_each(|node| world.crash(node));
    let settled = world.host.settled();
    world.run_for(60_000);
    assert_eq!(world.host.settled(), settled);
    world.revive(0);
    world.run_rounds(settled + 2);
    assert_eq!(world.audit().sets.last().map(Vec::len), Some(3));
}

#[test]
fn as_long_as_nobody_is_proven_neither_many_names_nor_many_tokens_say_what_is_usual() {
    let people = people(24);
    let mut run = tiny_run(RoundRule { seconds: 10, grace: 5, quorum: 1, stale: 0.5 });
    run.spec.check.first = 3;
    let mut desk = Desk::with(run);
    people.iter().for_each(|who| desk.hello(who));
    // Four who work, nineteen names of somebody who hardly does, and one who claims much for nothing.
    let gain = |at| match at {
        0..4 => 0.2,
        4..23 => 0.0002,
        _ => 0.0,
    };
    for (at, who) in people.iter().enumerate() {
        let tokens = [6400, 64, 640_000][usize::from(at >= 4) + usize::from(at >= 23)];
        let commit = desk.commit_of(who, tokens);
        let gain = Gain { mean: gain(at), error: 0.0001 };
        desk.score(&commit.update, Score { random: gain, own: gain });
        desk.commit(who, &commit);
        desk.fetched(who.id(), commit.update);
    }
    desk.now += 15_000;
    desk.input(Input::Tick);
    let plan = desk.plan.as_ref().expect("all are here");
    let of = |who: &Identity| plan.accepted.iter().find(|accepted| accepted.peer == who.id());
    for who in &people[..4] {
        assert_eq!(of(who).map(|accepted| (accepted.tokens, accepted.weight > 0.2)), Some((6400, true)));
    }
    assert!(of(&people[23]).is_none_or(|accepted| accepted.weight < 0.01));
}

#[test]
fn as_long_as_nobody_is_proven_nobody_counts_for_more_than_most() {
    let people = people(4);
    let mut run = tiny_run(RoundRule { seconds: 10, grace: 5, quorum: 4, stale: 0.5 });
    run.spec.check.first = 3;
    let mut desk = Desk::with(run);
    people.iter().for_each(|who| desk.hello(who));
    for (who, tokens) in people.iter().zip([64, 128, 64, 64_000]) {
        let commit = desk.commit_of(who, tokens);
        desk.commit(who, &commit);
        desk.fetched(who.id(), commit.update);
    }
    desk.now += 15_000;
    desk.input(Input::Tick);
    let plan = desk.plan.as_ref().expect("all are here");
    let mut counted: Vec<_> = plan.accepted.iter().map(|accepted| (accepted.tokens, accepted.weight)).collect();
    counted.sort_by_key(|(tokens, _)| *tokens);
    assert_eq!(counted, [(64, 0.25); 4]);
}
