//! The coordinator's side of the round, as a machine that does no input or output.
//!
//! Enters: time, contributors' messages, and what became of the work it asked for. Leaves, in
//! order: journal events, messages, and work to do (fetch an update, fold, evaluate). Refuses
//! commits that are forged, foreign, too late or doubled, with a reason, and drops whoever sends too
//! many of them. A round waits for its own updates until its grace is over, and never for those of the rounds
//! before: they count in whichever fold is the next once they are here, as long as they are recent enough.
//!
//! The driver must make an [`Output::Journal`] durable before it acts on any later output. Then a
//! coordinator that dies anywhere and is restored from its journal goes on with the same round,
//! and pays nothing twice: a round is paid by one event, [`Event::Settled`].

mod incoming;
mod journal;
mod judge;
mod links;
mod plan;
mod quality;
mod referee;
mod roster;
mod round;
mod settle;
mod updates;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tributary_ledger::{Book, Checkpoint, Entry, Finding};

pub use journal::{Event, RestoreError};
pub use plan::{FoldPlan, accept};
pub use quality::{FULL, Gain, Record, Score};
pub use referee::{PastRound, ReplayOrder, Standing, TRACE_ROUNDS};
pub use settle::rule;
pub use updates::{Examined, Received};

use crate::limits::VIEW_HISTORY;
use crate::message::{
    BadFrame, Evaluation, FoldManifest, Open, PeerKind, Reason, RoundManifest, Status, ToContributor, ToCoordinator,
    Verdict,
};
use crate::spec::RunSpec;
use crate::{BlobRef, Hash, Id, Identity, Millis, Signed};
use links::Linking;
use referee::{Found, Referee};
use round::{Folding, Round, Stage};
use settle::Docket;
use updates::{Fetched, Name, Updates};

/// What happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// A message came.
    Message {
        /// From whom; the transport has authenticated it.
        from: Id,
        /// The message.
        message: ToCoordinator,
    },
    /// A frame came that is no message.
    BadFrame {
        /// From whom.
        from: Id,
        /// What is wrong with it.
        why: BadFrame,
    },
    /// A contributor's connection is gone.
    Gone(Id),
    /// An [`Output::Fetch`] has ended.
    Fetched {
        /// From whom.
        from: Id,
        /// The update.
        update: Hash,
        /// What is to be known of it, or why nothing is. [`Reason::Unavailable`] is tried again; any other reason is
        /// final.
        result: Result<Examined, Reason>,
    },
    /// An [`Output::Replay`] has ended.
    Replayed {
        /// Whose work it was.
        who: Id,
        /// The commit's round.
        round: u64,
        /// The segment.
        segment: u8,
        /// Tokens that were run again.
        tokens: u64,
        /// What came out; `None`: nothing that the contributor is to blame for.
        finding: Option<Finding>,
    },
    /// An [`Output::Fold`] has ended well; all three blobs are stored.
    Folded {
        /// The round.
        round: u64,
        /// The step.
        step: BlobRef,
        /// The new base.
        next: BlobRef,
        /// The new outer momentum.
        momentum: BlobRef,
    },
    /// An [`Output::Fold`] could not use this contributor's update.
    FoldFailed {
        /// The round.
        round: u64,
        /// Whose.
        peer: Id,
        /// How late it was: which of this contributor's updates it is.
        age: u8,
        /// Why.
        why: Reason,
    },
    /// An [`Output::Evaluate`] has ended.
    Evaluated(Evaluation),
}

/// What to do.
#[derive(Debug, Clone)]
pub enum Output {
    /// Make this durable before anything that follows: all of it or nothing.
    Journal {
        /// What happened.
        event: Event,
        /// The ledger's next entries: a batch with [`Event::Settled`], else none.
        entries: Vec<Entry>,
    },
    /// Send a message.
    Send {
        /// To whom.
        to: Vec<Id>,
        /// The message.
        message: Box<ToContributor>,
    },
    /// Close a contributor's connection once it has been sent what was sent.
    Drop(Id),
    /// Get an update, from the store or else from the contributor, decode it and find out what [`Examined`] says.
    Fetch {
        /// From whom.
        from: Id,
        /// The update.
        update: BlobRef,
        /// What to measure its effect on.
        probe: Probe,
    },
    /// Get a dossier from the contributor and run its segment again. At most one an update of the last rounds.
    Replay(Box<ReplayOrder>),
    /// Fold.
    Fold(FoldPlan),
    /// Measure the held-out loss of a new base.
    Evaluate {
        /// The first round that trains from it.
        round: u64,
        /// The weights.
        base: BlobRef,
    },
}

