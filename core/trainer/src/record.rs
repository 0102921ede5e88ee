//! Recording: keeps the trace of the work under way, and dossiers of the last cuts.
//!
//! Enters: what happens to the local weights, in order, and their state wherever a segment ends. Leaves: a trace
//! at every cut, and dossiers. A segment ends at a cut and, in between, every few seconds; but never while a sent
//! update awaits its fold, because that moves local weights by what they were at the cut, which must be
//! where the segment begins.

use std::collections::VecDeque;

use bytes::Bytes;
use tributary_protocol::Hash;
use tributary_protocol::check::TraceRef;
use tributary_protocol::spec::RunSpec;

use crate::data::{Feed, Place};
use crate::state::{Dossier, State};
use crate::trace::{Mark, Segment, Stretch, Trace};
use crate::train::Local;

/// Cuts whose states are kept: a segment is asked for while its round is judged, and an update may come a round
/// late. In memory that is 1.4 bytes a parameter for every segment of them.
const KEPT: usize = 2;

/// Steps that a segment between two cuts has at least: what reading the state costs is then little.
const LEAST_STEPS: u64 = 4;

/// See the module.
pub(crate) struct Recorder {
    segments: usize,
    every_ms: u64,
    previous: Option<Trace>,
    start: Mark,
    done: Vec<Segment>,
    /// At the start, and at the end of every segment that is done.
    states: Vec<State>,
    stretches: Vec<Stretch>,
    losses: (f64, u32),
    base: u64,
    sent: Option<u64>,
    begun_ms: u64,
    /// Coded: what was left out by updates that have folded, and by the one that awaits its fold.
    rest: Option<Bytes>,
    left: Option<Bytes>,
    kept: VecDeque<Kept>,
}

struct Kept {
    round: u64,
    trace: Trace,
    previous: Option<Trace>,
    states: Vec<State>,
    rest: [Option<Bytes>; 2],
}

/// Where training stands at the end of a segment.
pub(crate) struct Now {
    /// On the session's clock.
    pub(crate) ms: u64,
    /// In the data.
    pub(crate) place: Option<Place>,
    /// Steps that the moments have seen.
    pub(crate) seen: u32,
}

impl Now {
    /// After the steps that led to `local`.
    pub(crate) fn of(ms: u64, feed: &Feed, local: &Local) -> Self {
        Self { ms, place: feed.place(), seen: local.averages.as_ref().map_or(0, |averages| averages.steps) }
    }
}

impl Recorder {
    /// Begins from the base of `round` with empty moments, and with what earlier updates left out.
    pub(crate) fn new(spec: &RunSpec, ms: u64, round: u64, place: Option<Place>, rest: Option<Bytes>) -> Self {
        let segments = usize::from(spec.check.segments.max(1));
        Self {
            segments,
            every_ms: u64::from(spec.round.seconds) * 1000 / segments as u64,
            previous: None,
            start: Mark { base: round, sent: None, weights: None, moments: None, seen: 0, place },
            done: Vec::new(),
            states: vec![State::default()],
            stretches: Vec::new(),
            losses: (0.0, 0),
            base: round,
            sent: None,
            begun_ms: ms,
            rest,
            left: None,
            kept: VecDeque::new(),
        }
    }

    /// A step was queued.
    pub(crate) fn step(&mut self) {
        match self.stretches.last_mut() {
            Some(last) => last.steps = last.steps.saturating_add(1),
            None => self.stretches.push(Stretch { steps: 1, ..Stretch::default() }),
        }
    }

    /// The losses of steps became known.
    pub(crate) fn losses(&mut self, losses: &[f32]) {
        self.losses.0 += losses.iter().map(|&loss| f64::from(loss)).sum::<f64>();
        self.losses.1 += losses.len() as u32;
    }

    /// The steps that follow read the data of another round.
    pub(crate) fn seed(&mut self, seed: Hash) {
        self.turn().seed = Some(seed);
    }

    /// The base became that of `round`; the update of round `sent` still awaits its fold.
    pub(crate) fn based(&mut self, round: u64, sent: Option<u64>) {
        self.turn().base = Some(round);
        self.base = round;
        if self.sent.is_some() && sent.is_none() {
            self.rest = self.left.take();
        }
        self.sent = sent;
    }

    /// The stretch for what comes next.
    fn turn(&mut self) -> &mut Stretch {
        if self.stretches.last().is_none_or(|last| last.steps > 0) {
            self.stretches.push(Stretch::default());
        }
        let last = self.stretches.len() - 1;
        &mut self.stretches[last]
    }

