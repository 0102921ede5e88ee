//! What the coordinator says: every message is checked against what is known before it counts.

use super::{Contributor, Head, Link, OpenRound, Output, Purpose, Stage, Wish};
use crate::message::{FoldManifest, Open, Refusal, Roster, ToContributor, ToCoordinator, Welcome};
use crate::view::Verdict;
use crate::{BlobRef, Millis, Signed};

/// The longest a round can be, in milliseconds: a day, as in [`crate::spec::RunSpec::check`].
const LONGEST_ROUND: Millis = 86_400_000;

impl Contributor {
    pub(super) fn message(&mut self, now: Millis, message: ToContributor) {
        match message {
            ToContributor::Welcome(welcome) => self.welcome(now, *welcome),
            ToContributor::Refused(refusal) => self.refused(now, refusal),
            ToContributor::Open(open) => self.open(now, open),
            ToContributor::Verdict { round, refused } => {
                let verdict = refused.map_or(Verdict::Accepted, |why| Verdict::Refused { why: why.to_string() });
                self.history.verdict(round, verdict);
            }
            ToContributor::Folded(fold) => self.folded(&fold),
            ToContributor::Evaluated(evaluation) => self.history.evaluated(&evaluation),
            ToContributor::Roster(roster) => self.roster(roster),
            // Nobody is linked with from whoever has stopped.
            ToContributor::Links(_) if self.wish == Wish::Stop => {}
            ToContributor::Links(peers) => self.links.named(now, &peers),
        }
    }

    fn welcome(&mut self, now: Millis, welcome: Welcome) {
        if !matches!(self.link, Link::Greeting { .. }) {
            return;
        }
        let run = welcome.spec.id();
        if let Some(known) = self.run.or(self.config.run)
            && known != run
        {
            let refusal = Refusal::Run { ours: run, yours: known };
            return self.fail(refusal.to_string());
        }
        if let Err(error) = welcome.spec.check() {
            return self.fail(format!("The coordinator's run can't be trained here: {error}."));
        }
        if welcome.base.bytes != welcome.spec.model.params() * 4 {
            return self.fail("The coordinator's weights don't fit its model. Tell whoever runs it.".to_owned());
        }
        self.link = Link::Online;
        self.back_off.reset();
        if self.config.links {
            self.links.welcomed(now);
        }
        self.data_ref = Some(welcome.spec.data);
        self.run = Some(run);
        self.spec = Some(welcome.spec);
        self.history.caught_up(welcome.round, welcome.credits);
        welcome.evaluations.iter().for_each(|evaluation| self.history.evaluated(evaluation));
        self.move_head(welcome.round, welcome.base, None);
        if let Some(open) = welcome.open {
            self.open(now, open);
        }
        // The promise may not have got through; the coordinator takes the same one twice.
        if let Some(promise) = self.promise.as_ref().filter(|promise| promise.round == welcome.round) {
            self.out.push_back(Output::Send(ToCoordinator::Commit(promise.commit.clone())));
        }
    }

    fn refused(&mut self, now: Millis, refusal: Refusal) {
        if refusal.is_final() {
            return self.fail(format!("Not joined: {refusal}."));
        }
        self.out.push_back(Output::Hangup);
        self.disconnected(now, refusal.to_string());
    }

    fn open(&mut self, now: Millis, open: Open) {
        let Ok(manifest) = open.manifest.open(&self.config.coordinator) else {
            return self.history.notice("A round that the coordinator didn't sign was refused.");
        };
        if Some(manifest.run) != self.run {
            return;
        }
        let Some(head) = &self.head else { return };
        // What led to a later round didn't get here; the signed manifest says enough to go on from it.
        if manifest.round > head.round {
            let base = BlobRef { hash: manifest.base, bytes: head.base.bytes };
            self.move_head(manifest.round, base, None);
        }
        let Some(head) = &mut self.head else { return };
        if manifest.round != head.round || manifest.base != head.base.hash {
            return;
        }
        // The same round announced twice goes on; the same number with another seed begins again.
        if head.open.as_ref().is_some_and(|known| known.manifest == manifest) {
            return;
        }
        if self.promise.as_ref().is_some_and(|promise| promise.round == manifest.round) {
            self.promise = None;
        }
        let deadline = now.saturating_add(open.remaining_ms.min(LONGEST_ROUND));
        head.open = Some(OpenRound { manifest, deadline, stage: Stage::Announced });
    }

    fn folded(&mut self, fold: &Signed<FoldManifest>) {
        let Ok(manifest) = fold.open(&self.config.coordinator) else {
            return self.history.notice("A fold that the coordinator didn't sign was refused.");
        };
        let Some(head) = &self.head else { return };
        // After a later round than the known one its base can't be compared; the signature stands for it.
        let follows = manifest.round > head.round || (manifest.round, manifest.base) == (head.round, head.base.hash);
        let weights = head.base.bytes;
        if Some(manifest.run) != self.run || !follows || !manifest.is_bounded() || manifest.next.bytes != weights {
            return;
        }
        self.history.settled(&manifest, &self.config.identity.id());
        self.promise = None;
        self.move_head(manifest.round + 1, manifest.next, Some(manifest.step));
    }

    fn move_head(&mut self, round: u64, base: BlobRef, step: Option<BlobRef>) {
        if let Some(head) = &self.head {
            if (head.round, head.base) == (round, base) {
                return;
            }
            self.fetches.cancel(|purpose| matches!(purpose, Purpose::Snapshot | Purpose::Step { .. }));
            if self.promise.as_ref().is_some_and(|promise| promise.round < round) {
                self.promise = None;
            }
        }
        self.head = Some(Head { round, base, open: None, step });
    }

    fn roster(&mut self, roster: Roster) {
        self.history.roster = roster;
    }
}
