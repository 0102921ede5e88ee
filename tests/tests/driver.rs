//! The contributor's driver over a real swarm on this machine's loopback: a coordinator that a test
//! speaks for, and another contributor that is linked with.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::channel::mpsc;
use tokio::time::timeout;
use tributary_peer::{Control, Options, Platform, Snapshots, TrainerLink};
use tributary_protocol::job::{Ask, DeviceChoice, End, Job, Report};
use tributary_protocol::limits::CHUNK;
use tributary_protocol::message::{
    Message, Open, PeerKind, Roster, RosterPeer, RoundManifest, ToContributor, ToCoordinator, Welcome,
};
use tributary_protocol::spec::RoundRule;
use tributary_protocol::view::{self, PathView, Phase, Snapshot};
use tributary_protocol::{BlobRef, Hash, Id, Identity, Millis, Signed};
use tributary_swarm::{BlobStore, Config, Event, Events, Handle, MemoryStore, Multiaddr};
use tributary_tests::{Run, tiny_run};

/// So long that only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node that a test speaks for.
struct Node {
    id: Id,
    handle: Handle,
    events: Events,
    store: Arc<MemoryStore>,
}

impl Node {
    fn new(config: Config) -> Self {
        let store = Arc::new(MemoryStore::new(1 << 24));
        let id = Identity::from_secret(config.secret).id();
        let (handle, events, run) = tributary_swarm::node(config, store.clone()).unwrap();
        tokio::spawn(run);
        Self { id, handle, events, store }
    }

    async fn next(&mut self) -> Event {
        timeout(PATIENCE, self.events.next()).await.expect("an event should have come").expect("the node goes on")
    }

    /// Where it listens, with its name.
    async fn address(&mut self) -> Multiaddr {
        let Event::Listening(addr) = self.next().await else { panic!("not listening") };
        format!("{addr}/p2p/{}", self.id).parse().unwrap()
    }
}

struct Tokio(Instant);

impl Platform for Tokio {
    type Sleep = tokio::time::Sleep;

    fn now(&self) -> Millis {
        self.0.elapsed().as_millis() as Millis
    }

    fn sleep(&self, ms: u64) -> Self::Sleep {
        tokio::time::sleep(Duration::from_millis(ms))
    }

    fn random(&self) -> u64 {
        7
    }

    fn remembered(&self) -> Option<Bytes> {
        None
    }

    fn remember(&self, _: Bytes) {}
}

/// A contributor under its driver, and the coordinator that the test speaks for.
struct Bench {
    coordinator: Node,
    /// The contributor's own address.
    address: Multiaddr,
    me: Id,
    control: Control,
    snapshots: Snapshots,
    /// What the contributor has to give.
    store: Arc<MemoryStore>,
    jobs: mpsc::Receiver<Job>,
    reports: mpsc::Sender<Report>,
    run: Run,
}

impl Bench {
    /// A contributor that has said hello.
    async fn new() -> Self {
        let listen = || vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
        let mut coordinator = Node::new(Config { listen: listen(), ..Config::coordinator([9; 32], "test") });
        let mut node = Node::new(Config { listen: listen(), ..Config::contributor([1; 32], "test") });
        let address = node.address().await;
        let options = Options {
            identity: Identity::from_secret([1; 32]),
            coordinator: coordinator.address().await,
            kind: PeerKind::Native,
            agent: "test".to_owned(),
            device: DeviceChoice::Cpu,
            run: None,
            links: true,
            upload_limit: None,
        };
        let ((orders, jobs), (answers, reports)) = (mpsc::channel(8), mpsc::channel(8));
        let trainer = TrainerLink { jobs: orders, reports };
        let (mut control, snapshots, driver) = tributary_peer::contributor(
            options,
            Tokio(Instant::now()),
            trainer,
            node.handle.clone(),
            node.events,
            node.store.clone(),
        )
        .unwrap();
        tokio::spawn(driver);
        control.start();
        let run = tiny_run(RoundRule { seconds: 60, grace: 5, quorum: 1, stale: 0.5 });
        let mut bench = Self {
            coordinator,
            address,
            me: node.id,
            control,
            snapshots,
            store: node.store,
            jobs,
            reports: answers,
            run,
        };
        let hello = bench.message().await;
        assert!(matches!(&hello, ToCoordinator::Hello(hello) if hello.links), "{hello:?}");
        bench
    }

    /// The contributor's next message.
    async fn message(&mut self) -> ToCoordinator {
        loop {
            if let Event::Frame { frame, .. } = self.coordinator.next().await {
                return ToCoordinator::decode(&frame).unwrap();
            }
        }
    }

    fn say(&self, message: &ToContributor) {
        self.coordinator.handle.send(self.me, message.encode()).unwrap();
    }

    fn welcome(&self) {
        self.say(&ToContributor::Welcome(Box::new(Welcome {
            spec: self.run.spec.clone(),
            round: 0,
            base: BlobRef::of(&self.run.weights),
            open: None,
            credits: 0,
            evaluations: Vec::new(),
        })));
    }

    fn roster(&self, peer: Id) {
        let (kind, device) = (PeerKind::Native, "simulated".to_owned());
        let row = RosterPeer { peer, kind, tokens: 0, tokens_per_s: 0.0, device };
        self.say(&ToContributor::Roster(Roster { total: 1, peers: vec![row] }));
    }

    /// The first snapshot that is as wanted.
    async fn until(&mut self, wanted: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let mut last = None;
        let found = timeout(PATIENCE, async {
            loop {
                let snapshot = self.snapshots.next().await.expect("the driver goes on");
                if wanted(&snapshot) {
                    return snapshot;
                }
                last = Some(snapshot);
            }
        });
        found.await.unwrap_or_else(|_| panic!("it never came to this: {last:?}"))
    }
}

