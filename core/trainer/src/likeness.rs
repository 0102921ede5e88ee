//! How alike a claimed segment and its replay are, and what passes as the same work.

use tributary_protocol::fold;

use crate::trace::Origin;

/// What passes as the same work.
struct Bounds {
    /// The least cosine.
    cosine: f64,
    /// The ratio is at most this, and at least one over this.
    ratio: f64,
}

/// For the way of a segment. Measured (`calibration.md`): honest ways are exact on one kind of device; three quarters of
/// the steps have a cosine of at most 0.926, any other saving at most 0.82. The room is for other devices' arithmetic.
const WAY: Bounds = Bounds { cosine: 0.955, ratio: 1.15 };

/// For the first moments at its end; those of a contributor who did not read the same last batches have at most 0.52.
const MOMENTUM: Bounds = Bounds { cosine: 0.7, ratio: 1.5 };

/// For the roots of the second moments, which all training makes alike.
const SCALE: Bounds = Bounds { cosine: 0.85, ratio: 1.25 };

/// For an update: honest ones have at least 0.996, since it follows from the state at the cut without training. One
/// that has 0.2 of its norm of something else in it, round for round the same, has 0.98.
const UPDATE: Bounds = Bounds { cosine: 0.98, ratio: 1.25 };

/// For what it left out: honest ones have at least 0.96, where a single step left nearly nothing.
const REST: Bounds = Bounds { cosine: 0.7, ratio: 1.5 };

/// Two vectors side by side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Match {
    /// The norm of the claimed one over that of the recomputed one.
    pub ratio: f64,
    /// The cosine of the angle between them.
    pub cosine: f64,
}

/// A claimed segment beside its replay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Likeness {
    /// The way from its start to its end.
    pub way: Match,
    /// The first moments at its end, and the roots of the second ones.
    pub moments: [Match; 2],
    /// The claimed mean loss less the replay's, in nats a token.
    pub loss: f32,
    /// Of the last segment: the update, and what it left out.
    pub sent: Option<[Match; 2]>,
    /// Tokens that the replay trained.
    pub tokens: u64,
    /// Where the trace begins.
    pub origin: Origin,
}

impl Match {
    /// Of two that are the same.
    pub(crate) const EQUAL: Self = Self { ratio: 1.0, cosine: 1.0 };

    /// Of a claimed and a recomputed vector of one length. Two that are zero are equal.
    pub fn of(claimed: &[f32], found: &[f32]) -> Self {
        let [a, b] = [fold::norm(claimed), fold::norm(found)];
        if a == 0.0 && b == 0.0 {
            return Self::EQUAL;
        }
        let dot: f64 = claimed.iter().zip(found).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        // Where only one is zero there is no angle, and no ratio within any bounds.
        let cosine = if a == 0.0 || b == 0.0 { 0.0 } else { dot / (a * b) };
        Self { ratio: if b == 0.0 { f64::MAX } else { a / b }, cosine }
    }

    /// Of an update and the `best` one of its form, by how much each says of what is `due`. Which of many nearly
    /// equal values are sent hangs by a hair, so the two need not be alike themselves.
    pub(crate) fn of_update(update: &[f32], best: &[f32], due: &[f32]) -> Self {
        let said = Self::of(best, due).cosine;
        let cosine = if said > 0.0 { Self::of(update, due).cosine / said } else { 1.0 };
        Self { ratio: Self::of(update, best).ratio, cosine }
    }

    fn is_within(&self, bounds: &Bounds) -> bool {
        // Written so that NaN is not.
        self.cosine >= bounds.cosine && self.ratio <= bounds.ratio && self.ratio * bounds.ratio >= 1.0
    }
}

impl Likeness {
    /// Whether it is the same work.
    pub fn is_same(&self) -> bool {
        let [momentum, scale] = self.moments;
        self.way.is_within(&WAY)
            && momentum.is_within(&MOMENTUM)
            && scale.is_within(&SCALE)
            && self.sent.is_none_or(|[update, rest]| update.is_within(&UPDATE) && rest.is_within(&REST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_told_apart_by_length_and_direction() {
        let check = |a: &[f32], b: &[f32], ratio: f64, cosine: f64| {
            let found = Match::of(a, b);
            assert!((found.ratio - ratio).abs() < 1e-9 && (found.cosine - cosine).abs() < 1e-9, "{found:?}");
        };
        check(&[3.0, 4.0], &[3.0, 4.0], 1.0, 1.0);
        check(&[6.0, 8.0], &[3.0, 4.0], 2.0, 1.0);
        check(&[4.0, -3.0], &[3.0, 4.0], 1.0, 0.0);
        check(&[0.0, 0.0], &[0.0, 0.0], 1.0, 1.0);
        check(&[0.0, 0.0], &[3.0, 4.0], 0.0, 0.0);
        check(&[3.0, 4.0], &[0.0, 0.0], f64::MAX, 0.0);
        assert!(!Match::of(&[f32::NAN], &[1.0]).is_within(&WAY));
    }
}
