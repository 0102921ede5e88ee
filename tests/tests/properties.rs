//! What must hold in any order, with any loss, duplication, crash and restart. [`World::audit`] says
//! what is checked in every world; the tests here say which worlds there are.

use std::collections::BTreeSet;

use proptest::prelude::*;
use tributary_ledger::Entry;
use tributary_protocol::coordinator::{Coordinator, Event, FoldPlan};
use tributary_protocol::spec::{Coding, RoundRule, UpdateFormat};
use tributary_tests::desk::{Desk, people};
use tributary_tests::world::{Audit, Config, Crash, Net, World};
use tributary_tests::{Pace, Random, tiny_run};

#[test]
fn every_step_is_in_the_base_once_or_still_to_be_sent() {
    let mut world = World::new(Config::calm(1, 5));
    world.run_rounds(6);
    let audit = world.audit();
    for node in &world.nodes {
        assert_eq!(audit.accepted[&node.id()], 6);
        assert_eq!(audit.steps[&node.id()] + node.uncut(), node.trained());
        assert!(node.states().len() >= 7, "{:?}", node.states());
    }
}

#[test]
fn steps_that_leave_something_out_lead_everybody_to_the_same_bases() {
    let config = Config::calm(4, 5);
    let mut run = tiny_run(config.round);
    run.spec.step = UpdateFormat::Coded(Coding { keep: 512, bits: 3 });
    let mut world = World::with_run(config, run);
    world.run_rounds(6);
    // Folds every round again from what is in the store, what the steps before left out included.
    let audit = world.audit();
    for node in &world.nodes {
        assert!(node.states().len() >= 7, "{:?}", node.states());
    }
    assert_eq!(audit.states.iter().collect::<std::collections::BTreeSet<_>>().len(), audit.states.len());
}

#[test]
fn a_round_without_quorum_is_void_and_pays_nothing() {
    let round = RoundRule { seconds: 10, grace: 5, quorum: 3, stale: 0.5 };
    let mut world = World::new(Config { round, ..Config::calm(3, 3) });
    world.run_rounds(1);
    world.crash(0);
    world.run_for(60_000);
    assert_eq!(world.host.settled(), 1);
    world.revive(0);
    world.run_rounds(3);
    let audit = world.audit();
    assert_eq!(audit.sets.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 3]);
}

