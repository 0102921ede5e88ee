//! Who links with whom: the graph, the coordinator that announces it, and the contributors that keep it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use proptest::prelude::*;
use tributary_protocol::contributor::{Config as Setup, Contributor, Input, Output};
use tributary_protocol::coordinator::Input as ToDesk;
use tributary_protocol::job::DeviceChoice;
use tributary_protocol::limits::MAX_LINKS;
use tributary_protocol::links::{dials, neighbours};
use tributary_protocol::message::{Hello, PeerKind, ToContributor, ToCoordinator};
use tributary_protocol::spec::RoundRule;
use tributary_protocol::view::{PathView, Phase};
use tributary_protocol::{Hash, Id, Identity};
use tributary_tests::Random;
use tributary_tests::desk::{Desk, hello, people};
use tributary_tests::world::{Config, Net, World};

/// Rounds for tests that wait for many minutes: few, since a round is work.
const LONG: RoundRule = RoundRule { seconds: 60, grace: 5, quorum: 1, stale: 0.5 };

type Graph = BTreeMap<Id, BTreeSet<Id>>;

fn ids(seed: u64, count: usize) -> BTreeSet<Id> {
    let mut random = Random::new(seed);
    (0..count).map(|_| Id(random.secret())).collect()
}

fn graph(seed: u64, ids: &BTreeSet<Id>) -> Graph {
    neighbours(&Hash::of(&seed.to_le_bytes()), ids.iter().copied())
}

/// Hops from `from` to whoever is farthest; `None` if somebody can't be reached.
fn farthest(graph: &Graph, from: &Id) -> Option<usize> {
    let mut hops = BTreeMap::from([(*from, 0)]);
    let mut queue = VecDeque::from([*from]);
    while let Some(id) = queue.pop_front() {
        for next in &graph[&id] {
            if !hops.contains_key(next) {
                hops.insert(*next, hops[&id] + 1);
                queue.push_back(*next);
            }
        }
    }
    (hops.len() == graph.len()).then(|| hops.into_values().max().unwrap_or(0))
}

fn links(graph: &Graph) -> BTreeSet<(Id, Id)> {
    graph.iter().flat_map(|(a, all)| all.iter().filter(move |b| a < *b).map(move |b| (*a, *b))).collect()
}

fn check_form(graph: &Graph, ids: &BTreeSet<Id>) {
    assert_eq!(graph.keys().copied().collect::<BTreeSet<_>>(), *ids);
    for (id, linked) in graph {
        assert!(!linked.contains(id) && linked.len() <= MAX_LINKS, "{} links", linked.len());
        assert!(linked.iter().all(|other| graph[other].contains(id)), "both ends know of a link");
        assert!(linked.iter().all(|other| dials(id, other) != dials(other, id)), "one of two dials");
    }
    if let Some(first) = ids.first() {
        assert!(farthest(graph, first).is_some(), "everybody is connected");
    }
}

#[test]
fn few_are_all_linked_with_all() {
    for count in 0..=MAX_LINKS + 1 {
        let ids = ids(7, count);
        let graph = graph(1, &ids);
        check_form(&graph, &ids);
        assert!(graph.values().all(|linked| linked.len() == count - 1));
    }
}

#[test]
fn a_thousand_are_a_few_hops_from_each_other_and_soon_drawn() {
    let ids = ids(3, 1_000);
    let begun = Instant::now();
    let graph = graph(1, &ids);
    println!("1000 contributors: {:?}", begun.elapsed());
    check_form(&graph, &ids);
    let hops: Vec<_> = ids.iter().step_by(50).map(|id| farthest(&graph, id).unwrap()).collect();
    assert!(hops.iter().all(|hops| *hops <= 6), "{hops:?}");
    let regular = graph.values().filter(|linked| linked.len() == MAX_LINKS).count();
    assert!(regular >= 950 && graph.values().all(|linked| linked.len() >= 6), "{regular} have all links");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_swarm_is_connected_and_bounded(seed: u64, count in 0usize..200) {
        let ids = ids(seed, count);
        check_form(&graph(seed, &ids), &ids);
    }

    #[test]
    fn one_who_comes_or_goes_changes_few_links(seed: u64, count in MAX_LINKS + 2..300, which: prop::sample::Index) {
        let few = ids(seed, count);
        let mut more = few.clone();
        more.insert(Id(Random::new(!seed).secret()));
        let mut fewer = few.clone();
        fewer.remove(which.get(&few.iter().copied().collect::<Vec<_>>()));
        let now = links(&graph(seed, &few));
        let changes = |other: &BTreeSet<Id>| links(&graph(seed, other)).symmetric_difference(&now).count();
        // On each of MAX_LINKS / 2 rings two links become one, or one becomes two.
        prop_assert!(changes(&more) <= 3 * MAX_LINKS / 2);
        if fewer.len() > MAX_LINKS + 1 {
            prop_assert!(changes(&fewer) <= 3 * MAX_LINKS / 2);
        }
    }
}

