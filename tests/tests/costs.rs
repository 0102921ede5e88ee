//! What a world says of a real swarm's time: as much as follows from sizes, links and pauses by hand.

use tributary_protocol::spec::{RoundRule, UpdateFormat};
use tributary_tests::world::{Config, Costs, Net, World};
use tributary_tests::{Pace, Pauses, tiny_run};

const NOTHING: Costs = Costs {
    bits_per_s: 10_000_000,
    weights: 1,
    update: 1,
    first: 1,
    step: 1,
    data: 1,
    pauses: Pauses { cut: 0, first_cut: 0, fold: 0 },
    fold_ms: 0,
};

/// Milliseconds a round that the contributor that loses most of them does not train.
fn lost_ms(costs: Costs) -> f64 {
    const ROUNDS: u64 = 10;
    let round = RoundRule { seconds: 60, grace: 20, quorum: 1, stale: 0.5 };
    let mut run = tiny_run(round);
    (run.spec.update, run.spec.first, run.spec.step) = (UpdateFormat::UPDATE, UpdateFormat::FIRST, UpdateFormat::STEP);
    let net = Net { latency_ms: (50, 50), ..Net::calm() };
    let config = Config { round, net, pace: Pace::Timed(1), costs: Some(costs), ..Config::calm(3, 8) };
    let mut world = World::with_run(config, run);
    world.run_until(|world| world.host.settled() >= ROUNDS);
    let parts = world.utilisation();
    assert_eq!(parts.len(), 8, "everyone trained");
    (1.0 - parts.into_iter().fold(1.0, f64::min)) * 60_000.0
}

fn check(costs: Costs, expected: f64) {
    // Orders and reports take up to 60 ms to the trainer's driver, and the last round isn't whole.
    let lost = lost_ms(costs.clone());
    assert!((0.9 * expected..1.15 * expected + 60.0).contains(&lost), "{lost} ms, expected {expected}: {costs:?}");
}

#[test]
fn time_is_lost_to_pauses_and_to_the_first_wait_for_data_and_to_nothing_else() {
    // Four times the latency to ask for the data and get it, once: later what is here is read on meanwhile.
    check(NOTHING, 20.0);
    check(Costs { pauses: Pauses { cut: 700, first_cut: 700, fold: 500 }, ..NOTHING }, 1220.0);
    // 1.25 MB are a second of 10 Mbit/s, shared out over ten rounds and the one that is under way.
    check(Costs { data: 1_250_000, ..NOTHING }, 1200.0 / 11.0);
    // Updates, steps and the coordinator's work are on their way while training goes on.
    check(Costs { update: 5_000_000, first: 9_000_000, step: 5_000_000, fold_ms: 3_000, ..NOTHING }, 20.0);
}
