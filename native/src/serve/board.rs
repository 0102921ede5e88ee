//! What the coordinator shows: written by its driver, read by HTTP. Bounded by
//! [`VIEW_HISTORY`] rounds and one line a contributor that was ever paid.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tributary_ledger::Balance;
use tributary_protocol::coordinator::Coordinator;
use tributary_protocol::limits::VIEW_HISTORY;
use tributary_protocol::message::{Accepted, Evaluation, FoldManifest};
use tributary_protocol::spec::RunSpec;
use tributary_protocol::{BlobRef, Hash, Id, Millis, PROTOCOL_VERSION};
use tributary_swarm::Traffic;

/// The board, shared.
#[derive(Debug, Clone)]
pub(crate) struct Board(Arc<Mutex<State>>);

/// Everything on it.
#[derive(Debug)]
pub(crate) struct State {
    /// Who and where the coordinator is.
    pub(crate) run: RunJson,
    /// Settled rounds, oldest first.
    pub(crate) rounds: VecDeque<RoundJson>,
    /// Balances.
    pub(crate) credits: BTreeMap<Id, Balance>,
    /// The ledger's newest signed checkpoint, once a round has settled.
    pub(crate) checkpoint: Option<Vec<u8>>,
    /// Whether a round can open.
    pub(crate) ready: bool,
    /// The newest round that hasn't folded.
    pub(crate) round: u64,
    /// Its base.
    pub(crate) state: Hash,
    /// Milliseconds to its deadline, if it is open.
    pub(crate) remaining: Option<Millis>,
    /// Contributors that are here.
    pub(crate) peers: usize,
    /// Bytes since the start.
    pub(crate) traffic: Traffic,
    /// Bytes of each blob that were served, of the last few blobs.
    pub(crate) served: Vec<(BlobRef, u64)>,
    /// Updates folded since the start.
    pub(crate) accepted: u64,
    /// Commits refused since the start, by reason.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Frames refused since the start.
    pub(crate) bad_frames: u64,
    /// Connections dropped for misbehaviour since the start.
    pub(crate) dropped: u64,
    /// Folds since the start and the time they took.
    pub(crate) folds: (u64, Duration),
    /// The newest held-out loss.
    pub(crate) bits_per_byte: Option<f32>,
}

/// `/run.json`: how to join, and what a page needs to say what that may earn.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RunJson {
    /// The run's id.
    pub(crate) run: Hash,
    /// Its name.
    pub(crate) name: String,
    /// The coordinator's peer id.
    pub(crate) peer: Id,
    /// Where it listens, each ending in /p2p/ID.
    pub(crate) addrs: Vec<String>,
    /// The protocol's version.
    pub(crate) version: u16,
    /// Parameters of the model.
    pub(crate) params: u64,
    /// Seconds of a round.
    pub(crate) round_seconds: u32,
    /// Credits of a round.
    pub(crate) pool: u64,
}

/// One settled round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RoundJson {
    round: u64,
    /// State hash before.
    before: Hash,
    /// State hash after.
    after: Hash,
    accepted: Vec<AcceptedJson>,
    /// Held-out loss of the state after, once it is measured.
    bits_per_byte: Option<f32>,
}

/// One paid update.
#[derive(Debug, Clone, Serialize)]
struct AcceptedJson {
    peer: Id,
    /// Rounds that it came late.
    age: u8,
    tokens: u64,
    /// What each token is worth, in millionths.
    quality: u32,
    credits: u64,
    /// The factor on all of it.
    clip: f32,
    /// Tensors with a further factor.
    clips: usize,
}

impl RunJson {
    /// Of this run, before it listens anywhere.
    pub(crate) fn new(spec: &RunSpec, peer: Id) -> Self {
        Self {
            run: spec.id(),
            name: spec.name.clone(),
            peer,
            addrs: Vec::new(),
            version: PROTOCOL_VERSION,
            params: spec.model.params(),
            round_seconds: spec.round.seconds,
            pool: spec.reward.pool,
        }
    }
}

impl Board {
    /// A board about this run.
    pub(crate) fn new(run: RunJson) -> Self {
        Self(Arc::new(Mutex::new(State {
            run,
            rounds: VecDeque::new(),
            credits: BTreeMap::new(),
            checkpoint: None,
            ready: false,
            round: 0,
            state: Hash::default(),
            remaining: None,
            peers: 0,
            traffic: Traffic::default(),
            served: Vec::new(),
            accepted: 0,
            refused: BTreeMap::new(),
            bad_frames: 0,
            dropped: 0,
            folds: (0, Duration::ZERO),
            bits_per_byte: None,
        })))
    }

    /// Reads or changes it; never held over an await.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // What is shown is rewritten after every step, so a panic elsewhere does no harm here.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes over what the ledger says now.
    pub(crate) fn books(&mut self, machine: &Coordinator) {
        self.credits = machine.book().ledger().balances().map(|(who, balance)| (Id(*who), balance)).collect();
        self.checkpoint = machine.checkpoint().and_then(|checkpoint| postcard::to_stdvec(checkpoint).ok());
    }

    /// Adds a settled round.
    pub(crate) fn settled(&mut self, fold: &FoldManifest) {
        let accepted = fold.earned().map(|(accepted, credits)| {
            let Accepted { peer, age, tokens, quality, clip, .. } = *accepted;
            AcceptedJson { peer, age, tokens, quality, credits, clip, clips: accepted.clips.len() }
        });
        let accepted = accepted.collect();
        let (round, before, after) = (fold.round, fold.base, fold.next.hash);
        self.rounds.push_back(RoundJson { round, before, after, accepted, bits_per_byte: None });
        if self.rounds.len() > VIEW_HISTORY {
            self.rounds.pop_front();
        }
    }

    /// Adds a held-out loss, which belongs to the round whose fold made that state.
    pub(crate) fn evaluated(&mut self, evaluation: Evaluation) {
        self.bits_per_byte = Some(evaluation.bits_per_byte);
        if let Some(round) = self.rounds.iter_mut().rev().find(|round| round.round + 1 == evaluation.round) {
            round.bits_per_byte = Some(evaluation.bits_per_byte);
        }
    }

    /// Takes over what the machine knows now.
    pub(crate) fn update(&mut self, machine: &Coordinator, now: Millis, traffic: Traffic) {
        let (round, base) = machine.head();
        (self.round, self.state, self.remaining) = (round, base.hash, machine.remaining(now));
        (self.peers, self.traffic) = (machine.peers(), traffic);
        let stats = machine.stats();
        (self.accepted, self.bad_frames, self.dropped) = (stats.accepted, stats.bad_frames, stats.dropped);
        self.refused = stats.refused.iter().map(|(reason, n)| (format!("{reason:?}").to_lowercase(), *n)).collect();
    }
}
