//! What there should be, asked for.

use super::links::Due;
use super::{Base, Contributor, Head, Link, Output, Purpose, Stage, Trainer, Wish, hash_of};
use crate::Millis;
use crate::job::Job;
use crate::message::{STATUS_EVERY_MS, Status, ToCoordinator, bounded_text};

impl Contributor {
    /// Asks for the difference between what there is and what there should be.
    pub(super) fn advance(&mut self, now: Millis) {
        if let Wish::Finish { round, until } = self.wish {
            let passed = self.head.as_ref().is_some_and(|head| head.round > round);
            let through = self.history.is_over(round) || (passed && !self.history.is_pending(round));
            if through || now >= until {
                self.stop();
            }
        }
        if let Wish::Stop = self.wish {
            return;
        }
        self.want_link(now);
        self.want_trainer();
        if let Trainer::Ready(_) = self.trainer {
            self.want_base();
            self.want_work(now);
        }
        self.want_witnessing();
        if self.has_source() {
            let hope = self.links.hope();
            let due = [&mut self.fetches, &mut self.witness.fetches].map(|fetches| fetches.due(now, hope));
            self.out.extend(due.into_iter().flatten().map(Output::Fetch));
        }
        let online = matches!(self.link, Link::Online);
        if online {
            self.send_status(now);
        }
        self.out.extend(self.links.due(now, online).into_iter().map(|due| match due {
            Due::Dial(peer) => Output::Link(peer),
            Due::Leave(peer) => Output::Unlink(peer),
        }));
    }

    /// Whether anybody is there to fetch from: the coordinator, or while it is away a linked contributor.
    fn has_source(&self) -> bool {
        matches!(self.link, Link::Online) || self.links.any_up()
    }

    /// When to call [`Contributor::handle`] with [`super::Input::Tick`] at the latest.
    pub fn wake_at(&self) -> Option<Millis> {
        if let Wish::Stop = self.wish {
            return None;
        }
        let retry = match self.link {
            Link::Away { retry_at, .. } => Some(retry_at),
            Link::Greeting { until } => Some(until),
            _ => None,
        };
        let online = matches!(self.link, Link::Online);
        let fetches = [&self.fetches, &self.witness.fetches].map(|fetches| fetches.wake_at(self.links.hope()));
        let fetch = fetches.into_iter().flatten().min().filter(|_| self.has_source());
        let links = self.links.wake_at(online);
        let reports = online && self.progress.is_some() && matches!(self.trainer, Trainer::Ready(_));
        let status = reports.then_some(self.status_at + STATUS_EVERY_MS);
        let open = self.head.as_ref().and_then(|head| head.open.as_ref());
        let deadline = open.filter(|open| open.stage == Stage::Training).map(|open| open.deadline);
        let finish = match self.wish {
            Wish::Finish { until, .. } => Some(until),
            _ => None,
        };
        [retry, fetch, links, status, deadline, finish].into_iter().flatten().min()
    }

    fn want_link(&mut self, now: Millis) {
        match self.link {
            Link::Off => {}
            Link::Away { retry_at, .. } if now >= retry_at => {}
            Link::Greeting { until } if now >= until => {
                self.out.push_back(Output::Hangup);
                return self.disconnected(now, "the coordinator doesn't answer".to_owned());
            }
            _ => return,
        }
        self.link = Link::Dialling;
        self.out.push_back(Output::Dial);
    }

    fn want_trainer(&mut self) {
        if let (Trainer::Off, Some(data)) = (&self.trainer, self.data_ref) {
            self.fetches.want(data, Purpose::Data);
        }
    }

    /// The base should be the head's: by one step if that is all that is missing, else whole.
    fn want_base(&mut self) {
        let Some(head) = &self.head else { return };
        let coming = self.fetches.any(|purpose| matches!(purpose, Purpose::Snapshot | Purpose::Step { .. }));
        match self.base {
            Base::At { round, hash } if (round, hash) == (head.round, hash_of(head)) => {}
            Base::Coming { .. } => {}
            _ if coming => {}
            Base::At { round, .. } if round + 1 == head.round && head.step.is_some() => {
                if let Some(step) = head.step {
                    self.fetches.want(step, Purpose::Step { round });
                }
            }
            _ => self.fetches.want(head.base, Purpose::Snapshot),
        }
    }

    fn want_work(&mut self, now: Millis) {
        let Some(Head { round, base, open: Some(open), .. }) = &mut self.head else { return };
        let promised = self.promises.iter().any(|promise| promise.round == open.manifest.round);
        // Whoever is about to stop waits for what it sent and begins nothing new.
        let enough = matches!(self.wish, Wish::Finish { round, .. } if open.manifest.round > round);
        let based = matches!(self.base, Base::At { round: at, hash } if (at, hash) == (*round, base.hash));
        match open.stage {
            // A round that is all but over isn't worth beginning, but being in it is: it costs
            // nothing to train on, and the next one counts what was done.
            Stage::Announced if based && !enough => {
                open.stage = Stage::Training;
                let (round, seed) = (open.manifest.round, open.manifest.seed);
                self.out.push_back(Output::Job(Job::Train { round, seed }));
            }
            // Stopped and started again after the cut: what was promised stands.
            Stage::Training if now >= open.deadline && promised => open.stage = Stage::Cut,
            Stage::Training if now >= open.deadline => {
                open.stage = Stage::Cutting;
                self.out.push_back(Output::Job(Job::Cut { round: open.manifest.round }));
            }
            _ => {}
        }
    }

    fn send_status(&mut self, now: Millis) {
        let (Some(progress), Trainer::Ready(device)) = (&self.progress, &self.trainer) else { return };
        if now < self.status_at + STATUS_EVERY_MS {
            return;
        }
        self.status_at = now;
        let status = Status {
            round: progress.round,
            tokens: progress.tokens,
            tokens_per_s: progress.tokens_per_s,
            device: bounded_text(&device.name),
        };
        self.out.push_back(Output::Send(ToCoordinator::Status(status)));
    }
}
