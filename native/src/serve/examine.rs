//! Everything that the coordinator computes on its own device, on a thread of its own: the held-out loss of new
//! weights, what an update does to the loss, and other contributors' work done again.
//!
//! Enters: orders. Leaves: answers. Updates come first, since a round waits for them; of weights to evaluate only
//! the newest counts. What doesn't fit the queue, or fails, is not done, and whoever asked goes on without.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::Bytes;
use futures::executor::block_on;
use tokio::sync::{mpsc, oneshot};
use tributary_ledger::Finding;
use tributary_protocol::coordinator::{Probe, ReplayOrder, Score};
use tributary_protocol::data::DataManifest;
use tributary_protocol::job::DeviceChoice;
use tributary_protocol::message::Evaluation;
use tributary_protocol::spec::RunSpec;
use tributary_protocol::update::{self, Update};
use tributary_protocol::{BlobRef, Hash, Id, fold};
use tributary_swarm::BlobStore;
use tributary_trainer::{Case, Evaluator, Prober, Replayer, Scorer, Sources};

use super::store::DiskStore;

/// Tokens that one evaluation reads: the mean over so many has a standard error of about 0.01 bits per
/// byte, and the tiny model takes about a second for them on two cores.
const TOKENS: u32 = 16_384;

/// Held-out shards in memory, spread over what there is: 8 MiB of text.
const SHARDS: usize = 32;

/// Orders that wait: the updates of a large round, and as many replays.
const ORDERS: usize = 512;

/// Replays that wait at the device; more are not done, which nobody is to blame for.
const REPLAYS: usize = 64;

/// The hand on the thread.
#[derive(Debug, Clone)]
pub(super) struct Examiner(SyncSender<Order>);

enum Order {
    Evaluate { round: u64, base: BlobRef },
    Score { of: Id, update: Box<Update>, probe: Probe, answer: oneshot::Sender<Option<Score>> },
    Replay { order: Box<ReplayOrder>, dossier: Bytes, answer: oneshot::Sender<Replayed> },
}

/// What became of a replay.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Replayed {
    /// Tokens that were trained again.
    pub(super) tokens: u64,
    /// What came out; `None`: nothing that the contributor is to blame for.
    pub(super) finding: Option<Finding>,
}

impl Examiner {
    /// Starts the thread.
    pub(super) fn start(
        spec: &RunSpec,
        manifest: &DataManifest,
        device: DeviceChoice,
        store: Arc<DiskStore>,
    ) -> anyhow::Result<(Self, mpsc::Receiver<Evaluation>)> {
        let (report, reports) = mpsc::channel(1);
        let (orders, waiting) = sync_channel(ORDERS);
        let (spec, manifest) = (spec.clone(), manifest.clone());
        std::thread::Builder::new().name("examine".to_owned()).spawn(move || {
            let run = Desk::new(&spec, &manifest, device, &store).and_then(|desk| desk.run(&waiting, &report));
            if let Err(error) = run {
                eprintln!("work is no longer checked and the loss no longer measured, training goes on: {error:#}");
            }
        })?;
        Ok((Self(orders), reports))
    }

    /// Wants these weights measured.
    pub(super) fn evaluate(&self, round: u64, base: BlobRef) {
        // The thread has said why, if it is gone; if its queue is full the next round's weights count.
        let _ = self.0.try_send(Order::Evaluate { round, base });
    }

    /// What an update does to the loss, if there is time to find out.
    pub(super) async fn score(&self, of: Id, update: Update, probe: Probe) -> Option<Score> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(Order::Score { of, update: Box::new(update), probe, answer }).ok()?;
        answered.await.ok().flatten()
    }

    /// Runs a segment again.
    pub(super) async fn replay(&self, order: Box<ReplayOrder>, dossier: Bytes) -> Replayed {
        let (answer, answered) = oneshot::channel();
        if self.0.try_send(Order::Replay { order, dossier, answer }).is_err() {
            return Replayed::default();
        }
        answered.await.unwrap_or_default()
    }
}

/// The thread's state.
struct Desk<'a> {
    spec: &'a RunSpec,
    store: &'a DiskStore,
    heldout: Vec<Bytes>,
    evaluator: Evaluator,
    prober: Prober,
    replayer: Replayer,
}

impl<'a> Desk<'a> {
    fn new(
        spec: &'a RunSpec,
        manifest: &DataManifest,
        device: DeviceChoice,
        store: &'a DiskStore,
    ) -> anyhow::Result<Self> {
        let missing = |blob: &BlobRef| anyhow::anyhow!("{} is missing; import the data again", blob.hash.short());
        let load = |blob: &BlobRef| store.get(blob)?.ok_or_else(|| missing(blob));
        let every = manifest.heldout.len().div_ceil(SHARDS).max(1);
        let heldout = manifest.heldout.iter().step_by(every).map(load).collect::<anyhow::Result<_>>()?;
        let list = load(&spec.data)?;
        let evaluator = Evaluator::new(spec, device)?;
        let (device, _) = block_on(tributary_trainer::open_device(device)).map_err(anyhow::Error::msg)?;
        let prober = Prober::new(spec, manifest.train.clone(), Scorer::new(spec, device.clone()));
        let replayer = Replayer::new(spec, list, device);
        Ok(Self { spec, store, heldout, evaluator, prober, replayer })
    }