    /// Whether it is time for a segment to end.
    pub(crate) fn is_due(&self, ms: u64) -> bool {
        let steps: u64 = self.stretches.iter().map(|stretch| u64::from(stretch.steps)).sum();
        self.sent.is_none()
            && self.done.len() + 1 < self.segments
            && ms.saturating_sub(self.begun_ms) >= self.every_ms
            && steps >= LEAST_STEPS
    }

    /// A segment ends.
    pub(crate) fn mark(&mut self, now: Now, state: State) {
        let (sum, count) = std::mem::take(&mut self.losses);
        let (weights, moments) = state.hashes();
        let end = Mark { base: self.base, sent: self.sent, weights, moments, seen: now.seen, place: now.place };
        let stretches = std::mem::take(&mut self.stretches);
        self.done.push(Segment { stretches, loss: (sum / f64::from(count.max(1))) as f32, end });
        self.states.push(state);
        self.begun_ms = now.ms;
    }

    /// The update of `round` was cut, and left out `left`: the trace that led there. What follows begins there.
    pub(crate) fn cut(&mut self, round: u64, now: Now, state: State, left: Option<Bytes>) -> TraceRef {
        self.sent = Some(round);
        self.mark(now, state.clone());
        // Nothing was trained since the last mark. One with steps stays: training went on from what was written down there.
        if let Some(empty) = self.done.pop_if(|last| last.steps() == 0) {
            match self.done.last_mut() {
                Some(last) => {
                    last.join(empty);
                    self.states.remove(self.states.len() - 2);
                }
                None => self.done.push(empty),
            }
        }
        self.left = left;
        let rest = [self.rest.clone(), self.left.clone()];
        let trace = Trace {
            previous: self.previous.as_ref().map(Trace::hash),
            start: self.start.clone(),
            segments: std::mem::take(&mut self.done),
            rest: rest.each_ref().map(|rest| rest.as_ref().map(|bytes| Hash::of(bytes))),
        };
        let named = trace.named();
        if let Some(last) = trace.segments.last() {
            self.start = last.end.clone();
        }
        let states = std::mem::replace(&mut self.states, vec![state]);
        let previous = self.previous.replace(trace.clone());
        self.kept.push_back(Kept { round, trace, previous, states, rest });
        while self.kept.len() > KEPT {
            self.kept.pop_front();
        }
        named
    }

    /// Training begins anew from these weights with empty moments; what was done since the last cut is void.
    pub(crate) fn restart(&mut self, ms: u64, place: Option<Place>, base: &[f32], weights: &[f32]) {
        let state = State::at(base, weights);
        let (weights, moments) = state.hashes();
        self.start = Mark { base: self.base, sent: self.sent, weights, moments, seen: 0, place };
        self.states = vec![state];
        self.done.clear();
        self.stretches.clear();
        self.losses = (0.0, 0);
        self.begun_ms = ms;
    }

    /// What is to be shown of a segment of the newest cut of `round`, if that is still here.
    pub(crate) fn dossier(&self, round: u64, segment: u8) -> Option<Bytes> {
        let kept = self.kept.iter().rev().find(|kept| kept.round == round)?;
        let at = usize::from(segment);
        let (start, end) = (kept.states.get(at)?.clone(), kept.states.get(at + 1)?.clone());
        let is_last = at + 1 == kept.trace.segments.len();
        let rest = if is_last { kept.rest.clone() } else { [None, None] };
        let (trace, previous) = (kept.trace.clone(), kept.previous.clone());
        let dossier = Dossier { trace, previous, segment, start, end, rest };
        Some(postcard::to_stdvec(&dossier).expect("a dossier has a finite serde form").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_right_after_a_mark_ends_the_segment_before_it() {
        let state = |byte: u8| State { weights: Some(Bytes::from(vec![byte])), moments: None };
        let now = |seen| Now { ms: 0, place: None, seen };
        for (last, ends) in [(0, vec![3]), (2, vec![2, 3])] {
            let mut recorder = Recorder::new(&crate::testing::spec(), 0, 0, None, None);
            (0..5).for_each(|_| recorder.step());
            recorder.losses(&[2.0; 5]);
            recorder.mark(now(5), state(2));
            (0..last).for_each(|_| recorder.step());
            let trace = recorder.cut(0, now(5 + last), state(3), None);
            assert_eq!(usize::from(trace.segments), ends.len());
            for (segment, end) in ends.into_iter().enumerate() {
                let shown = recorder.dossier(0, segment as u8).unwrap();
                let shown: Dossier = postcard::from_bytes(&shown).unwrap();
                assert_eq!((shown.end.clone(), shown.trace.segments[0].loss), (state(end), 2.0));
                let named = &shown.trace.segments[segment];
                assert_eq!((named.end.weights, named.steps() > 0), (shown.end.hashes().0, true));
            }
        }
    }
}