/// On what the effect of an update is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// The weights that it was made for.
    pub base: Hash,
    /// Names the text: half of it by the seed alone, half by it and the data that the contributor was assigned.
    /// To be kept to oneself until the round has folded.
    pub seed: Hash,
    /// Names the data that the contributor was assigned, with its id.
    pub assigned: Hash,
}

/// Counters for operators.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Updates folded.
    pub accepted: u64,
    /// Commits refused, by reason.
    pub refused: BTreeMap<Reason, u64>,
    /// Frames refused.
    pub bad_frames: u64,
    /// Connections dropped for misbehaviour.
    pub dropped: u64,
}

#[derive(Debug)]
struct Peer {
    kind: PeerKind,
    status: Option<Status>,
    status_at: Option<Millis>,
    passed: Option<u64>,
    /// The newest origin for which a commit of this connection was refused.
    refused: Option<u64>,
    /// Whether it can link with others.
    links: bool,
    /// The links that it was told.
    told: Option<BTreeSet<Id>>,
    /// Entries of the log that it knows.
    seen: Option<u64>,
}

/// The machine.
#[derive(Debug)]
pub struct Coordinator {
    identity: Identity,
    spec: RunSpec,
    run: Hash,
    round: u64,
    base: BlobRef,
    momentum: Option<BlobRef>,
    stage: Stage,
    updates: Updates,
    peers: BTreeMap<Id, Peer>,
    /// Refused frames by connected peer; kept apart because a peer may misbehave before its hello.
    refusals: BTreeMap<Id, u32>,
    book: Book,
    /// The newest receipts: by whom, and that of the round itself.
    indices: BTreeMap<Option<tributary_ledger::Key>, (u64, Entry)>,
    /// What the coordinator stands by: the log as it is now.
    signed: Option<Signed<Checkpoint>>,
    docket: Docket,
    referee: Referee,
    /// As many as a replay can need.
    past: VecDeque<PastRound>,
    evaluations: VecDeque<Evaluation>,
    roster_at: Millis,
    roster_cursor: Option<Id>,
    linking: Linking,
    out: VecDeque<Output>,
    stats: Stats,
}

