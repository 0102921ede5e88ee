//! A contributor's weights: the shared base, its local ones, and the part of its work that it still
//! owes the others.
//!
//! The base is on the CPU and changes only by [`fold::apply`] or a snapshot. Local weights are on the
//! device. The *anchor* is what local weights were at the last cut, on the CPU, moved along whenever
//! they are moved: local − anchor is the work since then, and the anchor is where training goes back
//! to after steps that can't be believed or a lost device. The *rest* is what the coding of the updates
//! so far has left out: it goes into the next update (error feedback). It is itself coded, in few bits: it is kept
//! on disk and shown to whoever runs the work again, and what they have must be what was used.
//!
//! What was found twice is added once: work that missed a fold is moved by so much of the step as it doesn't have already,
//! and of the rest so much is added as new work doesn't have.

use std::ops::Range;

use burn::tensor::{Device, ExecutionError, Tensor};
use bytes::Bytes;
use tributary_protocol::Hash;
use tributary_protocol::fold::{self, state_hash};
use tributary_protocol::spec::{RunSpec, UpdateFormat};
use tributary_protocol::update::{Update, compress};

use crate::data::Batch;
use crate::state::{State, code_rest, read_rest};
use crate::train::{Local, Trainer};

/// See the module.
pub struct Replica {
    base: Vec<f32>,
    hash: Hash,
    trainer: Trainer,
    anchor: Vec<f32>,
    /// The update that the anchor went into, until its round folds. Until then local − base holds all of that
    /// work, so a second cut sends it again and what the first left out doesn't count.
    sent: Option<Sent>,
    /// Whether local weights differ from the anchor.
    moved: bool,
    /// `None`: not known, because this contributor is new or its storage was lost.
    rest: Option<Rest>,
}

struct Sent {
    round: u64,
    /// What of the weights was sent.
    part: Range<usize>,
    /// What the update's coding left out; `None` if that is nothing.
    left: Option<Rest>,
}

/// What updates left out.
#[derive(Clone)]
struct Rest {
    /// Coded ([`code_rest`]).
    bytes: Bytes,
    values: Vec<f32>,
}

impl Replica {
    /// Starts from the base that is called `hash`.
    pub fn new(spec: &RunSpec, base: Vec<f32>, hash: Hash, device: Device) -> Self {
        let trainer = Trainer::new(spec, &base, device);
        Self { anchor: base.clone(), base, hash, trainer, sent: None, moved: false, rest: None }
    }

    /// Goes on where another replica was: from its base, of its local weights and moments, with the update of
    /// round `sent` on its way, if there is one.
    pub(crate) fn restore(spec: &RunSpec, base: Vec<f32>, local: &Local, sent: Option<u64>, device: Device) -> Self {
        let sent = sent.map(|round| Sent { round, part: 0..base.len(), left: None });
        let (anchor, trainer) = (local.weights.clone(), Trainer::restore(spec, local, device));
        Self { base, hash: Hash::default(), trainer, anchor, sent, moved: false, rest: None }
    }

    /// The base's name.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// The base.
    pub fn base(&self) -> &[f32] {
        &self.base
    }

    /// What local weights were at the last cut, moved along with the base since.
    pub(crate) fn anchor(&self) -> &[f32] {
        &self.anchor
    }

    /// The round whose update awaits its fold.
    pub(crate) fn sent(&self) -> Option<u64> {
        self.sent.as_ref().map(|sent| sent.round)
    }

    /// Local weights and moments. Waits for the device.
    pub(crate) async fn read(&self) -> Result<Local, ExecutionError> {
        self.trainer.read().await
    }

    /// Writes the state down and goes on from what is written, so that whoever does the work again from there
    /// begins exactly where it began: training makes small differences large. `None` if the state is no numbers;
    /// then nothing has changed. Waits for the device.
    pub(crate) async fn record(&mut self) -> Result<Option<(State, Local)>, ExecutionError> {
        let local = self.read().await?;
        if !local.is_finite() {
            return Ok(None);
        }
        let (state, local) = State::code(&self.base, &local);
        self.trainer.adopt(&local);
        Ok(Some((state, local)))
    }

