//! The coordinator dies again and again, wherever it is in its work, and is started again from its disk.
#![allow(clippy::unwrap_used)]

use tributary_tests::Random;
use tributary_tests::world::{Config, Crash, World};

/// As the product's acceptance asks.
const DEATHS: u64 = 200;

#[test]
fn two_hundred_deaths_lose_nothing_pay_nothing_twice_and_accuse_nobody() {
    let mut world = World::new(Config::calm(21, 6));
    let mut random = Random::new(22);
    for death in 0..DEATHS {
        // A round of six takes a few hundred outputs: one dies in the middle of any of them.
        let (after, down_ms) = (random.below(300), 100 + random.below(4_000));
        world.crash_host(Crash { after, durable: death % 2 == 0, down_ms });
        world.run_until(|world| world.host.machine.is_none());
        world.run_until(|world| world.host.machine.is_some());
    }
    let settled = world.host.settled();
    assert!(settled > DEATHS / 8, "only {settled} rounds came about between the deaths");
    world.run_rounds(settled + 3);
    // Every base, step and credit again from the journal, and every checkpoint that a contributor remembers.
    let audit = world.audit();
    let host = world.host.machine.as_ref().unwrap();
    for node in &world.nodes {
        let id = node.id();
        assert_eq!(audit.steps[&id] + node.uncut(), node.trained(), "work was lost");
        let balance = host.book().ledger().balance(&id.0);
        assert_eq!((balance.paid(), balance.forfeited), (audit.credits[&id], 0));
    }
}
