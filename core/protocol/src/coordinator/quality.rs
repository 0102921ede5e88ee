//! How good an update is, from what it does to the loss on text that its maker could not foresee.
//!
//! Enters: by how much each update of a round lowers the loss, with the error of that measurement. Leaves: each
//! one's *quality*, by which its tokens count. It compares with the others of the round, since how much a
//! round's work can lower the loss differs from run to run and from round to round; it goes by the mean over a
//! contributor's rounds, and it gives the benefit of the doubt: a small honest update, whose effect is lost in
//! the noise, loses nothing.

use serde::{Deserialize, Serialize};

/// A change of the mean loss.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Gain {
    /// By how much the loss is lower with the update, in nats a token.
    pub mean: f32,
    /// The standard error of that.
    pub error: f32,
}

/// What an update does to the loss of the weights that it was made for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// On text drawn from all of the data.
    pub random: Gain,
    /// On text that its maker was to train on.
    pub own: Gain,
}

impl Score {
    /// Both halves together, if they are numbers.
    fn gain(&self) -> Option<(f64, f64)> {
        let [random, own] = [self.random, self.own].map(|gain| (f64::from(gain.mean), f64::from(gain.error)));
        let error = (random.1 * random.1 + own.1 * own.1).sqrt() / 2.0;
        let mean = (random.0 + own.0) / 2.0;
        (mean.is_finite() && error.is_finite()).then_some((mean, error))
    }

    /// By how much the loss is surely lower, in millionths of a nat a token.
    pub(super) fn sure(&self) -> u64 {
        self.gain().map_or(0, |(mean, error)| (1e6 * (mean - DOUBT * error)).max(0.0) as u64)
    }
}

/// A full quality, in millionths.
pub const FULL: u32 = 1_000_000;

/// Part of the median gain that an update must have for full quality.
const ENOUGH: f64 = 0.25;

/// Standard errors that a gain may be below what it should be.
const DOUBT: f64 = 2.0;

/// Standard errors that a gain must be below zero to be harm. Updates that are lost in the noise are many, and of so
/// many measurements one in forty is two errors below: that much honest work would be refused.
const HARM: f64 = 4.0;

/// How much of the mean over a contributor's rounds is the newest.
const NEWEST: f64 = 0.25;

/// Scored updates without which there is nothing to compare with.
const FEWEST: usize = 3;

/// The mean of a contributor's gains, as parts of the gain that was to be expected.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Record {
    mean: f64,
    variance: f64,
}

impl Record {
    fn with(record: Option<Self>, gain: f64, error: f64) -> Self {
        let Some(Self { mean, variance }) = record else { return Self { mean: gain, variance: error * error } };
        let rest = 1.0 - NEWEST;
        Self { mean: rest * mean + NEWEST * gain, variance: rest * rest * variance + NEWEST * NEWEST * error * error }
    }

    fn quality(&self) -> u32 {
        let best = self.mean + DOUBT * self.variance.sqrt();
        ((best / ENOUGH).clamp(0.0, 1.0) * f64::from(FULL)) as u32
    }
}

/// One update of a round: its tokens, its say in what is usual, what is known of its maker, and its score if it has one.
pub(super) type Scored = (u64, u64, Option<Record>, Option<Score>);

