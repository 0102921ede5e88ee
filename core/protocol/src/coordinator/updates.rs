//! Promised updates and what became of them, until they are too old to count.
//!
//! Enters: commits, the norms of fetched blobs, folds. Leaves: the updates that a round can fold, its own and
//! late ones alike. Refuses an update of no size, a second one of the same round, the same one for two rounds,
//! and what would count for nothing by now.

use std::collections::BTreeMap;

use super::plan;
use super::quality::Score;
use crate::limits::{MAX_AGE, MAX_CONTRIBUTORS};
use crate::message::{Commit, FoldManifest, Reason, Verdict};
use crate::sketch::Sketch;
use crate::spec::{RoundRule, RunSpec, UpdateFormat};
use crate::{BlobRef, Hash, Id};

/// The cosine from which on two updates are one and a copy of it: with a third of noise on it a copy is there, and
/// honest updates of one round are below (see ARCHITECTURE.md).
const COPY: f64 = 0.95;

/// Times an update is fetched from a contributor that stays connected.
const FETCHES: u32 = 3;

/// An update's name: whose it is, and the round in which it was made, its *origin*.
pub(super) type Name = (Id, u64);

/// Every promised update whose origin is recent enough. At most [`MAX_CONTRIBUTORS`] by origin, of which there
/// are [`MAX_AGE`] and the open round's.
#[derive(Debug)]
pub(super) struct Updates {
    rule: RoundRule,
    tensors: usize,
    entries: BTreeMap<Name, Entry>,
    promises: u64,
    /// The state that each of those rounds trained from.
    bases: BTreeMap<u64, Hash>,
}

/// What there is to know of an update once its blob is here.
#[derive(Debug, Clone, PartialEq)]
pub struct Examined {
    /// Its form.
    pub format: UpdateFormat,
    /// The Euclidean norm of each tensor of the decoded update, in the order of
    /// [`crate::spec::ModelSpec::layout`].
    pub norms: Vec<f64>,
    /// Its sketch, with the run's id as the key.
    pub sketch: Sketch,
    /// What it does to the loss; `None`: there was no time to measure that.
    pub score: Option<Score>,
}

#[derive(Debug)]
struct Entry {
    commit: Commit,
    /// Which promise it was: of an update and its copy, the earlier counts.
    number: u64,
    /// Once it is known.
    sketch: Option<Sketch>,
    state: State,
}

#[derive(Debug)]
enum State {
    Fetching {
        attempt: u32,
    },
    /// The contributor left before its update was here.
    Stalled,
    Received {
        norms: Vec<f64>,
        score: Option<Score>,
    },
    Folded {
        credits: u64,
    },
    Refused(Reason),
}

impl Entry {
    fn is_pending(&self) -> bool {
        matches!(self.state, State::Fetching { .. } | State::Stalled)
    }
}

/// What a commit is to those that are known.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    /// The first word of this update.
    New,
    /// Said before: its sender didn't hear the verdict, if there is one, or the network doubled it.
    Known(Option<Verdict>),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fetched {
    Received {
        origin: u64,
    },
    Again(BlobRef, u64),
    Refused {
        origin: u64,
        why: Reason,
    },
    /// A later promise, received before this one, is a copy of it.
    Copied {
        origin: u64,
        by: Name,
    },
    Nothing,
}

/// An update that can be folded.
#[derive(Debug)]
pub struct Received<'a> {
    /// Whose.
    pub peer: Id,
    /// Its blob.
    pub update: BlobRef,
    /// Rounds that it came late.
    pub age: u8,
    /// As far as they count.
    pub tokens: u64,
    /// How much it has to say of what is usual in the round.
    pub say: u64,
    /// Of each tensor.
    pub norms: &'a [f64],
    /// What it does to the loss, if that is known.
    pub score: Option<Score>,
}

impl Received<'_> {
    /// Of all of it.
    pub(super) fn norm(&self) -> f64 {
        self.norms.iter().map(|norm| norm * norm).sum::<f64>().sqrt()
    }
}

impl Updates {
    pub(super) fn new(spec: &RunSpec) -> Self {
        let tensors = spec.model.layout().len();
        Self { rule: spec.round, tensors, entries: BTreeMap::new(), promises: 0, bases: BTreeMap::new() }
    }

    /// A round opens, from this state.
    pub(super) fn open(&mut self, round: u64, base: Hash) {
        self.bases.insert(round, base);
    }

    /// What a commit's round trained from, if its updates still count.
    pub(super) fn base(&self, round: u64) -> Option<Hash> {
        self.bases.get(&round).copied()
    }

    /// The tokens that an update counts for in a round, and its age there; `None`: it counts for nothing.
    fn counted(&self, commit: &Commit, round: u64) -> Option<(u64, u8)> {
        let age = u8::try_from(round.checked_sub(commit.round)?).ok().filter(|age| *age <= MAX_AGE)?;
        let tokens = self.rule.counted(commit.tokens, age);
        (tokens > 0).then_some((tokens, age))
    }

