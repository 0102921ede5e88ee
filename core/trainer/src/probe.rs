//! What an update does to the loss on the text that a probe names.
//!
//! Enters: updates with their probes, and bases and shards on demand. Leaves: scores. Refuses nothing: an update
//! whose base or text is not there has no score. How much text is read follows from how much the update says was
//! trained, so that a swarm of slow contributors costs no more to check than its work is worth.

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

/// Windows of each half that a score has at least: of fewer there is no error to speak of.
const FEWEST: usize = 4;

/// Scores the updates of one run.
pub struct Prober {
    spec: RunSpec,
    train: Vec<BlobRef>,
    scorer: Scorer,
    /// The last base with what it makes of the text that is the same for all.
    newest: Option<(Probe, Baseline)>,
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

    /// What an update does; `None` if `base` or `shard` don't have what the probe names.
    /// Waits for the device.
    pub async fn score(
        &mut self,
        of: Id,
        update: &Update,
        probe: &Probe,
        base: impl FnOnce(&Hash) -> Option<Vec<f32>>,
        shard: impl Fn(&BlobRef) -> Option<Bytes>,
    ) -> Result<Option<Score>, TrainerError> {
        let most = self.spec.check.score.div_ceil(2 * self.spec.inner.seq) as usize;
        let is_known = |known: &Probe| (known.base, known.seed) == (probe.base, probe.seed);
        if !self.newest.as_ref().is_some_and(|(known, _)| is_known(known)) {
            let all = Assignment::new(&probe.seed, &Id([0; 32]));
            let (Some(base), Some(random)) = (base(&probe.base), self.windows(&probe.seed, &all, most, &shard)) else {
                return Ok(None);
            };
            let baseline = self.scorer.baseline(base, random).await?;
            self.tokens += baseline.tokens;
            self.newest = Some((*probe, baseline));
        }
        let count = (probe.tokens / TRAINED_A_SCORED / u64::from(2 * self.spec.inner.seq)) as usize;
        let count = count.max(FEWEST).min(most);
        let own = self.windows(&probe.seed, &Assignment::new(&probe.assigned, &of), count, &shard);
        let (Some((_, baseline)), Some(own)) = (&self.newest, own) else { return Ok(None) };
        let score = self.scorer.score(baseline, update, count, &own).await?;
        self.tokens += score.tokens;
        let gain = |of: crate::score::Gain| Gain { mean: of.mean as f32, error: of.error as f32 };
        Ok(Some(Score { random: gain(score.random), own: gain(score.own) }))
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