    /// The local weights at the end of a segment, for [`Self::cut`]: what writing the state down leaves of them, and
    /// where training goes on. `None` if they are no numbers. Waits for the device.
    pub async fn mark(&mut self) -> Result<Option<Vec<f32>>, ExecutionError> {
        Ok(self.record().await?.map(|(_, local)| local.weights))
    }

    /// The local weights. Waits for the device.
    pub async fn weights(&self) -> Result<Vec<f32>, ExecutionError> {
        self.trainer.weights().await
    }

    /// What the coding has left out so far, the newest update included, coded.
    pub fn rest(&self) -> Option<&Bytes> {
        let newest = self.sent.as_ref().map_or(self.rest.as_ref(), |sent| sent.left.as_ref());
        newest.map(|rest| &rest.bytes)
    }

    /// Takes up what an earlier session of the same identity had left. What can't be read is as if it had been lost.
    pub(crate) fn owe(&mut self, bytes: Bytes) {
        let values = read_rest(&bytes, self.base.len() as u64).ok();
        self.rest = values.map(|values| Rest { bytes, values });
    }

    /// Tokens a step.
    pub fn tokens_a_step(&self) -> u64 {
        self.trainer.tokens_a_step()
    }

    /// Queues a step; its loss.
    pub fn step(&mut self, batch: Batch) -> Tensor<1> {
        self.moved = true;
        self.trainer.step(batch.tokens, batch.targets)
    }

    /// The update of a round: base − local and the rest, as the run's coding of so many tokens leaves it, from the local
    /// weights as they are now ([`Self::mark`]). `None` if they are no numbers; then nothing has changed.
    pub fn cut(&mut self, spec: &RunSpec, round: u64, tokens: u64, local: Vec<f32>) -> Option<Update> {
        let whole = 0..local.len();
        self.cut_part(spec, round, tokens, local, whole)
    }

    /// The same of a part of the weights, as Streaming DiLoCo does it (arXiv 2501.18512): the others stay local.
    pub fn cut_part(
        &mut self,
        spec: &RunSpec,
        round: u64,
        tokens: u64,
        local: Vec<f32>,
        part: Range<usize>,
    ) -> Option<Update> {
        let mut due = vec![0.0; local.len()];
        for at in part.clone() {
            due[at] = self.base[at] - local[at];
        }
        let format = match &self.rest {
            Some(rest) => {
                add_rest(&mut due[part.clone()], &rest.values[part.clone()], spec.feedback);
                spec.update_format(tokens)
            }
            None => spec.first,
        };
        if due.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let update = compress(&due, format);
        update.take_from(&mut due);
        if let Some(rest) = self.rest.as_ref().filter(|_| part.len() < due.len()) {
            // What earlier updates left out of the other parts waits for theirs.
            due[..part.start].copy_from_slice(&rest.values[..part.start]);
            due[part.end..].copy_from_slice(&rest.values[part.end..]);
        }
        let left = (update.format() != UpdateFormat::F32).then(|| code_rest(&due));
        let left = left.map(|(bytes, values)| Rest { bytes, values });
        (self.anchor, self.sent, self.moved) = (local, Some(Sent { round, part, left }), false);
        Some(update)
    }

    /// Adds a round's step to the base, if it leads to `next`; otherwise says where it leads and
    /// leaves everything as it was.
    pub async fn fold(&mut self, round: u64, step: &Update, next: Hash) -> Result<(), Hash> {
        let mut base = self.base.clone();
        fold::apply(&mut base, step);
        let got = state_hash(&base);
        if got != next {
            return Err(got);
        }
        let settled = self.sent.as_ref().is_some_and(|sent| sent.round == round);
        self.advance(base, next, settled).await;
        Ok(())
    }

    /// Takes another base, that of `round`: rounds were missed.
    pub async fn rebase(&mut self, round: u64, base: Vec<f32>, hash: Hash) {
        let settled = self.sent.as_ref().is_some_and(|sent| sent.round < round);
        self.advance(base, hash, settled).await;
    }

