//! What a round folds: every update's share of the mean, and the factors that keep one update from drowning
//! the others.

use super::updates::Received;
use crate::fold::Clip;
use crate::limits::MAX_CLIPS;
use crate::message::Accepted;
use crate::spec::Outer;
use crate::{BlobRef, Id};

/// A tensor of an update counts with at most this multiple of the tensor's median norm in the round: enough room
/// for a peer that did many more steps than most, none for one whose update would drown the others.
const CLIP_TO_MEDIAN: f64 = 3.0;

/// Updates without which there is no median to speak of: of two, neither is the odd one.
pub(super) const FEWEST: usize = 3;

/// What to fold. The order is that of the ids, so any coordinator with the same accepted set gets
/// the same bits.
#[derive(Debug, Clone, PartialEq)]
pub struct FoldPlan {
    /// The round.
    pub round: u64,
    /// The weights to add the step to.
    pub base: BlobRef,
    /// The outer momentum; `None`: zeros.
    pub momentum: Option<BlobRef>,
    /// The updates, in order.
    pub accepted: Vec<Accepted>,
    /// The outer optimiser.
    pub outer: Outer,
    /// The learning rate, of those that the outer optimiser has.
    pub rate: f32,
}

/// Contributors whose updates these are, in the order of the fold.
pub(super) fn contributors(of: impl Iterator<Item = Id>) -> usize {
    let mut before = None;
    of.filter(|peer| before.replace(*peer) != Some(*peer)).count()
}

