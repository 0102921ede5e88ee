//! The coordinator's host: the driver, the disk, and how it dies.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tributary_ledger::{Entry, LinkProof};
use tributary_protocol::check::{Finding, ReplayOrder};
use tributary_protocol::coordinator::{
    Coordinator, Event as Journalled, Examined, FoldPlan, Input, LinkRefusal, Output,
};
use tributary_protocol::fold::{self, OuterState, Term, apply, f32_from_le, f32_to_le};
use tributary_protocol::message::{Evaluation, Message, Reason, ToContributor};
use tributary_protocol::sketch::Sketch;
use tributary_protocol::spec::RunSpec;
use tributary_protocol::{BlobRef, Hash, Identity, Millis, update};

use super::{Event, World};
use crate::trainer::{tokens_of, truth};
use crate::{Random, Run};

/// When the coordinator is to die: before it does its n-th next output, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crash {
    /// Outputs until then.
    pub after: u64,
    /// Whether a journal event that is the next output becomes durable just before.
    pub durable: bool,
    /// Milliseconds until it is started again.
    pub down_ms: Millis,
}

/// What survives of a coordinator, and the machine while it runs.
pub struct Host {
    /// Its keys.
    pub identity: Identity,
    /// The machine; `None` while it is down.
    pub machine: Option<Coordinator>,
    /// The journal on its disk.
    pub journal: Vec<Journalled>,
    /// The ledger on its disk.
    pub entries: Vec<Entry>,
    /// The blobs on its disk.
    pub blobs: BTreeMap<Hash, Bytes>,
    /// Connections, by contributor.
    pub(super) connections: BTreeMap<usize, u64>,
    spec: RunSpec,
    crash: Option<Crash>,
    life: u32,
    settled: u64,
    wakes_at: Option<Millis>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.journal.last();
        let connected = self.connections.len();
        write!(f, "life {}, {connected} connected, machine {:#?}, last event {last:?}", self.life, self.machine)
    }
}

impl Host {
    pub(super) fn new(run: &Run, random: &mut Random) -> Self {
        let identity = Identity::from_secret(random.secret());
        let base = BlobRef::of(&run.weights);
        let journal = vec![Journalled::Genesis { run: run.spec.id(), base }];
        let blobs = [&run.weights, &run.data, &run.shard].map(|bytes| (Hash::of(bytes), bytes.clone()));
        let machine = Coordinator::restore(identity.clone(), run.spec.clone(), journal.clone(), []).unwrap();
        Self {
            identity,
            machine: Some(machine),
            journal,
            entries: Vec::new(),
            blobs: blobs.into(),
            connections: BTreeMap::new(),
            spec: run.spec.clone(),
            crash: None,
            life: 0,
            settled: 0,
            wakes_at: None,
        }
    }

    /// Rounds that are settled in the journal.
    pub fn settled(&self) -> u64 {
        self.settled
    }

    fn put(&mut self, bytes: Bytes) -> BlobRef {
        let blob = BlobRef::of(&bytes);
        self.blobs.insert(blob.hash, bytes);
        blob
    }

    /// The three blobs of a fold.
    pub(super) fn fold(&mut self, plan: &FoldPlan) -> [BlobRef; 3] {
        let count = self.spec.model.params();
        let mut base = f32_from_le(&self.blobs[&plan.base.hash]);
        let mut state = plan.momentum.map_or_else(OuterState::default, |blob| {
            OuterState::from_bytes(&self.blobs[&blob.hash], base.len(), &plan.outer, self.spec.step).unwrap()
        });
        let formats = self.spec.sent_formats();
        let decoded = |hash| update::decode(&formats, &self.blobs[hash], count).unwrap();
        let updates: Vec<_> = plan.accepted.iter().map(|accepted| decoded(&accepted.update.hash)).collect();
        let layout = self.spec.model.ranges();
        let clips: Vec<_> = plan.accepted.iter().map(|accepted| accepted.factors(layout.len())).collect();
        let terms: Vec<_> = plan
            .accepted
            .iter()
            .zip(updates.iter().zip(&clips))
            .map(|(accepted, (update, clips))| Term { weight: accepted.weight, clips, update })
            .collect();
        let step = fold::fold(&terms, &layout, &mut state, &plan.outer, plan.rate, self.spec.step);
        apply(&mut base, &step);
        [update::encode(&step), f32_to_le(&base).into(), state.to_bytes().into()].map(|bytes| self.put(bytes))
    }
}

