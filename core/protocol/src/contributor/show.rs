//! What a person is shown: the history this contributor keeps, and the snapshot made of it.

use std::collections::VecDeque;

use super::{Base, Contributor, Link, Stage, Trainer, Wish, counts};
use crate::job::Progress;
use crate::limits::VIEW_HISTORY;
use crate::message::{Evaluation, FoldManifest, Reason, Roster, RosterPeer};
use crate::view::{self, LossPoint, PathView, PeerRow, Phase, RoundRow, RoundView, RunView, Snapshot, Verdict};
use crate::{Hash, Id, Millis};

#[derive(Debug)]
pub(super) struct History {
    pub(super) credits: u64,
    pub(super) roster: Roster,
    rounds: VecDeque<RoundRow>,
    losses: VecDeque<LossPoint>,
    tokens_before: u64,
    /// The round that `progress` was last about and its tokens.
    counting: (u64, u64),
    notice: Option<String>,
}

impl Default for History {
    fn default() -> Self {
        Self {
            credits: 0,
            roster: Roster { total: 0, peers: Vec::new() },
            rounds: VecDeque::new(),
            losses: VecDeque::new(),
            tokens_before: 0,
            counting: (0, 0),
            notice: None,
        }
    }
}

impl History {
    pub(super) fn notice(&mut self, text: &str) {
        self.notice = Some(text.to_owned());
    }

    pub(super) fn progress(&mut self, progress: &Progress) {
        // Tokens count from the last cut: a smaller count means that there was one.
        if progress.tokens < self.counting.1 {
            self.tokens_before += self.counting.1;
        }
        self.counting = (progress.round, progress.tokens);
    }

    fn tokens(&self) -> u64 {
        self.tokens_before + self.counting.1
    }

    /// This contributor's part of a round is decided on its side.
    pub(super) fn cut(&mut self, round: u64, tokens: u64, loss: Option<f32>, verdict: Verdict) {
        let row = self.row(round);
        row.tokens = tokens;
        row.verdict = verdict;
        if let Some(nats) = loss {
            self.point(round).own = Some(nats / std::f32::consts::LN_2);
        }
    }

    pub(super) fn verdict(&mut self, round: u64, verdict: Verdict) {
        if let Some(row) = self.rounds.iter_mut().find(|row| row.round == round)
            && !matches!(row.verdict, Verdict::Credited { .. })
        {
            row.verdict = verdict;
        }
    }

    pub(super) fn settled(&mut self, manifest: &FoldManifest, me: &Id) {
        // Whoever watched has a row of the round too.
        self.row(manifest.round);
        for (accepted, credits) in manifest.earned().filter(|(accepted, _)| accepted.peer == *me) {
            self.row(manifest.origin(accepted)).verdict = Verdict::Credited { credits };
            self.credits += credits;
        }
        self.close(manifest.round + 1, 0);
    }

    /// The coordinator is at `round` and has paid `credits` in all.
    pub(super) fn caught_up(&mut self, round: u64, credits: u64) {
        let missed = credits.saturating_sub(self.credits);
        self.credits = credits;
        self.close(round, missed);
    }

    /// What was sent and is too old to be folded from `round` on was folded before or never will be. Of folds that
    /// were missed only the sum of credits is known, so the oldest row that they can belong to shows all of it.
    fn close(&mut self, round: u64, mut missed: u64) {
        for row in self.rounds.iter_mut().rev().filter(|row| is_pending(row) && !counts(row.round, round)) {
            row.verdict = match std::mem::take(&mut missed) {
                0 => Verdict::Refused { why: Reason::Late.to_string() },
                credits => Verdict::Credited { credits },
            };
        }
    }

    /// Whether something was sent for a round and not judged.
    pub(super) fn is_pending(&self, round: u64) -> bool {
        self.rounds.iter().any(|row| row.round == round && is_pending(row))
    }

    pub(super) fn based(&mut self, round: u64, hash: Hash) {
        if let Some(before) = round.checked_sub(1)
            && let Some(row) = self.rounds.iter_mut().find(|row| row.round == before)
        {
            row.state = Some(hash.to_string());
        }
    }

    pub(super) fn evaluated(&mut self, evaluation: &Evaluation) {
        self.point(evaluation.round).heldout = Some(evaluation.bits_per_byte);
    }

    /// Whether nothing more will come of this contributor's part in a round.
    pub(super) fn is_over(&self, round: u64) -> bool {
        let over = |verdict: &Verdict| !matches!(verdict, Verdict::Sent | Verdict::Accepted | Verdict::Watched);
        self.rounds.iter().any(|row| row.round == round && over(&row.verdict))
    }

    fn row(&mut self, round: u64) -> &mut RoundRow {
        let at = match self.rounds.iter().position(|row| row.round <= round) {
            Some(at) if self.rounds[at].round == round => at,
            found => {
                let at = found.unwrap_or(self.rounds.len());
                self.rounds.insert(at, RoundRow { round, tokens: 0, verdict: Verdict::Watched, state: None });
                self.rounds.truncate(VIEW_HISTORY);
                at.min(self.rounds.len() - 1)
            }
        };
        &mut self.rounds[at]
    }

