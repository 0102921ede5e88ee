//! Others' work that this contributor is asked to run again.
//!
//! Enters: orders, blobs, what the trainer lacks and what came out. Leaves: blobs to fetch, jobs, and one answer for each
//! order. Refuses orders that the coordinator did not sign or cannot have written, and more blobs than a segment can
//! take. One at a time; of those that wait the oldest is not done, and says so.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::fetches::{Fetches, Purpose};
use super::{Contributor, Link, Output, Trainer, Wish};
use crate::check::{Finding, ReplayOrder};
use crate::job::Job;
use crate::limits::MAX_SHARD;
use crate::message::{PeerKind, ToCoordinator};
use crate::view::{WitnessView, Witnessing};
use crate::{BlobRef, Hash, Id, Signed};

/// Orders that wait for the one under way: a replay takes a part of a round, and one that waits longer comes too late.
const WAITING: usize = 2;

/// Answers that wait for a coordinator that is away: that of every order that there can be, and some refused ones.
const ANSWERS: usize = 8;

/// Rounds after which the coordinator has gone on without an answer.
const PATIENCE: u64 = 2;

/// Blobs of one segment: the bases that its trace can reach, and shards for far more steps than are run again.
const BLOBS: usize = 512;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Witness {
    waiting: VecDeque<Order>,
    work: Option<Work>,
    pub(super) fetches: Fetches,
    answers: VecDeque<ToCoordinator>,
    /// Segments that were run again, and their tokens.
    done: (u64, u64),
}

#[derive(Debug)]
struct Order {
    order: Box<ReplayOrder>,
    /// The newest round when it came.
    since: u64,
}

#[derive(Debug)]
struct Work {
    order: Order,
    blobs: BTreeMap<Hash, Bytes>,
    stage: Stage,
}

/// How far the order under way is; with the blobs that are missing.
#[derive(Debug)]
enum Stage {
    /// The dossier and the update are fetched.
    Fetching(BTreeSet<Hash>),
    /// The trainer looks at them.
    Looking,
    /// What it lacks besides is fetched.
    Lacking(BTreeSet<Hash>),
    /// The trainer runs it.
    Running,
}

impl Witness {
    fn names(&self, order: &ReplayOrder) -> bool {
        let same = |known: &Order| *known.order == *order;
        self.waiting.iter().any(same) || self.work.as_ref().is_some_and(|work| same(&work.order))
    }

    fn answer(&mut self, order: &ReplayOrder, finding: Option<Finding>) {
        let ReplayOrder { who, segment, .. } = *order;
        self.answers.push_back(ToCoordinator::Witnessed { who, round: order.commit.round, segment, finding });
        while self.answers.len() > ANSWERS {
            self.answers.pop_front();
        }
    }

    /// Ends the order under way.
    fn end(&mut self, finding: Option<Finding>) {
        if let Some(work) = self.work.take() {
            self.fetches = Fetches::default();
            self.answer(&work.order.order, finding);
        }
    }

    /// Takes a blob if it is missing; the job, once none is.
    pub(super) fn fetched(&mut self, hash: Hash, bytes: &Bytes) -> Option<Job> {
        let work = self.work.as_mut()?;
        let (Stage::Fetching(missing) | Stage::Lacking(missing)) = &mut work.stage else { return None };
        if missing.remove(&hash) {
            work.blobs.insert(hash, bytes.clone());
        }
        if !missing.is_empty() {
            return None;
        }
        work.stage = if let Stage::Fetching(_) = work.stage { Stage::Looking } else { Stage::Running };
        Some(Job::Replay { order: work.order.order.clone(), blobs: work.blobs.clone() })
    }

    /// The trainer lacks these. It can say so once.
    pub(super) fn lacks(&mut self, dossier: &Hash, blobs: &[BlobRef]) {
        let Some(work) = self.work.as_mut().filter(|work| work.order.order.dossier.hash == *dossier) else { return };
        let order = &work.order.order;
        let is_base = |blob: &BlobRef| order.rounds.iter().any(|past| past.base == *blob);
        let is_fit = blobs.iter().all(|blob| blob.bytes <= MAX_SHARD || is_base(blob));
        if !matches!(work.stage, Stage::Looking) || blobs.is_empty() || blobs.len() > BLOBS || !is_fit {
            return self.end(None);
        }
        work.stage = Stage::Lacking(blobs.iter().map(|blob| blob.hash).collect());
        blobs.iter().for_each(|blob| self.fetches.want(*blob, Purpose::Evidence));
    }

    /// The trainer has run it.
    pub(super) fn replayed(&mut self, dossier: &Hash, tokens: u64, finding: Option<Finding>) {
        if self.work.as_ref().is_none_or(|work| work.order.order.dossier.hash != *dossier) {
            return;
        }
        if finding.is_some() {
            self.done = (self.done.0 + 1, self.done.1 + tokens);
        }
        self.end(finding);
    }

    /// Lets go of everything. The coordinator does without.
    pub(super) fn stop(&mut self) {
        *self = Self { done: self.done, ..Self::default() };
    }

    /// What a person is shown.
    pub(super) fn view(&self) -> WitnessView {
        let now = self
            .work
            .as_ref()
            .map(|work| Witnessing { who: work.order.order.who.to_string(), round: work.order.order.commit.round });
        WitnessView { segments: self.done.0, tokens: self.done.1, now }
    }
}

impl Contributor {
    /// Whether this contributor runs others' work again: a tab has better use for what its device can do.
    pub(super) fn is_witness(&self) -> bool {
        self.config.kind == PeerKind::Native
    }

    /// Takes an order.
    pub(super) fn order(&mut self, order: &Signed<ReplayOrder>) {
        let Ok(order) = order.open(&self.config.coordinator) else {
            return self.history.notice("An order to check work that the coordinator didn't sign was refused.");
        };
        let (Some(head), true) = (&self.head, Some(order.commit.run) == self.run && order.is_bounded()) else { return };
        if self.witness.names(&order) {
            return;
        }
        let is_ready = self.wish == Wish::Train && matches!(self.trainer, Trainer::Ready(_));
        let me: Id = self.config.identity.id();
        if !self.is_witness() || !is_ready || order.who == me {
            return self.witness.answer(&order, None);
        }
        self.witness.waiting.push_back(Order { order: Box::new(order), since: head.round });
        if self.witness.waiting.len() > WAITING
            && let Some(oldest) = self.witness.waiting.pop_front()
        {
            self.witness.answer(&oldest.order, None);
        }
    }

    /// Goes on with the order under way or with the next one, and gives the answers.
    pub(super) fn want_witnessing(&mut self) {
        let Some(head) = self.head.as_ref().map(|head| head.round) else { return };
        let witness = &mut self.witness;
        let is_late = |order: &Order| head > order.since + PATIENCE;
        if witness.work.as_ref().is_some_and(|work| is_late(&work.order)) {
            witness.end(None);
        }
        while witness.work.is_none()
            && let Some(order) = witness.waiting.pop_front()
        {
            if is_late(&order) {
                witness.answer(&order.order, None);
                continue;
            }
            let blobs = [order.order.dossier, order.order.commit.update];
            blobs.iter().for_each(|blob| witness.fetches.want(*blob, Purpose::Evidence));
            let stage = Stage::Fetching(blobs.iter().map(|blob| blob.hash).collect());
            witness.work = Some(Work { order, blobs: BTreeMap::new(), stage });
        }
        if let Link::Online = self.link {
            self.out.extend(witness.answers.drain(..).map(Output::Send));
        }
    }
}
