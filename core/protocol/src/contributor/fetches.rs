//! Blobs that are wanted, under way, or to be tried again.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use crate::{BlobRef, Hash, Millis};

/// Delay before a failed fetch is tried again, doubled each time up to [`LONGEST`]. Milliseconds.
const FIRST: Millis = 500;
/// Milliseconds.
const LONGEST: Millis = 15_000;

/// Bytes from which a blob waits for a direct link. What is smaller costs the coordinator little, and people
/// wait for it.
const LARGE: u64 = 1024 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Data,
    Shard,
    Snapshot,
    /// The step that folds this round.
    Step {
        round: u64,
    },
    /// What another contributor's work is checked by.
    Evidence,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Purpose::Data => "the list of texts",
            Purpose::Shard => "text to train on",
            Purpose::Snapshot => "the model",
            Purpose::Step { .. } => "the round's result",
            Purpose::Evidence => "another contributor's work",
        })
    }
}

#[derive(Debug)]
struct Fetch {
    blob: BlobRef,
    purpose: Purpose,
    state: State,
    failures: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    DueAt(Millis),
    UnderWay,
}

impl Fetch {
    fn later(&self, at: Millis, hope: Option<Millis>) -> Millis {
        at.max(hope.filter(|_| self.blob.bytes >= LARGE).unwrap_or(0))
    }
}

#[derive(Debug, Default)]
pub(super) struct Fetches(BTreeMap<Hash, Fetch>);

impl Fetches {
    /// Wants a blob; no-op if it is wanted already.
    pub(super) fn want(&mut self, blob: BlobRef, purpose: Purpose) {
        let fetch = Fetch { blob, purpose, state: State::DueAt(0), failures: 0 };
        self.0.entry(blob.hash).or_insert(fetch);
    }

    pub(super) fn cancel(&mut self, unwanted: impl Fn(Purpose) -> bool) {
        self.0.retain(|_, fetch| !unwanted(fetch.purpose));
    }

    /// The link is gone: whatever is under way is due again.
    pub(super) fn suspend(&mut self) {
        self.0.values_mut().for_each(|fetch| fetch.state = State::DueAt(0));
    }

    /// Blobs to ask for now; they are under way from here on. While a first link may still come up, what is
    /// large waits for it: until `hope`.
    pub(super) fn due(&mut self, now: Millis, hope: Option<Millis>) -> Vec<BlobRef> {
        let due = |fetch: &&mut Fetch| matches!(fetch.state, State::DueAt(at) if fetch.later(at, hope) <= now);
        let due = self.0.values_mut().filter(due);
        due.map(|fetch| {
            fetch.state = State::UnderWay;
            fetch.blob
        })
        .collect()
    }

    /// When the next is due.
    pub(super) fn wake_at(&self, hope: Option<Millis>) -> Option<Millis> {
        let due = |fetch: &Fetch| if let State::DueAt(at) = fetch.state { Some(fetch.later(at, hope)) } else { None };
        self.0.values().filter_map(due).min()
    }

    /// Takes a result in. A blob that isn't wanted any more is nobody's.
    pub(super) fn done(
        &mut self,
        now: Millis,
        hash: Hash,
        result: Result<Bytes, String>,
    ) -> Option<(BlobRef, Purpose, Result<Bytes, String>)> {
        let fetch = self.0.get_mut(&hash)?;
        let (blob, purpose) = (fetch.blob, fetch.purpose);
        if result.is_ok() {
            self.0.remove(&hash);
        } else if fetch.state == State::UnderWay {
            fetch.state = State::DueAt(now + (FIRST << fetch.failures.min(5)).min(LONGEST));
            fetch.failures += 1;
        }
        Some((blob, purpose, result))
    }

    pub(super) fn any(&self, of: impl Fn(Purpose) -> bool) -> bool {
        self.0.values().any(|fetch| of(fetch.purpose))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_large_waits_for_a_link_and_what_is_small_does_not() {
        let blob = |n: u8, bytes| BlobRef { hash: Hash([n; 32]), bytes };
        let (small, large) = (blob(1, LARGE - 1), blob(2, LARGE));
        let mut fetches = Fetches::default();
        fetches.want(large, Purpose::Snapshot);
        fetches.want(small, Purpose::Shard);
        assert_eq!(fetches.due(5, Some(10)), [small]);
        assert_eq!(fetches.wake_at(Some(10)), Some(10));
        assert_eq!(fetches.due(9, Some(10)), []);
        assert_eq!(fetches.due(9, None), [large], "the link is up, or there will be none");
    }
}