    fn point(&mut self, round: u64) -> &mut LossPoint {
        let at = match self.losses.iter().position(|point| point.round >= round) {
            Some(at) if self.losses[at].round == round => at,
            found => {
                let mut at = found.unwrap_or(self.losses.len());
                self.losses.insert(at, LossPoint { round, heldout: None, own: None });
                if self.losses.len() > VIEW_HISTORY {
                    self.losses.pop_front();
                    at = at.saturating_sub(1);
                }
                at
            }
        };
        &mut self.losses[at]
    }
}

fn is_pending(row: &RoundRow) -> bool {
    matches!(row.verdict, Verdict::Sent | Verdict::Accepted)
}

impl Contributor {
    /// What a person is shown.
    pub fn snapshot(&self, now: Millis) -> Snapshot {
        let history = &self.history;
        let open = self.head.as_ref().and_then(|head| head.open.as_ref());
        Snapshot {
            me: self.config.identity.id().to_string(),
            phase: self.phase(),
            link: self.link_view(now),
            run: self.spec.as_ref().zip(self.run).map(|(spec, id)| RunView {
                name: spec.name.clone(),
                id: id.to_string(),
                params: spec.model.params(),
                round_seconds: spec.round.seconds,
                pool: spec.reward.pool,
            }),
            device: match &self.trainer {
                Trainer::Ready(device) => Some(device.clone()),
                _ => None,
            },
            round: self.head.as_ref().map(|head| RoundView {
                round: head.round,
                left_ms: open.filter(|open| now < open.deadline).map(|open| open.deadline - now),
                tokens: self.progress.filter(|p| p.round == head.round).map_or(0, |p| p.tokens),
            }),
            tokens: history.tokens(),
            tokens_per_s: self.progress.map_or(0.0, |p| p.tokens_per_s),
            loss: self.progress.map(|p| p.loss).filter(|loss| loss.is_finite()),
            credits: history.credits,
            earnings: self.receipts.view(),
            witness: self.witness.view(),
            losses: history.losses.iter().copied().collect(),
            rounds: history.rounds.iter().cloned().collect(),
            peers: self.peer_rows(),
            peers_total: history.roster.total,
            links: self.links.view(),
            up_per_s: self.meter.rate().up,
            down_per_s: self.meter.rate().down,
            bytes_round_up: self.meter.in_round().0,
            bytes_round_down: self.meter.in_round().1,
            bulk_direct: self.meter.totals().bulk_direct,
            bulk_coordinator: self.meter.totals().bulk_coordinator,
            answer: self.written.view(),
            notice: history.notice.clone(),
        }
    }

    fn phase(&self) -> Phase {
        let preparing = |what: &str| Phase::Preparing { what: what.to_owned() };
        if let Some(why) = &self.failed {
            return Phase::Failed { why: why.clone() };
        }
        match self.wish {
            Wish::Stop => return Phase::Idle,
            Wish::Finish { .. } => return Phase::Finishing,
            Wish::Train => {}
        }
        if self.spec.is_none() {
            return Phase::Connecting;
        }
        match (&self.trainer, self.base) {
            (Trainer::Off, _) => preparing("fetching the list of texts"),
            (Trainer::Starting, _) => preparing("opening the device and building the model"),
            (Trainer::Ready(_), Base::None) => preparing("fetching the model"),
            (Trainer::Ready(_), _) => match self.head.as_ref().and_then(|head| head.open.as_ref()) {
                Some(open) if open.stage != Stage::Announced => Phase::Training,
                _ if self.progress.is_some() => Phase::Training,
                _ => Phase::Waiting,
            },
        }
    }

    fn link_view(&self, now: Millis) -> view::Link {
        match &self.link {
            Link::Off => view::Link::Off,
            Link::Dialling | Link::Greeting { .. } => view::Link::Dialling,
            Link::Online => view::Link::Online,
            Link::Away { retry_at, why } => {
                view::Link::Away { retry_in_ms: retry_at.saturating_sub(now), why: why.clone() }
            }
        }
    }

    /// This contributor first, then those that it is connected with, then the others.
    fn peer_rows(&self) -> Vec<PeerRow> {
        let me = self.config.identity.id();
        let mut rows: Vec<_> = self.history.roster.peers.iter().map(|peer| self.peer_row(peer, &me)).collect();
        let rank = |row: &PeerRow| match row.path {
            _ if row.me => 0,
            PathView::Direct => 1,
            PathView::Relayed => 2,
            PathView::Coordinator | PathView::None => 3,
        };
        rows.sort_by_key(rank);
        rows
    }

    fn peer_row(&self, peer: &RosterPeer, me: &Id) -> PeerRow {
        let rate = self.meter.peer(&peer.peer);
        let path = if self.links.is_up(&peer.peer) {
            PathView::Direct
        } else if self.links.is_dialled(&peer.peer) {
            PathView::Relayed
        } else if peer.peer != *me && matches!(self.link, Link::Online) {
            PathView::Coordinator
        } else {
            PathView::None
        };
        PeerRow {
            id: peer.peer.to_string(),
            kind: peer.kind,
            me: peer.peer == *me,
            tokens: peer.tokens,
            tokens_per_s: peer.tokens_per_s,
            device: peer.device.clone(),
            path,
            up_per_s: rate.up,
            down_per_s: rate.down,
        }
    }
}
