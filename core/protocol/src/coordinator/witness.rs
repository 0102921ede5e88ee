//! Who runs a segment again: other contributors, and the coordinator itself where their word is not enough.
//!
//! Enters: dossiers that are here, and what witnesses and the coordinator's own device say of them. Leaves: orders to run
//! a segment, and findings. Refuses the word of whoever was not asked, and a witness's word alone against anybody:
//! what it calls different, the coordinator runs itself, and so it does, by lot, with what it calls the same. A witness
//! that says nothing is not waited for longer than a round.

use super::referee::{Found, Lot, Replay, State, word};
use super::updates::Name;
use super::{Coordinator, Output};
use crate::check::{Finding, ReplayOrder};
use crate::message::ToContributor;
use crate::{Hash, Id, Signed};

/// The probability that two are asked: of a third of witnesses that collude, two seldom are both.
const TWO: f32 = 0.25;

/// The probability that the coordinator runs again what nobody found anything wrong with: an eighth of the work that it
/// would have without witnesses, and what a third that vouch for each other gain by it is little (see ARCHITECTURE.md).
const AGAIN: f32 = 0.125;

/// Rounds that must be left until a finding comes too late: what is left of the running one and the next for the
/// witnesses, and one for the coordinator if they say nothing.
const LEFT: u64 = 3;

/// A segment, and who was asked to run it.
#[derive(Debug, Clone)]
pub(super) struct Panel {
    pub(super) order: Box<ReplayOrder>,
    /// What it takes, as the dossier has it.
    tokens: u64,
    /// The newest round when they were asked.
    since: u64,
    /// The witnesses, without those who couldn't run it.
    seats: Vec<Seat>,
}

#[derive(Debug, Clone, Copy)]
enum Seat {
    /// It has not answered.
    Silent(Id),
    /// It has.
    Said(Id, Finding),
}

impl Seat {
    fn said(&self) -> Option<(Id, Finding)> {
        if let Seat::Said(by, finding) = self { Some((*by, *finding)) } else { None }
    }
}

impl Panel {
    /// What was said, as findings.
    fn words(&self, name: Name) -> impl Iterator<Item = Found> + '_ {
        let said = self.seats.iter().filter_map(Seat::said);
        said.map(move |(by, finding)| Found { name, by, tokens: self.tokens, finding })
    }

    /// Whether everybody has answered and nobody found anything wrong.
    fn is_clean(&self) -> bool {
        !self.seats.is_empty() && self.seats.iter().all(|seat| matches!(seat, Seat::Said(_, Finding::Same)))
    }
}

impl Coordinator {
    /// A dossier is here, with so many tokens to be trained again; or there is no use in running it.
    pub(super) fn gathered(&mut self, name: Name, dossier: Hash, result: Result<u64, Option<Finding>>) {
        let by = self.identity.id();
        // It may have come after nobody wanted it any more.
        self.referee.held.insert(dossier);
        let Some(replay) = self.referee.replays.get(&name) else { return };
        let State::Gathering(order) = &replay.state else { return };
        if order.dossier.hash != dossier {
            return;
        }
        match result {
            Ok(tokens) => {
                let (order, lot) = (order.clone(), replay.lot);
                let tokens = tokens.min(replay.commit.tokens);
                let witnesses = self.witnesses(&name, lot);
                let seats = witnesses.iter().map(|by| Seat::Silent(*by)).collect();
                let panel = Panel { order, tokens, since: self.round, seats };
                if !witnesses.is_empty() {
                    let order = Box::new(Signed::new(&self.identity, &*panel.order));
                    let message = Box::new(ToContributor::Witness(order));
                    self.out.push_back(Output::Send { to: witnesses, message });
                }
                self.hear(name, panel);
            }
            Err(finding) => {
                self.referee.replays.remove(&name);
                self.referee.findings.extend(finding.map(|finding| Found { name, by, tokens: 0, finding }));
            }
        }
    }