impl Coordinator {
    /// Takes one input in. Outputs wait in [`Coordinator::poll`].
    pub fn handle(&mut self, now: Millis, input: Input) {
        match input {
            Input::Tick => {}
            Input::Message { from, message } => self.message(now, from, message),
            Input::BadFrame { from, why } => self.refuse_frame(from, &why.to_string()),
            Input::Gone(peer) => {
                self.forget(&peer);
                self.refusals.remove(&peer);
            }
            Input::Fetched { from, update, result } => self.fetched(from, update, result),
            Input::Replayed { who, round, segment, tokens, finding } => {
                self.replayed((who, round), segment, tokens, finding);
            }
            Input::Folded { round, step, next, momentum } => self.folded(round, step, next, momentum),
            Input::FoldFailed { round, peer, age, why } => self.fold_failed(round, peer, age, why),
            Input::Evaluated(evaluation) => self.evaluated(evaluation),
        }
        self.advance(now);
        self.send_links(now);
        self.send_roster(now);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When to call [`Coordinator::handle`] with [`Input::Tick`] at the latest.
    pub fn wake_at(&self, now: Millis) -> Option<Millis> {
        let roster = (!self.peers.is_empty()).then_some(self.roster_at);
        let round = self.stage.open_round().map(|round| round.wake_at(now));
        [roster, round, self.linking.wake_at()].into_iter().flatten().min()
    }

    /// The run.
    pub fn spec(&self) -> &RunSpec {
        &self.spec
    }

    /// The newest round that hasn't folded, and the weights it starts from.
    pub fn head(&self) -> (u64, BlobRef) {
        (self.round, self.base)
    }

    /// The outer momentum that belongs to the head; `None` before the first fold (all zero).
    pub fn momentum(&self) -> Option<BlobRef> {
        self.momentum
    }

    /// Counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Contributors that are here.
    pub fn peers(&self) -> usize {
        self.peers.len()
    }

    /// Milliseconds to the open round's deadline, if one is open.
    pub fn remaining(&self, now: Millis) -> Option<Millis> {
        self.stage.open_round().map(|round| round.manifest.deadline_ms.saturating_sub(now))
    }

    /// Held-out evaluations, oldest first.
    pub fn evaluations(&self) -> impl Iterator<Item = &Evaluation> {
        self.evaluations.iter()
    }

    fn fetched(&mut self, from: Id, update: Hash, result: Result<Examined, Reason>) {
        let online = self.peers.contains_key(&from);
        match self.updates.fetched(from, update, result, online) {
            Fetched::Received { origin } => {
                self.tell(from, origin, Verdict::Received);
                self.draw((from, origin));
            }
            Fetched::Copied { origin, by } => {
                self.refuse_update(by, Reason::Copied);
                self.tell(from, origin, Verdict::Received);
                self.draw((from, origin));
            }
            Fetched::Again(update, origin) => self.fetch((from, origin), update),
            Fetched::Refused { origin, why } => self.refuse_update((from, origin), why),
            Fetched::Nothing => {}
        }
    }

    fn folded(&mut self, round: u64, step: BlobRef, next: BlobRef, momentum: BlobRef) {
        let Stage::Folding(folding) = &self.stage else { return };
        if folding.round() != round || self.round != round {
            return;
        }
        let manifest = FoldManifest {
            run: self.run,
            round,
            base: self.base.hash,
            accepted: folding.accepted.clone(),
            rate: folding.rate,
            step,
            next,
            pool: self.pool_for_work(&folding.findings),
            probe: self.probe_seed(round),
        };
        let fold = Signed::new(&self.identity, &manifest);
        let Stage::Folding(Folding { open, findings, standings, .. }) = std::mem::take(&mut self.stage) else { return };
        let entries = self.write_batch(&open.manifest, &open.signed, &fold, &manifest, &findings);
        let entries = entries.expect("what a round did follows from what the rounds before it did");
        self.sign_book();
        let event = Event::Settled { fold: fold.clone(), momentum, standings: standings.clone() };
        self.out.push_back(Output::Journal { event, entries });
        let late = self.settle(&open.manifest, &manifest, momentum, standings);
        late.into_iter().for_each(|name| self.refuse_update(name, Reason::Late));
        self.stats.accepted += manifest.accepted.len() as u64;
        self.send_all(ToContributor::Folded(fold));
        self.send_receipts();
        self.out.push_back(Output::Evaluate { round: self.round, base: self.base });
    }

    fn fold_failed(&mut self, round: u64, peer: Id, age: u8, why: Reason) {
        if let Some(findings) = self.stage.reopen(round, &peer, age) {
            self.referee.put_back(findings);
            let name = (peer, round - u64::from(age));
            self.updates.refuse(name, why);
            self.refuse_update(name, why);
        }
    }

    fn evaluated(&mut self, evaluation: Evaluation) {
        self.journal(Event::Evaluated(evaluation));
        self.keep(evaluation);
        self.send_all(ToContributor::Evaluated(evaluation));
    }

    fn keep(&mut self, evaluation: Evaluation) {
        self.evaluations.push_back(evaluation);
        while self.evaluations.len() > VIEW_HISTORY {
            self.evaluations.pop_front();
        }
    }

    /// Moves the head on; returns the updates that were never folded and are too old now. The same for a round
    /// that has just folded and for one in the journal.
    fn settle(
        &mut self,
        opened: &RoundManifest,
        manifest: &FoldManifest,
        momentum: BlobRef,
        standings: Vec<(Id, Standing)>,
    ) -> Vec<Name> {
        standings.into_iter().for_each(|(who, standing)| self.referee.set(who, standing));
        let base = self.base;
        self.past.push_back(PastRound { round: self.round, seed: opened.seed, base, step: Some(manifest.step) });
        while self.past.len() as u64 > TRACE_ROUNDS + u64::from(self.spec.check.settle) {
            self.past.pop_front();
        }
        self.round += 1;
        self.base = manifest.next;
        self.momentum = Some(momentum);
        self.stage = Stage::Idle;
        self.updates.settled(manifest)
    }

    /// The round's pool less the witnesses' part.
    fn pool_for_work(&self, findings: &[Found]) -> u64 {
        let me = self.identity.id();
        let witnessed = findings.iter().filter(|found| found.by != me).map(|found| found.tokens).sum();
        rule(&self.spec).parts(witnessed).0
    }

    fn fetch(&mut self, name: Name, update: BlobRef) {
        let (from, origin) = name;
        let (Some(base), Some(assigned)) = (self.updates.base(origin), self.seed(origin)) else { return };
        let probe = Probe { base, seed: self.probe_seed(origin), assigned };
        self.out.push_back(Output::Fetch { from, update, probe });
    }

    /// The seed of a round whose updates still count.
    fn seed(&self, round: u64) -> Option<Hash> {
        let open = match &self.stage {
            Stage::Open(open) => Some(open),
            Stage::Folding(folding) => Some(&folding.open),
            Stage::Idle => None,
        };
        let open = open.filter(|open| open.manifest.round == round).map(|open| open.manifest.seed);
        open.or_else(|| self.past.iter().find(|past| past.round == round).map(|past| past.seed))
    }

    fn journal(&mut self, event: Event) {
        self.out.push_back(Output::Journal { event, entries: Vec::new() });
    }

    /// Opens, closes and folds rounds as time and peers allow.
    fn advance(&mut self, now: Millis) {
        if let Stage::Idle = self.stage
            && self.peers_suffice()
        {
            self.open(now);
        }
        let Stage::Open(open) = &mut self.stage else { return };
        let (peers, updates, round) = (&self.peers, &self.updates, self.round);
        let all_in = || {
            let is_in = |(id, peer): (&Id, &Peer)| peer.passed == Some(round) || updates.is_resolved(id, round);
            !peers.is_empty() && peers.iter().all(is_in) && !updates.is_awaited(round)
        };
        if !open.is_over(now, all_in) {
            return;
        }
        match std::mem::take(&mut self.stage) {
            Stage::Open(open) if self.has_quorum() => self.fold(now, open),
            _ => self.void(now),
        }
    }

    /// Judges what there is and folds what is left of it.
    fn fold(&mut self, now: Millis, open: Round) {
        let (round, me) = (self.round, self.identity.id());
        let check = self.spec.check;
        self.referee.expire(round, &check, me);
        let findings = self.referee.take();
        let (kept, refused) = self.judge(round, &findings);
        for (name, why) in refused {
            self.updates.refuse(name, why);
            self.refuse_update(name, why);
        }
        let received = self.updates.received(round);
        let qualities: BTreeMap<Name, (u32, Standing)> = kept.into_iter().collect();
        let quality = |update: &Received<'_>| qualities.get(&(update.peer, round - u64::from(update.age)));
        let judged: Vec<_> =
            received.into_iter().filter_map(|u| quality(&u).map(|(q, _)| *q).map(|q| (u, q))).collect();
        let contributors = plan::contributors(judged.iter().map(|(update, _)| update.peer));
        let accepted = plan::accept(&judged);
        if contributors < self.spec.round.quorum as usize {
            self.referee.put_back(findings);
            return self.void(now);
        }
        let mut standings: BTreeMap<Id, Standing> = BTreeMap::new();
        for ((who, _), (_, standing)) in qualities {
            standings.insert(who, standing);
        }
        for (who, (_, finding)) in Found::wrong(&findings) {
            let standing = standings.entry(who).or_insert(self.referee.standing(&who));
            standing.folded = 0;
            standing.struck |= finding == Finding::Different;
        }
        let rate = self.spec.outer.rate(contributors);
        let (base, momentum, outer) = (self.base, self.momentum, self.spec.outer.clone());
        let plan = FoldPlan { round, base, momentum, accepted: accepted.clone(), outer, rate };
        self.out.push_back(Output::Fold(plan));
        let standings = standings.into_iter().collect();
        self.stage = Stage::Folding(Folding { open, accepted, rate, findings, standings });
    }

    fn has_quorum(&self) -> bool {
        plan::contributors(self.updates.received(self.round).iter().map(|update| update.peer))
            >= self.spec.round.quorum as usize
    }

    /// The round goes again, under its number, once there are contributors for it.
    fn void(&mut self, now: Millis) {
        for name in self.updates.void(self.round) {
            self.refuse_commit(name, Reason::Unavailable);
        }
        self.docket.void(self.round);
        self.referee.void(self.round);
        if self.peers_suffice() {
            self.open(now);
        }
    }

    fn peers_suffice(&self) -> bool {
        self.peers.len() >= self.spec.round.quorum as usize
    }

    fn open(&mut self, now: Millis) {
        let round = Round::open(&self.identity, &self.spec, self.run, self.round, self.base.hash, now);
        self.journal(Event::Opened(round.signed.clone()));
        self.send_all(ToContributor::Open(round.announcement(now)));
        self.peers.values_mut().for_each(|peer| peer.passed = None);
        self.updates.open(self.round, self.base.hash);
        self.stage = Stage::Open(round);
    }

    fn tell(&mut self, peer: Id, round: u64, verdict: Verdict) {
        self.send(peer, ToContributor::Verdict { round, verdict });
    }

    fn send(&mut self, to: Id, message: ToContributor) {
        self.out.push_back(Output::Send { to: vec![to], message: Box::new(message) });
    }

    fn send_all(&mut self, message: ToContributor) {
        if !self.peers.is_empty() {
            let to = self.peers.keys().copied().collect();
            self.out.push_back(Output::Send { to, message: Box::new(message) });
        }
    }
}

impl Round {
    fn announcement(&self, now: Millis) -> Open {
        Open { manifest: self.signed.clone(), remaining_ms: self.manifest.deadline_ms.saturating_sub(now) }
    }
}
