//! The upload limit that a person sets: one token bucket for all blobs that a node serves.
//!
//! Enters: the limit, and who wants to send how many bytes. Leaves: permission, first come first
//! served; since every stream asks for one chunk at a time, streams share the limit evenly.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_timer::Delay;
use tributary_protocol::limits::CHUNK;
use web_time::Instant;

/// Longest sleep before looking again: a limit that was raised takes effect within this.
const LOOK: Duration = Duration::from_millis(250);

/// What an idle bucket holds: a quarter of a second, so that the limit holds over any second that a
/// person would look at, and at least a chunk, or nothing would ever pass.
fn burst(rate: u64) -> f64 {
    (rate as f64 / 4.0).max(CHUNK as f64)
}

/// A token bucket. Without a limit it lets everything pass.
#[derive(Default)]
pub(crate) struct Throttle(Mutex<Bucket>);

/// Bytes since the beginning; those who wait have reserved more than was granted.
#[derive(Default)]
struct Bucket {
    /// Bytes per second, and when `granted` was last brought up to date.
    limit: Option<(u64, Instant)>,
    granted: f64,
    reserved: f64,
}

impl Bucket {
    fn grant(&mut self, now: Instant) {
        if let Some((rate, at)) = &mut self.limit {
            let time = now.saturating_duration_since(*at).as_secs_f64();
            self.granted = (self.granted + *rate as f64 * time).min(self.reserved + burst(*rate));
            *at = now;
        }
    }

    /// How long until a place in the queue is reached.
    fn wait(&mut self, place: f64, now: Instant) -> Option<Duration> {
        self.grant(now);
        let (rate, _) = self.limit?;
        let missing = place - self.granted;
        (missing > 0.0).then(|| Duration::from_secs_f64((missing / rate.max(1) as f64).min(3600.0)))
    }
}

impl Throttle {
    fn lock(&self) -> MutexGuard<'_, Bucket> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the limit in bytes per second.
    pub(crate) fn set(&self, rate: Option<u64>) {
        let now = Instant::now();
        let mut bucket = self.lock();
        bucket.grant(now);
        if bucket.limit.is_none() {
            // What passed without a limit is not owed.
            bucket.granted = bucket.reserved;
        }
        bucket.limit = rate.map(|rate| (rate, now));
    }

    /// Waits until this many bytes may be sent. Giving up gives the bytes to whoever is next.
    pub(crate) async fn take(&self, bytes: usize) {
        let place = {
            let mut bucket = self.lock();
            bucket.reserved += bytes as f64;
            bucket.reserved
        };
        let mut queued = Queued { throttle: self, bytes: bytes as f64 };
        loop {
            let wait = self.lock().wait(place, Instant::now());
            match wait {
                Some(wait) => Delay::new(wait.min(LOOK)).await,
                None => break,
            }
        }
        queued.bytes = 0.0;
    }
}

/// A place in the queue.
struct Queued<'a> {
    throttle: &'a Throttle,
    /// What it gives back when it is left.
    bytes: f64,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.throttle.lock().granted += self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn bucket(rate: u64) -> (Bucket, Instant) {
        let now = Instant::now();
        (Bucket { limit: Some((rate, now)), ..Bucket::default() }, now)
    }

    #[test]
    fn a_second_grants_what_the_limit_says_and_idleness_no_more_than_the_burst() {
        let (mut bucket, start) = bucket(1_000_000);
        bucket.reserved = 3_000_000.0;
        assert_eq!(bucket.wait(3_000_000.0, start), Some(Duration::from_secs(3)));
        let later = start + Duration::from_secs(2);
        assert_eq!(bucket.wait(2_000_000.0, later), None);
        assert_eq!(bucket.wait(3_000_000.0, later), Some(Duration::from_secs(1)));
        bucket.grant(start + Duration::from_secs(60));
        assert_eq!(bucket.granted - bucket.reserved, 250_000.0);
    }

    #[test]
    fn a_limit_of_nothing_waits_and_no_limit_does_not() {
        let (mut bucket, start) = bucket(0);
        bucket.reserved = 65_536.0;
        assert!(bucket.wait(65_536.0, start + Duration::from_secs(100)).is_some());
        bucket.limit = None;
        assert_eq!(bucket.wait(65_536.0, start), None);
    }

    #[test]
    fn who_gives_up_delays_nobody() {
        let throttle = Throttle::default();
        throttle.set(Some(0));
        assert!(throttle.take(65_536).now_or_never().is_none(), "nothing is granted");
        let bucket = throttle.lock();
        assert_eq!((bucket.granted, bucket.reserved), (65_536.0, 65_536.0));
    }
}
