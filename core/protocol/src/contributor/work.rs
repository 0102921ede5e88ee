//! What comes back from the work that was asked for: fetched blobs and the trainer's reports.

use bytes::Bytes;

use super::{Base, Contributor, Link, Output, Promise, Purpose, Stage, Trainer, Wish, counts, hash_of};
use crate::check::TraceRef;
use crate::job::{Job, Report};
use crate::limits::MAX_SHARD;
use crate::message::{Commit, ToCoordinator};
use crate::view::Verdict;
use crate::{BlobRef, Hash, Millis, Signed};

impl Contributor {
    pub(super) fn fetched(&mut self, now: Millis, hash: Hash, result: Result<Bytes, String>) {
        // Whoever has stopped gives the trainer nothing to do; what is still wanted is due at the next start.
        if let Wish::Stop = self.wish {
            return;
        }
        // Another's work and this contributor's own may need the same blob.
        if let Ok(bytes) = &result {
            self.out.extend(self.witness.fetched(hash, bytes).map(Output::Job));
        }
        self.witness.fetches.done(now, hash, result.clone());
        let Some((blob, purpose, result)) = self.fetches.done(now, hash, result) else { return };
        let bytes = match result {
            Ok(bytes) => bytes,
            Err(why) => return self.history.notice(&format!("Fetching {purpose} failed ({why}); trying again.")),
        };
        match purpose {
            Purpose::Data => {
                let (Some(spec), Trainer::Off) = (&self.spec, &self.trainer) else { return };
                let (spec, me) = (Box::new(spec.clone()), self.config.identity.id());
                let start = Job::Start { spec, data: bytes, me, device: self.config.device };
                self.trainer = Trainer::Starting;
                self.out.push_back(Output::Job(start));
            }
            Purpose::Shard => self.out.push_back(Output::Job(Job::Shard { hash: blob.hash, bytes })),
            Purpose::Snapshot => {
                let Some(head) = self.head.as_ref().filter(|head| head.base == blob) else { return };
                self.base = Base::Coming { round: head.round, hash: hash_of(head) };
                self.out.push_back(Output::Job(Job::Base { round: head.round, hash, weights: bytes }));
            }
            Purpose::Step { round } => {
                let Some(head) = self.head.as_ref().filter(|head| head.round == round + 1) else { return };
                let next = hash_of(head);
                self.base = Base::Coming { round: round + 1, hash: next };
                self.out.push_back(Output::Job(Job::Fold { round, step: bytes, next }));
            }
            // Those have fetches of their own.
            Purpose::Evidence => {}
        }
    }

    pub(super) fn report(&mut self, report: Report) {
        match report {
            Report::Ready(device) => self.trainer = Trainer::Ready(device),
            Report::Based { round, hash } => {
                self.base = Base::At { round, hash };
                self.history.based(round, hash);
            }
            Report::Mismatch { round, got } => {
                let got = got.map_or_else(|| "nothing usable".to_owned(), |hash| hash.short());
                self.history.notice(&format!(
                    "Round {round}'s step led to {got} instead of the announced state; fetching the whole state."
                ));
                self.base = Base::None;
                if let Some(head) = &mut self.head {
                    head.step = None;
                }
            }
            Report::Need(blob) if blob.bytes <= MAX_SHARD => self.fetches.want(blob, Purpose::Shard),
            Report::Need(_) => {
                self.history.notice("The data manifest names a shard that is too large; it is left out.")
            }
            Report::Progress(progress) => {
                self.history.progress(&progress);
                self.progress = Some(progress);
            }
            Report::Update { round, base, update, tokens, loss_first, loss_last, trace } => {
                self.updated(round, base, update, tokens, [loss_first, loss_last], trace);
            }
            Report::Dossier { round, segment, dossier } => self.disclose(round, segment, dossier),
            Report::Lacks { dossier, blobs } => self.witness.lacks(&dossier, &blobs),
            Report::Replayed { dossier, tokens, finding } => self.witness.replayed(&dossier, tokens, finding),
            Report::Withheld { round, why } => {
                self.history.cut(round, 0, None, Verdict::Withheld { why });
                if self.cut_is_in(round) && matches!(self.link, Link::Online) {
                    self.out.push_back(Output::Send(ToCoordinator::Pass { round }));
                }
            }
            Report::Generated { id, state, bytes, tokens_per_s, end } => {
                self.written.take(id, state, &bytes, tokens_per_s, end);
            }
            // The host's, which asked for it.
            Report::Packed(_) => {}
            Report::Trouble { what, fatal: true } => {
                self.written.break_off(&what);
                // Start begins anew, with a trainer that is asked anew.
                self.trainer = Trainer::Off;
                self.base = Base::None;
                self.fail(what);
            }
            Report::Trouble { what, fatal: false } => self.history.notice(&what),
        }
    }

    fn updated(&mut self, round: u64, base: Hash, update: Bytes, tokens: u64, losses: [f32; 2], trace: TraceRef) {
        let Some(run) = self.run else { return };
        if !self.cut_is_in(round) && !self.cut_came_late(round) {
            return;
        }
        let blob = BlobRef::of(&update);
        let [loss_first, loss_last] = losses;
        let commit = Commit { run, round, base, update: blob, tokens, loss_first, loss_last, trace };
        let commit = Signed::new(&self.config.identity, &commit);
        self.history.cut(round, tokens, Some(loss_last), Verdict::Sent);
        self.out.push_back(Output::Offer(blob, update));
        if let Link::Online = self.link {
            self.out.push_back(Output::Send(ToCoordinator::Commit(commit.clone())));
        }
        self.promises.push_back(Promise { round, commit });
    }

    /// Shows a dossier to the coordinator, or says that there is none.
    fn disclose(&mut self, round: u64, segment: u8, dossier: Option<Bytes>) {
        let dossier = dossier.map(|bytes| {
            let blob = BlobRef::of(&bytes);
            self.out.push_back(Output::Offer(blob, bytes));
            blob
        });
        // If it is away it asks again.
        if let Link::Online = self.link {
            self.out.push_back(Output::Send(ToCoordinator::Disclosed { round, segment, dossier }));
        }
    }

    /// Whether the cut was asked for in a round that has folded since and that it still counts for.
    fn cut_came_late(&self, round: u64) -> bool {
        let first = self.promises.back().is_none_or(|newest| newest.round < round);
        first && self.head.as_ref().is_some_and(|head| round < head.round && counts(round, head.round))
    }

    /// Marks the open round as cut, if it is this one.
    fn cut_is_in(&mut self, round: u64) -> bool {
        match self.head.as_mut().and_then(|head| head.open.as_mut()) {
            Some(open) if open.manifest.round == round && open.stage == Stage::Cutting => {
                open.stage = Stage::Cut;
                true
            }
            _ => false,
        }
    }
}
