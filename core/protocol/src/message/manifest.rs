//! What the coordinator signs: what a round is about, and what it became.
//!
//! Leaves: from the fold manifest alone, what each update earned. Refuses one that pays somebody twice for
//! the same round's work or is over a bound.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tributary_ledger::{Key, Share};

use crate::fold::Clip;
use crate::limits::{MAX_AGE, MAX_CLIPS, MAX_CONTRIBUTORS, MAX_TOKENS_PER_ROUND};
use crate::sign::Signable;
use crate::{BlobRef, Hash, Id};

/// What a round is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoundManifest {
    /// The run.
    pub run: Hash,
    /// The round, from 0, counting folded rounds. A round in which too few updates came is opened
    /// again under its number, with a new seed and deadline.
    pub round: u64,
    /// The state to train from.
    pub base: Hash,
    /// Names everyone's data through [`crate::assign::Assignment`].
    pub seed: Hash,
    /// The deadline in milliseconds on the coordinator's clock since 1970.
    pub deadline_ms: u64,
    /// Credits that the round shares out.
    pub pool: u64,
}

impl Signable for RoundManifest {
    const CONTEXT: &'static str = "tributary round v1";
}

/// What a round became. From this and the blobs it names anyone can recompute the new base, and
/// from it alone what each contributor earned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoldManifest {
    /// The run.
    pub run: Hash,
    /// The round that folded.
    pub round: u64,
    /// The state before.
    pub base: Hash,
    /// Accepted updates, in the order of the fold; never empty. A contributor may be here more than once, with
    /// updates of different rounds.
    pub accepted: Vec<Accepted>,
    /// The outer learning rate, [`crate::spec::Outer::rate`] of the contributors above.
    pub rate: f32,
    /// What to add to the base.
    pub step: BlobRef,
    /// The state after, which is also the snapshot blob.
    pub next: BlobRef,
    /// Credits shared out by accepted tokens times quality: the round's pool less the witnesses' part.
    pub pool: u64,
    /// Names the text on which the updates were judged ([`crate::coordinator::Probe`]). Nobody but the coordinator knew it
    /// before.
    pub probe: Hash,
}

impl Signable for FoldManifest {
    const CONTEXT: &'static str = "tributary fold v3";
}

impl FoldManifest {
    /// What each accepted contributor earned with its work, all its updates together: a pure function of the
    /// manifest, and the one that the ledger goes by.
    pub fn shares(&self) -> Vec<Share> {
        let mut works: BTreeMap<Key, u64> = BTreeMap::new();
        self.accepted.iter().for_each(|accepted| *works.entry(accepted.peer.0).or_default() += accepted.work());
        tributary_ledger::split(self.pool, &works.into_iter().collect::<Vec<_>>())
    }

    /// What each accepted update earned: its part of what its maker did.
    pub fn earned(&self) -> impl Iterator<Item = (&Accepted, u64)> {
        let shares: BTreeMap<_, _> = self.shares().into_iter().map(|share| (share.who, share.amount)).collect();
        self.accepted.chunk_by(|a, b| a.peer == b.peer).flat_map(move |of_one| {
            let amount = of_one.first().and_then(|first| shares.get(&first.peer.0)).copied().unwrap_or(0);
            let key = |at: usize| {
                let mut key = Key::default();
                key[24..].copy_from_slice(&(at as u64).to_be_bytes());
                key
            };
            let works: Vec<_> = of_one.iter().enumerate().map(|(at, accepted)| (key(at), accepted.work())).collect();
            let parts = tributary_ledger::split(amount, &works);
            let part = move |at: usize| parts.iter().find(|part| part.who == key(at)).map_or(0, |part| part.amount);
            of_one.iter().enumerate().map(move |(at, accepted)| (accepted, part(at)))
        })
    }

    /// The round whose work an accepted update is.
    pub fn origin(&self, accepted: &Accepted) -> u64 {
        self.round.saturating_sub(u64::from(accepted.age))
    }

    /// Whether a fold manifest is within its bounds.
    pub fn is_bounded(&self) -> bool {
        // Nobody is paid twice for one round's work.
        let mut seen = BTreeSet::new();
        let once = self.accepted.iter().all(|accepted| seen.insert((accepted.peer, accepted.age)));
        let updates = self.accepted.len() <= MAX_CONTRIBUTORS && self.accepted.iter().all(Accepted::is_bounded);
        once && updates && self.next.is_bounded() && self.step.is_bounded()
    }
}

