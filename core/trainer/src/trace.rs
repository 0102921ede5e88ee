//! Traces: how a contributor got from one cut to the next.
//!
//! The way is split into segments. Wherever one ends stands a [`Mark`]: the hashes of the contributor's state
//! there, and its place in the data. A commit names the hash of the whole list, so that whoever is asked for
//! the states of one segment afterwards ([`Dossier`](crate::state::Dossier)) can't choose them any more.
//!
//! Refuses ([`Trace::check`]) what doesn't fit together: marks that steps don't lead to, tokens that weren't
//! trained, seeds that weren't the run's, segments without steps.

use serde::{Deserialize, Serialize};
use tributary_protocol::Hash;
use tributary_protocol::check::{MAX_SEGMENTS, TraceRef};

use crate::data::{Feed, Place};
use crate::fault::Fault;

/// Stretches of a segment. Each begins with a new base or seed, of which a round brings one.
pub const MAX_STRETCHES: usize = 64;

/// From one cut to the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// The hash of the trace of the update before; `None` for the first since this contributor started.
    pub previous: Option<Hash>,
    /// Where it begins: at the last cut, unless training began anew since.
    pub start: Mark,
    /// In order; the last one ends at the cut.
    pub segments: Vec<Segment>,
    /// What the coding of earlier updates had left out, and what is left after this one: hashes of coded values.
    pub rest: [Option<Hash>; 2],
}

/// Training from one mark to the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// What happened, in order.
    pub stretches: Vec<Stretch>,
    /// Mean loss of its steps, in nats a token.
    pub loss: f32,
    /// Where it ends.
    pub end: Mark,
}

/// Steps between which neither the base nor the round changes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stretch {
    /// The base became this round's before them.
    pub base: Option<u64>,
    /// They read the data of the round with this seed, and those before another's.
    pub seed: Option<Hash>,
    /// How many.
    pub steps: u32,
}

/// A contributor's state at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The round of its base.
    pub base: u64,
    /// The round whose update awaits its fold.
    pub sent: Option<u64>,
    /// The hash of local weights less the base, coded; `None` if they are the base.
    pub weights: Option<Hash>,
    /// The hashes of the optimiser's first and second moments, coded; `None` if they are empty.
    pub moments: Option<[Hash; 2]>,
    /// Steps that the moments have seen.
    pub seen: u32,
    /// Where the next batch begins.
    pub place: Option<Place>,
}

/// Where a trace takes up what it begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Nothing: the base, empty moments, nothing left of earlier updates.
    Fresh,
    /// The end of the contributor's last trace that the verifier knows.
    Continued,
    /// The weights and the place there, with empty moments: steps were undone, or the device was lost.
    Restarted,
    /// Something that the verifier knows nothing of: a trace that did not reach it, or the rest that a
    /// contributor kept over a restart.
    Unproven,
}

impl Segment {
    /// Its steps.
    pub fn steps(&self) -> u64 {
        self.stretches.iter().map(|stretch| u64::from(stretch.steps)).sum()
    }

    /// Goes on with one that has no steps.
    pub(crate) fn join(&mut self, next: Self) {
        self.stretches.extend(next.stretches);
        self.end = next.end;
    }
}

impl Trace {
    /// The hash of its postcard bytes, which a commit binds.
    pub fn hash(&self) -> Hash {
        Hash::of(&postcard::to_stdvec(self).expect("a trace has a finite serde form"))
    }

    /// What a commit says of it.
    pub fn named(&self) -> TraceRef {
        TraceRef { hash: self.hash(), segments: self.segments.len() as u8 }
    }

    /// The mark at which a segment begins.
    pub fn begin(&self, segment: usize) -> &Mark {
        segment.checked_sub(1).map_or(&self.start, |before| &self.segments[before].end)
    }

