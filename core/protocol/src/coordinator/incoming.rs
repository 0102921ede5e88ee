//! What contributors say: checked before it counts, refused with a reason, and counted.

use super::round::Stage;
use super::{Coordinator, Event, Output, Peer};
use crate::limits::{MAX_CONTRIBUTORS, MAX_REFUSALS};
use crate::message::{
    Commit, Hello, Reason, Refusal, STATUS_EVERY_MS, Status, ToContributor, ToCoordinator, Welcome, bounded_text,
};
use crate::{Id, Millis, PROTOCOL_VERSION, Signed, update};

impl Coordinator {
    pub(super) fn message(&mut self, now: Millis, from: Id, message: ToCoordinator) {
        // Its connection is being closed.
        if self.refusals.get(&from).is_some_and(|count| *count >= MAX_REFUSALS) {
            return;
        }
        match message {
            ToCoordinator::Hello(hello) => self.hello(now, from, hello),
            _ if !self.peers.contains_key(&from) => self.refuse_frame(from, "a message came before the hello"),
            ToCoordinator::Status(status) => self.status(now, from, status),
            ToCoordinator::Commit(commit) => self.commit(now, from, commit),
            ToCoordinator::Pass { round } => {
                if let Some(peer) = self.peers.get_mut(&from) {
                    peer.passed = Some(round);
                }
            }
        }
    }

    fn hello(&mut self, now: Millis, from: Id, hello: Hello) {
        let refusal = if hello.version != PROTOCOL_VERSION {
            Some(Refusal::Version { ours: PROTOCOL_VERSION, yours: hello.version })
        } else if let Some(yours) = hello.run.filter(|run| *run != self.run) {
            Some(Refusal::Run { ours: self.run, yours })
        } else if self.peers.len() >= MAX_CONTRIBUTORS && !self.peers.contains_key(&from) {
            Some(Refusal::Full(MAX_CONTRIBUTORS as u32))
        } else {
            None
        };
        if let Some(refusal) = refusal {
            self.forget(&from);
            self.refusals.insert(from, MAX_REFUSALS);
            self.send(from, ToContributor::Refused(refusal));
            self.out.push_back(Output::Drop(from));
            return;
        }
        let peer = Peer {
            kind: hello.kind,
            status: None,
            status_at: None,
            passed: None,
            refused: None,
            links: hello.links,
            told: None,
        };
        self.linking.change();
        if self.peers.insert(from, peer).is_some() {
            self.refuse_frame(from, "a second hello came on one connection");
            if !self.peers.contains_key(&from) {
                return;
            }
        }
        let welcome = Welcome {
            spec: self.spec.clone(),
            round: self.round,
            base: self.base,
            open: self.stage.open_round().map(|round| round.announcement(now)),
            credits: self.ledger.balance(&from.0),
            evaluations: self.evaluations.iter().copied().collect(),
        };
        self.send(from, ToContributor::Welcome(Box::new(welcome)));
        // Its update may not have got through on the last connection.
        if let Some(update) = self.stage.open_round_mut().and_then(|round| round.refetch(&from)) {
            self.out.push_back(Output::Fetch { from, update });
        }
    }

    fn status(&mut self, now: Millis, from: Id, status: Status) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        // Half the interval: a sender that keeps to it may still arrive bunched.
        if peer.status_at.is_some_and(|at| now < at + STATUS_EVERY_MS / 2) {
            return;
        }
        peer.status_at = Some(now);
        peer.status = Some(status);
    }

    fn commit(&mut self, now: Millis, from: Id, signed: Signed<Commit>) {
        let Ok(commit) = signed.open(&from) else {
            self.stats.refused.entry(Reason::Forged).and_modify(|n| *n += 1).or_insert(1);
            return self.refuse_frame(from, &Reason::Forged.to_string());
        };
        let round = commit.round;
        let most = |format| update::max_bytes(format, self.spec.model.params());
        let max_bytes = self.spec.sent_formats().map(most).into_iter().fold(0, u64::max);
        let verdict = match &mut self.stage {
            Stage::Open(open) => open.admit(now, from, &commit, max_bytes),
            Stage::Folding(folding) if folding.round() == round && folding.is_planned(&from, &commit.update.hash) => {
                Ok(None)
            }
            // A commit for a round that has closed, void or folded, came late; any other is foreign.
            Stage::Folding(folding) if folding.round() == round => Err(Reason::Late),
            _ if round <= self.round => Err(Reason::Late),
            _ => Err(Reason::WrongRound),
        };
        match verdict {
            Ok(Some(update)) => {
                self.out.push_back(Output::Journal(Event::Committed { from, commit: signed }));
                self.out.push_back(Output::Fetch { from, update });
            }
            // The same commit again: the sender didn't hear of it, or the network doubled it.
            Ok(None) => {}
            Err(reason) => {
                self.refuse_commit(from, round, reason);
                if !self.is_forgivable(from, round, reason) {
                    self.refuse_frame(from, &reason.to_string());
                }
            }
        }
    }

    /// Whether a commit was refused for what happens to an honest contributor: once a round it comes
    /// too late, or again after the contributor has lost its memory.
    fn is_forgivable(&mut self, from: Id, round: u64, reason: Reason) -> bool {
        let Some(peer) = self.peers.get_mut(&from) else { return false };
        let first = peer.refused.is_none_or(|known| known < round);
        peer.refused = peer.refused.max(Some(round));
        first && matches!(reason, Reason::Late | Reason::Full | Reason::Twice)
    }

    pub(super) fn refuse_commit(&mut self, peer: Id, round: u64, reason: Reason) {
        *self.stats.refused.entry(reason).or_default() += 1;
        self.send(peer, ToContributor::Verdict { round, refused: Some(reason) });
    }

    pub(super) fn refuse_frame(&mut self, from: Id, why: &str) {
        self.stats.bad_frames += 1;
        let count = self.refusals.entry(from).or_default();
        *count += 1;
        if *count == MAX_REFUSALS {
            self.stats.dropped += 1;
            self.forget(&from);
            let refusal = Refusal::Misbehaved(bounded_text(why));
            self.send(from, ToContributor::Refused(refusal));
            self.out.push_back(Output::Drop(from));
        }
    }
}