/// One accepted update.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    /// Whose.
    pub peer: Id,
    /// The update.
    pub update: BlobRef,
    /// Rounds that it came late, at most [`MAX_AGE`].
    pub age: u8,
    /// Its tokens, as far as they count: [`crate::spec::RoundRule::counted`].
    pub tokens: u64,
    /// What each of them is worth, in millionths.
    pub quality: u32,
    /// Its share of the mean, by these tokens.
    pub weight: f32,
    /// The factor on all of it.
    pub clip: f32,
    /// Further factors on single tensors, by tensor; at most [`MAX_CLIPS`].
    pub clips: Vec<Clip>,
}

impl Accepted {
    /// What the tokens are worth together.
    pub fn work(&self) -> u64 {
        tributary_ledger::work(self.tokens, self.quality)
    }

    /// The factor on every tensor of a model with so many, where it isn't 1: what the fold takes.
    pub fn factors(&self, tensors: usize) -> Vec<Clip> {
        let of = |tensor| self.clips.iter().find(|clip| clip.tensor == tensor).map_or(1.0, |clip| clip.factor);
        let tensors = 0..tensors.min(usize::from(u16::MAX)) as u16;
        let all = tensors.map(|tensor| Clip { tensor, factor: self.clip * of(tensor) });
        all.filter(|clip| clip.factor != 1.0).collect()
    }

    fn is_bounded(&self) -> bool {
        let is_factor = |factor: f32| (0.0..=1.0).contains(&factor) && self.quality <= tributary_ledger::PPM;
        let clips = self.clips.len() <= MAX_CLIPS && self.clips.iter().all(|clip| is_factor(clip.factor));
        self.age <= MAX_AGE && self.tokens <= MAX_TOKENS_PER_ROUND && is_factor(self.clip) && clips
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(peer: u8, age: u8, tokens: u64) -> Accepted {
        let (peer, update) = (Id([peer; 32]), BlobRef::of(&[peer, age]));
        Accepted { peer, update, age, tokens, quality: 1_000_000, weight: 0.5, clip: 1.0, clips: Vec::new() }
    }

    fn manifest(accepted: Vec<Accepted>) -> FoldManifest {
        let (run, base, blob) = (Hash::default(), Hash::default(), BlobRef::of(b""));
        FoldManifest { run, round: 5, base, accepted, rate: 0.7, step: blob, next: blob, pool: 100, probe: run }
    }

    #[test]
    fn a_contributor_with_two_updates_has_one_share_of_both() {
        let fold = manifest(vec![accepted(1, 2, 1), accepted(1, 0, 3), accepted(2, 0, 0), accepted(3, 1, 4)]);
        let earned: Vec<_> = fold.earned().map(|(update, credits)| (fold.origin(update), credits)).collect();
        assert_eq!(earned, [(3, 13), (5, 37), (5, 0), (4, 50)]);
        let shares: Vec<_> = fold.shares().iter().map(|share| (share.who[0], share.tokens, share.amount)).collect();
        assert_eq!(shares, [(1, 4, 50), (3, 4, 50)]);
    }

    #[test]
    fn what_pays_twice_or_is_out_of_bounds_is_refused() {
        let good = accepted(1, 0, 5);
        assert!(manifest(vec![good.clone(), accepted(1, 1, 5), accepted(2, 0, 5)]).is_bounded());
        let clip = |factor| Clip { tensor: 0, factor };
        for bad in [
            accepted(1, 0, 9),
            accepted(2, MAX_AGE + 1, 5),
            accepted(2, 0, MAX_TOKENS_PER_ROUND + 1),
            Accepted { clip: f32::NAN, ..accepted(2, 0, 5) },
            Accepted { clips: vec![clip(1.5)], ..accepted(2, 0, 5) },
            Accepted { clips: vec![clip(0.5); MAX_CLIPS + 1], ..accepted(2, 0, 5) },
        ] {
            assert!(!manifest(vec![good.clone(), bad.clone()]).is_bounded(), "{bad:?}");
        }
    }

    #[test]
    fn the_factor_on_all_meets_those_on_single_tensors() {
        let clips = vec![Clip { tensor: 2, factor: 0.5 }];
        let both = Accepted { clip: 0.5, clips: clips.clone(), ..accepted(1, 0, 5) };
        assert_eq!(both.factors(3).iter().map(|clip| clip.factor).collect::<Vec<_>>(), [0.5, 0.5, 0.25]);
        assert_eq!(Accepted { clip: 1.0, ..both }.factors(3), clips);
    }
}
