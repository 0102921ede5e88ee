//! One run on one device: a replica, the data that it trains on, and what its losses say.

use burn::tensor::{Device, Tensor};
use bytes::Bytes;
use tributary_protocol::check::TraceRef;
use tributary_protocol::fold::{self, state_hash};
use tributary_protocol::job::{DeviceChoice, DeviceInfo, Progress, Report};
use tributary_protocol::spec::RunSpec;
use tributary_protocol::{BlobRef, Hash, Id, update};

use crate::data::Feed;
use crate::device::Opened;
use crate::meter::{Rate, Sanity, Tally};
use crate::record::{Now, Recorder};
use crate::replay::Replayer;
use crate::replica::Replica;
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
    replica: Option<Replica>,
    /// There is one as soon as there is a replica.
    recorder: Option<Recorder>,
    /// What an earlier session of this identity had left out of its updates; taken up with the first base.
    recalled: Option<Bytes>,
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
    Made { base: Hash, update: Bytes, tokens: u64, losses: (f32, f32), trace: TraceRef },
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
            replica: None,
            recorder: None,
            recalled: None,
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

    /// Who runs others' work again on this session's device. The manifest is that which it was made with.
    pub(crate) fn replayer(&self, manifest: Bytes) -> Replayer {
        Replayer::new(&self.spec, manifest, self.opened.device.clone())
    }

    /// The rest as bytes that prove themselves: coded, and a hash of that, of the run and of the identity.
    pub(crate) fn rest(&self) -> Option<Vec<u8>> {
        let rest = self.replica.as_ref()?.rest()?;
        Some([rest, &self.seal(rest).0[..]].concat())
    }

    /// Takes up what was kept. What is damaged, or another run's or identity's, is as if it had been lost.
    pub(crate) fn recall(&mut self, bytes: &[u8]) {
        let Some((rest, seal)) = bytes.split_last_chunk::<32>() else { return };
        if self.seal(rest).0 == *seal {
            self.recalled = Some(Bytes::copy_from_slice(rest));
        }
    }

    fn seal(&self, rest: &[u8]) -> Hash {
        Hash::of(&[self.spec.id().0, self.me.0, Hash::of(rest).0].concat())
    }

    pub(crate) fn can_step(&self) -> bool {
        self.training && !self.starved && self.replica.is_some()
    }

    /// Whether no step is under way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.pending.is_empty()
    }

    /// The run, the base and its name, and the device; `None` before the first base.
    pub(crate) fn shared(&self) -> Option<(&RunSpec, &[f32], Hash, Device)> {
        let replica = self.replica.as_ref()?;
        Some((&self.spec, replica.base(), replica.hash(), self.opened.device.clone()))
    }

    pub(crate) fn train(&mut self, round: u64, seed: Hash) {
        self.round = round;
        self.feed.prepare(round, seed);
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
    pub(crate) async fn rebase(&mut self, ms: u64, round: u64, hash: Hash, weights: &[u8]) -> Result<Report, String> {
        let values = fold::f32_from_le(weights);
        if state_hash(&values) != hash || values.len() as u64 != self.spec.model.params() {
            return Err(format!(
                "The weights of round {round} came damaged and were put aside; they are fetched again."
            ));
        }
        match &mut self.replica {
            None => {
                let mut replica = Replica::new(&self.spec, values, hash, self.opened.device.clone());
                if let Some(rest) = self.recalled.take() {
                    replica.owe(rest);
                }
                self.recorder = Some(Recorder::new(&self.spec, ms, round, self.feed.place(), replica.rest().cloned()));
                self.replica = Some(replica);
            }
            Some(replica) => {
                replica.rebase(round, values, hash).await;
                self.sanity.moved();
                if let Some(recorder) = &mut self.recorder {
                    recorder.based(round, replica.sent());
                }
            }
        }
        Ok(Report::Based { round, hash })
    }

    /// Adds a round's step to the base.
    pub(crate) async fn fold(&mut self, round: u64, step: &[u8], next: Hash) -> Report {
        let refused = Report::Mismatch { round, got: None };
        let Some(replica) = &mut self.replica else { return refused };
        let Ok(step) = update::decode(&[self.spec.step], step, self.spec.model.params()) else { return refused };
        match replica.fold(round, &step, next).await {
            Ok(()) => {
                self.sanity.moved();
                if let Some(recorder) = &mut self.recorder {
                    recorder.based(round + 1, replica.sent());
                }
                Report::Based { round: round + 1, hash: next }
            }
            Err(got) => Report::Mismatch { round, got: Some(got) },
        }
    }

    /// Queues a step. Says whether it is time to wait for what is under way.
    pub(crate) fn step(&mut self, now_ms: u64) -> bool {
        let Some(replica) = &mut self.replica else { return false };
        if let (Some(seed), Some(recorder)) = (self.feed.turn(), &mut self.recorder) {
            recorder.seed(seed);
        }
        let Some(batch) = self.feed.next() else {
            self.starved = true;
            return !self.pending.is_empty();
        };
        if self.pending.is_empty() {
            self.pending_since_ms = now_ms;
        }
        self.pending.push(replica.step(batch));
        if let Some(recorder) = &mut self.recorder {
            recorder.step();
        }
        self.pending.len() as u64 >= self.pace
    }

    /// Waits for the steps that are under way and judges their losses.
    pub(crate) async fn settle(&mut self, host: &impl Host) -> Settled {
        let Some(replica) = &mut self.replica else { return Settled::Nothing };
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
        let tokens = replica.tokens_a_step();
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
                return Settled::Undone(self.undo(now, why));
            }
            self.tally.add(loss);
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.losses(&losses);
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

    /// Ends a segment of the trace if it is time. Nothing may be under way. An error says that the device is gone.
    pub(crate) async fn mark(&mut self, ms: u64) -> Result<(), String> {
        let (Some(replica), Some(recorder)) = (&mut self.replica, &mut self.recorder) else { return Ok(()) };
        if self.pending.is_empty() && recorder.is_due(ms) {
            // What is no number is noticed at the next loss, and undone.
            if let Some((state, local)) = replica.record().await.map_err(|error| error.to_string())? {
                recorder.mark(Now::of(ms, &self.feed, &local), state);
            }
        }
        Ok(())
    }

    /// Makes the update of a round out of everything since the last one. Nothing may be under way.
    pub(crate) async fn cut(&mut self, ms: u64, round: u64) -> Cut {
        if let Some(why) = self.spoiled.take() {
            // What was trained since it was undone counts in the next.
            return Cut::Withheld(why);
        }
        let (Some(replica), Some(recorder), true) = (&mut self.replica, &mut self.recorder, self.tally.steps > 0)
        else {
            return Cut::Withheld("no training step was finished in this round".to_owned());
        };
        let recorded = match replica.record().await {
            Ok(recorded) => recorded,
            Err(error) => return Cut::Lost(error.to_string()),
        };
        let base = replica.hash();
        let made = recorded.and_then(|(state, local)| {
            let now = Now::of(ms, &self.feed, &local);
            let tokens = self.tally.steps * replica.tokens_a_step();
            replica.cut(&self.spec, round, tokens, local.weights).map(|update| (update, now, state))
        });
        let Some((update, now, state)) = made else {
            self.undo(ms, "the weights were no longer numbers".to_owned());
            self.spoiled = None;
            let why = "training went wrong in this round (weights that are no numbers) and was undone";
            return Cut::Withheld(why.to_owned());
        };
        let tally = std::mem::take(&mut self.tally);
        self.losses_in_a_row = 0;
        let trace = recorder.cut(round, now, state, replica.rest().cloned());
        let tokens = tally.steps * replica.tokens_a_step();
        Cut::Made { base, update: update::encode(&update), tokens, losses: tally.ends(), trace }
    }

    /// What there is to show of a segment of a cut.
    pub(crate) fn dossier(&self, round: u64, segment: u8) -> Option<Bytes> {
        self.recorder.as_ref()?.dossier(round, segment)
    }

    /// Goes back to the anchor, withholds this round's update and says so.
    fn undo(&mut self, ms: u64, why: String) -> String {
        if let Some(replica) = &mut self.replica {
            replica.undo();
        }
        self.restart(ms);
        self.tally = Tally::default();
        self.sanity = Sanity::new(self.spec.model.vocab);
        self.spoiled = Some(format!("training went wrong in this round ({why}) and was undone"));
        format!(
            "Training went wrong ({why}). The work since the last update is undone and nothing is sent this round; training goes on."
        )
    }

    /// The trace begins anew, at the anchor.
    fn restart(&mut self, ms: u64) {
        if let (Some(replica), Some(recorder)) = (&self.replica, &mut self.recorder) {
            recorder.restart(ms, self.feed.place(), replica.base(), replica.anchor());
        }
    }

    /// Notes that the device is gone: which one to open, and how often in a row.
    pub(crate) fn note_loss(&mut self) -> (DeviceChoice, u32) {
        self.losses_in_a_row += 1;
        (self.choice, self.losses_in_a_row)
    }

    /// Goes on from the anchor on a device that was opened anew.
    pub(crate) fn resume(&mut self, ms: u64, opened: Opened) {
        self.opened = opened;
        self.pending.clear();
        (self.pace, self.tally, self.rate) = (1, Tally::default(), Rate::default());
        if let Some(replica) = &mut self.replica {
            replica.resume(&self.spec, self.opened.device.clone());
        }
        self.restart(ms);
    }
}
