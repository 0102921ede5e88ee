//! Whose work is done again, and what follows from that.
//!
//! Enters: updates that have come, and dossiers. Leaves: orders to show a dossier and to get it, and findings for the
//! next settlement. A contributor that doesn't show what it is asked for in time has nothing to show. Who is asked, and
//! for what, nobody can foresee: it is drawn from a signature. Who runs it again is in [`super::witness`].

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tributary_ledger::Code;

use super::quality::Record;
use super::updates::Name;
use super::witness::Panel;
use super::{Coordinator, Output};
use crate::check::{Check, Finding, ReplayOrder, TRACE_ROUNDS};
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
    /// Whether its work, or what it vouched for, was proved not to be what it said.
    pub(super) struck: bool,
    /// Whether the coordinator found something else than it did as a witness: it is not asked again.
    pub(super) doubted: bool,
}

/// What running a segment again gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) name: Name,
    pub(super) by: Id,
    pub(super) tokens: u64,
    pub(super) finding: Finding,
}

#[derive(Debug)]
pub(super) struct Replay {
    pub(super) commit: Commit,
    pub(super) segment: u8,
    pub(super) lot: Lot,
    pub(super) state: State,
}

#[derive(Debug)]
pub(super) enum State {
    /// The contributor was or is to be asked for the dossier; but the coordinator was restarted meanwhile, so that it
    /// says nothing if it is not there, or doesn't have the dossier any more.
    Due,
    /// It was asked, or is asked again when it is here.
    Asked,
    /// The dossier is being fetched and looked at.
    Gathering(Box<ReplayOrder>),
    /// Witnesses run it.
    Witnessed(Panel),
    /// The coordinator runs it itself, after these.
    Running(Panel),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Referee {
    standings: BTreeMap<Id, Standing>,
    /// At most one an update whose replay may still be under way.
    pub(super) replays: BTreeMap<Name, Replay>,
    pub(super) findings: Vec<Found>,
    /// Witnesses found to be wrong that no settlement has written down yet.
    pub(super) doubted: BTreeSet<Id>,
    /// Dossiers that are or may be stored.
    pub(super) held: BTreeSet<Hash>,
}

/// What decides whether a promise is checked, where, and by whom: the hash of a signature, in words of 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lot(Hash);

/// What is signed for it.
#[derive(Serialize, Deserialize)]
struct LotBasis {
    run: Hash,
    round: u64,
    who: Id,
}

impl Signable for LotBasis {
    const CONTEXT: &'static str = "tributary replay v1";
}

impl Lot {
    /// A word of the eight.
    pub(super) fn word(&self, at: usize) -> u32 {
        u32::from_le_bytes([0, 1, 2, 3].map(|byte| self.0.0[4 * at + byte]))
    }

    /// Whether something is to happen that does so with this probability.
    pub(super) fn happens(&self, at: usize, probability: f32) -> bool {
        // Both sides are exact: 2^32 fits an f64.
        f64::from(self.word(at)) < f64::from(probability) * 4_294_967_296.0
    }
}

/// The words of a lot, and what each decides.
pub(super) mod word {
    /// Whether the promise is checked.
    pub(in super::super) const CHECK: usize = 0;
    /// In which segment.
    pub(in super::super) const SEGMENT: usize = 1;
    /// Whether by two witnesses.
    pub(in super::super) const TWO: usize = 2;
    /// Who is the first, and the second.
    pub(in super::super) const WHO: [usize; 2] = [3, 4];
    /// Whether the coordinator runs it after them in any case.
    pub(in super::super) const AGAIN: usize = 5;
    /// Whether in the last segment.
    pub(in super::super) const LAST: usize = 6;
}

impl Replay {
    /// The dossier that it needs.
    fn dossier(&self) -> Option<Hash> {
        match &self.state {
            State::Due | State::Asked => None,
            State::Gathering(order) => Some(order.dossier.hash),
            State::Witnessed(panel) | State::Running(panel) => Some(panel.order.dossier.hash),
        }
    }
}

impl Referee {
    pub(super) fn standing(&self, who: &Id) -> Standing {
        self.standings.get(who).copied().unwrap_or_default()
    }

    pub(super) fn set(&mut self, who: Id, standing: Standing) {
        self.standings.insert(who, standing);
    }

    /// Standings have changed: who is doubted in them is.
    pub(super) fn write_down(&mut self) {
        let Self { doubted, standings, .. } = self;
        doubted.retain(|who| !standings.get(who).is_some_and(|standing| standing.doubted));
    }

    /// What ended since the last settlement, for the next one.
    pub(super) fn take(&mut self) -> Vec<Found> {
        std::mem::take(&mut self.findings)
    }

    /// The settlement was not to be.
    pub(super) fn put_back(&mut self, findings: Vec<Found>) {
        self.findings.splice(0..0, findings);
    }

    /// Too few were left for a round. Silence is no proof, and must not keep those who are here from the next one.
    pub(super) fn put_back_proof(&mut self, mut findings: Vec<Found>) {
        findings.retain(|found| found.finding != Finding::Missing);
        self.put_back(findings);
    }

