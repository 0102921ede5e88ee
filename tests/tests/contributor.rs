//! The contributor's machine, one input at a time: what it asks for and what it must not.

use bytes::Bytes;
use tributary_protocol::contributor::{Config, Contributor, Input, Output, PeerTraffic, Traffic};
use tributary_protocol::job::{Backend, DeviceChoice, DeviceInfo, Job, Report};
use tributary_protocol::message::{
    self, Accepted, FoldManifest, Open, PeerKind, Reason, Refusal, Roster, RosterPeer, RoundManifest, ToContributor,
    ToCoordinator, Welcome,
};
use tributary_protocol::spec::RoundRule;
use tributary_protocol::view::{Link, PathView, Phase, Verdict};
use tributary_protocol::{BlobRef, Hash, Identity, Millis, PROTOCOL_VERSION, Signed};
use tributary_tests::{Run, tiny_run, trace};

/// A contributor and what it has asked for.
struct Bench {
    machine: Contributor,
    coordinator: Identity,
    run: Run,
    now: Millis,
    asked: Vec<Output>,
}

impl Bench {
    fn new() -> Self {
        let coordinator = Identity::from_secret([9; 32]);
        let machine = Contributor::new(Config {
            identity: Identity::from_secret([1; 32]),
            coordinator: coordinator.id(),
            kind: PeerKind::Tab,
            agent: "test".to_owned(),
            run: None,
            device: DeviceChoice::Cpu,
            links: true,
            jitter: 7,
            remembered: None,
        });
        let run = tiny_run(RoundRule { seconds: 10, grace: 5, quorum: 1, stale: 0.5 });
        Self { machine, coordinator, run, now: 5_000, asked: Vec::new() }
    }

    fn input(&mut self, input: Input) -> &mut Self {
        self.machine.handle(self.now, input);
        self.asked.clear();
        while let Some(output) = self.machine.poll() {
            self.asked.push(output);
        }
        self
    }

    /// Up to the point where it trains for the open round 0.
    fn training() -> Self {
        let mut bench = Self::new();
        bench.input(Input::Start).input(Input::Connected);
        let welcome = bench.welcome(0, true);
        bench.input(Input::Message(welcome));
        let (data, base) = (bench.run.data.clone(), bench.run.weights.clone());
        bench.input(Input::Fetched { hash: Hash::of(&data), result: Ok(data) });
        let device = DeviceInfo { backend: Backend::Cpu, name: "simulated".to_owned(), note: None };
        bench.input(Input::Report(Report::Ready(device)));
        bench.input(Input::Fetched { hash: Hash::of(&base), result: Ok(base.clone()) });
        bench.input(Input::Report(Report::Based { round: 0, hash: Hash::of(&base) }));
        assert!(bench.has_job(|job| matches!(job, Job::Train { round: 0, .. })), "{:?}", bench.asked);
        bench
    }

    fn base(&self) -> BlobRef {
        BlobRef::of(&self.run.weights)
    }

    fn open(&self, round: u64, base: Hash) -> Open {
        let run = self.run.spec.id();
        let manifest = RoundManifest { run, round, base, seed: Hash::of(&[round as u8]), deadline_ms: 1, pool: 5 };
        Open { manifest: Signed::new(&self.coordinator, &manifest), remaining_ms: 10_000 }
    }

    fn welcome(&self, round: u64, open: bool) -> ToContributor {
        ToContributor::Welcome(Box::new(Welcome {
            spec: self.run.spec.clone(),
            round,
            base: self.base(),
            open: open.then(|| self.open(round, self.base().hash)),
            credits: 0,
            evaluations: Vec::new(),
        }))
    }

    /// A fold of somebody else's update.
    fn folded(&self, round: u64, base: Hash, next: BlobRef) -> ToContributor {
        self.folded_with(round, base, next, None)
    }