    /// What is known of a commit.
    pub(super) fn known(&self, from: Id, commit: &Commit) -> Result<Option<Admitted>, Reason> {
        if let Some(entry) = self.entries.get(&(from, commit.round)).filter(|e| e.commit.update == commit.update) {
            return Ok(Some(Admitted::Known(match entry.state {
                State::Folded { credits } => Some(Verdict::Folded { credits }),
                State::Refused(reason) => Some(Verdict::Refused(reason)),
                State::Fetching { .. } | State::Stalled | State::Received { .. } => None,
            })));
        }
        let again = self.of(from).any(|(origin, e)| origin == commit.round || e.commit.update == commit.update);
        if again { Err(Reason::Twice) } else { Ok(None) }
    }

    /// The trace of the newest promise that its maker made before this one.
    pub(super) fn trace_before(&self, (who, origin): &Name) -> Option<Hash> {
        let before = self.entries.range((*who, 0)..(*who, *origin)).next_back();
        before.map(|(_, entry)| entry.commit.trace.hash)
    }

    /// Takes a commit that has passed its gates, for the fold of `round` or a later one.
    pub(super) fn admit(&mut self, from: Id, commit: &Commit, round: u64) -> Result<(), Reason> {
        if self.counted(commit, round).is_none() {
            return Err(Reason::Late);
        }
        if self.entries.keys().filter(|(_, origin)| *origin == commit.round).count() >= MAX_CONTRIBUTORS {
            return Err(Reason::Full);
        }
        self.restore(from, commit.clone());
        Ok(())
    }

    /// Puts a commit from the journal back; its update is fetched again, from the store if it is there.
    pub(super) fn restore(&mut self, from: Id, commit: Commit) {
        let state = State::Fetching { attempt: 1 };
        self.promises += 1;
        self.entries.insert((from, commit.round), Entry { commit, number: self.promises, sketch: None, state });
    }

    /// What is being fetched, from whom.
    pub(super) fn fetching(&self) -> Vec<(Name, BlobRef)> {
        let fetching = self.entries.iter().filter(|(_, entry)| matches!(entry.state, State::Fetching { .. }));
        fetching.map(|(name, entry)| (*name, entry.commit.update)).collect()
    }

    /// What was promised under a name.
    pub(super) fn commit(&self, name: &Name) -> Option<&Commit> {
        self.entries.get(name).map(|entry| &entry.commit)
    }

    /// Updates of these rounds that count.
    pub(super) fn folded_since(&self, round: u64) -> Vec<Name> {
        let folded = |(name, entry): (&Name, &Entry)| {
            (name.1 >= round && matches!(entry.state, State::Folded { .. })).then_some(*name)
        };
        self.entries.iter().filter_map(folded).collect()
    }

    fn of(&self, peer: Id) -> impl Iterator<Item = (u64, &Entry)> {
        self.entries.range((peer, 0)..=(peer, u64::MAX)).map(|((_, origin), entry)| (*origin, entry))
    }

    /// A contributor is back: the updates to fetch that couldn't be fetched while it was away.
    pub(super) fn refetch(&mut self, from: Id) -> Vec<(Name, BlobRef)> {
        let mut due = Vec::new();
        for (name, entry) in self.entries.range_mut((from, 0)..=(from, u64::MAX)) {
            if let State::Stalled = entry.state {
                entry.state = State::Fetching { attempt: 1 };
                due.push((*name, entry.commit.update));
            }
        }
        due
    }

    /// A fetch has ended, with what was found out or the reason why nothing was.
    pub(super) fn fetched(
        &mut self,
        from: Id,
        update: Hash,
        result: Result<Examined, Reason>,
        online: bool,
        spec: &RunSpec,
    ) -> Fetched {
        let mut of_peer = self.entries.range_mut((from, 0)..=(from, u64::MAX));
        let found = of_peer.find(|(_, entry)| entry.commit.update.hash == update);
        let Some((&(_, origin), entry)) = found else { return Fetched::Nothing };
        let State::Fetching { attempt } = entry.state else { return Fetched::Nothing };
        let has_size = |norms: &[f64]| norms.len() == self.tensors && norms.iter().any(|norm| *norm > 0.0);
        let is_sound = |norms: &[f64]| has_size(norms) && norms.iter().all(|norm| norm.is_finite() && *norm >= 0.0);
        let why = match result {
            Ok(Examined { format, .. }) if !spec.forms_of(entry.commit.tokens).contains(&format) => Reason::Malformed,
            Ok(Examined { norms, sketch, score, .. }) if is_sound(&norms) => {
                entry.sketch = Some(sketch);
                entry.state = State::Received { norms, score };
                return self.compare((from, origin));
            }
            Ok(_) => Reason::Norm,
            Err(Reason::Unavailable) if !online => {
                entry.state = State::Stalled;
                return Fetched::Nothing;
            }
            Err(Reason::Unavailable) if attempt < FETCHES => {
                entry.state = State::Fetching { attempt: attempt + 1 };
                return Fetched::Again(entry.commit.update, origin);
            }
            Err(reason) => reason,
        };
        entry.state = State::Refused(why);
        Fetched::Refused { origin, why }
    }