/// The quality of each update, and its maker's record with it.
pub(super) fn qualities(updates: &[Scored]) -> Vec<(u32, Option<Record>)> {
    let gains: Vec<_> = updates.iter().map(|(.., score)| score.and_then(|s| s.gain())).collect();
    let known = updates.iter().zip(&gains).filter(|((_, say, ..), _)| *say > 0);
    let known: Vec<_> = known.filter_map(|((tokens, say, ..), gain)| gain.map(|gain| (*tokens, *say, gain))).collect();
    let usual = (known.len() >= FEWEST).then(|| {
        let tokens = median(known.iter().map(|(tokens, say, _)| (*tokens as f64, *say)));
        (tokens, median(known.iter().map(|(_, say, gain)| (gain.0, *say))))
    });
    let of = |(gain, record): (Option<(f64, f64)>, Option<Record>), tokens: u64| {
        let (Some((mean, error)), Some((usual_tokens, usual_gain))) = (gain, usual) else {
            // Not measured, or nothing to compare with: what was known stands.
            return (record.map_or(FULL, |record| record.quality()), record);
        };
        // Fewer tokens do less, though not as much less as they are fewer.
        let expected = usual_gain * (tokens as f64 / usual_tokens).min(1.0);
        if expected <= DOUBT * error {
            // The round's work is lost in the noise; but what does clear harm does not count.
            let harms = mean + HARM * error < expected.min(0.0);
            return (if harms { 0 } else { record.map_or(FULL, |record| record.quality()) }, record);
        }
        if mean + HARM * error < 0.0 {
            return (0, Some(Record::with(record, mean / expected, error / expected)));
        }
        let record = Record::with(record, (mean / expected).min(1.0), error / expected);
        (record.quality(), Some(record))
    };
    updates.iter().zip(gains).map(|((tokens, _, record, _), gain)| of((gain, *record), *tokens)).collect()
}

/// As much is said below it as above; of two such values the upper one: as long as half of what is said is honest it is
/// an honest one's. There is a value.
fn median(values: impl Iterator<Item = (f64, u64)>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let all: u128 = values.iter().map(|(_, say)| u128::from(*say)).sum();
    let mut below = 0;
    let middle = values.iter().find(|(_, say)| {
        below += u128::from(*say);
        2 * below > all
    });
    middle.or(values.last()).map_or(0.0, |(value, _)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(mean: f32, error: f32) -> Option<Score> {
        let gain = Gain { mean, error };
        Some(Score { random: gain, own: gain })
    }

    fn round(updates: &[(u64, f32, f32)]) -> Vec<u32> {
        let updates: Vec<_> =
            updates.iter().map(|&(tokens, mean, error)| (tokens, tokens, None, score(mean, error))).collect();
        qualities(&updates).into_iter().map(|(quality, _)| quality).collect()
    }

    #[test]
    fn who_does_nothing_gets_nothing_and_who_does_less_for_fewer_tokens_gets_all() {
        let honest = (1000, 0.1, 0.005);
        let got = round(&[honest, honest, honest, (1000, 0.0001, 0.0001), (100, 0.012, 0.004), (1000, -0.1, 0.005)]);
        assert_eq!(got[..3], [FULL; 3]);
        assert!(got[3] < FULL / 50, "no work: {}", got[3]);
        assert_eq!((got[4], got[5]), (FULL, 0));
    }

    #[test]
    fn what_is_lost_in_the_noise_counts_in_full() {
        assert_eq!(round(&[(1000, 0.01, 0.01), (1000, -0.005, 0.01), (10, 0.0, 0.01)]), [FULL; 3]);
        let small = (1000, 0.01, 0.01);
        assert_eq!(round(&[small, small, (1000, -0.02, 0.01), (1000, -0.05, 0.01)]), [FULL, FULL, FULL, 0]);
        // Two are no round to compare with, and a score may be missing.
        assert_eq!(round(&[(1000, 0.1, 0.001), (1000, 0.0, 0.001)]), [FULL; 2]);
        assert_eq!(round(&[(1000, f32::NAN, 0.1), (1000, 0.1, 0.001), (1000, 0.1, 0.001)]), [FULL; 3]);
    }

    #[test]
    fn a_bad_round_is_forgiven_and_bad_rounds_are_not() {
        let mut record = None;
        let mut qualities_of_last = Vec::new();
        for gain in [0.1, 0.1, 0.1, 0.0, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0] {
            let honest = (1000, 1000, None, score(0.1, 0.001));
            let judged = qualities(&[honest, honest, honest, (1000, 1000, record, score(gain, 0.0005))]);
            record = judged[3].1;
            qualities_of_last.push(judged[3].0);
        }
        assert_eq!(qualities_of_last[..5], [FULL; 5]);
        assert!(qualities_of_last[13] < FULL / 2, "{qualities_of_last:?}");
    }
}
