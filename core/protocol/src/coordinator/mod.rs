//! The coordinator's side of the round, as a machine that does no input or output.
//!
//! Enters: time, contributors' messages and wallets, and what became of the work it asked for. Leaves, in
//! order: journal events, messages, and work to do (fetch an update, fold, evaluate). Refuses
//! commits that are forged, foreign, too late or doubled, with a reason, and drops whoever sends too
//! many of them. A round waits for its own updates until its grace is over, and never for those of the rounds
//! before: they count in whichever fold is the next once they are here, as long as they are recent enough.
//!
//! The driver must make an [`Output::Journal`] durable before it acts on any later output. Then a
//! coordinator that dies anywhere and is restored from its journal goes on with the same round,
//! and pays nothing twice: a round is paid by one event, [`Event::Settled`].

mod close;
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
mod wallets;
mod witness;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tributary_ledger::{Book, Checkpoint, Entry, LinkError};

pub use journal::{Event, RestoreError};
pub use plan::{FoldPlan, accept};
pub use quality::{FULL, Gain, Record, Score};
pub use referee::Standing;
pub use settle::rule;
pub use updates::{Examined, Received};
pub use wallets::{Account, LinkRefusal};

use crate::check::{Finding, MOST_PAST, PastRound, ReplayOrder, TRACE_ROUNDS};
use crate::limits::VIEW_HISTORY;
use crate::message::{BadFrame, Evaluation, Open, PeerKind, Reason, Status, ToContributor, ToCoordinator, Verdict};
use crate::spec::RunSpec;
use crate::{BlobRef, Hash, Id, Identity, Millis, Signed};
use links::Linking;
use referee::Referee;
use round::{Round, Stage};
use settle::Docket;
use updates::{Fetched, Name, Updates};
use wallets::Queue;

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
    /// An [`Output::Gather`] has ended.
    Gathered {
        /// Whose work it is about.
        who: Id,
        /// The commit's round.
        round: u64,
        /// The dossier.
        dossier: Hash,
        /// Tokens that its segment takes; or what is clear without running it, `None`: nothing that the contributor
        /// is to blame for.
        result: Result<u64, Option<Finding>>,
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
    /// Get a dossier from the contributor, keep it until [`Output::Discard`], and see whether it is what was asked for
    /// and can be run. At most one an update of the last rounds.
    Gather(Box<ReplayOrder>),
    /// Run the segment of a dossier that is here.
    Replay(Box<ReplayOrder>),
    /// A dossier is not needed any more.
    Discard(Hash),
    /// Fold.
    Fold(FoldPlan),
    /// Measure the held-out loss of a new base.
    Evaluate {
        /// The first round that trains from it.
        round: u64,
        /// The weights.
        base: BlobRef,
    },
    /// Say that a link which was taken cannot be written after all.
    Unlinked {
        /// Whose.
        who: Id,
        /// Why.
        why: LinkError,
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
    /// Tokens that the update is said to be worth: measuring costs a part of that.
    pub tokens: u64,
    /// Whether it is measured however small it is.
    pub sure: bool,
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
    /// Whether it runs others' work again.
    witness: bool,
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
    /// Openings of rounds, oldest first, as far back as a replay can need.
    past: VecDeque<PastRound>,
    evaluations: VecDeque<Evaluation>,
    roster_at: Millis,
    roster_cursor: Option<Id>,
    linking: Linking,
    queue: Queue,
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
            Input::Gathered { who, round, dossier, result } => self.gathered((who, round), dossier, result),
            Input::Replayed { who, round, segment, tokens, finding } => {
                self.replayed((who, round), segment, tokens, finding);
            }
            Input::Folded { round, step, next, momentum } => self.folded(round, step, next, momentum),
            Input::FoldFailed { round, peer, age, why } => self.fold_failed(round, peer, age, why),
            Input::Evaluated(evaluation) => self.evaluated(evaluation),
        }
        self.advance(now);
        self.release();
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
        match self.updates.fetched(from, update, result, online, &self.spec) {
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

    /// A round is open.
    fn opened(&mut self, round: Round) {
        self.updates.open(self.round, self.base.hash);
        self.past.push_back(PastRound { round: self.round, seed: round.manifest.seed, base: self.base });
        let oldest = self.round.saturating_sub(TRACE_ROUNDS + u64::from(self.spec.check.settle));
        while self.past.front().is_some_and(|past| past.round < oldest) || self.past.len() > MOST_PAST {
            self.past.pop_front();
        }
        self.stage = Stage::Open(round);
    }

    fn fetch(&mut self, name: Name, update: BlobRef) {
        let (from, origin) = name;
        let (Some(base), Some(assigned)) = (self.updates.base(origin), self.seed(origin)) else { return };
        let tokens = self.updates.commit(&name).map_or(0, |commit| commit.tokens);
        // While nobody is proven, what is not measured counts like everybody's.
        let sure = self.referee.standing(&from).folded < self.spec.check.first;
        let probe = Probe { base, seed: self.probe_seed(origin), assigned, tokens, sure };
        self.out.push_back(Output::Fetch { from, update, probe });
    }

    /// The seed of a round whose updates still count.
    fn seed(&self, round: u64) -> Option<Hash> {
        self.past.iter().rev().find(|past| past.round == round).map(|past| past.seed)
    }

    fn journal(&mut self, event: Event) {
        self.out.push_back(Output::Journal { event, entries: Vec::new() });
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
