//! One run on one device: the shared base, local training and what binds them.
//!
//! The base is on the CPU and changes only by [`fold::apply`](tributary_protocol::fold::apply) or a
//! snapshot. Local weights are on the device. The *anchor* is what local weights were at the last cut,
//! on the CPU, moved along whenever they are moved: local − anchor is the work since then, and the
//! anchor is where training goes back to after steps that can't be believed or a lost device.

use burn::tensor::Tensor;
use bytes::Bytes;
use tributary_protocol::fold::{self, state_hash};
use tributary_protocol::job::{DeviceChoice, DeviceInfo, Progress, Report};
use tributary_protocol::spec::{RunSpec, UpdateFormat};
use tributary_protocol::{BlobRef, Hash, Id, update};

use crate::data::Feed;
use crate::device::Opened;
use crate::meter::{Rate, Sanity, Tally};
use crate::train::Trainer;
use crate::worker::Host;

/// Milliseconds of work that may be under way on a GPU. A Stop answers within 200 ms: this, one
/// more step, and the way there.
const IN_FLIGHT_MS: u64 = 80;

/// Steps under way on a GPU, however short they are.
const IN_FLIGHT_STEPS: u64 = 64;

pub(crate) struct Session {
    spec: RunSpec,
    me: Id,
    choice: DeviceChoice,
    opened: Opened,
    feed: Feed,
    state: Option<State>,
    round: u64,
    training: bool,
    /// Whether the next batch lacks a shard.
    starved: bool,
    /// Losses of steps that may still be under way, and when the first was queued.
    pending: Vec<Tensor<1>>,
    pending_since_ms: u64,
    /// Steps to queue before waiting.
    pace: u64,
    tally: Tally,
    sanity: Sanity,
    /// Why this round's update is withheld, if it is.
    spoiled: Option<String>,
    rate: Rate,
    losses_in_a_row: u32,
}

/// What there is once a base is known.
struct State {
    base: Vec<f32>,
    hash: Hash,
    trainer: Trainer,
    anchor: Vec<f32>,
    /// The update that the anchor went into, until its round folds.
    sent: Option<Sent>,
    /// What the last update whose round folded left out, as error feedback for the next; none before the first.
    residual: Option<Vec<f32>>,
    /// Whether local weights differ from the anchor.
    moved: bool,
}

/// An update that was made.
struct Sent {
    round: u64,
    /// What its form left out.
    left: Vec<f32>,
}

/// What became of steps.
pub(crate) enum Settled {
    Nothing,
    Fine(Progress),
    /// They led nowhere and were undone; why, for a person.
    Undone(String),
    /// The device is gone.
    Lost(String),
}

/// What became of a cut.
pub(crate) enum Cut {
    Made { base: Hash, update: Bytes, tokens: u64, losses: (f32, f32) },
    Withheld(String),
    Lost(String),
}

impl Session {
    pub(crate) fn new(
        spec: RunSpec,
        data: &[u8],
        me: Id,
        choice: DeviceChoice,
        opened: Opened,
    ) -> Result<Self, String> {
        let feed = Feed::new(&spec, data, me)
            .map_err(|why| format!("This run's data can't be used: {why}. Its operator must correct it."))?;
        Ok(Self {
            sanity: Sanity::new(spec.model.vocab),
            spec,
            me,
            choice,
            opened,
            feed,
            state: None,
            round: 0,
            training: false,
            starved: false,
            pending: Vec::new(),
            pending_since_ms: 0,
            pace: 1,
            tally: Tally::default(),
            spoiled: None,
            rate: Rate::default(),
            losses_in_a_row: 0,
        })
    }

    pub(crate) fn is_for(&self, spec: &RunSpec, me: Id, choice: DeviceChoice) -> bool {
        self.spec == *spec && self.me == me && self.choice == choice
    }

    pub(crate) fn info(&self) -> &DeviceInfo {
        &self.opened.info
    }

    pub(crate) fn can_step(&self) -> bool {
        self.training && !self.starved && self.state.is_some()
    }

    pub(crate) fn train(&mut self, round: u64, seed: Hash) {
        self.round = round;
        self.feed.enter(seed);
        self.training = true;
        self.starved = false;
    }

    pub(crate) fn pause(&mut self) {
        self.training = false;
        self.rate = Rate::default();
    }

    pub(crate) fn shard(&mut self, hash: Hash, bytes: Bytes) -> Result<(), String> {
        self.starved = false;
        self.feed.accept(hash, bytes)
    }

    pub(crate) fn wants(&mut self, now_ms: u64) -> Vec<BlobRef> {
        self.feed.wants(now_ms)
    }