/// A contributor that trains for the coordinator, as far as its links are concerned.
fn contributor(seed: u64) -> Contributor {
    let mut machine = Contributor::new(Setup {
        identity: Identity::from_secret([1; 32]),
        coordinator: Identity::from_secret([9; 32]).id(),
        kind: PeerKind::Tab,
        agent: "test".to_owned(),
        run: None,
        device: DeviceChoice::Cpu,
        links: true,
        jitter: seed,
        remembered: None,
    });
    machine.handle(0, Input::Start);
    machine
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_named_dialled_and_lost_the_links_stay_bounded(
        seed: u64,
        acts in prop::collection::vec((0u8..8, 0u64..40_000, prop::collection::vec(0u8..40, 0..MAX_LINKS)), 1..200),
    ) {
        let (mut machine, mut up, mut now) = (contributor(seed), BTreeSet::new(), 0);
        let id = |n: &u8| Identity::from_secret([*n; 32]).id();
        for (act, ms, whom) in acts {
            now += ms;
            let peer = id(whom.first().unwrap_or(&0));
            let input = match act {
                0 => Input::Start,
                1 => Input::Stop,
                2 => Input::Disconnected { why: "gone".to_owned() },
                3 | 4 => Input::Message(ToContributor::Links(whom.iter().map(id).collect())),
                5 => {
                    up.insert(peer);
                    Input::Linked { peer }
                }
                6 => {
                    up.remove(&peer);
                    Input::Unlinked { peer, why: "lost".to_owned() }
                }
                _ => Input::Tick,
            };
            machine.handle(now, input);
            let (mut dialled, mut left) = (0, 0);
            while let Some(output) = machine.poll() {
                match output {
                    Output::Link(_) => dialled += 1,
                    Output::Unlink(peer) => {
                        left += 1;
                        up.remove(&peer);
                    }
                    _ => {}
                }
            }
            prop_assert!(dialled <= MAX_LINKS && left <= 3 * MAX_LINKS, "{} dialled, {} left", dialled, left);
            // Wanted ones, and as many that are on their way out.
            prop_assert!(up.len() <= 2 * MAX_LINKS, "{} links are up", up.len());
            let view = machine.snapshot(now).links;
            prop_assert!(view.up <= view.wanted && view.wanted <= MAX_LINKS as u32);
            // Nobody is woken for nothing: what is due is done.
            prop_assert!(machine.wake_at().is_none_or(|at| at > now), "woken at {:?}, now {}", machine.wake_at(), now);
        }
        machine.handle(now, Input::Stop);
        while let Some(output) = machine.poll() {
            if let Output::Unlink(peer) = output {
                up.remove(&peer);
            }
        }
        prop_assert!(up.is_empty(), "whoever stops leaves everybody");
    }
}

fn sorted(people: &[&Identity]) -> Vec<Id> {
    people.iter().map(|who| who.id()).collect::<BTreeSet<_>>().into_iter().collect()
}

