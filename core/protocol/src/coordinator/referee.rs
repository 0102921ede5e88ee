//! Whose work is done again, and what follows from that.
//!
//! Enters: updates that have come, dossiers, and what running a segment again gave. Leaves: orders to show a
//! dossier and to run it, and findings for the next settlement. A contributor that doesn't show what it is asked
//! for in time has nothing to show. Who is asked, and for what, nobody can foresee: it is drawn from a signature.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tributary_ledger::Finding;

use super::quality::Record;
use super::updates::Name;
use super::{Coordinator, Output};
use crate::check::Check;
use crate::message::{Commit, ToContributor};
use crate::sign::Signable;
use crate::{BlobRef, Hash, Id, Signed};

/// What is known of a contributor beyond one round.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// How good its updates are.
    pub(super) record: Option<Record>,
    /// Its folded updates since it is here, or since it last showed nothing when it was asked.
    pub(super) folded: u32,
    /// Whether its work was proved not to be what it said.
    pub(super) struck: bool,
}

/// A segment to run again.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplayOrder {
    /// Whose.
    pub who: Id,
    /// What it promised.
    pub commit: Commit,
    /// Which segment.
    pub segment: u8,
    /// The trace of its promise before, as far as that is known.
    pub before: Option<Hash>,
    /// What it shows.
    pub dossier: BlobRef,
    /// The commit's round and those before it, oldest first, as far as a trace can reach.
    pub rounds: Vec<PastRound>,
}

/// A round as whoever trained in it saw it. One that was opened again is here more than once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PastRound {
    /// Its number.
    pub round: u64,
    /// Names its data.
    pub seed: Hash,
    /// What it was trained from.
    pub base: BlobRef,
}

/// Rounds that a trace can reach back, and that are kept beyond those whose replays may be under way.
pub const TRACE_ROUNDS: u64 = 4;

/// What running a segment again gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) name: Name,
    pub(super) by: Id,
    pub(super) tokens: u64,
    pub(super) finding: Finding,
}

#[derive(Debug)]
struct Replay {
    commit: Commit,
    segment: u8,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The contributor was or is to be asked for the dossier.
    Asked,
    /// It is being fetched and run.
    Running(BlobRef),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Referee {
    standings: BTreeMap<Id, Standing>,
    /// At most one an update whose replay may still be under way.
    replays: BTreeMap<Name, Replay>,
    findings: Vec<Found>,
}

/// What decides whether a promise is checked, and where.
#[derive(Serialize, Deserialize)]
struct Lot {
    run: Hash,
    round: u64,
    who: Id,
}

impl Signable for Lot {
    const CONTEXT: &'static str = "tributary replay v1";
}

impl Referee {
    pub(super) fn standing(&self, who: &Id) -> Standing {
        self.standings.get(who).copied().unwrap_or_default()
    }

    pub(super) fn set(&mut self, who: Id, standing: Standing) {
        self.standings.insert(who, standing);
    }

    /// What ended since the last settlement, for the next one.
    pub(super) fn take(&mut self) -> Vec<Found> {
        std::mem::take(&mut self.findings)
    }

    /// The settlement was not to be.
    pub(super) fn put_back(&mut self, findings: Vec<Found>) {
        self.findings.splice(0..0, findings);
    }

    /// A round is about to settle, and with it what it pays is one round older.
    pub(super) fn expire(&mut self, round: u64, check: &Check, me: Id) {
        let old = |origin: u64| origin + u64::from(check.settle) <= round;
        for (name, replay) in self.replays.extract_if(.., |(_, origin), _| old(*origin)) {
            // What is still running is late through no fault of the contributor.
            if replay.state == State::Asked {
                self.findings.push(Found { name, by: me, tokens: 0, finding: Finding::Missing });
            }
        }
    }

    /// Whether it is not known yet what running an update's work again gives.
    pub(super) fn is_pending(&self, name: &Name) -> bool {
        self.replays.contains_key(name)
    }

    /// An update does not count, so how it was made does not matter.
    pub(super) fn forget(&mut self, name: &Name) {
        self.replays.remove(name);
    }

