//! What a contributor says of how it got to an update: a trace with all its states, true or forged.
//!
//! Forged ones hold together: the marks are where so many steps lead, and each trace goes on where the one before
//! ended. So only training again can show them for what they are.

use bytes::Bytes;
use tributary_protocol::assign::Assignment;
use tributary_protocol::update::{Update, compress, encode};
use tributary_protocol::{BlobRef, Id};
use tributary_trainer::{Dossier, Place, Segment, State, Trace, WEIGHTS};

/// See the module.
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) trace: Trace,
    previous: Option<Trace>,
    /// At the start, and at the end of every segment.
    states: Vec<State>,
    rest: [Option<Bytes>; 2],
}

/// What is needed to count windows as the trainer does.
pub(crate) struct Reading<'a> {
    pub(crate) me: Id,
    pub(crate) train: &'a [BlobRef],
    pub(crate) batch: u64,
    pub(crate) seq: u64,
}

impl Account {
    /// The true one, from the dossiers of all segments.
    pub(crate) fn of(dossiers: Vec<Dossier>) -> Result<Self, String> {
        let mut states: Vec<State> = dossiers.iter().map(|dossier| dossier.start.clone()).collect();
        let last = dossiers.into_iter().next_back().ok_or("a trace without segments")?;
        states.push(last.end);
        Ok(Self { trace: last.trace, previous: last.previous, states, rest: last.rest })
    }

    /// What is shown of a segment.
    pub(crate) fn dossier(&self, segment: u8) -> Option<Bytes> {
        let at = usize::from(segment);
        let (start, end) = (self.states.get(at)?.clone(), self.states.get(at + 1)?.clone());
        let is_last = at + 1 == self.trace.segments.len();
        let rest = if is_last { self.rest.clone() } else { [None, None] };
        let (trace, previous) = (self.trace.clone(), self.previous.clone());
        let dossier = Dossier { trace, previous, segment, start, end, rest };
        postcard::to_stdvec(&dossier).ok().map(Bytes::from)
    }

    /// The same as one segment: then nothing of it is true if a part of it is not, and what is not has its share of it.
    pub(crate) fn joined(mut self) -> Self {
        let steps: u64 = self.trace.segments.iter().map(Segment::steps).sum();
        let loss: f64 = self.trace.segments.iter().map(|of| f64::from(of.loss) * of.steps() as f64).sum();
        let ends = self.trace.segments.last().map(|last| last.end.clone());
        let stretches = std::mem::take(&mut self.trace.segments).into_iter().flat_map(|of| of.stretches).collect();
        let loss = (loss / steps.max(1) as f64) as f32;
        self.trace.segments.extend(ends.map(|end| Segment { stretches, loss, end }));
        self.states.drain(1..self.states.len() - 1);
        self
    }

    /// It ends at base − update: what an honest one that left nothing out would end at.
    pub(crate) fn ending(mut self, update: &Update) -> Self {
        let moved: Vec<f32> = update.values().iter().map(|value| -value).collect();
        if let Some(last) = self.states.last_mut() {
            last.weights = Some(encode(&compress(&moved, WEIGHTS)));
        }
        self.signed()
    }

    /// It tells of `times` as many steps.
    pub(crate) fn longer(mut self, times: u32) -> Self {
        for stretch in self.trace.segments.iter_mut().flat_map(|segment| &mut segment.stretches) {
            stretch.steps *= times;
        }
        self
    }

    /// Goes on where the account before ended, and has every mark where its steps lead.
    pub(crate) fn after(mut self, before: Option<&Self>, reading: &Reading<'_>) -> Self {
        if let Some(before) = before
            && self.previous.is_some()
        {
            self.previous = Some(before.trace.clone());
            self.trace.previous = Some(before.trace.hash());
            if let (Some(last), Some(state)) = (before.trace.segments.last(), before.states.last()) {
                self.trace.start = last.end.clone();
                self.states[0] = state.clone();
            }
            self.rest[0] = before.rest[1].clone();
            self.trace.rest[0] = before.trace.rest[1];
        }
        let (mut place, mut seen) = (self.trace.start.place, self.trace.start.seen);
        for segment in &mut self.trace.segments {
            for stretch in &segment.stretches {
                if let Some(seed) = stretch.seed {
                    place = Some(Place { seed, nth: 0, window: 0 });
                }
                place = place.map(|place| reading.skip(place, stretch.steps));
                seen += stretch.steps;
            }
            (segment.end.place, segment.end.seen) = (place, seen);
        }
        self.signed()
    }

    /// Every mark names its state.
    fn signed(mut self) -> Self {
        for (segment, state) in self.trace.segments.iter_mut().zip(&self.states[1..]) {
            (segment.end.weights, segment.end.moments) = state.hashes();
        }
        self
    }
}

impl Reading<'_> {
    fn skip(&self, mut place: Place, steps: u32) -> Place {
        let assignment = Assignment::new(&place.seed, &self.me);
        let mut windows = u64::from(steps) * self.batch;
        while windows > 0 {
            let shard = self.train[assignment.shard(place.nth, self.train.len())];
            let all = shard.bytes.saturating_sub(1).div_ceil(self.seq);
            let left = all.saturating_sub(place.window.into()).max(1);
            let read = windows.min(left);
            windows -= read;
            place = if read == left {
                Place { nth: place.nth + 1, window: 0, ..place }
            } else {
                Place { window: place.window + read as u32, ..place }
            };
        }
        place
    }
}
