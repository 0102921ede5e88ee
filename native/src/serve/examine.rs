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
use tributary_protocol::check::ReplayOrder;
use tributary_protocol::coordinator::{Probe, Score};
use tributary_protocol::data::DataManifest;
use tributary_protocol::job::DeviceChoice;
use tributary_protocol::message::Evaluation;
use tributary_protocol::spec::RunSpec;
use tributary_protocol::update::Update;
use tributary_protocol::{BlobRef, Hash, Id, fold};
use tributary_swarm::BlobStore;
use tributary_trainer::{Evaluator, Evidence, Judgement, Look, Prober, Replayer, Scorer};

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
    Replay { order: Box<ReplayOrder>, answer: Answer },
}

/// What is wanted of a dossier that is in the store, and who wants it.
enum Answer {
    /// Whether it is worth running.
    Look(oneshot::Sender<Look>),
    /// What comes out when it is run.
    Run(oneshot::Sender<Judgement>),
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

    /// Whether a segment is worth running again, if there is time to find out.
    pub(super) async fn look(&self, order: Box<ReplayOrder>) -> Look {
        let (answer, answered) = oneshot::channel();
        let unknown = Look::Ended(Judgement::default());
        match self.0.try_send(Order::Replay { order, answer: Answer::Look(answer) }) {
            Ok(()) => answered.await.unwrap_or(unknown),
            Err(_) => unknown,
        }
    }

    /// Runs a segment again.
    pub(super) async fn replay(&self, order: Box<ReplayOrder>) -> Judgement {
        let (answer, answered) = oneshot::channel();
        match self.0.try_send(Order::Replay { order, answer: Answer::Run(answer) }) {
            Ok(()) => answered.await.unwrap_or_default(),
            Err(_) => Judgement::default(),
        }
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
                    // Costs little, and witnesses wait for it.
                    Order::Replay { order, answer: Answer::Look(answer) } => {
                        replays.push_front((order, Answer::Look(answer)));
                    }
                    Order::Replay { order, answer } => replays.push_back((order, answer)),
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
            } else if let Some((order, answer)) = replays.pop_front() {
                self.replay(&order, answer);
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

    fn replay(&self, order: &ReplayOrder, answer: Answer) {
        // Without it nobody is to blame, and whoever asked is told so by the answer that is dropped.
        let Some(dossier) = read(self.store, &order.dossier.hash) else { return };
        let evidence = Evidence::new(order, |hash| read(self.store, hash));
        let (who, round, segment) = (order.who, order.commit.round, order.segment);
        match answer {
            Answer::Look(answer) => {
                let look = self.replayer.look(&dossier, &evidence);
                if let Look::Ended(Judgement { why, .. }) = &look {
                    tracing::info!("{who}, round {round}, segment {segment} is not run again: {why}");
                }
                let _ = answer.send(look);
            }
            Answer::Run(answer) => {
                let judgement = block_on(self.replayer.judge(&dossier, &evidence));
                tracing::info!("{who}, round {round}, segment {segment}: {}", judgement.why);
                let _ = answer.send(judgement);
            }
        }
    }
}

fn read(store: &DiskStore, hash: &Hash) -> Option<Bytes> {
    let bytes = store.len(hash)?;
    store.get(&BlobRef { hash: *hash, bytes }).ok().flatten()
}
