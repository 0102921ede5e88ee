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

/// Milliseconds by which one rest may have been too long and the next ones are shorter for it: timers are late where
/// much else runs, but a wait for the next round is no rest.
const MOST_LATE_MS: u64 = 1_000;

/// The share, and where in its cycle training is.
#[derive(Debug)]
pub(crate) struct Pace {
    percent: u64,
    /// Since when it works.
    began_ms: Option<u64>,
    /// Until when it rests, if it does.
    until_ms: Option<u64>,
    /// What short steps have left to rest for, less what late timers rested beyond, in milliseconds times `percent`.
    owed: i64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { percent: 100, began_ms: None, until_ms: None, owed: 0 }
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
        let owed = self.owed.saturating_add_unsigned(worked * (100 - self.percent));
        let rest = owed.max(0) as u64 / self.percent;
        self.owed = (owed - (rest * self.percent) as i64).max(-((MOST_LATE_MS * self.percent) as i64));
        self.until_ms = (rest > 0).then(|| now_ms + rest.min(MOST_REST_MS));
    }

    /// Milliseconds to rest before anything else is looked at; 0: work.
    pub(crate) fn rest(&mut self, now_ms: u64) -> u64 {
        let Some(until) = self.until_ms else { return 0 };
        if now_ms >= until {
            self.owed -= ((now_ms - until).min(MOST_LATE_MS) * self.percent) as i64;
            self.until_ms = None;
        }
        until.saturating_sub(now_ms).min(SLICE_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps of `step_ms` within ten minutes, `queued` at a time; each rest takes `late_ms` longer than it should.
    fn steps(percent: u8, step_ms: u64, queued: u64, late_ms: u64) -> u64 {
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
                rest => now += rest + late_ms,
            }
        }
        done
    }

    #[test]
    fn a_share_of_the_time_is_that_share_of_the_steps() {
        for (step_ms, queued, late_ms) in
            [(7, 1, 0), (40, 8, 0), (40, 8, 150), (900, 1, 0), (900, 1, 150), (6_000, 1, 0)]
        {
            let full = steps(100, step_ms, queued, 0);
            for percent in [10, 25, 50, 90] {
                let share = 100.0 * steps(percent, step_ms, queued, late_ms) as f64 / full as f64;
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
