//! How much of the time training takes: it works, then rests in proportion.
//!
//! Enters: the share that is wanted, and when work began and ended. Leaves: for how long to rest now. The work is
//! measured and not guessed, so the share holds whatever else slows the device.

use tributary_protocol::limits::LEAST_PACE;

/// Milliseconds of rest at a time: as long as a Stop, or another job, may wait for it.
const SLICE_MS: u64 = 100;

/// Milliseconds of rest after one stretch of work, however long that was: a machine that slept in between would
/// else rest for as long again, and miss the round.
const MOST_REST_MS: u64 = 60_000;

/// The share, and where in its cycle training is.
#[derive(Debug)]
pub(crate) struct Pace {
    percent: u64,
    /// Since when it works.
    began_ms: Option<u64>,
    /// Until when it rests.
    until_ms: u64,
    /// What short steps have left to rest for, in milliseconds times `percent`.
    owed: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { percent: 100, began_ms: None, until_ms: 0, owed: 0 }
    }
}

impl Pace {
    /// From now on so many per cent of the time; a rest ends at once.
    pub(crate) fn set(&mut self, percent: u8) {
        *self = Self { percent: u64::from(percent.clamp(LEAST_PACE, 100)), ..Self::default() };
    }

    /// Whether it never rests, so that nobody need look at a clock.
    pub(crate) fn is_full(&self) -> bool {
        self.percent == 100
    }

    /// Work begins, or goes on.
    pub(crate) fn begin(&mut self, now_ms: u64) {
        self.began_ms.get_or_insert(now_ms);
    }

    /// What began is done, on the device too.
    pub(crate) fn end(&mut self, now_ms: u64) {
        let Some(began) = self.began_ms.take() else { return };
        let worked = now_ms.saturating_sub(began);
        let owed = self.owed + worked * (100 - self.percent);
        self.owed = owed % self.percent;
        self.until_ms = now_ms + (owed / self.percent).min(MOST_REST_MS);
    }

    /// Milliseconds to rest before anything else is looked at; 0: work.
    pub(crate) fn rest(&self, now_ms: u64) -> u64 {
        self.until_ms.saturating_sub(now_ms).min(SLICE_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps of `step_ms` within ten minutes, `queued` at a time.
    fn steps(percent: u8, step_ms: u64, queued: u64) -> u64 {
        let (mut pace, mut now, mut done) = (Pace::default(), 0, 0);
        pace.set(percent);
        while now < 600_000 {
            match pace.rest(now) {
                0 => {
                    pace.begin(now);
                    now += step_ms;
                    done += 1;
                    if done % queued == 0 {
                        pace.end(now);
                    }
                }
                rest => now += rest,
            }
        }
        done
    }

    #[test]
    fn a_share_of_the_time_is_that_share_of_the_steps() {
        for (step_ms, queued) in [(7, 1), (40, 8), (900, 1), (6_000, 1)] {
            let full = steps(100, step_ms, queued);
            for percent in [10, 25, 50, 90] {
                let share = 100.0 * steps(percent, step_ms, queued) as f64 / full as f64;
                assert!(
                    (share - f64::from(percent)).abs() < 3.0,
                    "{percent} per cent of steps of {step_ms} ms: {share}"
                );
            }
        }
    }

    #[test]
    fn shares_have_bounds_and_a_new_one_ends_the_rest() {
        let mut pace = Pace::default();
        pace.set(0);
        pace.begin(0);
        pace.end(1_000_000);
        assert_eq!((pace.rest(1_000_000), pace.rest(1_000_000 + MOST_REST_MS)), (SLICE_MS, 0));
        pace.set(200);
        assert!(pace.is_full());
        assert_eq!(pace.rest(1_000_000), 0);
    }
}
