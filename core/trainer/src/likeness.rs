//! How alike a claimed segment and its replay are, and what passes as the same work.

use tributary_protocol::fold;

use crate::trace::Origin;

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
}

impl Likeness {
    /// Whether it is the same work.
    pub fn is_same(&self) -> bool {
        let all = [self.way].into_iter().chain(self.moments).chain(self.sent.into_iter().flatten());
        all.into_iter().all(|m| m.cosine > 0.8)
    }
}
