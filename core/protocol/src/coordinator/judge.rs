//! What a round takes of what came for it, and for how much.
//!
//! Enters: the updates that are here, with norms and scores, and findings. Leaves: those that are kept, each with
//! its quality. Refuses work of whoever was proved wrong, norms far from the round's, and what does harm.

use serde::{Deserialize, Serialize};

use super::referee::{Found, Standing};
use super::updates::{Name, Received};
use super::{Coordinator, plan, quality};
use crate::message::Reason;
use crate::sign::Signable;
use crate::{Hash, Id, Signed};

/// What a judged update's maker stands at with it, and the update's quality.
pub(super) type Kept = (Name, (u32, Standing));

impl Coordinator {
    /// Judges what a round could fold: what is kept, with its quality, and what is refused.
    pub(super) fn judge(&self, round: u64, findings: &[Found]) -> (Vec<Kept>, Vec<(Name, Reason)>) {
        let struck = self.struck(findings);
        let received = self.updates.received(round);
        let largest =
            plan::median(received.iter().map(Received::norm)).map_or(f64::INFINITY, |median| MOST_NORM * median);
        let (mut counted, mut refused) = (Vec::new(), Vec::new());
        for update in &received {
            let name = (update.peer, round - u64::from(update.age));
            match () {
                () if struck.contains(&update.peer) => refused.push((name, Reason::Struck)),
                () if update.norm() > largest => refused.push((name, Reason::Norm)),
                () => counted.push((name, update)),
            }
        }
        let record = |who: &Id| self.referee.standing(who).record;
        let scored: Vec<_> = counted.iter().map(|(_, u)| (u.tokens, record(&u.peer), u.score)).collect();
        let mut kept = Vec::new();
        for ((name, _), (quality, record)) in counted.into_iter().zip(quality::qualities(&scored)) {
            if quality == 0 {
                refused.push((name, Reason::Useless));
                continue;
            }
            let standing = self.referee.standing(&name.0);
            kept.push((name, (quality, Standing { record, folded: standing.folded.saturating_add(1), ..standing })));
        }
        (kept, refused)
    }

    /// Names the text on which a round's updates are judged. Nobody else can foresee it.
    pub(super) fn probe_seed(&self, round: u64) -> Hash {
        let basis = ProbeBasis { run: self.run, round };
        Hash::of(&postcard::to_stdvec(&Signed::new(&self.identity, &basis)).expect("a signature has a form"))
    }
}

/// An update of more than so many times the round's median norm is no honest one, whatever its maker's speed.
const MOST_NORM: f64 = 20.0;

#[derive(Serialize, Deserialize)]
struct ProbeBasis {
    run: Hash,
    round: u64,
}

impl Signable for ProbeBasis {
    const CONTEXT: &'static str = "tributary probe v1";
}