/// Whatever the network does to frames, blobs and connections.
fn net() -> impl Strategy<Value = Net> {
    let rates = (0u32..80, 0u32..120, 0u32..40, 0u32..300, 0u32..1000);
    (any::<bool>(), 0u64..200, 1u64..1500, rates).prop_map(|(lawful, least, more, rates)| {
        let (lost, doubled, breaks, failed_fetches, failed_links) = rates;
        let (lost, doubled) = if lawful { (0, 0) } else { (lost, doubled) };
        let latency_ms = (least, least + more);
        Net {
            latency_ms,
            ordered: lawful,
            lost,
            doubled,
            breaks,
            failed_fetches,
            failed_links,
            fetch_ms: (20, 20 + more),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_network_forks_the_weights_or_the_ledger(seed: u64, nodes in 1usize..8, slow_ms in 0u64..60_000, net in net(), withholds in prop_oneof![Just(0u32), 1u32..200]) {
        let mut world = World::new(Config { net, withholds, ..Config::calm(seed, nodes) });
        // Alone it would never have its update there in time.
        if nodes > 1 {
            world.upload_takes(0, (slow_ms, slow_ms + 5_000));
        }
        world.run_rounds(6);
        world.upload_takes(0, Net::calm().fetch_ms);
        // Then the weather clears, and everybody finds back.
        *world.net() = Net::calm();
        world.run_for(90_000);
        let settled = world.host.settled();
        world.run_rounds(settled + 2);
        let audit = world.audit();
        for node in &world.nodes {
            prop_assert!(node.states().contains_key(&(settled + 1)), "a contributor never found back");
        }
        if withholds == 0 {
            // Late updates may be in it beside those of its own round.
            let contributors: BTreeSet<_> = audit.sets[settled as usize + 1].iter().map(|(who, _)| who).collect();
            prop_assert_eq!(contributors.len(), nodes);
        }
    }

    #[test]
    fn people_come_and_go(seed: u64, acts in prop::collection::vec((0u8..6, 0usize..6, 500u64..15_000), 1..25)) {
        let mut world = World::new(Config { net: Net::rough(), ..Config::calm(seed, 4) });
        let mut down = [false; 6];
        for (act, node, ms) in acts {
            world.run_for(ms);
            let node = node % world.nodes.len();
            match act {
                0 | 1 if !down[node] => { world.crash(node); down[node] = true; }
                0 | 1 => { world.revive(node); down[node] = false; }
                2 => world.cut_off(node, true),
                3 => world.cut_off(node, false),
                4 if world.nodes.len() < 6 => { world.join(); }
                _ => {
                    world.crash_host(Crash { after: ms % 40, durable: ms % 2 == 0, down_ms: ms / 2 });
                }
            }
            if world.nodes.iter().enumerate().all(|(index, _)| down[index]) {
                world.revive(0);
                down[0] = false;
            }
        }
        for (node, down) in down.into_iter().enumerate().take(world.nodes.len()) {
            world.cut_off(node, false);
            if down { world.revive(node); }
        }
        let settled = world.host.settled();
        world.run_rounds(settled + 3);
        world.audit();
    }

    #[test]
    fn a_coordinator_that_dies_anywhere_keeps_the_same_books(
        seed: u64,
        crashes in prop::collection::vec((0u64..60, any::<bool>(), 100u64..6_000), 1..4),
    ) {
        let round = RoundRule { seconds: 10, grace: 40, quorum: 1, stale: 0.5 };
        let config = Config { pace: Pace::Lockstep, round, ..Config::calm(seed, 4) };
        let mut calm = World::new(config.clone());
        calm.run_rounds(4);
        let mut world = World::new(config);
        for (after, durable, down_ms) in crashes {
            world.crash_host(Crash { after, durable, down_ms });
            world.run_for(30_000);
        }
        world.run_rounds(4);
        let books = |audit: Audit| (audit.states[..5].to_vec(), audit.sets[..4].to_vec());
        prop_assert_eq!(books(calm.audit()), books(world.audit()));
    }

    #[test]
    fn the_plan_depends_on_the_accepted_set_alone(seed: u64, count in 1u8..12) {
        prop_assert_eq!(plan(count, None), plan(count, Some(seed)));
    }

    #[test]
    fn a_journal_cut_off_anywhere_restores_what_it_says(seed: u64) {
        let mut world = World::new(Config { net: Net::rough(), ..Config::calm(seed, 3) });
        world.run_rounds(3);
        let pool = world.run().spec.reward.pool;
        for cut in 1..=world.host.journal.len() {
            let journal = world.host.journal[..cut].to_vec();
            let settled = journal.iter().filter(|event| matches!(event, Event::Settled { .. })).count() as u64;
            let ends = |entry: &&Entry| matches!(entry, Entry::Settled { .. });
            let batches: Vec<_> = world.host.entries.split_inclusive(|entry| ends(&entry)).collect();
            let entries = batches[..settled as usize].concat();
            let restore = || {
                let (identity, spec) = (world.host.identity.clone(), world.run().spec.clone());
                Coordinator::restore(identity, spec, journal.clone(), entries.clone())
            };
            let machine = restore().unwrap();
            prop_assert_eq!(machine.head().0, settled);
            prop_assert_eq!(machine.book().ledger().total(), settled * pool);
            // Restoring is a function of the journal: no clock and no chance in it.
            prop_assert_eq!(format!("{machine:?}"), format!("{:?}", restore().unwrap()));
        }
    }
}

/// The fold of a round in which everybody commits, in order or in an order of chance with everything
/// doubled.
fn plan(count: u8, shuffled: Option<u64>) -> FoldPlan {
    let people = people(count);
    let mut desk = Desk::new(u32::from(count));
    people.iter().for_each(|who| desk.hello(who));
    let commits: Vec<_> =
        people.iter().enumerate().map(|(n, who)| (who, desk.commit_of(who, 64 * (n as u64 + 1)))).collect();
    let mut random = Random::new(shuffled.unwrap_or_default());
    let mut orders: Vec<_> =
        commits.iter().chain(shuffled.is_some().then_some(&commits).into_iter().flatten()).collect();
    if shuffled.is_some() {
        random.shuffle(&mut orders);
    }
    for (who, commit) in orders {
        desk.now += random.below(40);
        desk.commit(who, commit);
    }
    let mut fetches = std::mem::take(&mut desk.fetches);
    assert_eq!(fetches.len(), usize::from(count), "a doubled commit is fetched once");
    if shuffled.is_some() {
        fetches.extend(fetches.clone());
        random.shuffle(&mut fetches);
    }
    desk.now = desk.open().deadline_ms;
    fetches.into_iter().for_each(|(from, update)| desk.fetched(from, update));
    let plan = desk.plan.take().expect("everybody's update is in");
    assert_eq!(plan.accepted.len(), usize::from(count));
    plan
}
