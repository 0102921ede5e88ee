//! What a replay says of somebody's work: one verdict, for the coordinator and for witnesses.
//!
//! Enters: an order and the blobs that it names. Leaves: what is lacking to run it, or what came out. Refuses to accuse
//! anybody for what is missing or fails on this side.

use std::collections::BTreeMap;

use bytes::Bytes;
use tributary_protocol::check::{Finding, ReplayOrder};
use tributary_protocol::spec::RunSpec;
use tributary_protocol::update::{self, Update};
use tributary_protocol::{BlobRef, Hash, fold};

use crate::fault::Fault;
use crate::replay::{Case, Replayer, Sources};

const NO_UPDATE: &str = "the update is not here";

/// What became of a replay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Tokens that were trained again.
    pub tokens: u64,
    /// What came out; `None`: nothing that the contributor is to blame for.
    pub finding: Option<Finding>,
    /// What there is to say of it, for the log of whoever ran it.
    pub why: String,
}

impl Judgement {
    /// Nothing can be said, and why.
    fn nothing(why: &str) -> Self {
        Self { why: why.to_owned(), ..Self::default() }
    }

    fn of(fault: &Fault) -> Self {
        let finding = (!fault.is_ours()).then_some(Finding::Different);
        Self { tokens: 0, finding, why: fault.to_string() }
    }
}

/// What can be said of an order without training.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// It is worth running.
    Telling {
        /// Tokens that have to be trained again.
        tokens: u64,
        /// Bases and shards that it takes, by name.
        needs: BTreeMap<Hash, BlobRef>,
    },
    /// More cannot be said.
    Ended(Judgement),
}

/// Where the blobs of an order are found.
pub struct Evidence<'a, F> {
    order: &'a ReplayOrder,
    find: F,
}

impl<'a, F: Fn(&Hash) -> Option<Bytes>> Evidence<'a, F> {
    /// Blobs that `find` finds.
    pub fn new(order: &'a ReplayOrder, find: F) -> Self {
        Self { order, find }
    }

    fn blob(&self, round: u64) -> Option<BlobRef> {
        self.order.rounds.iter().find(|past| past.round == round).map(|past| past.base)
    }
}

impl<F: Fn(&Hash) -> Option<Bytes>> Sources for Evidence<'_, F> {
    fn base(&self, round: u64) -> Option<Vec<f32>> {
        (self.find)(&self.blob(round)?.hash).map(|bytes| fold::f32_from_le(&bytes))
    }

    fn is_seed(&self, seed: &Hash) -> bool {
        self.order.rounds.iter().any(|past| past.seed == *seed)
    }

    fn shard(&self, shard: &Hash) -> Option<Bytes> {
        (self.find)(shard)
    }
}

/// The update of an order, if it is found and is one.
fn update<F: Fn(&Hash) -> Option<Bytes>>(spec: &RunSpec, evidence: &Evidence<'_, F>) -> Option<Update> {
    let bytes = (evidence.find)(&evidence.order.commit.update.hash)?;
    update::decode(&spec.sent_formats(), &bytes, spec.model.params()).ok()
}

fn case<'a>(order: &ReplayOrder, update: &'a Update) -> Case<'a> {
    Case {
        peer: order.who,
        round: order.commit.round,
        tokens: order.commit.tokens,
        update,
        trace: order.commit.trace,
        known: order.before,
        segment: order.segment,
    }
}

impl Replayer {
    /// What can be said of an order without training, and what training takes.
    pub fn look<F: Fn(&Hash) -> Option<Bytes>>(&self, dossier: &[u8], evidence: &Evidence<'_, F>) -> Look {
        let order = evidence.order;
        let Some(update) = update(self.spec(), evidence) else { return Look::Ended(Judgement::nothing(NO_UPDATE)) };
        let dossier = match self.open(&case(order, &update), dossier, evidence) {
            Ok((dossier, _)) => dossier,
            Err(fault) => return Look::Ended(Judgement::of(&fault)),
        };
        let steps = dossier.trace.segments[usize::from(order.segment)].steps();
        let (rounds, shards) = match self.needs(order.who, &dossier) {
            Ok(needs) => needs,
            Err(fault) => return Look::Ended(Judgement::of(&fault)),
        };
        let bases: Option<Vec<BlobRef>> = rounds.into_iter().map(|round| evidence.blob(round)).collect();
        let Some(bases) = bases else {
            return Look::Ended(Judgement::nothing("a base of the segment is too old"));
        };
        let needs = bases.into_iter().chain(shards).map(|blob| (blob.hash, blob)).collect();
        let tokens = steps * u64::from(self.spec().inner.batch) * u64::from(self.spec().inner.seq);
        Look::Telling { tokens, needs }
    }

    /// Runs the segment of an order again, of which [`Replayer::look`] says that it is worth it.
    pub async fn judge<F: Fn(&Hash) -> Option<Bytes>>(&self, dossier: &[u8], evidence: &Evidence<'_, F>) -> Judgement {
        let Some(update) = update(self.spec(), evidence) else { return Judgement::nothing(NO_UPDATE) };
        match self.replay(&case(evidence.order, &update), dossier, evidence).await {
            Ok(likeness) => {
                let finding = if likeness.is_same() { Finding::Same } else { Finding::Different };
                Judgement { tokens: likeness.tokens, finding: Some(finding), why: format!("{finding:?}, {likeness:?}") }
            }
            Err(fault) => Judgement::of(&fault),
        }
    }
}
