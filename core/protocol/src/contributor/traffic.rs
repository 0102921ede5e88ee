//! What moved over the network, as figures for a person.
//!
//! Enters: counters about once a second. Leaves: rates, and what the round took.

use std::collections::BTreeMap;

use crate::{Id, Millis};

/// What moved since the driver began.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Bytes sent to anybody.
    pub up: u64,
    /// Bytes received from anybody.
    pub down: u64,
    /// Bytes of blobs received from other contributors.
    pub bulk_direct: u64,
    /// Bytes of blobs received from the coordinator.
    pub bulk_coordinator: u64,
    /// The links that are up now.
    pub peers: Vec<PeerTraffic>,
}

/// What moved between this contributor and one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerTraffic {
    /// Who.
    pub peer: Id,
    /// Bytes sent to it since it connected.
    pub up: u64,
    /// Bytes received from it since it connected.
    pub down: u64,
}

/// Bytes a second, both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Rate {
    pub(super) up: u64,
    pub(super) down: u64,
}

impl Rate {
    /// A counter that went back began again.
    fn between(before: (u64, u64), after: (u64, u64), ms: Millis) -> Self {
        let rate = |before: u64, after: u64| {
            let bytes = after.checked_sub(before).unwrap_or(after);
            bytes.saturating_mul(1000).checked_div(ms).unwrap_or_default()
        };
        Self { up: rate(before.0, after.0), down: rate(before.1, after.1) }
    }
}

/// The newest counters and what they say beside those before.
#[derive(Debug, Default)]
pub(super) struct Meter {
    at: Millis,
    now: Traffic,
    rate: Rate,
    peers: BTreeMap<Id, Rate>,
    /// The round that is counted, and the counters at its beginning.
    round: Option<(u64, u64, u64)>,
}

impl Meter {
    /// Takes counters in; `round` is the newest one.
    pub(super) fn take(&mut self, now: Millis, round: Option<u64>, traffic: Traffic) {
        let ms = now.saturating_sub(self.at);
        if self.round.map(|(round, ..)| round) != round {
            self.round = round.map(|round| (round, self.now.up, self.now.down));
        }
        let known = |peer: &PeerTraffic| self.now.peers.iter().find(|known| known.peer == peer.peer);
        let of = |peer: &PeerTraffic| {
            let before = known(peer).map_or((0, 0), |known| (known.up, known.down));
            (peer.peer, Rate::between(before, (peer.up, peer.down), ms))
        };
        self.peers = traffic.peers.iter().map(of).collect();
        self.rate = Rate::between((self.now.up, self.now.down), (traffic.up, traffic.down), ms);
        self.at = now;
        self.now = traffic;
    }

    pub(super) fn totals(&self) -> &Traffic {
        &self.now
    }

    pub(super) fn rate(&self) -> Rate {
        self.rate
    }

    /// What moves between this contributor and a peer; nothing if they aren't linked.
    pub(super) fn peer(&self, peer: &Id) -> Rate {
        self.peers.get(peer).copied().unwrap_or_default()
    }

    /// Bytes sent and received in the newest round.
    pub(super) fn in_round(&self) -> (u64, u64) {
        let (_, up, down) = self.round.unwrap_or_default();
        (self.now.up.saturating_sub(up), self.now.down.saturating_sub(down))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_become_rates_and_the_rounds_bytes() {
        let peer = |up, down| PeerTraffic { peer: Id([1; 32]), up, down };
        let sample = |up, down, peers| Traffic { up, down, peers, ..Traffic::default() };
        let mut meter = Meter::default();
        meter.take(1_000, Some(3), sample(500, 100, vec![peer(50, 10)]));
        meter.take(3_000, Some(3), sample(2_500, 1_100, vec![peer(2_050, 10)]));
        assert_eq!(meter.rate(), Rate { up: 1_000, down: 500 });
        assert_eq!(meter.peer(&Id([1; 32])), Rate { up: 1_000, down: 0 });
        assert_eq!(meter.in_round(), (2_500, 1_100));
        // The next round, and a connection that began again.
        meter.take(4_000, Some(4), sample(2_600, 1_100, vec![peer(7, 0)]));
        assert_eq!((meter.in_round(), meter.rate()), ((100, 0), Rate { up: 100, down: 0 }));
        assert_eq!(meter.peer(&Id([1; 32])), Rate { up: 7, down: 0 });
        // Nobody is connected, and no time has passed.
        meter.take(4_000, None, sample(2_600, 1_100, vec![]));
        assert_eq!((meter.peer(&Id([1; 32])), meter.rate()), (Rate::default(), Rate::default()));
    }
}
