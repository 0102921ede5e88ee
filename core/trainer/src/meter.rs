//! What the steps since the last cut amounted to, and whether their losses can be believed.

use std::collections::VecDeque;

/// Steps at either end of a round whose losses are averaged.
const ENDS: usize = 8;

/// Milliseconds over which the rate is taken: long enough to smooth a round's pauses.
const RATE_WINDOW_MS: u64 = 5_000;

/// Nats that a step's loss may lie above the running mean. Batches of real text scatter by a few
/// tenths; a step that leaves the basin jumps by more than this.
const JUMP: f32 = 3.0;

/// Steps in a row whose loss may lie beyond that: a batch of odd text passes, a model that left its basin
/// does not come back.
const STRIKES: u32 = 4;

/// Weight of the newest loss in the running mean.
const SMOOTHING: f32 = 0.1;

/// Losses of the steps since the last cut.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) steps: u64,
    first: Vec<f32>,
    last: VecDeque<f32>,
}

impl Tally {
    pub(crate) fn add(&mut self, loss: f32) {
        self.steps += 1;
        if self.first.len() < ENDS {
            self.first.push(loss);
        }
        self.last.push_back(loss);
        if self.last.len() > ENDS {
            self.last.pop_front();
        }
    }

    /// Mean loss of the first and of the last steps.
    pub(crate) fn ends(&self) -> (f32, f32) {
        let (first, last) = (self.first.iter().sum::<f32>(), self.last.iter().sum::<f32>());
        (first / self.first.len().max(1) as f32, last / self.last.len().max(1) as f32)
    }
}

/// Judges losses one by one.
#[derive(Debug)]
pub(crate) struct Sanity {
    /// Twice the loss of a model that knows nothing, ln(vocabulary).
    most: f32,
    mean: Option<f32>,
    /// Losses in a row that were beyond.
    strikes: u32,
}

impl Sanity {
    pub(crate) fn new(vocab: u32) -> Self {
        Self { most: 2.0 * (vocab as f32).ln().max(1.0), mean: None, strikes: 0 }
    }

    /// The weights moved along with the base: what was usual before says little of what is now.
    pub(crate) fn moved(&mut self) {
        (self.mean, self.strikes) = (None, 0);
    }

    /// Whether training can go on from a step with this loss.
    pub(crate) fn believes(&mut self, loss: f32) -> bool {
        let limit = self.mean.map_or(self.most, |mean| self.most.min(mean + JUMP));
        // Written so that NaN is not believed.
        if loss <= limit {
            self.strikes = 0;
            self.mean = Some(self.mean.map_or(loss, |mean| mean + SMOOTHING * (loss - mean)));
            return true;
        }
        self.strikes += 1;
        loss.is_finite() && self.strikes < STRIKES
    }
}

/// Tokens a second over the last seconds.
#[derive(Debug, Default)]
pub(crate) struct Rate(VecDeque<(u64, u64)>);

impl Rate {
    /// Notes work that began at `began` and is done now.
    pub(crate) fn add(&mut self, began_ms: u64, now_ms: u64, tokens: u64) {
        if self.0.is_empty() {
            self.0.push_back((began_ms, 0));
        }
        self.0.push_back((now_ms, tokens));
        while self.0.len() > 2 && self.0[1].0 + RATE_WINDOW_MS < now_ms {
            self.0.pop_front();
        }
    }

    pub(crate) fn per_second(&self) -> f32 {
        let (Some((began, _)), Some((now, _))) = (self.0.front(), self.0.back()) else { return 0.0 };
        let tokens: u64 = self.0.iter().skip(1).map(|(_, tokens)| tokens).sum();
        tokens as f32 * 1000.0 / now.saturating_sub(*began).max(1) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_means_of_up_to_eight() {
        let mut tally = Tally::default();
        (1..=20).for_each(|loss| tally.add(loss as f32));
        assert_eq!((tally.steps, tally.ends()), (20, (4.5, 16.5)));
        let mut short = Tally::default();
        short.add(3.0);
        assert_eq!(short.ends(), (3.0, 3.0));
    }

    #[test]
    fn only_finite_and_likely_losses_are_believed() {
        let mut sanity = Sanity::new(256);
        assert!(!sanity.believes(f32::NAN) && !sanity.believes(f32::INFINITY));
        assert!((0..100).all(|i| sanity.believes(5.5 - 0.04 * i as f32)));
        assert!((0..3).all(|_| sanity.believes(6.0)) && sanity.believes(2.0), "odd text passes");
        assert!((0..3).all(|_| sanity.believes(6.0)) && !sanity.believes(6.0), "it stays away");
        assert!(sanity.believes(2.0));
        assert!(!sanity.believes(f32::NAN));
        sanity.moved();
        assert!((0..8).all(|_| sanity.believes(6.0)), "a base may be worse than what one had");
        assert!((0..3).all(|_| sanity.believes(12.0)) && !sanity.believes(12.0), "no base is as bad as that");
    }

    #[test]
    fn the_rate_forgets() {
        let mut rate = Rate::default();
        (0..20).for_each(|i| rate.add(i * 1000, (i + 1) * 1000, 100));
        assert_eq!(rate.per_second(), 100.0);
        (20..40).for_each(|i| rate.add(i * 1000, (i + 1) * 1000, 500));
        assert_eq!(rate.per_second(), 500.0);
    }
}
