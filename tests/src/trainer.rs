//! A trainer that obeys [`Job`]s on a plain vector instead of a model.
//!
//! A step adds exactly 1 to one coordinate that belongs to the contributor, and something small to
//! others. So the update itself says how many steps are in it, and a test can compare that with the
//! steps that were done.

use bytes::Bytes;
use tributary_protocol::check::{Finding, ReplayOrder, TraceRef};
use tributary_protocol::data::DataManifest;
use tributary_protocol::fold::{add, apply, f32_from_le, state_hash};
use tributary_protocol::job::{Backend, DeviceInfo, Job, Progress, Report};
use tributary_protocol::spec::RunSpec;
use tributary_protocol::{BlobRef, Hash, Id, Millis, update};

use crate::Random;

/// Tokens of one step.
pub const TOKENS_A_STEP: u64 = 64;

/// Segments of its traces.
pub const SEGMENTS: u8 = 4;

/// What it says of its way to a round's update.
pub fn trace(round: u64) -> TraceRef {
    TraceRef { hash: Hash::of(&round.to_le_bytes()), segments: SEGMENTS }
}

/// How a trainer gets on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// One step in so many milliseconds.
    Timed(Millis),
    /// A number of steps that only the contributor and the round decide, whatever the time: then
    /// what a round becomes doesn't depend on when things happened.
    Lockstep,
}

/// What a contributor makes of the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Morals {
    /// Whether its own work is not what it says.
    pub cheats: bool,
    /// What it says of others' work.
    pub word: Word,
}

/// What a witness says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Word {
    /// What came out.
    #[default]
    True,
    /// That it is the same, whatever came out.
    Vouches,
    /// That it is different, whatever came out.
    Accuses,
    /// Nothing.
    Silent,
}

/// What comes out when the segment of this dossier is run again.
pub(crate) fn truth(dossier: &[u8]) -> Finding {
    if dossier[0] == 0 { Finding::Same } else { Finding::Different }
}

/// Tokens of an order's segment.
pub(crate) fn tokens_of(order: &ReplayOrder) -> u64 {
    order.commit.tokens / u64::from(order.commit.trace.segments)
}

/// What holds up a trainer, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pauses {
    /// Making a usual update.
    pub cut: Millis,
    /// Making an update of which nothing was sent before.
    pub first_cut: Millis,
    /// Adding a step.
    pub fold: Millis,
}

/// The trainer of one contributor.
#[derive(Debug)]
pub struct SimTrainer {
    pace: Pace,
    /// With these, every round needs data of its own too. `None`: nothing takes time.
    pub(crate) pauses: Option<Pauses>,
    busy_until: Millis,
    /// The round that it trains for as soon as there is data.
    awaits: Option<u64>,
    /// When it was first told to train.
    began: Option<Millis>,
    own: usize,
    withholds: u32,
    /// How much larger than they should be its steps are, where they don't count themselves.
    pub(crate) loudness: f32,
    pub(crate) morals: Morals,
    random: Random,
    open: Option<Open>,
    state: Option<State>,
    training: Option<(u64, Millis)>,
    steps: u64,
    trained: u64,
}

#[derive(Debug)]
struct Open {
    spec: RunSpec,
    me: Id,
    shard: BlobRef,
}

#[derive(Debug)]
struct State {
    base: Vec<f32>,
    hash: Hash,
    local: Vec<f32>,
    anchor: Vec<f32>,
    sent: Option<(u64, Vec<f32>)>,
    /// What the last update that counted left out; none before the first.
    residual: Option<Vec<f32>>,
}

impl SimTrainer {
    /// A trainer whose steps show in coordinate `own` and that withholds `withholds` in a thousand
    /// updates.
    pub fn new(pace: Pace, own: usize, withholds: u32, random: Random) -> Self {
        Self {
            pace,
            pauses: None,
            busy_until: 0,
            awaits: None,
            began: None,
            own,
            withholds,
            loudness: 1.0,
            morals: Morals::default(),
            random,
            open: None,
            state: None,
            training: None,
            steps: 0,
            trained: 0,
        }
    }

    /// Steps done in its life.
    pub fn trained(&self) -> u64 {
        self.trained
    }

    /// Steps done since the last cut.
    pub fn uncut(&self) -> u64 {
        self.steps
    }

    /// Until when its jobs so far hold it up.
    pub fn busy_until(&self) -> Millis {
        self.busy_until
    }

    /// The part of the time since it was first told to train in which it trained; `None` before that.
    pub fn utilisation(&self, now: Millis) -> Option<f64> {
        let Pace::Timed(step_ms) = self.pace else { return None };
        let trained = self.trained + self.training.map_or(0, |(_, since)| now.saturating_sub(since) / step_ms);
        Some((trained * step_ms) as f64 / (now - self.began?) as f64)
    }

