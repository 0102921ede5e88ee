//! How a round closes: judged, folded, settled, or void.
//!
//! Enters: time, and what became of the fold. Leaves: a plan to fold, the settled round with its batch of entries and
//! receipts, or the round opened again. Refuses to fold without a quorum of work that counts.

use tributary_ledger::Code;

use super::judge::{Counts, Judged};
use super::plan::{self, FoldPlan};
use super::referee::{Found, Standing};
use super::round::{Folding, Round, Stage};
use super::updates::{Name, Received};
use super::{Coordinator, Event, Output, Peer, rule};
use crate::message::{FoldManifest, Reason, ToContributor};
use crate::{BlobRef, Id, Millis, Signed};

impl Coordinator {
    pub(super) fn folded(&mut self, round: u64, step: BlobRef, next: BlobRef, momentum: BlobRef) {
        let Stage::Folding(folding) = &self.stage else { return };
        if folding.round() != round || self.round != round {
            return;
        }
        let manifest = FoldManifest {
            run: self.run,
            round,
            base: self.base.hash,
            accepted: folding.accepted.clone(),
            rate: folding.rate,
            step,
            next,
            pool: self.pool_for_work(&folding.findings),
            probe: self.probe_seed(round),
        };
        let fold = Signed::new(&self.identity, &manifest);
        let Stage::Folding(Folding { open, findings, standings, .. }) = std::mem::take(&mut self.stage) else { return };
        let entries = self.write_batch(&open.manifest, &open.signed, &fold, &manifest, &findings);
        let entries = entries.expect("what a round did follows from what the rounds before it did");
        self.sign_book();
        let event = Event::Settled { fold: fold.clone(), momentum, standings: standings.clone() };
        self.out.push_back(Output::Journal { event, entries });
        let late = self.settle(&manifest, momentum, standings);
        late.into_iter().for_each(|name| self.refuse_update(name, Reason::Late));
        self.stats.accepted += manifest.accepted.len() as u64;
        self.send_all(ToContributor::Folded(fold));
        self.send_receipts();
        self.out.push_back(Output::Evaluate { round: self.round, base: self.base });
    }

    pub(super) fn fold_failed(&mut self, round: u64, peer: Id, age: u8, why: Reason) {
        if let Some(findings) = self.stage.reopen(round, &peer, age) {
            self.referee.put_back(findings);
            self.refuse_update((peer, round - u64::from(age)), why);
        }
    }

    /// Moves the head on; returns the updates that were never folded and are too old now. The same for a round
    /// that has just folded and for one in the journal.
    pub(super) fn settle(
        &mut self,
        manifest: &FoldManifest,
        momentum: BlobRef,
        standings: Vec<(Id, Standing)>,
    ) -> Vec<Name> {
        standings.into_iter().for_each(|(who, standing)| self.referee.set(who, standing));
        self.referee.write_down();
        self.round += 1;
        self.base = manifest.next;
        self.momentum = Some(momentum);
        self.stage = Stage::Idle;
        self.updates.settled(manifest)
    }

    /// The round's pool less the witnesses' part.
    fn pool_for_work(&self, findings: &[Found]) -> u64 {
        let (me, wrong) = (self.identity.id(), Found::wrong(findings));
        let paid = findings.iter().filter(|found| found.by != me && !wrong.contains_key(&found.by));
        let witnessed = paid.map(|found| found.tokens).sum();
        rule(&self.spec).parts(witnessed).0
    }

    /// Opens, closes and folds rounds as time and peers allow.
    pub(super) fn advance(&mut self, now: Millis) {
        if let Stage::Idle = self.stage
            && self.peers_suffice()
        {
            self.open(now);
        }
        let Stage::Open(open) = &mut self.stage else { return };
        let (peers, updates, round) = (&self.peers, &self.updates, self.round);
        let all_in = || {
            let is_in = |(id, peer): (&Id, &Peer)| peer.passed == Some(round) || updates.is_resolved(id, round);
            !peers.is_empty() && peers.iter().all(is_in) && !updates.is_awaited(round)
        };
        if !open.is_over(now, all_in) {
            return;
        }
        match std::mem::take(&mut self.stage) {
            Stage::Open(open) if self.has_quorum() => self.fold(now, open),
            _ => self.void(now),
        }
    }

    /// Judges what there is and folds what is left of it.
    fn fold(&mut self, now: Millis, open: Round) {
        let (round, me) = (self.round, self.identity.id());
        let check = self.spec.check;
        self.hear_overdue(round);
        self.referee.expire(round, &check, me);
        let findings = self.referee.take();
        let Judged { kept, refused, mut standings } = self.judge(round, &findings);
        for (name, why) in refused {
            self.refuse_update(name, why);
        }
        let judged = self.updates.received(round).into_iter().filter_map(|update| {
            let Counts { tokens, say, quality } = *kept.get(&(update.peer, round - u64::from(update.age)))?;
            Some((Received { tokens, say, ..update }, quality))
        });
        let judged: Vec<_> = judged.collect();
        let contributors = plan::contributors(judged.iter().map(|(update, _)| update.peer));
        let accepted = plan::accept(&judged);
        if contributors < self.spec.round.quorum as usize {
            self.referee.put_back_proof(findings);
            return self.void(now);
        }
        for (who, (_, code)) in Found::wrong(&findings) {
            let standing = standings.entry(who).or_insert(self.referee.standing(&who));
            standing.folded = 0;
            standing.struck |= code != Code::Missing;
        }
        for who in &self.referee.doubted {
            standings.entry(*who).or_insert(self.referee.standing(who)).doubted = true;
        }
        // Not by who is in this fold: whoever missed a round comes with the work of two.
        let rate = self.spec.outer.rate(self.updates.makers().max(contributors));
        let (base, momentum, outer) = (self.base, self.momentum, self.spec.outer.clone());
        let plan = FoldPlan { round, base, momentum, accepted: accepted.clone(), outer, rate };
        self.out.push_back(Output::Fold(plan));
        let standings = standings.into_iter().collect();
        self.stage = Stage::Folding(Folding { open, accepted, rate, findings, standings });
    }

    pub(super) fn has_quorum(&self) -> bool {
        plan::contributors(self.updates.received(self.round).iter().map(|update| update.peer))
            >= self.spec.round.quorum as usize
    }

    /// The round goes again, under its number, once there are contributors for it.
    fn void(&mut self, now: Millis) {
        for name in self.updates.void(self.round) {
            self.refuse_commit(name, Reason::Unavailable);
        }
        self.docket.void(self.round);
        self.referee.void(self.round);
        if self.peers_suffice() {
            self.open(now);
        }
    }

    pub(super) fn peers_suffice(&self) -> bool {
        self.peers.len() >= self.spec.round.quorum as usize
    }

    fn open(&mut self, now: Millis) {
        let round = Round::open(&self.identity, &self.spec, self.run, self.round, self.base.hash, now);
        self.journal(Event::Opened(round.signed.clone()));
        self.send_all(ToContributor::Open(round.announcement(now)));
        self.peers.values_mut().for_each(|peer| peer.passed = None);
        self.opened(round);
    }
}
