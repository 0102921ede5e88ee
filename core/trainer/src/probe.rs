//! What an update does to the loss on the text that a probe names.
//!
//! Enters: updates with their probes, and bases and shards on demand. Leaves: scores. Refuses nothing: an update
//! whose base or text is not there has no score. How much text is read follows from how much the update says was
//! trained, so that a swarm of slow contributors costs no more to check than its work is worth: an update too small
//! for a score that says anything has one only now and then, which nobody but the coordinator can foresee, unless its
//! maker is new.

use bytes::Bytes;
use tributary_protocol::assign::Assignment;
use tributary_protocol::coordinator::{Gain, Probe, Score};
use tributary_protocol::spec::RunSpec;
use tributary_protocol::update::Update;
use tributary_protocol::{BlobRef, Hash, Id};

use crate::error::TrainerError;
use crate::score::{Baseline, Scorer, windows};

/// Shards from which the windows of a score are drawn: few enough to be read at once.
const SHARDS: u32 = 4;

/// Tokens of an update for each that it is scored on. A scored token is half a forward pass with the update on text
/// that is the same for all and half of one with it and without it on the contributor's own: together half of what
/// training a token costs, so scoring costs a sixteenth of training.
const TRAINED_A_SCORED: u64 = 8;

/// Windows of each half that a score has at least: a whole forward pass, and enough for an error to speak of.
const FEWEST: usize = 8;

/// Scores the updates of one run.
pub struct Prober {
    spec: RunSpec,
    train: Vec<BlobRef>,
    scorer: Scorer,
    /// The last base with what it makes of so much of the text that is the same for all.
    newest: Option<(Probe, usize, Baseline)>,
    /// Tokens that went through the model so far.
    tokens: u64,
}

impl Prober {
    /// For a run that trains on these shards.
    pub fn new(spec: &RunSpec, train: Vec<BlobRef>, scorer: Scorer) -> Self {
        Self { spec: spec.clone(), train, scorer, newest: None, tokens: 0 }
    }

    /// Tokens that went forward through the model so far.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// What an update does; `None` if it is too small for now, or `base` or `shard` don't have what the probe names.
    /// Waits for the device.
    pub async fn score(
        &mut self,
        of: Id,
        update: &Update,
        probe: &Probe,
        base: impl FnOnce(&Hash) -> Option<Vec<f32>>,
        shard: impl Fn(&BlobRef) -> Option<Bytes>,
    ) -> Result<Option<Score>, TrainerError> {
        let Some(count) = self.count(&of, probe) else { return Ok(None) };
        let suffices = |(known, windows, _): &(Probe, usize, Baseline)| {
            (known.base, known.seed) == (probe.base, probe.seed) && *windows >= count
        };
        if !self.newest.as_ref().is_some_and(suffices) {
            let all = Assignment::new(&probe.seed, &Id([0; 32]));
            let (Some(base), Some(random)) = (base(&probe.base), self.windows(&probe.seed, &all, count, &shard)) else {
                return Ok(None);
            };
            let baseline = self.scorer.baseline(base, random).await?;
            self.tokens += baseline.tokens;
            self.newest = Some((*probe, count, baseline));
        }
        let own = self.windows(&probe.seed, &Assignment::new(&probe.assigned, &of), count, &shard);
        let (Some((_, _, baseline)), Some(own)) = (&self.newest, own) else { return Ok(None) };
        let score = self.scorer.score(baseline, update, count, &own).await?;
        self.tokens += score.tokens;
        let gain = |of: crate::score::Gain| Gain { mean: of.mean as f32, error: of.error as f32 };
        Ok(Some(Score { random: gain(score.random), own: gain(score.own) }))
    }

    /// Windows of each half for an update; `None`: none this time. An update that is worth a part of the fewest
    /// windows has them with that probability.
    fn count(&self, of: &Id, probe: &Probe) -> Option<usize> {
        let a_window = u64::from(2 * self.spec.inner.seq);
        let most = u64::from(self.spec.check.score).div_ceil(a_window) as usize;
        let count = ((probe.tokens / TRAINED_A_SCORED / a_window) as usize).min(most);
        if count >= FEWEST.min(most) || probe.sure {
            return Some(count.max(FEWEST.min(most)));
        }
        let lot = Hash::of(&[probe.seed.0, of.0].concat()).0;
        let lot = u64::from(u32::from_le_bytes([lot[0], lot[1], lot[2], lot[3]]));
        let due = a_window * FEWEST as u64 * TRAINED_A_SCORED;
        ((lot * due) >> 32 < probe.tokens).then_some(FEWEST.min(most))
    }

    /// Windows of the first shards that an assignment names.
    fn windows(
        &self,
        seed: &Hash,
        assignment: &Assignment,
        count: usize,
        shard: impl Fn(&BlobRef) -> Option<Bytes>,
    ) -> Option<Vec<Vec<u8>>> {
        let shards = (0..SHARDS).map(|nth| shard(&self.train[assignment.shard(nth, self.train.len())]));
        let shards: Option<Vec<_>> = shards.collect();
        windows(&self.spec, seed, &shards?, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn scoring_costs_a_part_of_what_was_trained_however_small_updates_are() {
        let spec = crate::testing::spec();
        let prober = Prober::new(&spec, Vec::new(), Scorer::new(&spec, Device::flex()));
        let window = u64::from(spec.inner.seq);
        for tokens in [64, 1000, 5000, 20_000, 1 << 40] {
            let count = |n: u64| {
                let seed = Hash::of(&n.to_le_bytes());
                let probe = Probe { base: seed, seed, assigned: seed, tokens, sure: false };
                prober.count(&Id([3; 32]), &probe)
            };
            let counts: Vec<_> = (0..4000).map(count).collect();
            assert!(counts.iter().flatten().all(|count| *count >= FEWEST), "{tokens}");
            let scored = counts.iter().flatten().sum::<usize>() as u64 * 2 * window / 4000;
            let due = (tokens / TRAINED_A_SCORED).min(u64::from(spec.check.score));
            assert!(scored.abs_diff(due) <= due / 8 + 2 * window, "{tokens}: {scored} for {due}");
            let seed = Hash::default();
            let sure = Probe { base: seed, seed, assigned: seed, tokens, sure: true };
            assert!(prober.count(&Id([3; 32]), &sure).is_some(), "{tokens}");
        }
    }
}