#[test]
fn the_coordinator_names_links_once_a_change_has_settled() {
    let [a, b, c, unable] = <[Identity; 4]>::try_from(people(4)).unwrap();
    let mut desk = Desk::new(1);
    [&a, &b].into_iter().for_each(|who| desk.hello(who));
    desk.message(&unable, ToCoordinator::Hello(Hello { links: false, ..hello() }));
    assert_eq!(desk.links(&a), None);
    let settle = |desk: &mut Desk| {
        desk.now += 1_000;
        desk.sent.clear();
        desk.input(ToDesk::Tick);
    };
    settle(&mut desk);
    assert_eq!((desk.links(&a), desk.links(&b)), (Some(&[b.id()][..]), Some(&[a.id()][..])));
    assert_eq!(desk.links(&unable), None, "it said that it can't");
    desk.hello(&c);
    settle(&mut desk);
    assert_eq!(desk.links(&c).unwrap(), sorted(&[&a, &b]));
    assert_eq!(desk.links(&a).unwrap(), sorted(&[&b, &c]));
    // Gone and back within a moment: the others needn't hear of it, and it is told anew.
    desk.input(ToDesk::Gone(b.id()));
    desk.hello(&b);
    settle(&mut desk);
    assert_eq!((desk.links(&a), desk.links(&b).unwrap()), (None, &sorted(&[&a, &c])[..]));
    desk.input(ToDesk::Gone(b.id()));
    desk.input(ToDesk::Gone(c.id()));
    settle(&mut desk);
    assert_eq!(desk.links(&a), Some(&[][..]), "nobody is left");
    settle(&mut desk);
    assert_eq!(desk.links(&a), None, "told once");
}

/// How many links each contributor has, of how many.
fn up(world: &World) -> Vec<(u32, u32)> {
    let views = world.nodes.iter().map(|node| node.snapshot(world.now()).links);
    views.map(|links| (links.up, links.wanted)).collect()
}

#[test]
fn everyone_is_linked_and_stays_so_without_the_coordinator() {
    let mut world = World::new(Config::calm(11, 5));
    world.run_rounds(1);
    assert_eq!(up(&world), [(4, 4); 5]);
    let view = world.nodes[0].snapshot(world.now());
    assert_eq!(view.peers.iter().filter(|row| row.path == PathView::Direct).count(), 4);
    assert!(view.peers[0].me, "this contributor comes first");
    world.kill_host();
    world.run_for(30_000);
    assert_eq!(up(&world), [(4, 4); 5]);
    assert!(world.nodes.iter().all(|node| node.snapshot(world.now()).phase == Phase::Training));
    world.restart_host();
    let settled = world.host.settled();
    world.run_rounds(settled + 2);
    assert_eq!(up(&world), [(4, 4); 5]);
    let dials: u32 = world.nodes.iter().map(|node| node.link_dials()).sum();
    assert_eq!(dials, 10, "of two one dialled, once");
    world.crash(0);
    world.run_for(5_000);
    assert_eq!(up(&world)[1..], [(3, 3); 4]);
    world.audit();
}

#[test]
fn a_large_swarm_is_linked_as_the_graph_says() {
    let mut world = World::new(Config::calm(12, 40));
    world.run_rounds(1);
    let graph = neighbours(&world.run().spec.id(), world.nodes.iter().map(|node| node.id()));
    for (node, (up, wanted)) in world.nodes.iter().zip(up(&world)) {
        assert_eq!((up as usize, wanted as usize), (graph[&node.id()].len(), graph[&node.id()].len()));
    }
}

#[test]
fn links_that_never_come_up_stop_nothing_and_cost_little() {
    let net = Net { failed_links: 1000, ..Net::calm() };
    let mut world = World::new(Config { net, round: LONG, ..Config::calm(13, 4) });
    world.run_rounds(4);
    assert_eq!(up(&world), [(0, 3); 4]);
    let why = world.nodes[0].snapshot(world.now()).links.why.unwrap();
    assert!(why.contains("no way was found"), "{why}");
    // In four minutes each of the six pairs was tried a handful of times and then left alone.
    let dials: u32 = world.nodes.iter().map(|node| node.link_dials()).sum();
    assert_eq!(dials, 6 * 5);
    let audit = world.audit();
    assert!(world.nodes.iter().all(|node| audit.accepted[&node.id()] >= 4));
    // The networks have become friendlier.
    *world.net() = Net::calm();
    world.run_for(600_000);
    assert_eq!(up(&world), [(3, 3); 4]);
}

#[test]
fn links_that_break_come_back() {
    let mut world = World::new(Config { net: Net::rough(), round: LONG, ..Config::calm(14, 6) });
    world.run_rounds(3);
    *world.net() = Net::calm();
    world.run_for(700_000);
    assert_eq!(up(&world), [(5, 5); 6]);
    world.audit();
}
