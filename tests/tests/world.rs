//! A thousand contributors, fifty rounds.

use std::time::Instant;

use tributary_tests::world::{Config, World};

#[test]
fn a_thousand_contributors_train_fifty_rounds() {
    let begun = Instant::now();
    let mut world = World::new(Config::calm(1, 1_000));
    let virtual_start = world.now();
    world.run_rounds(50);
    let audit = world.audit();
    println!(
        "1000 contributors, 50 rounds: {:.1} s of work for {:.0} s of virtual time",
        begun.elapsed().as_secs_f64(),
        (world.now() - virtual_start) as f64 / 1000.0
    );
    for node in &world.nodes {
        assert!(audit.accepted[&node.id()] >= 50, "an always connected contributor is accepted every round");
        assert!(node.states().len() >= 51, "{:?}", node.states().len());
    }
    assert_eq!(audit.credits.values().sum::<u64>(), audit.sets.len() as u64 * world.run().spec.reward.pool);
}
