//! Replays: runs a segment of another contributor's trace again and says how alike the ends are.
//!
//! Enters: a dossier and what its commit said, and bases, seeds and shards on demand. Leaves: a [`Likeness`].
//! Refuses, each with a [`Fault`]: dossiers that aren't what the commit binds, that contradict themselves, or
//! whose data was not assigned. Everything that costs more than hashing is done after those checks, and
//! costs what the commit claims to have been trained.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::task::Poll;

use burn::tensor::{Device, ExecutionError, Tensor};
use bytes::Bytes;
use tributary_protocol::check::TraceRef;
use tributary_protocol::spec::RunSpec;
use tributary_protocol::update::{Update, compress};
use tributary_protocol::{BlobRef, Hash, Id};

use crate::data::Feed;
use crate::fault::Fault;
use crate::likeness::{Likeness, Match};
use crate::replica::{Replica, add_rest};
use crate::state::{Dossier, Said, State, max_dossier_bytes, read_rest};
use crate::trace::{Mark, Origin, Segment};
use crate::train::Local;

/// Steps that are queued before the device is waited for, as in training.
const QUEUED: usize = 16;

/// One contributor's work to look at.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// Whose.
    pub peer: Id,
    /// The round of the update.
    pub round: u64,
    /// Tokens that the commit claims.
    pub tokens: u64,
    /// The update.
    pub update: &'a Update,
    /// The trace that the commit binds.
    pub trace: TraceRef,
    /// The trace of this contributor's commit before, if there was one.
    pub known: Option<Hash>,
    /// Which segment was asked for.
    pub segment: u8,
}

/// What a replay needs to know of the run.
pub trait Sources {
    /// The base of a round. It need not be exact to the last bit: rounding that comes from going back by a step
    /// is nothing beside what the coding of states changes.
    fn base(&self, round: u64) -> Option<Vec<f32>>;
    /// Whether a contributor may have trained on the data of the round with this seed for the update of the
    /// case: the seed of its round or of one shortly before.
    fn is_seed(&self, seed: &Hash) -> bool;
    /// A shard of the run's data.
    fn shard(&self, hash: &Hash) -> Option<Bytes>;
}

/// Replays segments of one run on one device, the same natively and in a browser.
pub struct Replayer {
    spec: RunSpec,
    manifest: Bytes,
    device: Device,
}

impl Replayer {
    /// For the run whose data manifest's bytes these are.
    pub fn new(spec: &RunSpec, manifest: Bytes, device: Device) -> Self {
        Self { spec: spec.clone(), manifest, device }
    }

    pub(crate) fn spec(&self) -> &RunSpec {
        &self.spec
    }

    /// Reads a dossier and checks what can be checked without training. Its trace says how many steps its segment
    /// has, which is what [`Self::replay`] will cost.
    pub fn open(&self, case: &Case<'_>, dossier: &[u8], sources: &impl Sources) -> Result<(Dossier, Origin), Fault> {
        if dossier.len() as u64 > max_dossier_bytes(&self.spec) {
            return Err(Fault::Unreadable);
        }
        let dossier = match postcard::take_from_bytes::<Dossier>(dossier) {
            Ok((dossier, [])) => dossier,
            _ => return Err(Fault::Unreadable),
        };
        if dossier.trace.named() != case.trace {
            return Err(Fault::Foreign);
        }
        if dossier.segment != case.segment || usize::from(case.segment) >= dossier.trace.segments.len() {
            return Err(Fault::Segment(case.segment));
        }
        let step = u64::from(self.spec.inner.batch) * u64::from(self.spec.inner.seq);
        if !case.tokens.is_multiple_of(step) {
            return Err(Fault::Steps { claimed: case.tokens / step, traced: 0 });
        }
        let feed = self.feed(case.peer)?;
        dossier.trace.check(feed, case.round, case.tokens / step, |seed| sources.is_seed(seed))?;
        let origin = dossier.trace.origin(dossier.previous.as_ref(), case.known)?;
        Ok((dossier, origin))
    }

    /// The rounds whose bases a segment takes, and the shards.
    pub(crate) fn needs(&self, peer: Id, dossier: &Dossier) -> Result<(BTreeSet<u64>, BTreeSet<BlobRef>), Fault> {
        let at = usize::from(dossier.segment);
        let (start, segment) = (dossier.trace.begin(at), &dossier.trace.segments[at]);
        let (mut rounds, mut shards) = (BTreeSet::from([start.base]), BTreeSet::new());
        let mut feed = self.feed(peer)?;
        if let Some(place) = start.place {
            feed.go(place);
        }
        for stretch in &segment.stretches {
            rounds.extend(stretch.base);
            if let Some(seed) = stretch.seed {
                feed.enter(seed);
            }
            for _ in 0..stretch.steps {
                shards.extend(feed.missing());
                feed.skip(1);
            }
        }
        Ok((rounds, shards))
    }

