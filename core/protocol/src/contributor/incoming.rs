//! What the coordinator says: every message is checked against what is known before it counts.

use super::{Contributor, Head, Link, OpenRound, Output, Purpose, Stage, Trainer, Wish, counts};
use crate::job::Job;
use crate::message::{FoldManifest, Open, Refusal, Roster, ToContributor, ToCoordinator, Verdict, Welcome};
use crate::view;
use crate::{BlobRef, Millis, Signed};

/// The longest a round can be, in milliseconds: a day, as in [`crate::spec::RunSpec::check`].
const LONGEST_ROUND: Millis = 86_400_000;

impl Contributor {
    pub(super) fn message(&mut self, now: Millis, message: ToContributor) {
        match message {
            ToContributor::Welcome(welcome) => self.welcome(now, *welcome),
            ToContributor::Refused(refusal) => self.refused(now, refusal),
            ToContributor::Open(open) => self.open(now, open),
            ToContributor::Verdict { round, verdict } => self.verdict(round, verdict),
            ToContributor::Disclose { round, segment } => self.out.push_back(match self.trainer {
                Trainer::Ready(_) => Output::Job(Job::Disclose { round, segment }),
                Trainer::Off | Trainer::Starting => {
                    Output::Send(ToCoordinator::Disclosed { round, segment, dossier: None })
                }
            }),
            ToContributor::Witness(order) => self.order(&order),
            ToContributor::Folded(fold) => self.folded(&fold),
            ToContributor::Evaluated(evaluation) => self.history.evaluated(&evaluation),
            ToContributor::Receipt(receipt) => {
                let Some(terms) = self.terms() else { return };
                let seen = self.receipts.seen();
                if let Some(size) = seen.filter(|_| receipt.since != seen) {
                    // It crossed what this contributor said that it knows, or never heard it.
                    return self.out.push_back(Output::Send(ToCoordinator::Seen(size)));
                }
                if let Some(bytes) = self.receipts.take(&terms, &receipt) {
                    self.out.push_back(Output::Remember(bytes));
                    self.gossip();
                }
            }
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
        self.receipts.of_run(&run);
        self.data_ref = Some(welcome.spec.data);
        self.run = Some(run);
        self.spec = Some(welcome.spec);
        self.history.caught_up(welcome.round, welcome.credits);
        welcome.evaluations.iter().for_each(|evaluation| self.history.evaluated(evaluation));
        self.move_head(welcome.round, welcome.base, None);
        if let Some(open) = welcome.open {
            self.open(now, open);
        }
        // What was promised may not have got through; the coordinator takes the same promise twice, and says so
        // if it has folded it.
        let again = self.promises.iter().map(|promise| Output::Send(ToCoordinator::Commit(promise.commit.clone())));
        self.out.extend(again);
    }

    fn verdict(&mut self, round: u64, verdict: Verdict) {
        let (is_final, shown) = match verdict {
            // A coordinator that is restored needs to be told again whose updates it had.
            Verdict::Received => (false, view::Verdict::Accepted),
            Verdict::Folded { credits } => (true, view::Verdict::Credited { credits }),
            Verdict::Refused(why) => (true, view::Verdict::Refused { why: why.to_string() }),
        };
        if is_final {
            self.promises.retain(|promise| promise.round != round);
        }
        self.history.verdict(round, shown);
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
        self.promises.retain(|promise| promise.round != manifest.round);
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
        let me = self.config.identity.id();
        self.history.settled(&manifest, &me);
        let share = manifest.shares().into_iter().find(|share| share.who == me.0);
        self.receipts.due(manifest.round, share.map_or(0, |share| share.amount));
        for accepted in manifest.accepted.iter().filter(|accepted| accepted.peer == me) {
            let origin = manifest.origin(accepted);
            self.promises.retain(|promise| promise.round != origin);
        }
        self.move_head(manifest.round + 1, manifest.next, Some(manifest.step));
    }

    fn move_head(&mut self, round: u64, base: BlobRef, step: Option<BlobRef>) {
        if let Some(head) = &self.head {
            if (head.round, head.base) == (round, base) {
                return;
            }
            self.fetches.cancel(|purpose| matches!(purpose, Purpose::Snapshot | Purpose::Step { .. }));
            self.promises.retain(|promise| counts(promise.round, round));
        }
        self.head = Some(Head { round, base, open: None, step });
    }

    fn roster(&mut self, roster: Roster) {
        self.history.roster = roster;
    }
}