    /// The same with an update of this contributor's that comes so late.
    fn folded_with(&self, round: u64, base: Hash, next: BlobRef, mine: Option<u8>) -> ToContributor {
        let accepted = |peer: u8, age| Accepted {
            peer: Identity::from_secret([peer; 32]).id(),
            update: BlobRef::of(b"update"),
            age,
            tokens: 1,
            quality: 1_000_000,
            weight: 0.5,
            clip: 1.0,
            clips: Vec::new(),
        };
        let accepted = [accepted(2, 0)].into_iter().chain(mine.map(|age| accepted(1, age))).collect();
        let run = self.run.spec.id();
        let manifest = FoldManifest {
            run,
            round,
            base,
            accepted,
            rate: 0.7,
            step: BlobRef::of(b"step"),
            next,
            pool: 5,
            probe: run,
        };
        ToContributor::Folded(Signed::new(&self.coordinator, &manifest))
    }

    fn cut(&mut self) -> &mut Self {
        self.now += 10_000;
        self.input(Input::Tick);
        assert!(self.has_job(|job| matches!(job, Job::Cut { round: 0 })), "{:?}", self.asked);
        let (base, update) = (self.base().hash, Bytes::from_static(b"the update"));
        self.input(Input::Report(Report::Update {
            round: 0,
            base,
            update,
            tokens: 64,
            loss_first: 3.0,
            loss_last: 2.0,
            trace: trace(0),
        }))
    }

    fn has_job(&self, which: impl Fn(&Job) -> bool) -> bool {
        self.asked.iter().any(|output| matches!(output, Output::Job(job) if which(job)))
    }

    fn commits(&self) -> usize {
        self.asked.iter().filter(|output| matches!(output, Output::Send(ToCoordinator::Commit(_)))).count()
    }

    fn wants(&self, blob: BlobRef) -> bool {
        self.asked.iter().any(|output| matches!(output, Output::Fetch(wanted) if *wanted == blob))
    }
}

/// A state other than the first, of the same size.
fn other(bench: &Bench, name: &[u8]) -> BlobRef {
    BlobRef { hash: Hash::of(name), ..bench.base() }
}

#[test]
fn a_lost_fold_is_caught_up_with_at_the_next_round() {
    let mut bench = Bench::training();
    let next = other(&bench, b"round 1");
    let open = bench.open(1, next.hash);
    bench.input(Input::Message(ToContributor::Open(open)));
    assert!(bench.wants(next), "{:?}", bench.asked);
    bench.input(Input::Report(Report::Based { round: 1, hash: next.hash }));
    assert!(bench.has_job(|job| matches!(job, Job::Train { round: 1, .. })));
}

#[test]
fn a_fold_after_a_lost_fold_is_caught_up_with_whole() {
    let mut bench = Bench::training();
    let (one, two) = (other(&bench, b"round 1"), other(&bench, b"round 2"));
    let fold = bench.folded(1, one.hash, two);
    bench.input(Input::Message(fold));
    assert!(bench.wants(two) && !bench.wants(BlobRef::of(b"step")), "{:?}", bench.asked);
}

#[test]
fn what_leads_back_or_elsewhere_is_refused() {
    let mut bench = Bench::training();
    let (base, next) = (bench.base(), other(&bench, b"round 1"));
    let fold = bench.folded(0, base.hash, next);
    bench.input(Input::Message(fold.clone()));
    assert!(bench.wants(BlobRef::of(b"step")));
    let fork = bench.folded(1, Hash::of(b"another base"), other(&bench, b"fork"));
    let shrunk = bench.folded(1, next.hash, BlobRef { bytes: 4, ..other(&bench, b"shrunk") });
    let old = ToContributor::Open(bench.open(0, base.hash));
    for message in [fold, fork, shrunk, old] {
        bench.input(Input::Message(message));
        assert!(bench.asked.is_empty(), "{:?}", bench.asked);
        assert_eq!(bench.machine.snapshot(bench.now).round.unwrap().round, 1);
    }
    // Signed by somebody else.
    bench.coordinator = Identity::from_secret([8; 32]);
    let forged = bench.open(2, Hash::of(b"forged"));
    bench.input(Input::Message(ToContributor::Open(forged)));
    assert!(bench.asked.is_empty());
    let notice = bench.machine.snapshot(bench.now).notice.unwrap();
    assert!(notice.contains("didn't sign"), "{notice}");
}