    /// Compares a received update with all that are known: of two that are nearly the same, the one that was
    /// promised later does not count, if it hasn't counted already.
    fn compare(&mut self, name: Name) -> Fetched {
        let origin = name.1;
        let Some((number, sketch)) = self.entries.get(&name).and_then(|e| Some((e.number, e.sketch.as_ref()?))) else {
            return Fetched::Nothing;
        };
        let same = |(other, entry): (&Name, &Entry)| {
            let near = entry.sketch.as_ref().is_some_and(|other| sketch.is_near(other, COPY));
            (*other != name && near).then_some((*other, entry.number))
        };
        let copies: Vec<_> = self.entries.iter().filter_map(same).collect();
        if copies.iter().any(|(_, other)| *other < number) {
            self.refuse(name, Reason::Copied);
            return Fetched::Refused { origin, why: Reason::Copied };
        }
        let later = copies.into_iter().map(|(other, _)| other);
        let later = later
            .filter(|other| self.entries.get(other).is_some_and(|entry| matches!(entry.state, State::Received { .. })));
        match later.min() {
            Some(by) => {
                self.refuse(by, Reason::Copied);
                Fetched::Copied { origin, by }
            }
            None => Fetched::Received { origin },
        }
    }

    /// Whether nothing more is to be expected of a contributor for a round.
    pub(super) fn is_resolved(&self, peer: &Id, round: u64) -> bool {
        self.entries.get(&(*peer, round)).is_some_and(|entry| !entry.is_pending())
    }

    /// Whether updates of this round are still on their way. Late ones keep nobody waiting.
    pub(super) fn is_awaited(&self, round: u64) -> bool {
        self.entries.iter().any(|((_, origin), entry)| *origin == round && entry.is_pending())
    }

    /// What a round can fold, in the order of the fold: by id, then older ones first.
    pub(super) fn received(&self, round: u64) -> Vec<Received<'_>> {
        let received = self.entries.iter().filter_map(|((peer, _), Entry { commit, state, .. })| {
            let State::Received { norms, score } = state else { return None };
            let (tokens, age) = self.counted(commit, round)?;
            Some(Received { peer: *peer, update: commit.update, age, tokens, say: tokens, norms, score: *score })
        });
        let mut received: Vec<_> = received.collect();
        // What a manifest has no room for waits for the next: the late ones first.
        if received.len() > MAX_CONTRIBUTORS {
            received.sort_by_key(|update| update.age);
            received.truncate(MAX_CONTRIBUTORS);
            received.sort_by_key(|update| (update.peer, MAX_AGE - update.age));
        }
        received
    }

    /// Contributors whose updates of the last rounds count, or may yet: also those who happen to miss this one.
    pub(super) fn makers(&self) -> usize {
        let counting =
            self.entries.iter().filter(|(_, entry)| !matches!(entry.state, State::Refused(_) | State::Stalled));
        plan::contributors(counting.map(|((peer, _), _)| *peer))
    }

    /// The fold could not use an update.
    pub(super) fn refuse(&mut self, name: Name, why: Reason) {
        if let Some(entry) = self.entries.get_mut(&name) {
            entry.state = State::Refused(why);
        }
    }

    /// A round is void and goes again: its contributors cut its work anew. Returns whose updates of it never came.
    pub(super) fn void(&mut self, round: u64) -> Vec<Name> {
        self.bases.remove(&round);
        let gone = self.entries.extract_if(.., |(_, origin), _| *origin == round);
        gone.filter(|(_, entry)| entry.is_pending()).map(|(name, _)| name).collect()
    }

    /// A round has folded. Forgets what is too old by now and returns which of that were never folded.
    pub(super) fn settled(&mut self, fold: &FoldManifest) -> Vec<Name> {
        for (accepted, credits) in fold.earned() {
            if let Some(entry) = self.entries.get_mut(&(accepted.peer, fold.origin(accepted))) {
                entry.state = State::Folded { credits };
            }
        }
        let next = fold.round + 1;
        let oldest = next.saturating_sub(u64::from(MAX_AGE));
        self.bases = self.bases.split_off(&oldest);
        let too_late: Vec<_> = self.entries.iter().filter(|(_, entry)| self.is_over(entry, next)).collect();
        let too_late: Vec<_> = too_late.into_iter().map(|(name, _)| *name).collect();
        too_late.iter().for_each(|name| self.refuse(*name, Reason::Late));
        // A verdict stays as long as its commit may be said again.
        self.entries.retain(|(_, origin), _| *origin >= oldest);
        too_late
    }

    fn is_over(&self, entry: &Entry, next: u64) -> bool {
        let open = entry.is_pending() || matches!(entry.state, State::Received { .. });
        open && self.counted(&entry.commit, next).is_none()
    }
}
