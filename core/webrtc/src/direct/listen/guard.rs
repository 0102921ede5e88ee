//! Who may begin a handshake, or ask for an address, how often.
//!
//! Pure: the time is an argument. Nothing is remembered of a source once its allowance is full again.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Sources that are remembered at a time; with forged ones there are more, and then only the total counts.
const SOURCES: usize = 4096;

/// So much at once, and so much a second afterwards.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) burst: f64,
    pub(super) per_second: f64,
}

/// A token bucket for everyone and one for each source.
#[derive(Debug)]
pub(super) struct Guard {
    each: Rate,
    total: Rate,
    all: Bucket,
    sources: HashMap<IpAddr, Bucket>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    since: Instant,
}

impl Bucket {
    fn refill(&mut self, rate: Rate, now: Instant) {
        let passed = now.saturating_duration_since(self.since).as_secs_f64();
        self.tokens = (self.tokens + passed * rate.per_second).min(rate.burst);
        self.since = now;
    }
}

impl Guard {
    pub(super) fn new(each: Rate, total: Rate, now: Instant) -> Self {
        Self { each, total, all: Bucket { tokens: total.burst, since: now }, sources: HashMap::new() }
    }

    /// Whether `source` may, this time.
    pub(super) fn admit(&mut self, source: IpAddr, now: Instant) -> bool {
        let source = network(source);
        if !self.sources.contains_key(&source) && self.sources.len() >= SOURCES {
            self.forget(now);
        }
        let full = self.sources.len() >= SOURCES;
        self.all.refill(self.total, now);
        let mut unknown = Bucket { tokens: self.each.burst, since: now };
        let bucket = match self.sources.get_mut(&source) {
            Some(bucket) => bucket,
            None if full => &mut unknown,
            None => self.sources.entry(source).or_insert(unknown),
        };
        bucket.refill(self.each, now);
        if bucket.tokens < 1.0 || self.all.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        self.all.tokens -= 1.0;
        true
    }

    fn forget(&mut self, now: Instant) {
        let refilled = Duration::from_secs_f64(self.each.burst / self.each.per_second);
        self.sources.retain(|_, bucket| now.saturating_duration_since(bucket.since) < refilled);
    }
}

/// What counts as one source: an IPv4 address, or the network of an IPv6 one, since whoever has one of its
/// addresses has all.
pub(super) fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EACH: Rate = Rate { burst: 4.0, per_second: 2.0 };
    const TOTAL: Rate = Rate { burst: 10_000.0, per_second: 1000.0 };

    fn ip(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    #[test]
    fn one_source_has_its_burst_and_then_its_rate() {
        let start = Instant::now();
        let mut guard = Guard::new(EACH, TOTAL, start);
        let at_once = (0..100).filter(|_| guard.admit(ip(1), start)).count();
        assert_eq!(at_once, 4);
        assert!(guard.admit(ip(2), start), "another source is not touched");
        let later = start + Duration::from_secs(1);
        assert_eq!((0..100).filter(|_| guard.admit(ip(1), later)).count(), 2);
    }

    #[test]
    fn one_network_is_one_source() {
        let start = Instant::now();
        let mut guard = Guard::new(EACH, TOTAL, start);
        let admitted = (0..100u128).filter(|n| guard.admit(Ipv6Addr::from_bits((0x2001 << 112) + n).into(), start));
        assert_eq!(admitted.count(), 4);
    }

    #[test]
    fn all_together_have_theirs() {
        let start = Instant::now();
        let total = Rate { burst: 10.0, per_second: 1.0 };
        let mut guard = Guard::new(EACH, total, start);
        assert_eq!((0..100).filter(|n| guard.admit(ip(*n), start)).count(), 10);
    }

    #[test]
    fn forged_sources_are_not_remembered_for_ever() {
        let start = Instant::now();
        let mut guard = Guard::new(EACH, TOTAL, start);
        for n in 0..SOURCES as u32 + 1000 {
            guard.admit(ip(n), start);
        }
        assert_eq!(guard.sources.len(), SOURCES);
        assert!(guard.admit(ip(1 << 30), start + Duration::from_secs(5)));
        assert_eq!(guard.sources.len(), 1, "the others' allowance is full again");
    }
}