#[test]
fn stopping_after_the_cut_and_starting_again_keeps_the_promise() {
    let mut bench = Bench::training();
    bench.cut();
    assert_eq!(bench.commits(), 1);
    bench.input(Input::Stop).input(Input::Start);
    assert!(bench.has_job(|job| matches!(job, Job::Train { round: 0, .. })), "{:?}", bench.asked);
    bench.input(Input::Connected);
    assert!(!bench.has_job(|job| matches!(job, Job::Cut { .. })), "{:?}", bench.asked);
    let welcome = bench.welcome(0, true);
    bench.input(Input::Message(welcome));
    assert_eq!(bench.commits(), 1, "the same promise again: {:?}", bench.asked);
    bench.now += 1;
    bench.input(Input::Tick);
    assert!(!bench.has_job(|job| matches!(job, Job::Cut { .. })), "{:?}", bench.asked);
}

#[test]
fn whoever_has_stopped_gives_the_trainer_nothing_to_do() {
    let mut bench = Bench::new();
    bench.input(Input::Start).input(Input::Connected);
    let welcome = bench.welcome(0, true);
    bench.input(Input::Message(welcome)).input(Input::Stop);
    let data = bench.run.data.clone();
    bench.input(Input::Fetched { hash: Hash::of(&data), result: Ok(data) });
    assert!(bench.asked.is_empty(), "{:?}", bench.asked);
    assert_eq!(bench.machine.wake_at(), None);
}

#[test]
fn a_coordinator_that_says_nothing_is_left_and_dialled_again() {
    let mut bench = Bench::new();
    bench.input(Input::Start).input(Input::Connected);
    let until = bench.machine.wake_at().expect("a bound on the wait");
    bench.now = until;
    bench.input(Input::Tick);
    assert!(matches!(bench.asked[..], [Output::Hangup]), "{:?}", bench.asked);
    // The transport then says so too; that isn't a second failure.
    let retry_at = bench.machine.wake_at();
    bench.input(Input::Disconnected { why: "closed".to_owned() });
    assert_eq!(bench.machine.wake_at(), retry_at);
    let Link::Away { why, .. } = bench.machine.snapshot(bench.now).link else { panic!("not away") };
    assert_eq!(why, "the coordinator doesn't answer");
    bench.now = retry_at.unwrap();
    bench.input(Input::Tick);
    assert!(matches!(bench.asked[..], [Output::Dial]), "{:?}", bench.asked);
}

#[test]
fn whoever_presses_start_again_does_not_wait_for_the_next_attempt() {
    let mut bench = Bench::new();
    bench.input(Input::Start).input(Input::Disconnected { why: "closed".to_owned() });
    assert!(bench.machine.wake_at().is_some_and(|at| at > bench.now));
    bench.asked.clear();
    bench.input(Input::Start);
    assert!(matches!(bench.asked[..], [Output::Dial]), "{:?}", bench.asked);
}

#[test]
fn a_final_refusal_is_told_and_not_dialled_again() {
    let (ours, yours) = (Hash::of(b"ours"), Hash::of(b"yours"));
    let cases = [
        (Refusal::Version { ours: PROTOCOL_VERSION + 1, yours: PROTOCOL_VERSION }, "update the older"),
        (Refusal::Run { ours, yours }, "check the address"),
        (Refusal::Misbehaved("x".to_owned()), "too many messages"),
    ];
    for (refusal, words) in cases {
        let mut bench = Bench::new();
        bench.input(Input::Start).input(Input::Connected);
        bench.input(Input::Message(ToContributor::Refused(refusal)));
        assert!(matches!(bench.asked[..], [Output::Hangup]), "{:?}", bench.asked);
        bench.input(Input::Disconnected { why: "closed".to_owned() });
        bench.now += 86_400_000;
        bench.input(Input::Tick);
        assert!(bench.asked.is_empty() && bench.machine.wake_at().is_none(), "{:?}", bench.asked);
        let Phase::Failed { why } = bench.machine.snapshot(bench.now).phase else { panic!("not failed") };
        assert!(why.contains(words), "{why}");
        bench.input(Input::Start);
        assert!(matches!(bench.asked[..], [Output::Dial]), "Start tries again: {:?}", bench.asked);
    }
}