/// One whose id is greater than the contributor's (so that it doesn't dial), or smaller.
fn other(me: &Id, greater: bool) -> [u8; 32] {
    let secret = |n: u8| [n; 32];
    let fits = |secret: &[u8; 32]| (Identity::from_secret(*secret).id() > *me) == greater;
    (20..200).map(secret).find(fits).unwrap()
}

#[tokio::test]
async fn a_link_that_cannot_be_made_leaves_the_coordinator_alone() {
    let mut bench = Bench::new().await;
    let absent = Identity::from_secret(other(&bench.me, true)).id();
    bench.welcome();
    bench.say(&ToContributor::Links(vec![absent]));
    let view = bench.until(|view| view.links.why.is_some()).await;
    assert_eq!((view.links.up, view.links.wanted), (0, 1));
    assert_eq!(view.link, view::Link::Online, "{:?}", view.links);
}

#[tokio::test]
async fn what_the_coordinator_lacks_comes_from_a_linked_contributor() {
    let mut bench = Bench::new().await;
    let friend = Node::new(Config::contributor(other(&bench.me, false), "test"));
    let data = bench.run.data.clone();
    friend.store.put(&BlobRef::of(&data), data.clone()).unwrap();
    bench.say(&ToContributor::Links(vec![friend.id]));
    bench.welcome();
    bench.roster(friend.id);
    friend.handle.dial(bench.address.clone()).unwrap();
    let Some(Job::Start { data: fetched, .. }) = timeout(PATIENCE, bench.jobs.next()).await.unwrap() else {
        panic!("no order to start");
    };
    assert_eq!(fetched, data);
    let view = bench.until(|view| view.bulk_direct >= data.len() as u64).await;
    assert_eq!((view.links.up, view.links.wanted, view.links.why), (1, 1, None));
    assert_eq!(view.peers.iter().map(|row| row.path).collect::<Vec<_>>(), [PathView::Direct]);
    assert!(view.bulk_coordinator < data.len() as u64, "{} bytes", view.bulk_coordinator);
    // The link ends with the wish to train.
    bench.control.stop();
    let mut friend = friend;
    while !matches!(friend.next().await, Event::Disconnected { peer, .. } if peer == bench.me) {}
}

#[tokio::test]
async fn an_upload_cap_holds_from_when_it_is_set() {
    let mut bench = Bench::new().await;
    bench.control.upload_limit(Some(4 * CHUNK as u64));
    // The contributor's word after it: by then the limit is set.
    bench.welcome();
    let data = bench.run.data.clone();
    bench.coordinator.store.put(&BlobRef::of(&data), data).unwrap();
    timeout(PATIENCE, bench.jobs.next()).await.unwrap().expect("an order to start");
    let bytes = vec![7; 4 * CHUNK];
    let blob = BlobRef::of(&bytes);
    bench.store.put(&blob, bytes.into()).unwrap();
    let begun = Instant::now();
    bench.coordinator.handle.fetch(bench.me, blob).await.unwrap();
    // One chunk at once, the others one in a quarter of a second.
    assert!(begun.elapsed() >= Duration::from_millis(600), "it took {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_text_is_shown_to_its_end_while_nothing_else_goes_on() {
    let mut bench = Bench::new().await;
    bench.control.stop();
    bench.until(|view| view.phase == Phase::Idle).await;
    let ask = Ask { id: 7, prompt: "a".to_owned(), tokens: 3, temperature: 0.5, seed: 1 };
    bench.control.generate(ask.clone());
    assert_eq!(timeout(PATIENCE, bench.jobs.next()).await.unwrap(), Some(Job::Generate(ask)));
    let state = Hash::of(b"state");
    // So close together that no snapshot is due for the second by time.
    for (bytes, end) in [("wr\u{f6}", None), ("te", Some(End::Length))] {
        let bytes = Bytes::from_static(bytes.as_bytes());
        bench.reports.try_send(Report::Generated { id: 7, state, bytes, tokens_per_s: 9.5, end }).unwrap();
    }
    let view = bench.until(|view| view.answer.as_ref().is_some_and(|answer| answer.end.is_some())).await;
    let answer = view.answer.unwrap();
    assert_eq!((answer.id, answer.state, answer.text.as_str()), (7, state.to_string(), "wr\u{f6}te"));
    assert_eq!((answer.tokens_per_s, answer.end), (9.5, Some(End::Length)));
    bench.control.hush();
    assert_eq!(timeout(PATIENCE, bench.jobs.next()).await.unwrap(), Some(Job::Hush));
}

#[tokio::test]
async fn what_nobody_asks_for_goes_as_rounds_pass() {
    let mut bench = Bench::new().await;
    let update = Bytes::from_static(b"an update of round 0");
    let blob = BlobRef::of(&update);
    bench.store.put(&blob, update).unwrap();
    bench.welcome();
    for round in 1..=3 {
        let (run, base) = (bench.run.spec.id(), Hash::of(&[round as u8]));
        let manifest = RoundManifest { run, round, base, seed: base, deadline_ms: 0, pool: 1 };
        let manifest = Signed::new(&Identity::from_secret([9; 32]), &manifest);
        bench.say(&ToContributor::Open(Open { manifest, remaining_ms: 60_000 }));
        bench.until(|view| view.round.is_some_and(|open| open.round == round)).await;
        // It counts for two rounds after its own.
        assert_eq!(bench.store.len(&blob.hash).is_some(), round < 3, "in round {round}");
    }
}