    /// Adopts a snapshot. Says what is wrong with one that isn't of this run.
    pub(crate) fn rebase(&mut self, round: u64, hash: Hash, weights: &[u8]) -> Result<Report, String> {
        let values = fold::f32_from_le(weights);
        let got = state_hash(&values);
        if got != hash || values.len() as u64 != self.spec.model.params() {
            return Err(format!(
                "The weights of round {round} came damaged and were put aside; they are fetched again."
            ));
        }
        match &mut self.state {
            None => {
                let trainer = Trainer::new(&self.spec, &values, self.opened.device.clone());
                let anchor = values.clone();
                let (sent, residual) = (None, None);
                self.state = Some(State { base: values, hash, trainer, anchor, sent, residual, moved: false });
            }
            Some(state) => {
                let settled = state.sent.as_ref().is_some_and(|sent| sent.round < round);
                state.advance(values, hash, settled);
            }
        }
        Ok(Report::Based { round, hash })
    }

    /// Adds a round's step to the base.
    pub(crate) fn fold(&mut self, round: u64, step: &[u8], next: Hash) -> Report {
        let refused = Report::Mismatch { round, got: None };
        let Some(state) = &mut self.state else { return refused };
        let Ok(step) = update::decode(&[self.spec.step], step, self.spec.model.params()) else { return refused };
        let mut base = state.base.clone();
        fold::apply(&mut base, &step);
        let got = state_hash(&base);
        if got != next {
            return Report::Mismatch { round, got: Some(got) };
        }
        let settled = state.sent.as_ref().is_some_and(|sent| sent.round == round);
        state.advance(base, next, settled);
        Report::Based { round: round + 1, hash: next }
    }

    /// Queues a step. Says whether it is time to wait for what is under way.
    pub(crate) fn step(&mut self, now_ms: u64) -> bool {
        let Some(state) = &mut self.state else { return false };
        let Some(batch) = self.feed.next() else {
            self.starved = true;
            return !self.pending.is_empty();
        };
        if self.pending.is_empty() {
            self.pending_since_ms = now_ms;
        }
        self.pending.push(state.trainer.step_on(batch));
        state.moved = true;
        self.pending.len() as u64 >= self.pace
    }

    /// Waits for the steps that are under way and judges their losses.
    pub(crate) async fn settle(&mut self, host: &impl Host) -> Settled {
        let Some(state) = &mut self.state else { return Settled::Nothing };
        if self.pending.is_empty() {
            return Settled::Nothing;
        }
        let read = Tensor::cat(std::mem::take(&mut self.pending), 0).into_data_async().await;
        let losses = match read
            .map_err(|error| error.to_string())
            .and_then(|data| data.try_into_vec::<f32>().map_err(|error| error.to_string()))
        {
            Ok(losses) => losses,
            Err(why) => return Settled::Lost(why),
        };
        let now = host.now_ms();
        let (steps, took) = (losses.len() as u64, now.saturating_sub(self.pending_since_ms));
        let tokens = state.trainer.tokens_a_step();
        self.rate.add(self.pending_since_ms, now, steps * tokens);
        if self.opened.is_gpu() {
            // At most doubled at a time: the first steps compile kernels, or are not there yet.
            self.pace = (IN_FLIGHT_MS * steps / took.max(1)).clamp(1, (2 * self.pace).min(IN_FLIGHT_STEPS));
        }
        for &loss in &losses {
            if !self.sanity.believes(loss) {
                let why = if loss.is_finite() {
                    format!("the loss jumped to {loss:.2}")
                } else {
                    "the loss was no longer a number".to_owned()
                };
                return Settled::Undone(self.undo(why));
            }
            self.tally.add(loss);
        }
        let loss = losses.iter().sum::<f32>() / losses.len() as f32;
        Settled::Fine(Progress {
            round: self.round,
            steps: self.tally.steps,
            tokens: self.tally.steps * tokens,
            loss,
            tokens_per_s: self.rate.per_second(),
        })
    }

    /// Makes the update of a round out of everything since the last one. Nothing may be under way.
    pub(crate) async fn cut(&mut self, round: u64) -> Cut {
        let (tally, spoiled) = (std::mem::take(&mut self.tally), self.spoiled.take());
        if let Some(why) = spoiled {
            return Cut::Withheld(why);
        }
        let Some(state) = self.state.as_mut().filter(|_| tally.steps > 0) else {
            return Cut::Withheld("no training step was finished in this round".to_owned());
        };
        let local = match state.trainer.weights().await {
            Ok(local) => local,
            Err(error) => return Cut::Lost(error.to_string()),
        };
        let delta: Vec<f32> = state.base.iter().zip(&local).map(|(base, local)| base - local).collect();
        if delta.iter().any(|value| !value.is_finite()) {
            self.undo("the weights were no longer numbers".to_owned());
            self.spoiled = None;
            return Cut::Withheld(
                "training went wrong in this round (weights that are no numbers) and was undone".to_owned(),
            );
        }
        let (update, left) = compress(&self.spec, delta, state.residual.as_deref());
        (state.anchor, state.sent, state.moved) = (local, Some(Sent { round, left }), false);
        self.losses_in_a_row = 0;
        let tokens = tally.steps * state.trainer.tokens_a_step();
        Cut::Made { base: state.hash, update, tokens, losses: tally.ends() }
    }