    /// Makes `base` the base. If the sent work is in it (`settled`), local weights become the new
    /// base and the work since. Otherwise they move by the difference, as far as the work didn't take them there.
    async fn advance(&mut self, base: Vec<f32>, hash: Hash, settled: bool) {
        let mut shift: Vec<f32> = base.iter().zip(&self.base).map(|(new, old)| new - old).collect();
        let sent = self.sent.take_if(|_| settled);
        if sent.is_none() {
            // A device that gives nothing is found lost at the next step.
            let local = self.weights().await.unwrap_or_default();
            let work: Vec<f32> = local.iter().zip(&self.base).map(|(local, base)| local - base).collect();
            let new = (1.0 - share(&work, &shift)).max(0.0) as f32;
            shift.iter_mut().for_each(|shift| *shift *= new);
        }
        let part = sent.as_ref().map_or(0..0, |sent| sent.part.clone());
        for at in part.clone() {
            shift[at] = base[at] - self.anchor[at];
        }
        fold::add(&mut self.anchor, &shift);
        self.anchor[part.clone()].copy_from_slice(&base[part]);
        if let Some(sent) = sent {
            self.rest = sent.left;
        }
        (self.base, self.hash) = (base, hash);
        if self.moved {
            self.trainer.shift(&shift);
        } else {
            self.trainer.place(&self.anchor);
        }
    }

    /// Undoes the work since the last cut; the optimiser begins anew.
    pub(crate) fn undo(&mut self) {
        self.trainer.restart(&self.anchor);
        self.moved = false;
    }

    /// Goes on from the last cut on another device.
    pub(crate) fn resume(&mut self, spec: &RunSpec, device: Device) {
        self.trainer = Trainer::new(spec, &self.anchor, device);
        self.moved = false;
    }
}

/// Adds what earlier updates left out, decayed, to what is due. New work began without it and finds part of it again,
/// after a long way nearly all: as much as the new work says of its direction isn't added a second time.
pub(crate) fn add_rest(due: &mut [f32], rest: &[f32], feedback: f32) {
    // What is no number adds nothing here and is noticed in what is due.
    let left = (f64::from(feedback) - share(due, rest)).max(0.0) as f32;
    due.iter_mut().zip(rest).for_each(|(due, rest)| *due += left * rest);
}

/// How much of `way` one way has in it: 1 is all of it.
fn share(one: &[f32], way: &[f32]) -> f64 {
    let dot = |with: &[f32]| way.iter().zip(with).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    (dot(one) / dot(way).max(f64::MIN_POSITIVE)).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_of_the_way_and_never_less_than_none() {
        for (one, expected) in [(&[4.0, 9.0], 1.0), (&[2.0, 0.0], 0.5), (&[-4.0, 1.0], 0.0), (&[f32::NAN, 0.0], 0.0)] {
            assert_eq!(share(one, &[4.0, 0.0]), expected, "{one:?}");
        }
        assert_eq!(share(&[1.0, 1.0], &[0.0, 0.0]), 0.0);
        assert_eq!(share(&[], &[4.0, 0.0]), 0.0);
    }

    #[test]
    fn what_is_found_again_is_not_added_twice() {
        let check = |due: &[f32], rest: &[f32], expected: &[f32]| {
            let mut sum = due.to_vec();
            add_rest(&mut sum, rest, 0.75);
            assert_eq!(sum, expected, "{due:?} and {rest:?}");
        };
        check(&[1.0, 0.0], &[0.0, 4.0], &[1.0, 3.0]);
        check(&[0.0, 1.0], &[0.0, 4.0], &[0.0, 3.0]);
        check(&[0.0, 4.0], &[0.0, 4.0], &[0.0, 4.0]);
        check(&[2.0, -4.0], &[0.0, 4.0], &[2.0, -1.0]);
        check(&[1.0, 2.0], &[0.0, 0.0], &[1.0, 2.0]);
    }
}