    /// A round goes again: what was made for it is void.
    pub(super) fn void(&mut self, round: u64) {
        self.replays.retain(|(_, origin), _| *origin != round);
        self.findings.retain(|found| found.name.1 != round);
    }
}

impl Found {
    /// Whose pay is forfeited because of these.
    pub(super) fn wrong(findings: &[Self]) -> BTreeMap<Id, (u64, Finding)> {
        let wrong = findings.iter().filter(|found| found.finding != Finding::Same);
        let mut by: BTreeMap<Id, (u64, Finding)> = BTreeMap::new();
        for &Found { name: (who, origin), finding, .. } in wrong {
            // Proof weighs more than silence.
            let known = by.entry(who).or_insert((origin, finding));
            if finding == Finding::Different {
                *known = (origin, finding);
            }
        }
        by
    }
}

impl Coordinator {
    /// An update is here: perhaps its maker is asked how it got there.
    pub(super) fn draw(&mut self, name: Name) {
        let (Some(commit), check) = (self.updates.commit(&name).cloned(), self.spec.check) else { return };
        let lot = Lot { run: self.run, round: name.1, who: name.0 };
        let lot = Hash::of(&postcard::to_stdvec(&Signed::new(&self.identity, &lot)).expect("a signature has a form"));
        let number = |at: usize| u64::from(u32::from_le_bytes([0, 1, 2, 3].map(|byte| lot.0[at + byte])));
        let folded = self.referee.standing(&name.0).folded;
        let always = folded < check.first;
        // Both sides are exact: 2^32 fits an f64.
        if always || (number(0) as f64) < f64::from(check.rate) * 4_294_967_296.0 {
            let segments = commit.trace.segments.max(1);
            // The last one alone leads to the update, so it is asked for more often, and of a newcomer first of all.
            let is_last = folded == 0 || number(8) & 1 == 0;
            let segment = if is_last { segments - 1 } else { (number(4) % u64::from(segments)) as u8 };
            self.referee.replays.insert(name, Replay { commit, segment, state: State::Asked });
            self.send(name.0, ToContributor::Disclose { round: name.1, segment });
        }
    }

    /// A contributor is here again, and may not have heard what it was asked.
    pub(super) fn ask_again(&mut self, who: Id) {
        let asked = self.referee.replays.range((who, 0)..=(who, u64::MAX));
        let asked = asked.filter(|(_, replay)| replay.state == State::Asked);
        let asked: Vec<_> = asked.map(|((_, round), replay)| (*round, replay.segment)).collect();
        for (round, segment) in asked {
            self.send(who, ToContributor::Disclose { round, segment });
        }
    }

    pub(super) fn disclosed(&mut self, who: Id, round: u64, segment: u8, dossier: Option<BlobRef>) {
        let me = self.identity.id();
        let name = (who, round);
        let Some(replay) = self.referee.replays.get_mut(&name) else { return };
        if replay.segment != segment || replay.state != State::Asked {
            return;
        }
        match dossier.filter(BlobRef::is_bounded) {
            Some(dossier) => {
                replay.state = State::Running(dossier);
                let commit = replay.commit.clone();
                let oldest = round.saturating_sub(TRACE_ROUNDS - 1);
                let rounds = self.past.iter().filter(|past| (oldest..=round).contains(&past.round)).copied().collect();
                let before = self.updates.trace_before(&name);
                let order = ReplayOrder { who, commit, segment, before, dossier, rounds };
                self.out.push_back(Output::Replay(Box::new(order)));
            }
            None => {
                self.referee.replays.remove(&name);
                self.referee.findings.push(Found { name, by: me, tokens: 0, finding: Finding::Missing });
            }
        }
    }

    /// A segment was run again, or its dossier never came.
    pub(super) fn replayed(&mut self, name: Name, segment: u8, tokens: u64, finding: Option<Finding>) {
        let by = self.identity.id();
        let Some(replay) = self.referee.replays.get(&name) else { return };
        if replay.segment != segment || replay.state == State::Asked {
            return;
        }
        let tokens = tokens.min(replay.commit.tokens);
        self.referee.replays.remove(&name);
        if let Some(finding) = finding {
            self.referee.findings.push(Found { name, by, tokens, finding });
        }
    }

    /// Contributors whose work is not to be folded: of this settlement's findings, and of earlier ones.
    pub(super) fn struck(&self, findings: &[Found]) -> BTreeSet<Id> {
        let earlier = self.referee.standings.iter().filter(|(_, standing)| standing.struck).map(|(who, _)| *who);
        Found::wrong(findings).into_keys().chain(earlier).collect()
    }
}