    /// Runs the segment again. Whatever shares its thread gets its turn after every step.
    pub async fn replay(&self, case: &Case<'_>, dossier: &[u8], sources: &impl Sources) -> Result<Likeness, Fault> {
        let (dossier, origin) = self.open(case, dossier, sources)?;
        let at = usize::from(case.segment);
        let (start, segment) = (dossier.trace.begin(at), &dossier.trace.segments[at]);
        let count = self.spec.model.params();
        let (from, to) = (dossier.start.read(start, count)?, dossier.end.read(&segment.end, count)?);
        let again = self.run(case.peer, start, segment, from, sources).await?;
        if !again.end.is_finite() {
            return Err(Fault::NotFinite);
        }
        // What coding makes of the claim's end it makes of the replay's too.
        let (_, end) = State::code(&again.base, &again.end);
        let claimed: Vec<f32> = to.weights.iter().zip(&again.base).map(|(moved, base)| base + moved).collect();
        let moments = match (&end.averages, to.moments()) {
            (Some(averages), Some([first, second])) => {
                let roots = |values: &[f32]| values.iter().map(|value| value.sqrt()).collect::<Vec<_>>();
                [Match::of(first, &averages.first), Match::of(&roots(second), &roots(&averages.second))]
            }
            (None, None) => [Match::EQUAL; 2],
            // Moments without a step, or none after one.
            _ => [Match { ratio: f64::MAX, cosine: 0.0 }; 2],
        };
        let is_last = at + 1 == dossier.trace.segments.len();
        let sent = if is_last { Some(self.sent(case, &dossier, &to.weights)?) } else { None };
        Ok(Likeness {
            way: Match::of(&less(&claimed, &again.anchor), &less(&end.weights, &again.anchor)),
            moments,
            loss: segment.loss - again.loss,
            sent,
            tokens: segment.steps() * u64::from(self.spec.inner.batch) * u64::from(self.spec.inner.seq),
            origin,
        })
    }

    fn feed(&self, peer: Id) -> Result<Feed, Fault> {
        Feed::new(&self.spec, &self.manifest, peer)
            .map_err(|why| Fault::Missing(format!("a usable data manifest ({why})")))
    }

    async fn run(
        &self,
        peer: Id,
        start: &Mark,
        segment: &Segment,
        from: Said,
        sources: &impl Sources,
    ) -> Result<Again, Fault> {
        let base = |round: u64| {
            let base = sources.base(round).filter(|base| base.len() as u64 == self.spec.model.params());
            base.ok_or_else(|| Fault::Missing(format!("the base of round {round}")))
        };
        let first = base(start.base)?;
        let local = from.local(&first, start.seen);
        let mut replica = Replica::restore(&self.spec, first, &local, start.sent, self.device.clone());
        let mut feed = self.feed(peer)?;
        if let Some(place) = start.place {
            feed.go(place);
        }
        let (mut sum, mut steps) = (0.0, 0_u32);
        for stretch in &segment.stretches {
            if let Some(round) = stretch.base {
                replica.rebase(round, base(round)?, Hash::default()).await;
            }
            if let Some(seed) = stretch.seed {
                feed.enter(seed);
            }
            let mut queued: Vec<Tensor<1>> = Vec::new();
            for step in 1..=stretch.steps {
                queued.push(replica.step(next(&mut feed, sources)?));
                breathe().await;
                if queued.len() == QUEUED || step == stretch.steps {
                    let read = Tensor::cat(std::mem::take(&mut queued), 0).into_data_async().await.map_err(device)?;
                    let read = read.try_into_vec::<f32>().map_err(|error| Fault::Device(error.to_string()))?;
                    sum += read.iter().map(|&loss| f64::from(loss)).sum::<f64>();
                    steps += read.len() as u32;
                }
            }
        }
        let end = replica.read().await.map_err(device)?;
        let (base, anchor) = (replica.base().to_vec(), replica.anchor().to_vec());
        Ok(Again { base, anchor, end, loss: (sum / f64::from(steps.max(1))) as f32 })
    }

    /// How like the update is to what the state at the cut leads to, and what it left out to what it should have.
    fn sent(&self, case: &Case<'_>, dossier: &Dossier, moved: &[f32]) -> Result<[Match; 2], Fault> {
        let count = self.spec.model.params();
        let read = |which: usize| match (&dossier.rest[which], dossier.trace.rest[which]) {
            (Some(bytes), Some(hash)) if Hash::of(bytes) == hash => read_rest(bytes, count).map(Some),
            (None, None) => Ok(None),
            _ => Err(Fault::Hash("rest")),
        };
        let (before, after) = (read(0)?, read(1)?);
        let mut due: Vec<f32> = moved.iter().map(|moved| -moved).collect();
        if let Some(before) = before {
            add_rest(&mut due, &before, self.spec.feedback);
        }
        let best = compress(&due, case.update.format());
        let update = Match::of_update(&case.update.values(), &best.values(), &due);
        case.update.take_from(&mut due);
        let rest = after.map_or(Match::EQUAL, |after| Match::of(&after, &due));
        Ok([update, rest])
    }
}

/// Where the replay of a segment ended.
struct Again {
    base: Vec<f32>,
    /// The weights at its start, moved along with the base.
    anchor: Vec<f32>,
    end: Local,
    loss: f32,
}

/// The next batch, with the shards that it needs.
fn next(feed: &mut Feed, sources: &impl Sources) -> Result<crate::data::Batch, Fault> {
    if let Some(batch) = feed.next() {
        return Ok(batch);
    }
    for BlobRef { hash, .. } in feed.missing() {
        let bytes = sources.shard(&hash).ok_or_else(|| Fault::Missing(format!("shard {}", hash.short())))?;
        feed.accept(hash, bytes).map_err(Fault::Missing)?;
    }
    feed.next().ok_or_else(|| Fault::Missing("a shard of the segment's data".to_owned()))
}

/// Gives whatever shares the thread its turn: after every step, since the processor does them at once.
async fn breathe() {
    let mut breathed = false;
    poll_fn(|context| match std::mem::replace(&mut breathed, true) {
        true => Poll::Ready(()),
        false => {
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}

fn less(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

fn device(error: ExecutionError) -> Fault {
    Fault::Device(error.to_string())
}