#[test]
fn a_full_run_is_asked_again_later_and_less_and_less_often() {
    let mut bench = Bench::new();
    bench.input(Input::Start);
    let mut waits = Vec::new();
    for _ in 0..6 {
        bench.input(Input::Connected).input(Input::Message(ToContributor::Refused(Refusal::Full(2048))));
        bench.input(Input::Disconnected { why: "closed".to_owned() });
        let at = bench.machine.wake_at().unwrap();
        waits.push(at - bench.now);
        bench.now = at;
        bench.input(Input::Tick);
        assert!(matches!(bench.asked[..], [Output::Dial]));
    }
    assert!(waits[0] <= 1_000 && waits[5] >= 16_000, "{waits:?}");
}

#[test]
fn a_coordinator_that_is_away_does_not_stop_training() {
    let mut bench = Bench::training();
    bench.input(Input::Disconnected { why: "reset".to_owned() });
    let view = bench.machine.snapshot(bench.now);
    assert!(matches!(view.link, Link::Away { .. }) && view.phase == Phase::Training, "{view:?}");
    bench.cut();
    assert_eq!(bench.commits(), 0);
    bench.input(Input::Connected);
    let welcome = bench.welcome(0, true);
    bench.input(Input::Message(welcome));
    assert_eq!(bench.commits(), 1, "what was promised while it was away: {:?}", bench.asked);
}

#[test]
fn a_promise_whose_fold_was_missed_is_repeated_and_judged_by_the_coordinator() {
    let check = |verdict: message::Verdict, credits: u64, expected: Verdict| {
        let mut bench = Bench::training();
        bench.cut();
        bench.input(Input::Disconnected { why: "reset".to_owned() });
        let reconnect = |bench: &mut Bench, round: u64| {
            bench.input(Input::Connected);
            let ToContributor::Welcome(mut welcome) = bench.welcome(round, false) else { panic!("no welcome") };
            (welcome.base, welcome.credits) = (other(bench, b"later"), credits);
            bench.input(Input::Message(ToContributor::Welcome(welcome)));
        };
        reconnect(&mut bench, 1);
        assert_eq!(bench.commits(), 1, "it may still count: {:?}", bench.asked);
        bench.input(Input::Message(ToContributor::Verdict { round: 0, verdict }));
        let view = bench.machine.snapshot(bench.now);
        assert_eq!((view.credits, &view.rounds[0].verdict), (credits, &expected));
        // What is judged isn't said again.
        bench.input(Input::Disconnected { why: "reset".to_owned() });
        reconnect(&mut bench, 2);
        assert_eq!(bench.commits(), usize::from(verdict == message::Verdict::Received), "{:?}", bench.asked);
    };
    check(message::Verdict::Folded { credits: 7 }, 7, Verdict::Credited { credits: 7 });
    check(message::Verdict::Refused(Reason::Norm), 0, Verdict::Refused { why: Reason::Norm.to_string() });
    check(message::Verdict::Received, 0, Verdict::Accepted);
}