/// Weighs and clips the updates of a fold, each with its quality in millionths.
pub fn accept(received: &[(Received<'_>, u32)]) -> Vec<Accepted> {
    let work = |(update, quality): &(Received<'_>, u32)| tributary_ledger::work(update.tokens, *quality);
    let total: u64 = received.iter().map(work).sum();
    let bounds = bounds(received.iter().map(|(update, _)| update));
    let accepted = received.iter().map(|judged| {
        let (update, quality) = judged;
        let (clip, clips) = clips(update.norms, &bounds);
        let weight = (work(judged) as f64 / total as f64) as f32;
        Accepted {
            peer: update.peer,
            update: update.update,
            age: update.age,
            tokens: update.tokens,
            quality: *quality,
            weight,
            clip,
            clips,
        }
    });
    accepted.collect()
}

/// How large each tensor may be. A sparse update says nothing of a tensor that it leaves alone, so the median is
/// that of the updates that don't; a tensor that hardly any update changes may be as large as a whole update.
fn bounds<'a>(received: impl Iterator<Item = &'a Received<'a>> + Clone) -> Vec<f64> {
    let tensors = received.clone().next().map_or(0, |update| update.norms.len());
    let whole = bound(received.clone().map(|update| (update.norm(), update.say))).unwrap_or(f64::INFINITY);
    let of = |tensor| bound(received.clone().map(move |update| (update.norms[tensor], update.say))).unwrap_or(whole);
    (0..tensors).map(of).collect()
}

fn bound(norms: impl Iterator<Item = (f64, u64)>) -> Option<f64> {
    median(norms).map(|median| CLIP_TO_MEDIAN * median)
}

/// Of the values that are not zero, each with its say: as much is said below it as above. Of two such values the lower
/// one; `None` where too few have a say. Whoever shares its work out among many identities says no more by it.
pub(super) fn median(values: impl Iterator<Item = (f64, u64)>) -> Option<f64> {
    let mut values: Vec<_> = values.filter(|(value, say)| *value > 0.0 && *say > 0).collect();
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let all: u128 = values.iter().map(|(_, say)| u128::from(*say)).sum();
    let mut below = 0;
    let middle = values.iter().find(|(_, say)| {
        below += u128::from(*say);
        2 * below >= all
    });
    middle.filter(|_| values.len() >= FEWEST).map(|(value, _)| *value)
}

/// The factor on all of an update and those on single tensors. With more than [`MAX_CLIPS`] tensors too large it
/// is too large as a whole: all of it is clipped so far that those suffice for what is worse still.
fn clips(norms: &[f64], bounds: &[f64]) -> (f32, Vec<Clip>) {
    let factors = norms.iter().zip(bounds).enumerate().filter(|(_, (norm, bound))| norm > bound);
    let mut factors: Vec<_> = factors.map(|(tensor, (norm, bound))| (tensor as u16, bound / norm)).collect();
    factors.sort_by(|a, b| a.1.total_cmp(&b.1));
    let whole = factors.get(MAX_CLIPS).map_or(1.0, |(_, factor)| *factor);
    factors.truncate(MAX_CLIPS);
    factors.sort_by_key(|(tensor, _)| *tensor);
    let clips = factors.into_iter().map(|(tensor, factor)| Clip { tensor, factor: (factor / whole) as f32 });
    (whole as f32, clips.collect())
}

#[cfg(test)]
mod tests {
    use super::super::quality::FULL;
    use super::*;
    use crate::Id;

    fn accepted(updates: &[(u8, u64, &[f64])]) -> Vec<Accepted> {
        let update = BlobRef::of(b"update");
        let received = updates.iter().enumerate();
        let received = received.map(|(n, &(age, tokens, norms))| {
            let peer = Id([n as u8; 32]);
            (Received { peer, update, age, tokens, say: tokens, norms, score: None }, FULL)
        });
        accept(&received.collect::<Vec<_>>())
    }

    #[test]
    fn the_share_of_the_mean_is_by_tokens_that_count() {
        let shares = accepted(&[(0, 64, &[1.0]), (1, 32, &[1.0]), (0, 32, &[1.0])]);
        assert_eq!(shares.iter().map(|a| (a.age, a.weight)).collect::<Vec<_>>(), [(0, 0.5), (1, 0.25), (0, 0.25)]);
    }

    #[test]
    fn one_tensor_that_is_too_large_is_clipped_to_the_median_and_the_others_stay() {
        let clipped =
            accepted(&[(0, 1, &[1.0, 1.0]), (0, 1, &[2.0, 60.0]), (0, 1, &[3.0, 10.0]), (0, 1, &[6.0, 20.0])]);
        // Medians 2 and 10, so bounds 6 and 30.
        let clips: Vec<_> = clipped.iter().map(|a| (a.clip, a.clips.clone())).collect();
        let one = vec![Clip { tensor: 1, factor: 0.5 }];
        assert_eq!(clips, [(1.0, vec![]), (1.0, one), (1.0, vec![]), (1.0, vec![])]);
    }

    #[test]
    fn many_small_updates_do_not_say_how_large_one_may_be() {
        let mut updates = vec![(0, 1, &[1.0][..]); 20];
        updates.extend([(0, 10, &[10.0][..]); 3]);
        assert!(accepted(&updates).iter().all(|a| a.factors(1).is_empty()));
        assert!(!accepted(&updates[..21]).last().unwrap().factors(1).is_empty());
    }

    #[test]
    fn two_updates_have_no_median() {
        assert!(accepted(&[(0, 1, &[1.0]), (0, 1, &[1e9])]).iter().all(|a| a.factors(1).is_empty()));
    }

    #[test]
    fn a_tensor_that_hardly_any_update_changes_is_bounded_by_whole_updates() {
        let sparse = accepted(&[(0, 1, &[3.0, 0.0]), (0, 1, &[3.0, 4.0]), (0, 1, &[3.0, 60.0])]);
        // The median of the whole norms is 5.
        let clips: Vec<_> = sparse.iter().flat_map(|a| a.factors(2)).collect();
        assert_eq!(clips, [Clip { tensor: 1, factor: 0.25 }]);
    }

    #[test]
    fn an_update_that_is_too_large_throughout_is_clipped_as_a_whole() {
        let tensors = MAX_CLIPS + 4;
        let (usual, mut large) = (vec![1.0; tensors], vec![6.0; tensors]);
        large[2] = 12.0;
        let clipped = accepted(&[(0, 1, &usual), (0, 1, &usual), (0, 1, &large)]);
        assert!(clipped[2].clip == 0.5 && clipped[2].clips.len() <= MAX_CLIPS, "{:?}", clipped[2]);
        for (tensor, clip) in clipped[2].factors(tensors).iter().enumerate() {
            assert_eq!(f64::from(clip.factor) * large[tensor], 3.0);
        }
    }
}
