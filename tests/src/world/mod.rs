//! A whole swarm in one thread and no real time.
//!
//! Enters: a seed, a run, a network's faults, and what a test does to the swarm (crash, cut off, kill,
//! restart). Leaves: the journal, what every contributor computed, and an [`Audit`] that has checked
//! both. The machines are the real ones of `tributary-protocol`; the network, the clock, the disks and
//! the trainers are simulated. A swarm in which nothing moves any more is a panic.

mod audit;
mod contributor;
mod coordinator;
mod costs;
mod links;
mod network;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use tributary_protocol::job::Report;
use tributary_protocol::message::Evaluation;
use tributary_protocol::{BlobRef, Id, Millis};

pub use audit::Audit;
pub use contributor::Node;
pub use coordinator::{Crash, Host};
pub use costs::Costs;
pub use network::Net;

use crate::{Pace, Random, Run, tiny_run};
use links::{Pair, Step};
use network::Wire;
use tributary_protocol::check::ReplayOrder;
use tributary_protocol::coordinator::FoldPlan;
use tributary_protocol::spec::RoundRule;

/// Virtual milliseconds without a settled round after which the swarm counts as stuck. Contributors
/// back off for a minute at most, and a void round or a restart each cost a round more.
const STUCK_AFTER_ROUNDS: u64 = 12;
const STUCK_AFTER_MS: Millis = 5 * 60_000;

/// Events at one instant that show that somebody asks to be woken in the past.
const LIVELOCK: u64 = 5_000_000;

/// What to simulate.
#[derive(Debug, Clone)]
pub struct Config {
    /// Seeds everything.
    pub seed: u64,
    /// Contributors at the start.
    pub nodes: usize,
    /// The round's clock.
    pub round: RoundRule,
    /// The network.
    pub net: Net,
    /// The trainers.
    pub pace: Pace,
    /// Updates in a thousand that the trainers withhold.
    pub withholds: u32,
    /// What a real model would cost; `None`: blobs take what the network says, and work takes no time.
    pub costs: Option<Costs>,
}

impl Config {
    /// `nodes` contributors on a good network, a round in 10 s of virtual time.
    pub fn calm(seed: u64, nodes: usize) -> Self {
        let round = RoundRule { seconds: 10, grace: 5, quorum: 1, stale: 0.5 };
        Self { seed, nodes, round, net: Net::calm(), pace: Pace::Timed(200), withholds: 0, costs: None }
    }
}

/// The swarm.
#[derive(Debug)]
pub struct World {
    /// The coordinator and what drives it.
    pub host: Host,
    /// The contributors, in the order they came.
    pub nodes: Vec<Node>,
    config: Config,
    run: Run,
    now: Millis,
    random: Random,
    index: BTreeMap<Id, usize>,
    queue: BinaryHeap<Reverse<Entry>>,
    entries: u64,
    connections: u64,
    /// The links between contributors that are up, each with a number of its own.
    links: BTreeMap<Pair, u64>,
    moved_at: Millis,
}

#[derive(Debug)]
struct Entry {
    at: Millis,
    order: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// What happens later. A `life` names one incarnation: whatever was under way in another is void.
#[derive(Debug)]
enum Event {
    Wire(Wire),
    Link(Step),
    NodeFetched { node: usize, life: u32, blob: BlobRef },
    NodeReports { node: usize, life: u32, report: Report },
    NodeWakes { node: usize, life: u32 },
    UpdateFetched { life: u32, from: usize, update: BlobRef },
    Folded { life: u32, plan: FoldPlan },
    Gathered { life: u32, order: Box<ReplayOrder> },
    Replayed { life: u32, order: Box<ReplayOrder> },
    Evaluated { life: u32, evaluation: Evaluation },
    HostWakes { life: u32 },
    HostRestarts,
}

impl World {
    /// A swarm at its start: every contributor is asked to train.
    pub fn new(config: Config) -> Self {
        Self::with_run(config.clone(), tiny_run(config.round))
    }

