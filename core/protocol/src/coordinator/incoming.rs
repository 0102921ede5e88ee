//! What contributors say: checked before it counts, refused with a reason, and counted.

use super::round::Stage;
use super::updates::{Admitted, Name};
use super::{Coordinator, Event, Output, Peer};
use crate::limits::{MAX_CONTRIBUTORS, MAX_REFUSALS};
use crate::message::{
    Commit, Hello, Reason, Refusal, STATUS_EVERY_MS, Status, ToContributor, ToCoordinator, Verdict, Welcome,
    bounded_text,
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
            ToCoordinator::Seen(size) => {
                if let Some(peer) = self.peers.get_mut(&from).filter(|peer| peer.seen != Some(size)) {
                    peer.seen = Some(size);
                    self.send_receipt(from);
                }
            }
            ToCoordinator::Disclosed { round, segment, dossier } => self.disclosed(from, round, segment, dossier),
            ToCoordinator::Witnessed { who, round, segment, finding } => {
                self.witnessed(from, (who, round), segment, finding);
            }
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
            witness: hello.witness,
            told: None,
            seen: hello.seen,
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
            credits: self.book.ledger().balance(&from.0).paid(),
            evaluations: self.evaluations.iter().copied().collect(),
        };
        self.send(from, ToContributor::Welcome(Box::new(welcome)));
        // Its updates may not have got through on the last connection.
        for (name, update) in self.updates.refetch(from) {
            self.fetch(name, update);
        }
        self.ask_again(from);
        self.send_receipt(from);
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
        let origin = commit.round;
        match self.admit(now, from, &commit) {
            Ok(Admitted::New) => {
                self.docket.submit((from, origin), signed.clone());
                self.journal(Event::Committed { from, commit: signed });
                self.fetch((from, origin), commit.update);
            }
            Ok(Admitted::Known(verdict)) => {
                if let Some(verdict) = verdict {
                    self.tell(from, origin, verdict);
                }
            }
            Err(reason) => {
                self.refuse_commit((from, origin), reason);
                if !self.is_forgivable(from, origin, reason) {
                    self.refuse_frame(from, &reason.to_string());
                }
            }
        }
    }

    /// Takes a commit for the open round, or for one that has folded and whose updates still count.
    fn admit(&mut self, now: Millis, from: Id, commit: &Commit) -> Result<Admitted, Reason> {
        if commit.round > self.round {
            return Err(Reason::WrongRound);
        }
        // Without a base the round is too old, or void.
        let base = self.updates.base(commit.round).ok_or(Reason::Late)?;
        let most = |format| update::max_bytes(format, self.spec.model.params());
        let most = self.spec.forms_of(commit.tokens).map(most).into_iter().fold(0, u64::max);
        commit.check(&self.run, &base, most)?;
        if self.referee.standing(&from).struck {
            return Err(Reason::Struck);
        }
        if let Some(known) = self.updates.known(from, commit)? {
            return Ok(known);
        }
        let round = match &self.stage {
            // What is folded now is decided; the next one can have it.
            Stage::Folding(_) => self.round + 1,
            // The grace is over and the round about to close. If it will be void, so is what was made for it.
            Stage::Open(open) if open.is_past(now) && !self.has_quorum() => return Err(Reason::Late),
            Stage::Open(_) | Stage::Idle => self.round,
        };
        self.updates.admit(from, commit, round)?;
        Ok(Admitted::New)
    }

    /// Whether a commit was refused for what happens to an honest contributor: once a round it comes
    /// too late, or again after the contributor has lost its memory.
    fn is_forgivable(&mut self, from: Id, round: u64, reason: Reason) -> bool {
        let Some(peer) = self.peers.get_mut(&from) else { return false };
        let first = peer.refused.is_none_or(|known| known < round);
        peer.refused = peer.refused.max(Some(round));
        first && matches!(reason, Reason::Late | Reason::Full | Reason::Twice | Reason::Struck)
    }

    /// An update that was promised does not count: its maker is told, and it is written down.
    pub(super) fn refuse_update(&mut self, name: Name, reason: Reason) {
        self.updates.refuse(name, reason);
        self.docket.refuse(name, reason);
        self.referee.forget(&name);
        self.refuse_commit(name, reason);
    }

    pub(super) fn refuse_commit(&mut self, (peer, origin): Name, reason: Reason) {
        *self.stats.refused.entry(reason).or_default() += 1;
        self.tell(peer, origin, Verdict::Refused(reason));
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
