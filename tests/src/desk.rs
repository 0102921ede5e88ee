//! One coordinator whose inputs a test hands in one by one, and whose outputs it reads.

use std::collections::BTreeMap;

use tributary_ledger::{Entry, LinkError, LinkProof, Payee};
use tributary_protocol::check::{Finding, ReplayOrder};
use tributary_protocol::coordinator::{Coordinator, Event, Examined, FoldPlan, Input, LinkRefusal, Output, Score};
use tributary_protocol::message::{
    Commit, Hello, PeerKind, Refusal, RoundManifest, ToContributor, ToCoordinator, Verdict,
};
use tributary_protocol::sketch::Sketch;
use tributary_protocol::spec::RoundRule;
use tributary_protocol::{BlobRef, Hash, Id, Identity, Millis, PROTOCOL_VERSION, Signed, update};

use crate::{Random, Run, tiny_run, trace};

/// The coordinator, its journal and what it said.
#[derive(Debug)]
pub struct Desk {
    /// The machine.
    pub machine: Coordinator,
    /// Its keys.
    pub identity: Identity,
    /// The run.
    pub run: Run,
    /// Its journal.
    pub journal: Vec<Event>,
    /// Its ledger.
    pub entries: Vec<Entry>,
    /// Dossiers that it wants.
    pub gathers: Vec<ReplayOrder>,
    /// Segments that it runs again itself.
    pub replays: Vec<ReplayOrder>,
    /// Dossiers that it doesn't need any more.
    pub discarded: Vec<Hash>,
    /// What it sent, to each in turn.
    pub sent: Vec<(Id, ToContributor)>,
    /// Whom it dropped.
    pub dropped: Vec<Id>,
    /// What it wants fetched.
    pub fetches: Vec<(Id, BlobRef)>,
    /// Links that it took and could not write.
    pub unlinked: Vec<(Id, LinkError)>,
    /// The newest fold it wants done.
    pub plan: Option<FoldPlan>,
    /// Virtual time; the test moves it.
    pub now: Millis,
    examined: BTreeMap<Hash, Examined>,
}

impl Desk {
    /// A coordinator of a run with 10 s rounds, 5 s grace and this quorum.
    pub fn new(quorum: u32) -> Self {
        Self::with(tiny_run(RoundRule { seconds: 10, grace: 5, quorum, stale: 0.5 }))
    }

    /// A coordinator of this run.
    pub fn with(run: Run) -> Self {
        let identity = Identity::from_secret([9; 32]);
        let journal = vec![Event::Genesis { run: run.spec.id(), base: BlobRef::of(&run.weights) }];
        let machine = Coordinator::restore(identity.clone(), run.spec.clone(), journal.clone(), []).unwrap();
        let mut desk = Self {
            machine,
            identity,
            run,
            journal,
            entries: Vec::new(),
            gathers: Vec::new(),
            replays: Vec::new(),
            discarded: Vec::new(),
            sent: Vec::new(),
            dropped: Vec::new(),
            fetches: Vec::new(),
            unlinked: Vec::new(),
            plan: None,
            now: 1_000_000,
            examined: BTreeMap::new(),
        };
        desk.drain();
        desk
    }

