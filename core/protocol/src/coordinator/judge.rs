//! What a round takes of what came for it, and for how much.
//!
//! Enters: the updates that are here, with norms and scores, and findings. Leaves: those that are kept, each with
//! its quality, and what their makers and those of useless ones stand at. Refuses work of whoever was proved wrong,
//! norms far from the round's, and what does harm.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::referee::{Found, Standing};
use super::updates::{Name, Received};
use super::{Coordinator, plan, quality};
use crate::message::Reason;
use crate::sign::Signable;
use crate::{Hash, Id, Signed};

/// A judged update: what it counts for, its say in what is usual, and its quality.
pub(super) struct Counts {
    pub(super) tokens: u64,
    pub(super) say: u64,
    pub(super) quality: u32,
}

/// What became of a round's updates.
#[derive(Default)]
pub(super) struct Judged {
    pub(super) kept: BTreeMap<Name, Counts>,
    pub(super) refused: Vec<(Name, Reason)>,
    /// Whose standing that changes.
    pub(super) standings: BTreeMap<Id, Standing>,
}

impl Coordinator {
    /// What a round could fold, each update with the tokens that it counts for and its say in what is usual. Beside
    /// enough others a newcomer's update has no say and waits until its work was run again, which is often a round:
    /// else whoever comes under a new name each round could fold what it likes. One that could not be run again
    /// counts for no more than a few times as much as the others.
    fn received(&self, round: u64) -> Vec<Received<'_>> {
        let mut received = self.updates.received(round);
        let is_new = |of: &Received<'_>| self.referee.standing(&of.peer).folded < self.spec.check.first;
        let proven = received.iter().filter(|of| !is_new(of)).map(|of| (of.tokens as f64, of.tokens));
        let Some(usual) = plan::median(proven) else {
            unproven(&mut received, is_new);
            return received;
        };
        let waits = |of: &Received<'_>| self.referee.is_pending(&(of.peer, round - u64::from(of.age)));
        // Where late work counts for nothing it can't wait.
        received.retain(|of| self.spec.round.stale == 0.0 || !is_new(of) || !waits(of));
        let most = (MOST_UNPROVEN * usual) as u64;
        for update in received.iter_mut().filter(|of| is_new(of)) {
            (update.tokens, update.say) = (update.tokens.min(most), 0);
        }
        received
    }

    /// Judges what a round could fold.
    pub(super) fn judge(&self, round: u64, findings: &[Found]) -> Judged {
        let struck = self.struck(findings);
        let received = self.received(round);
        let largest = plan::median(received.iter().map(|update| (update.norm(), update.say)));
        let largest = largest.map_or(f64::INFINITY, |median| MOST_NORM * median);
        let (mut counted, mut judged) = (Vec::new(), Judged::default());
        for update in &received {
            let name = (update.peer, round - u64::from(update.age));
            match () {
                () if struck.contains(&update.peer) => judged.refused.push((name, Reason::Struck)),
                () if update.norm() > largest => judged.refused.push((name, Reason::Norm)),
                () => counted.push((name, update)),
            }
        }
        let record = |who: &Id| self.referee.standing(who).record;
        let scored: Vec<_> = counted.iter().map(|(_, u)| (u.tokens, u.say, record(&u.peer), u.score)).collect();
        for ((name, update), (quality, record)) in counted.into_iter().zip(quality::qualities(&scored)) {
            let mut standing = Standing { record, ..self.referee.standing(&name.0) };
            if quality == 0 {
                judged.refused.push((name, Reason::Useless));
            } else {
                standing.folded = standing.folded.saturating_add(1);
                judged.kept.insert(name, Counts { tokens: update.tokens, say: update.say, quality });
            }
            judged.standings.insert(name.0, standing);
        }
        judged
    }

    /// Names the text on which a round's updates are judged. Nobody else can foresee it.
    pub(super) fn probe_seed(&self, round: u64) -> Hash {
        let basis = ProbeBasis { run: self.run, round };
        Hash::of(&postcard::to_stdvec(&Signed::new(&self.identity, &basis)).expect("a signature has a form"))
    }
}

/// Where nobody says yet what is usual, as in a run's first rounds, they say it whose updates surely help: claims of
/// tokens cost nothing there, and neither do identities. Without scores it is most of those who are there. Nobody
/// new counts for more than is usual.
fn unproven(received: &mut [Received<'_>], is_new: impl Fn(&Received<'_>) -> bool) {
    let helps = |of: &Received<'_>| of.score.map_or(0, |score| score.sure());
    let usual = |say: &dyn Fn(&Received<'_>) -> u64| {
        plan::median(received.iter().map(|of| (of.tokens as f64, say(of)))).map(|usual| usual as u64)
    };
    let measured = usual(&helps);
    let most = measured.or_else(|| usual(&|_| 1)).unwrap_or(u64::MAX);
    for update in received {
        let bound = if is_new(update) { most } else { u64::MAX };
        let say = if measured.is_some() { helps(update) } else { update.say.min(bound) };
        (update.tokens, update.say) = (update.tokens.min(bound), say);
    }
}

/// An update of more than so many times the round's median norm is no honest one, whatever its maker's speed.
const MOST_NORM: f64 = 20.0;

/// A newcomer's update counts for at most so many times the round's median tokens: what a fast device does beside usual
/// ones is paid in full from its fourth round on, and a false claim is worth little until it is found out.
const MOST_UNPROVEN: f64 = 4.0;

#[derive(Serialize, Deserialize)]
struct ProbeBasis {
    run: Hash,
    round: u64,
}

impl Signable for ProbeBasis {
    const CONTEXT: &'static str = "tributary probe v1";
}
