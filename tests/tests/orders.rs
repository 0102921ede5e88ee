//! What a contributor does when it is asked to run another's work again, and what it doesn't.
#![allow(clippy::unwrap_used)]

use tributary_protocol::check::{Finding, PastRound, ReplayOrder};
use tributary_protocol::contributor::{Config, Contributor, Input, Output};
use tributary_protocol::job::{Backend, DeviceChoice, DeviceInfo, Job, Report};
use tributary_protocol::message::{Commit, PeerKind, ToContributor, ToCoordinator, Welcome};
use tributary_protocol::spec::RoundRule;
use tributary_protocol::{BlobRef, Hash, Identity, Signed};
use tributary_tests::desk::people;
use tributary_tests::{Run, tiny_run, trace};

struct Bench {
    machine: Contributor,
    coordinator: Identity,
    run: Run,
    asked: Vec<Output>,
}

impl Bench {
    /// A contributor of this kind whose trainer is ready, in round 5.
    fn new(kind: PeerKind) -> Self {
        let coordinator = Identity::from_secret([9; 32]);
        let machine = Contributor::new(Config {
            identity: Identity::from_secret([8; 32]),
            coordinator: coordinator.id(),
            kind,
            agent: "test".to_owned(),
            run: None,
            device: DeviceChoice::Cpu,
            links: false,
            jitter: 7,
            remembered: None,
        });
        let run = tiny_run(RoundRule { seconds: 10, grace: 5, quorum: 1, stale: 0.5 });
        let mut bench = Self { machine, coordinator, run, asked: Vec::new() };
        bench.input(Input::Start);
        bench.input(Input::Connected);
        bench.welcome(5);
        let data = bench.run.data.clone();
        bench.input(Input::Fetched { hash: Hash::of(&data), result: Ok(data) });
        let device = DeviceInfo { backend: Backend::Cpu, name: "simulated".to_owned(), note: None };
        bench.input(Input::Report(Report::Ready(device)));
        bench
    }

    fn input(&mut self, input: Input) {
        self.machine.handle(1_000, input);
        self.asked = std::iter::from_fn(|| self.machine.poll()).collect();
    }

    fn welcome(&mut self, round: u64) {
        let (spec, base) = (self.run.spec.clone(), BlobRef::of(&self.run.weights));
        let welcome = Welcome { spec, round, base, open: None, credits: 0, evaluations: Vec::new() };
        self.input(Input::Message(ToContributor::Welcome(Box::new(welcome))));
    }

    /// An order about contributor `n`.
    fn order(&self, n: u8) -> ReplayOrder {
        let base = BlobRef::of(&self.run.weights);
        let (run, update) = (self.run.spec.id(), BlobRef::of(&[n, 1]));
        let (base_hash, trace) = (base.hash, trace(5));
        let commit =
            Commit { run, round: 5, base: base_hash, update, tokens: 64, loss_first: 3.0, loss_last: 2.0, trace };
        let rounds = vec![PastRound { round: 5, seed: Hash::default(), base }];
        let (who, dossier) = (people(n)[usize::from(n) - 1].id(), BlobRef::of(&[n, 2]));
        ReplayOrder { who, commit, segment: 1, before: None, dossier, rounds }
    }

    fn ask(&mut self, order: &ReplayOrder) {
        self.ask_signed(Signed::new(&self.coordinator, order));
    }

    fn ask_signed(&mut self, order: Signed<ReplayOrder>) {
        self.input(Input::Message(ToContributor::Witness(Box::new(order))));
    }

    /// The dossier and the update of `n` come.
    fn fetched(&mut self, n: u8) {
        for bytes in [[n, 1], [n, 2]] {
            let bytes = bytes::Bytes::copy_from_slice(&bytes);
            self.input(Input::Fetched { hash: Hash::of(&bytes), result: Ok(bytes) });
        }
    }

    fn is_fetching(&self, blob: BlobRef) -> bool {
        self.asked.iter().any(|output| matches!(output, Output::Fetch(of) if *of == blob))
    }

    /// Blobs that the trainer is given to run an order with.
    fn job(&self) -> Option<usize> {
        self.asked.iter().find_map(|output| match output {
            Output::Job(Job::Replay { blobs, .. }) => Some(blobs.len()),
            _ => None,
        })
    }