    /// Hands an input in.
    pub fn input(&mut self, input: Input) {
        self.machine.handle(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll() {
            match output {
                Output::Journal { event, entries } => {
                    self.journal.push(event);
                    self.entries.extend(entries);
                }
                Output::Send { to, message } => self.sent.extend(to.into_iter().map(|to| (to, (*message).clone()))),
                Output::Drop(peer) => self.dropped.push(peer),
                Output::Fetch { from, update, .. } => self.fetches.push((from, update)),
                Output::Fold(plan) => self.plan = Some(plan),
                Output::Gather(order) => self.gathers.push(*order),
                Output::Replay(order) => self.replays.push(*order),
                Output::Discard(dossier) => self.discarded.push(dossier),
                Output::Unlinked { who, why } => self.unlinked.push((who, why)),
                Output::Evaluate { .. } => {}
            }
        }
    }

    /// A message from somebody.
    pub fn message(&mut self, from: &Identity, message: ToCoordinator) {
        self.input(Input::Message { from: from.id(), message });
    }

    /// Somebody says hello as it should be.
    pub fn hello(&mut self, from: &Identity) {
        self.message(from, ToCoordinator::Hello(hello()));
    }

    /// Somebody names a wallet.
    pub fn link(&mut self, proof: &LinkProof) -> Result<Payee, LinkRefusal> {
        let result = self.machine.link(self.now, &proof.to_bytes());
        self.drain();
        result
    }

    /// It dies and is started again from its disk.
    pub fn restart(&mut self) {
        let (identity, spec) = (self.identity.clone(), self.run.spec.clone());
        self.machine = Coordinator::restore(identity, spec, self.journal.clone(), self.entries.clone()).unwrap();
        self.drain();
    }

    /// The open round's manifest.
    pub fn open(&self) -> RoundManifest {
        let opened = self.journal.iter().rev().find_map(|event| match event {
            Event::Opened(signed) => Some(signed.open(&self.identity.id()).unwrap()),
            _ => None,
        });
        opened.expect("a round is open")
    }

    /// A commit for the open round as it should be, to an update that is this contributor's only.
    pub fn commit_of(&mut self, from: &Identity, tokens: u64) -> Commit {
        let open = self.open();
        let mut random = Random::new(u64::from_le_bytes(from.id().0[..8].try_into().unwrap()) ^ open.round);
        let values: Vec<f32> =
            (0..self.run.spec.model.params()).map(|_| random.below(1000) as f32 / 1e4 - 0.05).collect();
        let format = self.run.spec.update_format(tokens);
        let update = update::compress(&values, format);
        let blob = BlobRef::of(&update::encode(&update));
        let norms = update.norms(&self.run.spec.model.ranges());
        let sketch = Sketch::of(&update, &open.run);
        self.examined.insert(blob.hash, Examined { format, norms, sketch, score: None });
        let (run, round, base) = (open.run, open.round, open.base);
        Commit { run, round, base, update: blob, tokens, loss_first: 3.0, loss_last: 2.5, trace: trace(round) }
    }

    /// Somebody commits.
    pub fn commit(&mut self, from: &Identity, commit: &Commit) {
        self.message(from, ToCoordinator::Commit(Signed::new(from, commit)));
    }

    /// What there is to know of an update.
    pub fn examined(&self, update: &BlobRef) -> Examined {
        self.examined[&update.hash].clone()
    }

    /// Ends a fetch well.
    pub fn fetched(&mut self, from: Id, update: BlobRef) {
        let result = Ok(self.examined(&update));
        self.input(Input::Fetched { from, update: update.hash, result });
    }

    /// Says what an update does to the loss, before it is fetched.
    pub fn score(&mut self, update: &BlobRef, score: Score) {
        if let Some(examined) = self.examined.get_mut(&update.hash) {
            examined.score = Some(score);
        }
    }

    /// Makes one update the same as another, to whoever examines it.
    pub fn copy(&mut self, copy: &BlobRef, of: &BlobRef) {
        let examined = self.examined[&of.hash].clone();
        self.examined.insert(copy.hash, examined);
    }

    /// Somebody shows the dossier that it was asked for, and it is worth running. Returns the order.
    pub fn shown(&mut self, of: &Identity) -> ReplayOrder {
        let asked = self.sent.iter().rev().find_map(|(to, message)| match message {
            ToContributor::Disclose { round, segment } if *to == of.id() => Some((*round, *segment)),
            _ => None,
        });
        let (round, segment) = asked.expect("it was asked");
        let dossier = Some(BlobRef::of(&[&round.to_le_bytes()[..], &of.id().0].concat()));
        self.message(of, ToCoordinator::Disclosed { round, segment, dossier });
        let order = self.gathers.pop().expect("the dossier is wanted");
        let result = Ok(order.commit.tokens / 4);
        self.input(Input::Gathered { who: of.id(), round, dossier: order.dossier.hash, result });
        order
    }

    /// Somebody shows the dossier that it was asked for, and this comes out when the coordinator runs it.
    pub fn replayed(&mut self, of: &Identity, finding: Finding) {
        let order = self.shown(of);
        self.ran(&order, finding);
    }

    /// This comes out when the coordinator runs an order, as it wants to.
    pub fn ran(&mut self, order: &ReplayOrder, finding: Finding) {
        assert_eq!(self.replays.pop().as_ref(), Some(order), "a replay is wanted");
        let (who, round, segment, tokens) = (order.who, order.commit.round, order.segment, order.commit.tokens / 4);
        self.input(Input::Replayed { who, round, segment, tokens, finding: Some(finding) });
    }

    /// The witnesses that were asked to run an order.
    pub fn witnesses(&self, order: &ReplayOrder) -> Vec<Id> {
        let asked = |(to, message): &(Id, ToContributor)| match message {
            ToContributor::Witness(signed) => (signed.open(&self.identity.id()).as_ref() == Ok(order)).then_some(*to),
            _ => None,
        };
        self.sent.iter().filter_map(asked).collect()
    }

    /// A witness answers.
    pub fn says(&mut self, by: Id, order: &ReplayOrder, finding: Option<Finding>) {
        let (who, round, segment) = (order.who, order.commit.round, order.segment);
        let message = ToCoordinator::Witnessed { who, round, segment, finding };
        self.input(Input::Message { from: by, message });
    }

    /// Somebody's update of the open round comes, commit and blob.
    pub fn update(&mut self, from: &Identity, tokens: u64) -> Commit {
        let commit = self.commit_of(from, tokens);
        self.commit(from, &commit);
        self.fetched(from.id(), commit.update);
        commit
    }

    /// The fold that it wants done ends well, with blobs of no content.
    pub fn folded(&mut self) -> FoldPlan {
        let plan = self.plan.take().expect("a fold is wanted");
        let name = |what: &str| Hash::of(format!("{what} {}", plan.round).as_bytes());
        let [step, next, momentum] = ["step", "next", "momentum"].map(|what| BlobRef { hash: name(what), bytes: 2160 });
        self.input(Input::Folded { round: plan.round, step, next, momentum });
        plan
    }

    /// Verdicts sent to somebody, oldest first, each with the round whose update it is about.
    pub fn verdicts(&self, of: &Identity) -> Vec<(u64, Verdict)> {
        let verdict = |(to, message): &(Id, ToContributor)| match message {
            ToContributor::Verdict { round, verdict } if *to == of.id() => Some((*round, *verdict)),
            _ => None,
        };
        self.sent.iter().filter_map(verdict).collect()
    }

    /// The newest links that somebody was told.
    pub fn links(&self, of: &Identity) -> Option<&[Id]> {
        self.sent.iter().rev().find_map(|(to, message)| match message {
            ToContributor::Links(peers) if *to == of.id() => Some(&peers[..]),
            _ => None,
        })
    }

    /// The newest refusal sent to somebody.
    pub fn refusal(&self, of: &Identity) -> Option<&Refusal> {
        self.sent.iter().rev().find_map(|(to, message)| match message {
            ToContributor::Refused(refusal) if *to == of.id() => Some(refusal),
            _ => None,
        })
    }
}

/// A hello as it should be.
pub fn hello() -> Hello {
    Hello {
        version: PROTOCOL_VERSION,
        run: None,
        kind: PeerKind::Native,
        agent: "test".to_owned(),
        links: true,
        witness: false,
        seen: None,
    }
}

/// The contributors 1, 2, … of a test.
pub fn people(count: u8) -> Vec<Identity> {
    (1..=count).map(|n| Identity::from_secret([n; 32])).collect()
}