    fn run(mut self, orders: &Receiver<Order>, reports: &mpsc::Sender<Evaluation>) -> anyhow::Result<()> {
        let (mut scores, mut replays, mut newest) = (VecDeque::new(), VecDeque::new(), None);
        loop {
            let idle = scores.is_empty() && replays.is_empty() && newest.is_none();
            let waited = if idle { orders.recv().ok() } else { None };
            if idle && waited.is_none() {
                return Ok(());
            }
            for order in waited.into_iter().chain(orders.try_iter()) {
                match order {
                    Order::Evaluate { round, base } => newest = Some((round, base)),
                    Order::Score { of, update, probe, answer } => scores.push_back((of, update, probe, answer)),
                    // Its answer is dropped, which says that nothing was found.
                    Order::Replay { .. } if replays.len() >= REPLAYS => {}
                    Order::Replay { order, dossier, answer } => replays.push_back((order, dossier, answer)),
                }
            }
            // Whoever asked may be gone.
            if let Some((of, update, probe, answer)) = scores.pop_front() {
                let _ = answer.send(self.score(of, &update, &probe));
            } else if let Some((round, base)) = newest.take() {
                if let Some(evaluation) = self.evaluate(round, &base)?
                    && reports.blocking_send(evaluation).is_err()
                {
                    return Ok(());
                }
            } else if let Some((order, dossier, answer)) = replays.pop_front() {
                let _ = answer.send(self.replay(&order, &dossier));
            }
        }
    }

    fn evaluate(&self, round: u64, base: &BlobRef) -> anyhow::Result<Option<Evaluation>> {
        // A base that is gone already is too old to matter, and without held-out text there is nothing to measure.
        let Some(weights) = self.store.get(base)?.filter(|_| !self.heldout.is_empty()) else { return Ok(None) };
        let windows = TOKENS.div_ceil(self.spec.inner.seq).max(8) as usize;
        let bits_per_byte = self.evaluator.bits_per_byte(&fold::f32_from_le(&weights), &self.heldout, windows)?;
        Ok(Some(Evaluation { round, bits_per_byte }))
    }

    fn score(&mut self, of: Id, update: &Update, probe: &Probe) -> Option<Score> {
        let (store, bytes) = (self.store, self.spec.model.params() * 4);
        let read = |blob: &BlobRef| store.get(blob).ok().flatten();
        let base = |hash: &Hash| read(&BlobRef { hash: *hash, bytes }).map(|bytes| fold::f32_from_le(&bytes));
        match block_on(self.prober.score(of, update, probe, base, read)) {
            Ok(score) => score,
            Err(why) => {
                tracing::warn!("an update of {of} was not scored: {why}");
                None
            }
        }
    }

    fn replay(&self, order: &ReplayOrder, dossier: &[u8]) -> Replayed {
        let commit = &order.commit;
        let decode = |bytes: Bytes| update::decode(&self.spec.sent_formats(), &bytes, self.spec.model.params()).ok();
        let Some(update) = self.store.get(&commit.update).ok().flatten().and_then(decode) else {
            return Replayed::default();
        };
        let case = Case {
            peer: order.who,
            round: commit.round,
            tokens: commit.tokens,
            update: &update,
            trace: commit.trace,
            known: order.before,
            segment: order.segment,
        };
        let past = Past { store: self.store, order };
        let (who, round, segment) = (order.who, commit.round, order.segment);
        match block_on(self.replayer.replay(&case, dossier, &past)) {
            Ok(likeness) => {
                let finding = if likeness.is_same() { Finding::Same } else { Finding::Different };
                tracing::info!("{who}, round {round}, segment {segment}: {finding:?}, {likeness:?}");
                Replayed { tokens: likeness.tokens, finding: Some(finding) }
            }
            Err(fault) if fault.is_ours() => {
                tracing::warn!("{who}, round {round}, segment {segment} was not run again: {fault}");
                Replayed::default()
            }
            Err(fault) => {
                tracing::info!("{who}, round {round}, segment {segment}: {fault}");
                Replayed { tokens: 0, finding: Some(Finding::Different) }
            }
        }
    }
}

/// What a replay asks for, from the disk.
struct Past<'a> {
    store: &'a DiskStore,
    order: &'a ReplayOrder,
}

impl Sources for Past<'_> {
    fn base(&self, round: u64) -> Option<Vec<f32>> {
        let past = self.order.rounds.iter().find(|past| past.round == round)?;
        self.store.get(&past.base).ok().flatten().map(|bytes| fold::f32_from_le(&bytes))
    }

    fn is_seed(&self, seed: &Hash) -> bool {
        self.order.rounds.iter().any(|past| past.seed == *seed)
    }

    fn shard(&self, hash: &Hash) -> Option<Bytes> {
        read(self.store, hash)
    }
}

fn read(store: &DiskStore, hash: &Hash) -> Option<Bytes> {
    let bytes = store.len(hash)?;
    store.get(&BlobRef { hash: *hash, bytes }).ok().flatten()
}