    /// A round is about to settle, and with it what it pays is one round older.
    pub(super) fn expire(&mut self, round: u64, check: &Check, me: Id) {
        let old = |origin: u64| origin + u64::from(check.settle) <= round;
        for (name, replay) in self.replays.extract_if(.., |(_, origin), _| old(*origin)) {
            // What is still running is late through no fault of the contributor.
            if let State::Asked = replay.state {
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
    /// Whose pay is forfeited because of these, for which round's work and why.
    pub(super) fn wrong(findings: &[Self]) -> BTreeMap<Id, (u64, Code)> {
        let different = findings.iter().filter(|found| found.finding == Finding::Different);
        let different: BTreeSet<Name> = different.map(|found| found.name).collect();
        let code = |found: &Self| match found.finding {
            Finding::Different => Some((found.name.0, Code::Different)),
            Finding::Missing => Some((found.name.0, Code::Missing)),
            Finding::Same => different.contains(&found.name).then_some((found.by, Code::Vouched)),
        };
        let mut by: BTreeMap<Id, (u64, Code)> = BTreeMap::new();
        for found in findings {
            let Some((who, code)) = code(found) else { continue };
            // Proof weighs more than silence.
            let known = by.entry(who).or_insert((found.name.1, code));
            if known.1 == Code::Missing {
                *known = (found.name.1, code);
            }
        }
        by
    }
}

impl Coordinator {
    /// An update is here: perhaps its maker is asked how it got there.
    pub(super) fn draw(&mut self, name: Name) {
        if self.referee.replays.contains_key(&name) {
            return;
        }
        if let Some(segment) = self.drawn(name, State::Asked) {
            self.send(name.0, ToContributor::Disclose { round: name.1, segment });
        }
    }

    /// After a restart: work that counts already and was to be run again still is, as long as its maker keeps what it
    /// has to show, which is two rounds.
    pub(super) fn draw_again(&mut self) {
        for name in self.updates.folded_since(self.round.saturating_sub(1)) {
            if !self.book.ledger().is_replayed(name.1, &name.0.0) {
                self.drawn(name, State::Due);
            }
        }
    }

    /// Draws whether an update is checked, and in which segment.
    fn drawn(&mut self, name: Name, state: State) -> Option<u8> {
        let (commit, check) = (self.updates.commit(&name).cloned()?, self.spec.check);
        let basis = LotBasis { run: self.run, round: name.1, who: name.0 };
        let signed = Signed::new(&self.identity, &basis);
        let lot = Lot(Hash::of(&postcard::to_stdvec(&signed).expect("a signature has a form")));
        // One that counts already is itself among those that were folded.
        let itself = u32::from(matches!(state, State::Due));
        let folded = self.referee.standing(&name.0).folded.saturating_sub(itself);
        let always = folded < check.first;
        if !always && !lot.happens(word::CHECK, check.rate) {
            return None;
        }
        let segments = commit.trace.segments.max(1);
        // The last one alone leads to the update, so it is asked for more often, and of a newcomer first of all.
        let is_last = folded == 0 || lot.word(word::LAST) & 1 == 0;
        let segment = if is_last { segments - 1 } else { (lot.word(word::SEGMENT) % u32::from(segments)) as u8 };
        self.referee.replays.insert(name, Replay { commit, segment, lot, state });
        Some(segment)
    }

    /// A contributor is here again, and may not have heard what it was asked.
    pub(super) fn ask_again(&mut self, who: Id) {
        let mut asked = Vec::new();
        for ((_, round), replay) in self.referee.replays.range((who, 0)..=(who, u64::MAX)) {
            if let State::Due | State::Asked = replay.state {
                asked.push((*round, replay.segment));
            }
        }
        for (round, segment) in asked {
            self.send(who, ToContributor::Disclose { round, segment });
        }
    }

    pub(super) fn disclosed(&mut self, who: Id, round: u64, segment: u8, dossier: Option<BlobRef>) {
        let (me, name) = (self.identity.id(), (who, round));
        let Some(replay) = self.referee.replays.get_mut(&name) else { return };
        let was_asked = matches!(replay.state, State::Asked);
        if replay.segment != segment || !(was_asked || matches!(replay.state, State::Due)) {
            return;
        }
        let Some(dossier) = dossier.filter(BlobRef::is_bounded) else {
            self.referee.replays.remove(&name);
            if was_asked {
                self.referee.findings.push(Found { name, by: me, tokens: 0, finding: Finding::Missing });
            }
            return;
        };
        let commit = replay.commit.clone();
        // The oldest of them may have begun with data of the round before.
        let oldest = round.saturating_sub(TRACE_ROUNDS);
        let rounds = self.past.iter().filter(|past| (oldest..=round).contains(&past.round)).copied().collect();
        let before = self.updates.trace_before(&name);
        let order = Box::new(ReplayOrder { who, commit, segment, before, dossier, rounds });
        replay.state = State::Gathering(order.clone());
        self.referee.held.insert(dossier.hash);
        self.out.push_back(Output::Gather(order));
    }

    /// Lets go of dossiers that nobody needs any more.
    pub(super) fn release(&mut self) {
        let Referee { held, replays, .. } = &mut self.referee;
        if held.is_empty() {
            return;
        }
        let needed: BTreeSet<Hash> = replays.values().filter_map(Replay::dossier).collect();
        let gone = held.extract_if(.., |dossier| !needed.contains(dossier));
        self.out.extend(gone.map(Output::Discard));
    }

    /// Contributors whose work is not to be folded: of this settlement's findings, and of earlier ones.
    pub(super) fn struck(&self, findings: &[Found]) -> BTreeSet<Id> {
        let earlier = self.referee.standings.iter().filter(|(_, standing)| standing.struck).map(|(who, _)| *who);
        Found::wrong(findings).into_keys().chain(earlier).collect()
    }
}