    /// Does a job.
    pub fn job(&mut self, now: Millis, job: Job) -> Vec<Report> {
        self.train_until(now);
        match job {
            Job::Start { spec, data, me, .. } => self.start(*spec, &data, me),
            Job::Base { round, hash, weights } => vec![self.rebase(round, hash, &weights)],
            Job::Train { round, .. } => {
                assert!(self.state.is_some(), "an order to train without a base");
                self.began.get_or_insert(now);
                self.train(now, round)
            }
            Job::Shard { .. } => {
                if let Some(round) = self.awaits.take() {
                    self.training = Some((round, now.max(self.busy_until)));
                }
                Vec::new()
            }
            Job::Cut { round } => {
                let report = self.cut(round);
                self.hold_up(now, |pauses, first| if first { pauses.first_cut } else { pauses.cut });
                vec![report]
            }
            Job::Fold { round, step, next } => {
                self.hold_up(now, |pauses, _| pauses.fold);
                vec![self.fold(round, &step, next)]
            }
            Job::Disclose { round, segment } => {
                let me = self.open.as_ref().map_or(Id([0; 32]), |open| open.me);
                let cheats = u8::from(self.morals.cheats);
                let dossier = [&[cheats, segment][..], &round.to_le_bytes(), &me.0].concat();
                vec![Report::Dossier { round, segment, dossier: Some(dossier.into()) }]
            }
            Job::Replay { order, blobs } => {
                let dossier = order.dossier.hash;
                // As a real one, it needs the base that the segment begins with.
                let base = order.rounds.last().expect("the commit's round").base;
                if !blobs.contains_key(&base.hash) {
                    return vec![Report::Lacks { dossier, blobs: vec![base] }];
                }
                assert!(blobs.contains_key(&order.commit.update.hash), "a replay without the update");
                let finding = match self.morals.word {
                    Word::True => truth(&blobs[&dossier]),
                    Word::Vouches => Finding::Same,
                    Word::Accuses => Finding::Different,
                    Word::Silent => return Vec::new(),
                };
                vec![Report::Replayed { dossier, tokens: tokens_of(&order), finding: Some(finding) }]
            }
            Job::Pause => {
                (self.training, self.awaits) = (None, None);
                Vec::new()
            }
            // It works by the test's clock, and has nothing to say.
            Job::Pace { .. } | Job::Generate(_) | Job::Hush | Job::Pack => Vec::new(),
        }
    }

    /// Trains for a round, whose data it may have to ask for.
    fn train(&mut self, now: Millis, round: u64) -> Vec<Report> {
        let progress = Report::Progress(self.progress(round));
        match (&self.open, self.pauses) {
            (Some(open), Some(_)) if self.training.is_none_or(|(before, _)| before != round) => {
                // What it has it reads on until then.
                self.awaits = Some(round);
                vec![progress, Report::Need(open.shard)]
            }
            _ => {
                self.training = Some((round, now.max(self.busy_until)));
                vec![progress]
            }
        }
    }

    /// A job takes time, in which there is no training. What is done of a step stays done.
    fn hold_up(&mut self, now: Millis, pause: impl FnOnce(&Pauses, bool) -> Millis) {
        let Some(pauses) = &self.pauses else { return };
        let ms = pause(pauses, self.state.as_ref().is_some_and(|state| state.residual.is_none()));
        self.busy_until = self.busy_until.max(now) + ms;
        if let Some((_, since)) = &mut self.training {
            *since += ms;
        }
    }

    fn progress(&self, round: u64) -> Progress {
        Progress { round, steps: self.steps, tokens: self.steps * TOKENS_A_STEP, loss: 3.0, tokens_per_s: 100.0 }
    }

    fn start(&mut self, spec: RunSpec, data: &[u8], me: Id) -> Vec<Report> {
        let manifest: DataManifest = serde_json::from_slice(data).unwrap();
        manifest.check(spec.tokenizer, spec.inner.seq).unwrap();
        let shard = manifest.train[0];
        self.open = Some(Open { spec, me, shard });
        let device = DeviceInfo { backend: Backend::Cpu, name: "simulated".to_owned(), note: None };
        vec![Report::Ready(device), Report::Need(shard)]
    }

    fn rebase(&mut self, round: u64, hash: Hash, weights: &Bytes) -> Report {
        let base = f32_from_le(weights);
        assert_eq!(state_hash(&base), hash, "a snapshot came damaged");
        match &mut self.state {
            None => {
                let (local, anchor) = (base.clone(), base.clone());
                self.state = Some(State { local, anchor, base, hash, sent: None, residual: None });
            }
            Some(state) => {
                let settled = state.sent.as_ref().is_some_and(|(sent, _)| *sent < round);
                state.advance(base, hash, settled);
            }
        }
        Report::Based { round, hash }
    }

