//! Which blobs are still needed. Round r needs its base, its outer momentum, its updates and its step;
//! from a kept round every later state can be folded again.

use std::collections::{BTreeMap, BTreeSet};

use tributary_protocol::Hash;
use tributary_protocol::check::TRACE_ROUNDS;
use tributary_protocol::coordinator::Event;
use tributary_protocol::limits::MAX_AGE;
use tributary_protocol::spec::RunSpec;

use super::history::Settled;

/// The blobs of the kept rounds.
#[derive(Debug)]
pub(super) struct Retention {
    /// Settled rounds whose blobs stay: for a contributor that is a round or two behind, to restore a damaged newest
    /// state from, because an update may be folded late, and to run a part of a round again as long as that may take.
    keep: u64,
    pinned: BTreeSet<Hash>,
    rounds: BTreeMap<u64, BTreeSet<Hash>>,
}

impl Retention {
    /// Keeps nothing yet.
    pub(super) fn new(spec: &RunSpec) -> Self {
        let keep = (1 + u64::from(MAX_AGE)).max(u64::from(spec.check.settle) + TRACE_ROUNDS);
        Self { keep, pinned: BTreeSet::new(), rounds: BTreeMap::new() }
    }

    /// Keeps this one for ever.
    pub(super) fn pin(&mut self, hash: Hash) {
        self.pinned.insert(hash);
    }

    /// Takes an event in, `round` being the one it belongs to; returns what may be deleted.
    pub(super) fn event(&mut self, round: u64, event: &Event, settled: Option<&Settled>) -> Vec<Hash> {
        match (event, settled) {
            (Event::Genesis { base, .. }, _) => self.needs(0, base.hash),
            (Event::Committed { commit, from }, _) => {
                if let Ok(commit) = commit.open(from) {
                    self.needs(round, commit.update.hash);
                }
            }
            (Event::Settled { momentum, .. }, Some(settled)) => {
                let fold = &settled.fold;
                // What came late is needed as long as the fold that took it.
                for accepted in &fold.accepted {
                    self.needs(fold.round, accepted.update.hash);
                }
                self.needs(fold.round, fold.step.hash);
                self.needs(fold.round + 1, fold.next.hash);
                self.needs(fold.round + 1, momentum.hash);
                return self.forget_before((fold.round + 1).saturating_sub(self.keep));
            }
            _ => {}
        }
        Vec::new()
    }

    /// Whether a blob is still needed.
    pub(super) fn wants(&self, hash: &Hash) -> bool {
        self.pinned.contains(hash) || self.rounds.values().any(|blobs| blobs.contains(hash))
    }

    fn needs(&mut self, round: u64, hash: Hash) {
        self.rounds.entry(round).or_default().insert(hash);
    }

    fn forget_before(&mut self, round: u64) -> Vec<Hash> {
        let kept = self.rounds.split_off(&round);
        let gone = std::mem::replace(&mut self.rounds, kept);
        // A blob may belong to several rounds: a commit can name any hash.
        gone.into_values().flatten().filter(|hash| !self.wants(hash)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_goes_with_the_last_round_that_needs_it() {
        let hash = |n: u8| Hash([n; 32]);
        let mut retention = Retention { keep: 1, pinned: BTreeSet::new(), rounds: BTreeMap::new() };
        retention.pin(hash(9));
        for (round, blob) in [(0, 1), (0, 2), (1, 2), (1, 3), (0, 9)] {
            retention.needs(round, hash(blob));
        }
        assert_eq!(retention.forget_before(1), [hash(1)]);
        assert!(retention.wants(&hash(2)) && retention.wants(&hash(9)) && !retention.wants(&hash(1)));
        assert_eq!(retention.forget_before(2), [hash(2), hash(3)]);
        assert!(retention.wants(&hash(9)));
    }
}