    fn answers(&self) -> Vec<(ReplayOrder, Option<Finding>)> {
        let answer = |output: &Output| match output {
            Output::Send(ToCoordinator::Witnessed { who, round: 5, segment: 1, finding }) => {
                let order = (1..8).map(|n| self.order(n)).find(|order| order.who == *who);
                Some((order.unwrap(), *finding))
            }
            _ => None,
        };
        self.asked.iter().filter_map(answer).collect()
    }
}

#[test]
fn an_order_is_fetched_run_and_answered() {
    let mut bench = Bench::new(PeerKind::Native);
    let order = bench.order(1);
    bench.ask(&order);
    assert!(bench.is_fetching(order.dossier) && bench.is_fetching(order.commit.update));
    bench.fetched(1);
    assert_eq!(bench.job(), Some(2));
    // Told twice, it is one order.
    bench.ask(&order);
    assert_eq!((bench.job(), bench.answers()), (None, vec![]));
    let (dossier, base) = (order.dossier.hash, order.rounds[0].base);
    let other = Report::Replayed { dossier: base.hash, tokens: 16, finding: Some(Finding::Different) };
    bench.input(Input::Report(other));
    assert_eq!(bench.answers(), [], "the end of another order");
    bench.input(Input::Report(Report::Lacks { dossier, blobs: vec![base] }));
    let bytes = bench.run.weights.clone();
    bench.input(Input::Fetched { hash: base.hash, result: Ok(bytes) });
    assert_eq!(bench.job(), Some(3));
    // It outlives the connection, and is told on the next one.
    bench.input(Input::Disconnected { why: "gone".to_owned() });
    bench.input(Input::Report(Report::Replayed { dossier, tokens: 16, finding: Some(Finding::Same) }));
    assert_eq!(bench.answers(), []);
    let seen = bench.machine.snapshot(1_000).witness;
    assert_eq!((seen.segments, seen.tokens, seen.now), (1, 16, None));
    bench.machine.handle(100_000, Input::Tick);
    bench.input(Input::Connected);
    bench.welcome(5);
    assert_eq!(bench.answers(), [(order, Some(Finding::Same))]);
}

#[test]
fn what_it_cannot_do_it_says_and_what_nobody_ordered_it_leaves() {
    let mut bench = Bench::new(PeerKind::Tab);
    let order = bench.order(1);
    bench.ask(&order);
    assert_eq!(
        (bench.answers(), bench.is_fetching(order.dossier)),
        (vec![(order, None)], false),
        "a tab is no witness"
    );

    let mut bench = Bench::new(PeerKind::Native);
    let order = bench.order(1);
    let other_run = ReplayOrder { commit: Commit { run: Hash::default(), ..order.commit.clone() }, ..order.clone() };
    let unbounded = ReplayOrder { rounds: vec![order.rounds[0]; 65], ..order.clone() };
    let coordinator = bench.coordinator.clone();
    for signed in [
        Signed::new(&people(1)[0], &order),
        Signed::new(&coordinator, &other_run),
        Signed::new(&coordinator, &unbounded),
    ] {
        bench.ask_signed(signed);
        assert!(!bench.is_fetching(order.dossier) && bench.answers().is_empty(), "{:?}", bench.asked);
    }
    // One is under way and two wait; of those the older gives way.
    (1..=3).for_each(|n| bench.ask(&bench.order(n)));
    let (newest, oldest) = (bench.order(4), bench.order(2));
    bench.ask(&newest);
    assert_eq!(bench.answers(), [(oldest, None)]);
    // What no segment takes is not fetched.
    bench.fetched(1);
    let huge = BlobRef { hash: Hash::default(), bytes: 1 << 28 };
    bench.input(Input::Report(Report::Lacks { dossier: order.dossier.hash, blobs: vec![huge] }));
    assert_eq!(bench.answers(), [(order, None)]);
    assert!(!bench.is_fetching(huge) && bench.is_fetching(bench.order(3).dossier), "the next one begins");
    // Three rounds later nobody waits for it.
    bench.input(Input::Disconnected { why: "gone".to_owned() });
    bench.machine.handle(100_000, Input::Tick);
    bench.input(Input::Connected);
    bench.welcome(8);
    let late = bench.answers();
    assert_eq!(late.len(), 2, "{late:?}");
    bench.fetched(3);
    assert_eq!(bench.job(), None);
}