    fn fold(&mut self, round: u64, step: &[u8], next: Hash) -> Report {
        let refused = Report::Mismatch { round, got: None };
        let (Some(open), Some(state)) = (&self.open, &mut self.state) else { return refused };
        let Ok(step) = update::decode(&[open.spec.step], step, open.spec.model.params()) else { return refused };
        let mut base = state.base.clone();
        apply(&mut base, &step);
        let got = state_hash(&base);
        if got != next {
            return Report::Mismatch { round, got: Some(got) };
        }
        let settled = state.sent.as_ref().is_some_and(|(sent, _)| *sent == round);
        state.advance(base, next, settled);
        Report::Based { round: round + 1, hash: next }
    }

    fn cut(&mut self, round: u64) -> Report {
        if self.pace == Pace::Lockstep && self.training.is_some() {
            let Some(open) = &self.open else { panic!("a cut before the start") };
            let mut random = Random::new(u64::from(open.me.0[0]) << 32 | u64::from(open.me.0[1]) << 16 | round);
            let steps = 1 + random.below(20);
            // Work that an earlier cut of the same round holds already is not done again.
            if self.state.as_ref().is_some_and(|state| state.sent.as_ref().is_none_or(|(sent, _)| *sent != round)) {
                self.step(steps, random);
            }
            self.steps = steps;
        }
        let (Some(open), Some(state)) = (&self.open, &mut self.state) else { panic!("a cut without a base") };
        let steps = std::mem::take(&mut self.steps);
        if steps == 0 || self.random.happens(self.withholds) {
            // As after a loss that can't be believed: back to the anchor.
            state.local.clone_from(&state.anchor);
            return Report::Withheld { round, why: "no step was done".to_owned() };
        }
        let mut values: Vec<f32> = state.base.iter().zip(&state.local).map(|(base, local)| base - local).collect();
        let tokens = steps * TOKENS_A_STEP;
        let format = if state.residual.is_some() { open.spec.update_format(tokens) } else { open.spec.first };
        for (value, left) in values.iter_mut().zip(state.residual.iter().flatten()) {
            *value += open.spec.feedback * left;
        }
        let update = update::compress(&values, format);
        update.take_from(&mut values);
        (state.anchor, state.sent) = (state.local.clone(), Some((round, values)));
        let update = update::encode(&update);
        Report::Update { round, base: state.hash, update, tokens, loss_first: 3.0, loss_last: 2.9, trace: trace(round) }
    }

    fn train_until(&mut self, now: Millis) {
        let (Pace::Timed(step_ms), Some((round, since))) = (self.pace, self.training) else { return };
        // Held up, it goes on later than now.
        let steps = now.saturating_sub(since) / step_ms;
        self.training = Some((round, since + steps * step_ms));
        let random = Random::new(self.random.bits());
        self.step(steps, random);
        self.steps += steps;
    }

    fn step(&mut self, steps: u64, mut random: Random) {
        let Some(state) = &mut self.state else { return };
        if steps == 0 {
            return;
        }
        self.trained += steps;
        state.local[self.own] += steps as f32;
        let half = state.local.len() / 2;
        for _ in 0..8 {
            let at = half + random.below(half as u64) as usize;
            state.local[at] += steps as f32 * (random.below(255) as f32 - 127.0) / 4096.0 * self.loudness;
        }
    }
}

impl State {
    /// If the sent work is in the new base (`settled`), local weights become it and the work since;
    /// otherwise they move by the difference.
    fn advance(&mut self, base: Vec<f32>, hash: Hash, settled: bool) {
        let from = if settled { &self.anchor } else { &self.base };
        let shift: Vec<f32> = base.iter().zip(from).map(|(new, old)| new - old).collect();
        // Exactly the base where nothing was done since the cut, as in the real trainer.
        let idle = self.local == self.anchor;
        if settled {
            self.anchor.clone_from(&base);
            self.residual = self.sent.take().map(|(_, left)| left);
        } else {
            add(&mut self.anchor, &shift);
        }
        if idle {
            self.local.clone_from(&self.anchor);
        } else {
            add(&mut self.local, &shift);
        }
        (self.base, self.hash) = (base, hash);
    }
}

/// The coordinate in which a contributor's steps show; contributors may share one.
pub(crate) fn own_coordinate(node: usize, params: u64) -> usize {
    node % (params as usize / 2)
}

/// How many steps an update holds.
pub(crate) fn steps_in(values: &[f32], own: usize) -> u64 {
    (-values[own]).round() as u64
}