impl World {
    /// Arms a crash.
    pub fn crash_host(&mut self, crash: Crash) {
        self.host.crash = Some(crash);
    }

    /// The coordinator is killed now.
    pub fn kill_host(&mut self) {
        self.host.machine = None;
        self.host.life += 1;
        self.host.wakes_at = None;
        for (node, connection) in std::mem::take(&mut self.host.connections) {
            self.close(node, connection, "the coordinator died");
        }
    }

    /// The coordinator is started again from its disk.
    pub fn restart_host(&mut self) {
        assert!(self.host.machine.is_none(), "it runs");
        let (identity, spec) = (self.host.identity.clone(), self.host.spec.clone());
        let (journal, entries) = (self.host.journal.clone(), self.host.entries.clone());
        self.host.machine = Some(Coordinator::restore(identity, spec, journal, entries).unwrap());
        self.host_input(Input::Tick);
    }

    /// Hands the coordinator an input; nobody is there while it is down.
    pub fn host_input(&mut self, input: Input) {
        if let Some(machine) = &mut self.host.machine {
            machine.handle(self.now, input);
            self.drain_host();
        }
    }

    /// Somebody names a wallet: whether that was acknowledged, which it is once the journal has it.
    pub fn names_wallet(&mut self, proof: &LinkProof) -> Result<bool, LinkRefusal> {
        let Some(machine) = &mut self.host.machine else { return Ok(false) };
        machine.link(self.now, &proof.to_bytes())?;
        self.drain_host();
        Ok(self.host.machine.is_some())
    }

    pub(super) fn drain_host(&mut self) {
        while let Some(output) = self.host.machine.as_mut().and_then(Coordinator::poll) {
            if let Some(crash) = &mut self.host.crash {
                if crash.after == 0 {
                    let crash = self.host.crash.take().unwrap();
                    if let (true, Output::Journal { event, entries }) = (crash.durable, output) {
                        self.write(event, entries);
                    }
                    self.kill_host();
                    return self.later(crash.down_ms, Event::HostRestarts);
                }
                crash.after -= 1;
            }
            self.host_does(output);
        }
        let Some(at) = self.host.machine.as_ref().and_then(|machine| machine.wake_at(self.now)) else { return };
        if self.host.wakes_at.is_none_or(|known| at < known) {
            self.host.wakes_at = Some(at);
            let life = self.host.life;
            self.at(at, Event::HostWakes { life });
        }
    }

    fn write(&mut self, event: Journalled, entries: Vec<Entry>) {
        if let Journalled::Settled { .. } = event {
            self.host.settled += 1;
            self.moved_at = self.now;
        }
        self.host.journal.push(event);
        self.host.entries.extend(entries);
    }

    fn host_does(&mut self, output: Output) {
        let life = self.host.life;
        match output {
            Output::Journal { event, entries } => self.write(event, entries),
            Output::Send { to, message } => {
                // What every contributor would decode from the frame, decoded once.
                let message = ToContributor::decode(&message.encode()).expect("the coordinator sends good frames");
                let message = Arc::new(message);
                for id in to {
                    self.send_to_node(self.index[&id], &message);
                }
            }
            Output::Drop(id) => {
                let node = self.index[&id];
                if let Some(&connection) = self.host.connections.get(&node) {
                    self.close(node, connection, "dropped by the coordinator");
                }
            }
            Output::Gather(order) => {
                let ms = self.upload_ms(self.index[&order.who], order.dossier);
                self.later(ms, Event::Gathered { life, order });
            }
            Output::Discard(dossier) => drop(self.host.blobs.remove(&dossier)),
            Output::Replay(order) => {
                let ms = self.random.from_to((200, 5_000));
                self.later(ms, Event::Replayed { life, order });
            }
            Output::Fetch { from, update, .. } => {
                let from = self.index[&from];
                let ms = self.upload_ms(from, update);
                self.later(ms, Event::UpdateFetched { life, from, update });
            }
            Output::Fold(plan) => {
                let ms =
                    self.config.costs.as_ref().map_or_else(|| self.random.from_to((20, 500)), |costs| costs.fold_ms);
                self.later(ms, Event::Folded { life, plan });
            }
            Output::Unlinked { who, why } => panic!("the link of {who} was taken and is refused: {why}"),
            Output::Evaluate { round, .. } => {
                let ms = self.random.from_to((200, 2_000));
                let evaluation = Evaluation { round, bits_per_byte: 4.0 / (1.0 + round as f32) };
                self.later(ms, Event::Evaluated { life, evaluation });
            }
        }
    }

