//! Tells contributors who is here.

use super::{Coordinator, Peer};
use crate::limits::MAX_ROSTER;
use crate::message::{Roster, RosterPeer, ToContributor};
use crate::{Id, Millis};

/// Milliseconds between rosters while everyone fits into one.
const ROSTER_EVERY_MS: Millis = 2_000;
/// The same in a large swarm, where a roster is a sample anyway and costs bytes times peers.
const LARGE_ROSTER_EVERY_MS: Millis = 15_000;

impl Coordinator {
    /// Everyone is told who is here; in a large swarm everyone sees the next stretch of peers.
    pub(super) fn send_roster(&mut self, now: Millis) {
        if self.peers.is_empty() || now < self.roster_at {
            return;
        }
        let fits = self.peers.len() <= MAX_ROSTER;
        self.roster_at = now + if fits { ROSTER_EVERY_MS } else { LARGE_ROSTER_EVERY_MS };
        let after = self.roster_cursor.filter(|_| !fits);
        let lines = self.peers.iter().filter(|(id, _)| after.is_none_or(|after| **id > after)).take(MAX_ROSTER);
        let peers: Vec<_> = lines.map(|(id, peer)| roster_line(*id, peer)).collect();
        self.roster_cursor = peers.last().filter(|_| peers.len() == MAX_ROSTER).map(|peer| peer.peer);
        let total = self.peers.len() as u32;
        self.send_all(ToContributor::Roster(Roster { total, peers }));
    }
}

fn roster_line(peer: Id, state: &Peer) -> RosterPeer {
    let status = state.status.as_ref();
    RosterPeer {
        peer,
        kind: state.kind,
        tokens: status.map_or(0, |s| s.tokens),
        tokens_per_s: status.map_or(0.0, |s| s.tokens_per_s),
        device: status.map_or_else(String::new, |s| s.device.clone()),
    }
}
