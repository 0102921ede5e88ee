//! One round's clock at the coordinator: when it opens, gathers and is over.

use serde::{Deserialize, Serialize};

use super::referee::{Found, Standing};
use crate::message::{Accepted, RoundManifest};
use crate::sign::Signable;
use crate::spec::RunSpec;
use crate::{Hash, Id, Identity, Millis, Signed};

#[derive(Debug, Default)]
pub(super) enum Stage {
    /// Too few contributors to open a round.
    #[default]
    Idle,
    /// Training, then gathering.
    Open(Round),
    /// The driver folds.
    Folding(Folding),
}

#[derive(Debug)]
pub(super) struct Folding {
    pub(super) open: Round,
    pub(super) accepted: Vec<Accepted>,
    pub(super) rate: f32,
    /// What of earlier work was found out, which this round writes down.
    pub(super) findings: Vec<Found>,
    /// What is known of contributors with this round.
    pub(super) standings: Vec<(Id, Standing)>,
}

#[derive(Debug)]
pub(super) struct Round {
    pub(super) manifest: RoundManifest,
    pub(super) signed: Signed<RoundManifest>,
    grace_ms: Millis,
    gathering: Gathering,
}

/// When gathering ends.
#[derive(Debug, Clone, Copy)]
enum Gathering {
    /// At this time, or before it once everybody's update is in.
    Until(Millis),
    /// The coordinator has just been restored and hasn't seen the clock.
    Resumed,
    /// At this time and not before it: contributors are finding their way back after a restart.
    Whole(Millis),
}

/// What a seed is derived from. The coordinator's signature over it is deterministic (Ed25519) and
/// nobody else can foresee it.
#[derive(Serialize, Deserialize)]
struct SeedBasis {
    run: Hash,
    round: u64,
    base: Hash,
    opened_ms: Millis,
}

impl Signable for SeedBasis {
    const CONTEXT: &'static str = "tributary seed v1";
}

impl Round {
    pub(super) fn open(identity: &Identity, spec: &RunSpec, run: Hash, round: u64, base: Hash, now: Millis) -> Self {
        let basis = SeedBasis { run, round, base, opened_ms: now };
        let seed =
            Hash::of(&postcard::to_stdvec(&Signed::new(identity, &basis)).expect("a signature has a serde form"));
        let deadline_ms = now + Millis::from(spec.round.seconds) * 1000;
        let manifest = RoundManifest { run, round, base, seed, deadline_ms, pool: spec.reward.pool };
        let mut round = Self::restore(spec, Signed::new(identity, &manifest), manifest);
        round.gathering = Gathering::Until(deadline_ms + round.grace_ms);
        round
    }

    pub(super) fn restore(spec: &RunSpec, signed: Signed<RoundManifest>, manifest: RoundManifest) -> Self {
        let grace_ms = Millis::from(spec.round.grace) * 1000;
        Self { manifest, signed, grace_ms, gathering: Gathering::Resumed }
    }

    /// Whether the grace is over.
    pub(super) fn is_past(&self, now: Millis) -> bool {
        matches!(self.gathering, Gathering::Until(until) | Gathering::Whole(until) if now >= until)
    }

    /// Whether the round is to be closed: past the deadline with all updates in, or past the grace.
    pub(super) fn is_over(&mut self, now: Millis, all_in: impl FnOnce() -> bool) -> bool {
        let deadline = self.manifest.deadline_ms;
        match self.gathering {
            Gathering::Until(until) => now >= until || (now >= deadline && all_in()),
            Gathering::Whole(until) => now >= until,
            Gathering::Resumed => {
                self.gathering = Gathering::Whole(deadline.max(now) + self.grace_ms);
                false
            }
        }
    }

    pub(super) fn wake_at(&self, now: Millis) -> Millis {
        match self.gathering {
            Gathering::Until(_) if now < self.manifest.deadline_ms => self.manifest.deadline_ms,
            Gathering::Until(until) | Gathering::Whole(until) => until,
            Gathering::Resumed => now,
        }
    }
}

impl Folding {
    pub(super) fn round(&self) -> u64 {
        self.open.manifest.round
    }
}

impl Stage {
    /// The round that takes updates of its own.
    pub(super) fn open_round(&self) -> Option<&Round> {
        match self {
            Stage::Open(round) => Some(round),
            _ => None,
        }
    }

    /// The folding round goes back to before the fold, if this update is in it. Returns its findings.
    pub(super) fn reopen(&mut self, round: u64, peer: &Id, age: u8) -> Option<Vec<Found>> {
        match std::mem::take(self) {
            Stage::Folding(folding)
                if folding.round() == round && folding.accepted.iter().any(|a| a.peer == *peer && a.age == age) =>
            {
                *self = Stage::Open(folding.open);
                Some(folding.findings)
            }
            other => {
                *self = other;
                None
            }
        }
    }
}