    pub(super) fn host_wakes(&mut self, life: u32) {
        if self.host.life == life {
            self.host.wakes_at = None;
            self.host_input(Input::Tick);
        }
    }

    /// The coordinator's fetch of a dossier.
    pub(super) fn gathered(&mut self, life: u32, order: &ReplayOrder) {
        if self.host.life != life {
            return;
        }
        let (who, round, dossier) = (order.who, order.commit.round, order.dossier.hash);
        let node = &self.nodes[self.index[&who]];
        let offered = node.offered.iter().find(|(hash, _)| *hash == dossier).filter(|_| node.connection.is_some());
        let result = match offered {
            Some((_, bytes)) => {
                self.host.blobs.insert(dossier, bytes.clone());
                Ok(tokens_of(order))
            }
            None => Err(Some(Finding::Missing)),
        };
        self.host_input(Input::Gathered { who, round, dossier, result });
    }

    pub(super) fn host_replayed(&mut self, life: u32, order: &ReplayOrder) {
        if self.host.life == life {
            let (who, round, segment) = (order.who, order.commit.round, order.segment);
            let finding = Some(truth(&self.host.blobs[&order.dossier.hash]));
            self.host_input(Input::Replayed { who, round, segment, tokens: tokens_of(order), finding });
        }
    }

    pub(super) fn host_evaluated(&mut self, life: u32, evaluation: Evaluation) {
        if self.host.life == life {
            self.host_input(Input::Evaluated(evaluation));
        }
    }

    pub(super) fn fold(&mut self, life: u32, plan: &FoldPlan) {
        if self.host.life == life {
            let [step, next, momentum] = self.host.fold(plan);
            self.host_input(Input::Folded { round: plan.round, step, next, momentum });
        }
    }

    /// The coordinator's fetch of an update: from its own disk, or else from the contributor.
    pub(super) fn update_fetched(&mut self, life: u32, from: usize, update: BlobRef) {
        if self.host.life != life {
            return;
        }
        let fails = self.random.happens(self.config.net.failed_fetches);
        let node = &self.nodes[from];
        let there = node.connection.is_some() && self.host.connections.contains_key(&from) && !fails;
        let offered = || node.offered.iter().find(|(hash, _)| *hash == update.hash && there);
        let offered = || offered().map(|(_, bytes)| bytes.clone());
        let bytes = self.host.blobs.get(&update.hash).cloned().or_else(offered);
        let (from, count) = (node.id(), self.host.spec.model.params());
        let result = match bytes {
            None => Err(Reason::Unavailable),
            Some(bytes) => match update::decode(&self.host.spec.sent_formats(), &bytes, count) {
                Ok(decoded) => {
                    self.host.blobs.insert(update.hash, bytes);
                    let norms = decoded.norms(&self.host.spec.model.ranges());
                    let sketch = picture(&update.hash);
                    Ok(Examined { format: decoded.format(), norms, sketch, score: None })
                }
                Err(_) => Err(Reason::Malformed),
            },
        };
        self.host_input(Input::Fetched { from, update: update.hash, result });
    }
}

/// A sketch as unlike others as the blob is: simulated steps all look alike, which real ones don't.
fn picture(hash: &Hash) -> Sketch {
    let mut random = Random::new(u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|at| hash.0[at])));
    let values = (0..256).map(|_| random.below(2001) as f32 - 1000.0).collect();
    Sketch::of(&update::Update::dense(values), &Hash::default())
}