    /// Whether it fits together and leads, with so many steps, to the cut of `round`. `feed` is the contributor's
    /// data, whose shards need not be there; `seed` says whether a seed may occur.
    pub(crate) fn check(
        &self,
        mut feed: Feed,
        round: u64,
        steps: u64,
        mut seed: impl FnMut(&Hash) -> bool,
    ) -> Result<(), Fault> {
        let torn = |at: usize, what: &'static str| Err(Fault::Torn { segment: at as u8, what });
        if self.segments.is_empty() || self.segments.len() > usize::from(MAX_SEGMENTS) {
            return Err(Fault::Segments(self.segments.len()));
        }
        let traced = self.segments.iter().map(Segment::steps).sum();
        if traced != steps {
            return Err(Fault::Steps { claimed: steps, traced });
        }
        // One of several is drawn to be run again, and who draws this one would learn nothing.
        if let Some(at) = self.segments.iter().position(|segment| segment.steps() == 0)
            && self.segments.len() > 1
        {
            return torn(at, "has no steps");
        }
        if let Some(place) = self.start.place {
            feed.go(place);
        }
        let mut seeds: Vec<Hash> = self.start.place.iter().map(|place| place.seed).collect();
        if let Some(foreign) = seeds.iter().find(|hash| !seed(hash)) {
            return Err(Fault::Seed(*foreign));
        }
        let Mark { mut base, mut sent, mut seen, .. } = self.start;
        for (at, segment) in self.segments.iter().enumerate() {
            if segment.stretches.len() > MAX_STRETCHES {
                return torn(at, "has more stretches than can be");
            }
            for stretch in &segment.stretches {
                if let Some(next) = stretch.base {
                    if next < base {
                        return torn(at, "goes back to an older base");
                    }
                    if sent.is_some_and(|sent| sent < next) {
                        if at > 0 {
                            return torn(at, "has a fold of work that was sent before it began");
                        }
                        sent = None;
                    }
                    base = next;
                }
                if let Some(next) = stretch.seed {
                    // Whoever could return to a seed could train on the same batches again.
                    if seeds.contains(&next) || !seed(&next) {
                        return Err(Fault::Seed(next));
                    }
                    seeds.push(next);
                    feed.enter(next);
                }
                let Some(after) = seen.checked_add(stretch.steps) else {
                    return torn(at, "has more steps than can be");
                };
                seen = after;
                feed.skip(stretch.steps);
            }
            let is_last = at + 1 == self.segments.len();
            let end = &segment.end;
            let sent = if is_last { Some(round) } else { sent };
            if (end.base, end.sent, end.seen, end.place) != (base, sent, seen, feed.place()) {
                return torn(at, "ends where its steps don't lead");
            }
            if seen > 0 && end.moments.is_none() || !segment.loss.is_finite() {
                return torn(at, "ends without moments or with a loss that is no number");
            }
        }
        if base != round {
            return torn(self.segments.len() - 1, "ends at another base than the round's");
        }
        Ok(())
    }

    /// Where it begins. `previous` is the trace before, if the dossier has it, and `known` the hash of the newest
    /// trace before this one that the verifier has had from the contributor. Refuses a trace that does not
    /// go on where the one that it names ended.
    pub(crate) fn origin(&self, previous: Option<&Trace>, known: Option<Hash>) -> Result<Origin, Fault> {
        if previous.map(Trace::hash) != self.previous {
            return Err(Fault::Foreign);
        }
        let start = &self.start;
        let is_empty = start.moments.is_none() && start.seen == 0;
        let is_fresh = is_empty && start.weights.is_none() && start.sent.is_none();
        let Some(last) = previous.and_then(|previous| previous.segments.last()) else {
            return match (is_fresh, self.rest[0]) {
                (true, None) => Ok(Origin::Fresh),
                (true, Some(_)) => Ok(Origin::Unproven),
                (false, _) => Err(Fault::Torn { segment: 0, what: "begins with work that has no trace" }),
            };
        };
        let is_continued = *start == last.end;
        let is_restarted = is_empty && start.weights == last.end.weights;
        let rests = previous.map_or([None; 2], |previous| previous.rest);
        let has_rest = self.rest[0].is_none() || rests.contains(&self.rest[0]);
        match (is_continued || is_restarted || is_fresh, has_rest) {
            (true, true) if known != self.previous => Ok(Origin::Unproven),
            (true, true) if is_continued => Ok(Origin::Continued),
            (true, true) if is_fresh && self.rest[0].is_none() => Ok(Origin::Fresh),
            (true, true) => Ok(Origin::Restarted),
            _ => Err(Fault::Torn { segment: 0, what: "does not begin where the trace before it ended" }),
        }
    }
}