#[test]
fn what_was_sent_before_a_long_absence_is_judged_by_what_was_paid() {
    let check = |credits: u64, expected: Verdict| {
        let mut bench = Bench::training();
        bench.cut();
        bench.input(Input::Disconnected { why: "reset".to_owned() });
        bench.input(Input::Connected);
        let ToContributor::Welcome(mut welcome) = bench.welcome(3, false) else { panic!("no welcome") };
        (welcome.base, welcome.credits) = (other(&bench, b"round 3"), credits);
        bench.input(Input::Message(ToContributor::Welcome(welcome)));
        assert_eq!(bench.commits(), 0, "three rounds late counts for nothing");
        let view = bench.machine.snapshot(bench.now);
        assert_eq!((view.credits, &view.rounds[0].verdict), (credits, &expected));
    };
    check(7, Verdict::Credited { credits: 7 });
    check(0, Verdict::Refused { why: Reason::Late.to_string() });
}

#[test]
fn a_promise_outlives_folds_without_it_and_ends_with_the_one_that_takes_it() {
    let mut bench = Bench::training();
    bench.cut();
    let [one, two] = [b"round 1", b"round 2"].map(|name| other(&bench, name));
    let base = bench.base().hash;
    let fold = bench.folded(0, base, one);
    bench.input(Input::Message(fold));
    assert_eq!(bench.machine.snapshot(bench.now).rounds[0].verdict, Verdict::Sent, "it may come with the next");
    let fold = bench.folded_with(1, one.hash, two, Some(1));
    bench.input(Input::Message(fold));
    let view = bench.machine.snapshot(bench.now);
    let row = view.rounds.iter().find(|row| row.round == 0).unwrap();
    assert!(matches!(row.verdict, Verdict::Credited { credits: 1.. }), "{row:?}");
}

#[test]
fn an_update_that_is_cut_while_its_round_folds_is_promised_all_the_same() {
    let mut bench = Bench::training();
    bench.now += 10_000;
    bench.input(Input::Tick);
    let (base, next) = (bench.base().hash, other(&bench, b"round 1"));
    let fold = bench.folded(0, base, next);
    bench.input(Input::Message(fold));
    let update = Bytes::from_static(b"the update");
    let report =
        Report::Update { round: 0, base, update, tokens: 64, loss_first: 3.0, loss_last: 2.0, trace: trace(0) };
    bench.input(Input::Report(report.clone()));
    assert_eq!(bench.commits(), 1, "{:?}", bench.asked);
    bench.input(Input::Report(report));
    assert_eq!(bench.commits(), 0, "once: {:?}", bench.asked);
}

#[test]
fn whoever_finishes_waits_for_what_was_sent_and_begins_nothing_new() {
    let mut bench = Bench::training();
    bench.cut().input(Input::Finish);
    let next = other(&bench, b"round 1");
    let base = bench.base().hash;
    let fold = bench.folded(0, base, next);
    bench.input(Input::Message(fold));
    let open = bench.open(1, next.hash);
    bench.input(Input::Message(ToContributor::Open(open)));
    bench.input(Input::Report(Report::Based { round: 1, hash: next.hash }));
    assert!(!bench.has_job(|job| matches!(job, Job::Train { .. })), "{:?}", bench.asked);
    assert_eq!(bench.machine.snapshot(bench.now).phase, Phase::Finishing);
    let verdict = message::Verdict::Refused(Reason::Unavailable);
    bench.input(Input::Message(ToContributor::Verdict { round: 0, verdict }));
    assert_eq!(bench.machine.snapshot(bench.now).phase, Phase::Idle);
}

#[test]
fn whoever_finishes_with_nothing_sent_finishes_the_next_round() {
    let mut bench = Bench::training();
    bench.cut().input(Input::Report(Report::Withheld { round: 0, why: "no step was done".to_owned() }));
    bench.input(Input::Finish);
    assert_eq!(bench.machine.snapshot(bench.now).phase, Phase::Finishing);
    let (base, next) = (bench.base().hash, other(&bench, b"round 1"));
    let fold = bench.folded(0, base, next);
    bench.input(Input::Message(fold));
    let open = bench.open(1, next.hash);
    bench.input(Input::Message(ToContributor::Open(open)));
    bench.input(Input::Report(Report::Based { round: 1, hash: next.hash }));
    assert!(bench.has_job(|job| matches!(job, Job::Train { round: 1, .. })), "{:?}", bench.asked);
    assert_eq!(bench.machine.snapshot(bench.now).phase, Phase::Finishing);
    bench.input(Input::Report(Report::Withheld { round: 1, why: "no step was done".to_owned() }));
    assert_eq!(bench.machine.snapshot(bench.now).phase, Phase::Idle, "but no further one");
}