    /// Goes back to the anchor, withholds this round's update and says so.
    fn undo(&mut self, why: String) -> String {
        if let Some(state) = &mut self.state {
            state.trainer.restart(&state.anchor);
            state.moved = false;
        }
        self.tally = Tally::default();
        self.sanity = Sanity::new(self.spec.model.vocab);
        self.spoiled = Some(format!("training went wrong in this round ({why}) and was undone"));
        format!(
            "Training went wrong ({why}). The work since the last update is undone and nothing is sent this round; training goes on."
        )
    }

    /// Notes that the device is gone: which one to open, and how often in a row.
    pub(crate) fn note_loss(&mut self) -> (DeviceChoice, u32) {
        self.losses_in_a_row += 1;
        (self.choice, self.losses_in_a_row)
    }

    /// Goes on from the anchor on a device that was opened anew.
    pub(crate) fn resume(&mut self, opened: Opened) {
        self.opened = opened;
        self.pending.clear();
        (self.pace, self.tally, self.rate) = (1, Tally::default(), Rate::default());
        if let Some(state) = &mut self.state {
            state.trainer = Trainer::new(&self.spec, &state.anchor, self.opened.device.clone());
            state.moved = false;
        }
    }
}

/// The bytes of an update, and what its form leaves out (empty if nothing). A contributor without error
/// feedback sends the first form.
fn compress(spec: &RunSpec, mut values: Vec<f32>, residual: Option<&[f32]>) -> (Bytes, Vec<f32>) {
    for (value, left) in values.iter_mut().zip(residual.into_iter().flatten()) {
        *value += spec.feedback * left;
    }
    let format = if residual.is_some() { spec.update } else { spec.first };
    let update = update::compress(&values, format);
    update.take_from(&mut values);
    (update::encode(&update), if format == UpdateFormat::F32 { Vec::new() } else { values })
}

impl State {
    /// Makes `base` the base. If the sent work is in it (`settled`), local weights become the new
    /// base and the work since; otherwise they move by the difference.
    fn advance(&mut self, base: Vec<f32>, hash: Hash, settled: bool) {
        let from = if settled { &self.anchor } else { &self.base };
        let shift: Vec<f32> = base.iter().zip(from).map(|(new, old)| new - old).collect();
        if settled {
            self.anchor.clone_from(&base);
            self.residual = self.sent.take().map(|sent| sent.left);
        } else {
            fold::add(&mut self.anchor, &shift);
        }
        (self.base, self.hash) = (base, hash);
        if self.moved {
            self.trainer.shift(&shift);
        } else {
            self.trainer.place(&self.anchor);
        }
    }
}

#[cfg(test)]
mod tests {
    use tributary_protocol::spec::Coding;

    use super::*;
    use crate::testing;

    #[test]
    fn the_first_form_comes_first_and_what_was_left_out_next() {
        let coded = |keep| UpdateFormat::Coded(Coding { keep, bits: 1 });
        let spec = RunSpec { first: coded(4096), update: coded(1), feedback: 0.5, ..testing::spec() };
        let sent = |bytes: &[u8], form| update::decode(&[form], bytes, 4).map(|update| update.values());
        // One level for all four: their mean. Then only the largest, with half of what was left out.
        let (bytes, left) = compress(&spec, vec![1.0, -3.0, 3.0, 1.0], None);
        assert_eq!(sent(&bytes, spec.first), Ok(vec![2.0, -2.0, 2.0, 2.0]));
        assert_eq!(left, [-1.0, -1.0, 1.0, -1.0]);
        let (bytes, left) = compress(&spec, vec![0.0, 0.0, 4.0, 0.0], Some(&left));
        assert_eq!(sent(&bytes, spec.update), Ok(vec![0.0, 0.0, 4.5, 0.0]));
        assert_eq!(left, [-0.5, -0.5, 0.0, -0.5]);
        // Everything as it is: nothing is left to keep.
        let spec = testing::spec();
        let (bytes, left) = compress(&spec, vec![0.1, 0.2, 0.3, 0.4], None);
        assert_eq!((sent(&bytes, spec.first), left), (Ok(vec![0.1, 0.2, 0.3, 0.4]), Vec::new()));
    }
}
