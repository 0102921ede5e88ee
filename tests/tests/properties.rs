//! What must hold in any order, with any loss, duplication, crash and restart.

use tributary_tests::world::{Config, Net, World};

#[test]
fn a_calm_world_accepts_everyone_every_round() {
    let mut world = World::new(Config::calm(1, 5));
    world.run_rounds(6);
    let audit = world.audit();
    for node in &world.nodes {
        assert_eq!(audit.accepted[&node.id()] as usize, audit.sets.len());
    }
    eprintln!("{audit:#?}");
}

#[test]
fn a_lawless_world() {
    for seed in 0..20 {
        let mut world = World::new(Config { net: Net::lawless(), ..Config::calm(seed, 8) });
        world.run_rounds(6);
        let audit = world.audit();
        eprintln!("{seed}: {:?}", audit.accepted);
    }
}