    /// Draws the witnesses of a replay from those who can and may be.
    fn witnesses(&self, (who, origin): &Name, lot: Lot) -> Vec<Id> {
        let check = &self.spec.check;
        if self.round + LEFT > origin + u64::from(check.settle) {
            return Vec::new();
        }
        let may = |id: &Id| {
            let standing = self.referee.standing(id);
            let is_known = standing.folded >= check.first && !standing.struck;
            is_known && !standing.doubted && !self.referee.doubted.contains(id)
        };
        let able = self.peers.iter().filter(|(id, peer)| peer.witness && *id != who && may(id));
        let mut able: Vec<Id> = able.map(|(id, _)| *id).collect();
        let mut drawn = Vec::new();
        for at in word::WHO.into_iter().take(if lot.happens(word::TWO, TWO) { 2 } else { 1 }) {
            if !able.is_empty() {
                drawn.push(able.swap_remove(lot.word(at) as usize % able.len()));
            }
        }
        drawn
    }

    /// A witness says what came out, or that nothing did.
    pub(super) fn witnessed(&mut self, by: Id, name: Name, segment: u8, finding: Option<Finding>) {
        let Some(replay) = self.referee.replays.get_mut(&name).filter(|replay| replay.segment == segment) else {
            return;
        };
        let State::Witnessed(panel) = &mut replay.state else { return };
        let asked = panel.seats.iter().position(|seat| matches!(seat, Seat::Silent(of) if *of == by));
        let Some(at) = asked else { return };
        match finding {
            Some(finding @ (Finding::Same | Finding::Different)) => panel.seats[at] = Seat::Said(by, finding),
            // What it cannot run says nothing of the work: the dossier was here.
            Some(Finding::Missing) | None => drop(panel.seats.remove(at)),
        }
        let panel = panel.clone();
        self.hear(name, panel);
    }

    /// Waits for witnesses, or takes their word, or has the coordinator run it.
    fn hear(&mut self, name: Name, panel: Panel) {
        let Some(replay) = self.referee.replays.get_mut(&name) else { return };
        if panel.seats.iter().any(|seat| matches!(seat, Seat::Silent(_))) {
            replay.state = State::Witnessed(panel);
        } else if panel.is_clean() && !replay.lot.happens(word::AGAIN, AGAIN) {
            self.referee.replays.remove(&name);
            self.referee.findings.extend(panel.words(name));
        } else {
            self.out.push_back(Output::Replay(panel.order.clone()));
            replay.state = State::Running(panel);
        }
    }

    /// A round is about to settle: witnesses that were asked before it opened are not waited for any more.
    pub(super) fn hear_overdue(&mut self, round: u64) {
        let overdue = |(name, replay): (&Name, &Replay)| match &replay.state {
            State::Witnessed(panel) if panel.since < round => Some((*name, panel.clone())),
            _ => None,
        };
        let overdue: Vec<_> = self.referee.replays.iter().filter_map(overdue).collect();
        for (name, mut panel) in overdue {
            panel.seats.retain(|seat| seat.said().is_some());
            self.hear(name, panel);
        }
    }

    /// The coordinator has run a segment itself: its finding counts, and so does the word of those who agree.
    pub(super) fn replayed(&mut self, name: Name, segment: u8, tokens: u64, finding: Option<Finding>) {
        let me = self.identity.id();
        let Some(replay) = self.referee.replays.get(&name).filter(|replay| replay.segment == segment) else { return };
        let (State::Running(_), most) = (&replay.state, replay.commit.tokens) else { return };
        let Some(State::Running(panel)) = self.referee.replays.remove(&name).map(|replay| replay.state) else { return };
        let Some(finding) = finding else {
            // The coordinator can't tell. What nobody found anything wrong with stands.
            if panel.is_clean() {
                self.referee.findings.extend(panel.words(name));
            }
            return;
        };
        for said in panel.words(name) {
            if said.finding == finding {
                self.referee.findings.push(said);
                continue;
            }
            self.referee.doubted.insert(said.by);
            // That it vouched is written down. A wrong accusation is no finding: devices may differ.
            if said.finding == Finding::Same {
                self.referee.findings.push(Found { tokens: 0, ..said });
            }
        }
        self.referee.findings.push(Found { name, by: me, tokens: tokens.min(most), finding });
    }
}