    /// The same for another run.
    pub fn with_run(config: Config, run: Run) -> Self {
        let mut random = Random::new(config.seed);
        let host = Host::new(&run, &mut random);
        let mut world = Self {
            host,
            nodes: Vec::new(),
            // Any time since 1970 will do; not 0, so that differences and times can't be mixed up.
            now: 1_700_000_000_000,
            run,
            random,
            index: BTreeMap::new(),
            queue: BinaryHeap::new(),
            entries: 0,
            connections: 0,
            links: BTreeMap::new(),
            moved_at: 1_700_000_000_000,
            config: config.clone(),
        };
        world.drain_host();
        for _ in 0..config.nodes {
            world.join();
        }
        world
    }

    /// Virtual time.
    pub fn now(&self) -> Millis {
        self.now
    }

    /// The run.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The network, to be made worse or better while the world runs.
    pub fn net(&mut self) -> &mut Net {
        &mut self.config.net
    }

    /// Lets time pass until `rounds` rounds are settled in all and everything sent has arrived.
    pub fn run_rounds(&mut self, rounds: u64) {
        self.run_until(|world| world.host.settled() >= rounds);
        self.run_for(3_000);
    }

    /// Lets time pass until `done`.
    pub fn run_until(&mut self, done: impl Fn(&Self) -> bool) {
        let mut here = (self.now, 0);
        let patience = STUCK_AFTER_ROUNDS * 1000 * u64::from(self.run.spec.round.seconds + self.run.spec.round.grace);
        self.moved_at = self.now;
        while !done(self) {
            assert!(self.step(), "nothing is left to happen\n{}", self.describe());
            here = if here.0 == self.now { (self.now, here.1 + 1) } else { (self.now, 0) };
            assert!(here.1 < LIVELOCK, "time stands still\n{}", self.describe());
            let still = self.now - self.moved_at;
            assert!(still < patience + STUCK_AFTER_MS, "no round settled in {still} ms\n{}", self.describe());
        }
    }

    /// Lets so many milliseconds pass.
    pub fn run_for(&mut self, ms: Millis) {
        let until = self.now + ms;
        while self.queue.peek().is_some_and(|Reverse(entry)| entry.at <= until) {
            self.step();
        }
        self.now = until;
    }

    /// The next event. False if there is none.
    pub fn step(&mut self) -> bool {
        let Some(Reverse(entry)) = self.queue.pop() else { return false };
        self.now = entry.at;
        match entry.event {
            Event::Wire(wire) => self.wire(wire),
            Event::Link(step) => self.link_step(step),
            Event::NodeFetched { node, life, blob } => self.node_fetched(node, life, blob),
            Event::NodeReports { node, life, report } => self.node_reports(node, life, report),
            Event::NodeWakes { node, life } => self.node_wakes(node, life),
            Event::UpdateFetched { life, from, update } => self.update_fetched(life, from, update),
            Event::Folded { life, plan } => self.fold(life, &plan),
            Event::Gathered { life, order } => self.gathered(life, &order),
            Event::Replayed { life, order } => self.host_replayed(life, &order),
            Event::Evaluated { life, evaluation } => self.host_evaluated(life, evaluation),
            Event::HostWakes { life } => self.host_wakes(life),
            Event::HostRestarts => self.restart_host(),
        }
        true
    }

    fn later(&mut self, ms: Millis, event: Event) {
        self.at(self.now + ms, event);
    }

    fn at(&mut self, at: Millis, event: Event) {
        self.entries += 1;
        self.queue.push(Reverse(Entry { at: at.max(self.now), order: self.entries, event }));
    }

    /// How things stand, for a failing test.
    fn describe(&self) -> String {
        let mut text = format!(
            "seed {} at {} ms, settled {}, coordinator {:?}\n",
            self.config.seed,
            self.now,
            self.host.settled(),
            self.host
        );
        for (index, node) in self.nodes.iter().enumerate().take(4) {
            text += &format!("node {index}: {}\n", node.describe(self.now));
        }
        text
    }
}
