//! When to dial again: exponential, with jitter, so that a coordinator that comes back isn't met
//! by everyone at once.

use crate::{Millis, mix};

/// The first delay, in milliseconds: a restarted coordinator is back within about this.
const FIRST: Millis = 1_000;
/// The longest delay: a person who looks at the page sees something happen within it.
const LONGEST: Millis = 60_000;

#[derive(Debug)]
pub(super) struct BackOff {
    attempt: u32,
    state: u64,
}

impl BackOff {
    pub(super) fn new(seed: u64) -> Self {
        Self { attempt: 0, state: seed }
    }

    pub(super) fn reset(&mut self) {
        self.attempt = 0;
    }

    /// The next delay: uniform between half of 1, 2, 4, … 60 s and the whole of it.
    pub(super) fn next(&mut self) -> Millis {
        let whole = (FIRST << self.attempt.min(6)).min(LONGEST);
        self.attempt += 1;
        whole / 2 + self.random() % (whole / 2 + 1)
    }

    fn random(&mut self) -> u64 {
        let number = mix::mix(self.state);
        self.state = self.state.wrapping_add(mix::STEP);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_to_a_bound_and_differ_by_seed() {
        let (mut a, mut b) = (BackOff::new(1), BackOff::new(2));
        let delays: Vec<_> = (0..20).map(|_| a.next()).collect();
        for (attempt, &delay) in delays.iter().enumerate() {
            let whole = (FIRST << attempt.min(6)).min(LONGEST);
            assert!((whole / 2..=whole).contains(&delay), "{attempt}: {delay}");
        }
        assert_ne!(delays, (0..20).map(|_| b.next()).collect::<Vec<_>>());
        a.reset();
        assert!(a.next() <= FIRST);
    }
}
