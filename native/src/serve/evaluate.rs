//! Held-out bits per byte, measured on a thread of its own. If rounds come faster than it measures, it
//! goes on with the newest and leaves the others out.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tributary_protocol::job::DeviceChoice;
use tributary_protocol::message::Evaluation;
use tributary_protocol::spec::RunSpec;
use tributary_protocol::{BlobRef, fold};
use tributary_trainer::Evaluator;

use super::store::DiskStore;

/// Tokens that one evaluation reads: the mean over so many has a standard error of about 0.01 bits per
/// byte, and the tiny model takes about a second for them on two cores.
const TOKENS: u32 = 16_384;

/// Held-out shards in memory, spread over what there is: 8 MiB of text.
const SHARDS: usize = 32;

/// The newest order to the thread. Without held-out text there is no thread and every order is passed over.
#[derive(Debug)]
pub(super) struct Evaluations(Option<watch::Sender<Option<(u64, BlobRef)>>>);

impl Evaluations {
    /// Starts the thread.
    pub(super) fn start(
        spec: &RunSpec,
        heldout: &[BlobRef],
        device: DeviceChoice,
        store: Arc<DiskStore>,
    ) -> anyhow::Result<(Self, mpsc::Receiver<Evaluation>)> {
        let (report, reports) = mpsc::channel(1);
        if heldout.is_empty() {
            return Ok((Self(None), reports));
        }
        let every = heldout.len().div_ceil(SHARDS);
        let heldout: Vec<_> = heldout.iter().step_by(every).copied().collect();
        let (orders, newest) = watch::channel(None);
        let spec = spec.clone();
        std::thread::Builder::new().name("evaluate".to_owned()).spawn(move || {
            if let Err(error) = run(&spec, &heldout, device, &store, newest, &report) {
                eprintln!("the loss on held-out text is no longer measured, training goes on: {error:#}");
            }
        })?;
        Ok((Self(Some(orders)), reports))
    }

    /// Wants this state measured.
    pub(super) fn order(&self, round: u64, base: BlobRef) {
        if let Some(orders) = &self.0 {
            // The thread has said why, if it is gone.
            let _ = orders.send(Some((round, base)));
        }
    }
}

fn run(
    spec: &RunSpec,
    heldout: &[BlobRef],
    device: DeviceChoice,
    store: &DiskStore,
    mut orders: watch::Receiver<Option<(u64, BlobRef)>>,
    reports: &mpsc::Sender<Evaluation>,
) -> anyhow::Result<()> {
    let load = |blob: &BlobRef| {
        store
            .get(blob)?
            .ok_or_else(|| anyhow::anyhow!("the shard {} is missing; import the data again", blob.hash.short()))
    };
    let shards = heldout.iter().map(load).collect::<anyhow::Result<Vec<Bytes>>>()?;
    let evaluator = Evaluator::new(spec, device)?;
    let windows = TOKENS.div_ceil(spec.inner.seq).max(8) as usize;
    while futures::executor::block_on(orders.changed()).is_ok() {
        let Some((round, base)) = *orders.borrow_and_update() else { continue };
        // A base that is gone already is too old to matter.
        let Some(weights) = store.get(&base)? else { continue };
        let bits_per_byte = evaluator.bits_per_byte(&fold::f32_from_le(&weights), &shards, windows)?;
        if reports.blocking_send(Evaluation { round, bits_per_byte }).is_err() {
            break;
        }
    }
    Ok(())
}