#[test]
fn a_step_that_leads_elsewhere_is_replaced_by_the_whole_state() {
    let mut bench = Bench::training();
    let (base, next) = (bench.base(), other(&bench, b"round 1"));
    let fold = bench.folded(0, base.hash, next);
    bench.input(Input::Message(fold));
    bench.input(Input::Fetched { hash: Hash::of(b"step"), result: Ok(Bytes::from_static(b"step")) });
    assert!(bench.has_job(|job| matches!(job, Job::Fold { round: 0, .. })));
    bench.input(Input::Report(Report::Mismatch { round: 0, got: None }));
    assert!(bench.wants(next), "{:?}", bench.asked);
}

#[test]
fn what_is_missing_comes_over_links_while_the_coordinator_is_away() {
    let check = |linked: bool| {
        let mut bench = Bench::training();
        let peer = Identity::from_secret([2; 32]).id();
        bench.input(Input::Message(ToContributor::Links(vec![peer])));
        if linked {
            bench.input(Input::Linked { peer });
        }
        bench.input(Input::Disconnected { why: "reset".to_owned() });
        let shard = BlobRef::of(&bench.run.shard);
        bench.input(Input::Report(Report::Need(shard)));
        assert_eq!(bench.wants(shard), linked, "{:?}", bench.asked);
    };
    check(true);
    check(false);
}

#[test]
fn traffic_is_shown_by_peer_and_by_round() {
    let mut bench = Bench::training();
    let peer = Identity::from_secret([2; 32]).id();
    let row = |peer| RosterPeer {
        peer,
        kind: PeerKind::Native,
        tokens: 0,
        tokens_per_s: 0.0,
        device: "simulated".to_owned(),
    };
    let peers = vec![row(Identity::from_secret([3; 32]).id()), row(peer), row(Identity::from_secret([1; 32]).id())];
    bench.input(Input::Message(ToContributor::Roster(Roster { total: 3, peers })));
    bench.input(Input::Message(ToContributor::Links(vec![peer])));
    bench.input(Input::Linked { peer });
    for seconds in 1..=3 {
        bench.now += 1_000;
        let line = PeerTraffic { peer, up: 10 * seconds, down: 400 * seconds };
        let [up, down] = [100 * seconds, 5_000 * seconds];
        let (bulk_direct, bulk_coordinator) = (300 * seconds, 4_000 * seconds);
        bench.input(Input::Traffic(Traffic { up, down, bulk_direct, bulk_coordinator, peers: vec![line] }));
    }
    let view = bench.machine.snapshot(bench.now);
    assert_eq!((view.up_per_s, view.down_per_s), (100, 5_000));
    assert_eq!((view.bytes_round_up, view.bytes_round_down), (300, 15_000));
    assert_eq!((view.bulk_direct, view.bulk_coordinator), (900, 12_000));
    let rows: Vec<_> = view.peers.iter().map(|row| (row.path, row.up_per_s, row.down_per_s)).collect();
    let expected = [(PathView::None, 0, 0), (PathView::Direct, 10, 400), (PathView::Coordinator, 0, 0)];
    assert_eq!(rows, expected);
    // The coordinator is away: what was over it is over nothing, and links stay.
    bench.input(Input::Disconnected { why: "reset".to_owned() });
    let view = bench.machine.snapshot(bench.now);
    assert_eq!(
        view.peers.iter().map(|row| row.path).collect::<Vec<_>>(),
        [PathView::None, PathView::Direct, PathView::None]
    );
    assert_eq!((view.links.up, view.links.wanted), (1, 1));
}
