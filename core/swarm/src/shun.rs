//! Peers that are not asked for blobs for a while, because they lied or were slow.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tributary_protocol::Id;
use web_time::Instant;

use crate::blob::FetchError;

/// How long a peer that sent wrong bytes is not asked: longer than a round, and short enough that a
/// machine whose memory was replaced is not shut out for ever.
const LIED: Duration = Duration::from_secs(600);

/// How long a peer that was too slow is not asked.
const SLOW: Duration = Duration::from_secs(30);

/// Peers remembered; the oldest go first. Ids cost nothing, so more would not help either.
const MOST: usize = 256;

/// The peers that are not asked for now.
#[derive(Default)]
pub(crate) struct Shunned(Mutex<VecDeque<(Id, Instant)>>);

impl Shunned {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(Id, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a peer from which a fetch ended so, if that is a reason. Says whether it is.
    pub(crate) fn judge(&self, peer: Id, error: &FetchError) -> bool {
        let time = match error {
            FetchError::WrongBytes => LIED,
            FetchError::TimedOut => SLOW,
            _ => return false,
        };
        let mut all = self.lock();
        let until = all.iter().find(|(shunned, _)| *shunned == peer).map(|(_, until)| *until);
        all.retain(|(shunned, _)| *shunned != peer);
        let now = Instant::now() + time;
        all.push_back((peer, until.map_or(now, |until| until.max(now))));
        if all.len() > MOST {
            all.pop_front();
        }
        true
    }

    /// Whether this peer is better not asked now.
    pub(crate) fn contains(&self, peer: &Id) -> bool {
        let now = Instant::now();
        self.lock().iter().any(|(shunned, until)| shunned == peer && now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_liars_and_the_slow_are_remembered_and_only_so_many() {
        let shunned = Shunned::default();
        let peer = |number: u16| Id(std::array::from_fn(|i| if i < 2 { number.to_le_bytes()[i] } else { 0 }));
        assert!(!shunned.judge(peer(1), &FetchError::NotFound) && !shunned.contains(&peer(1)));
        assert!(shunned.judge(peer(1), &FetchError::WrongBytes));
        assert!(shunned.judge(peer(1), &FetchError::TimedOut));
        let (_, until) = shunned.lock()[0];
        assert!(until > Instant::now() + SLOW, "a lesser reason does not shorten it");
        for number in 2..2 + MOST as u16 {
            shunned.judge(peer(number), &FetchError::TimedOut);
        }
        assert!(!shunned.contains(&peer(1)) && shunned.contains(&peer(2)));
        assert_eq!(shunned.lock().len(), MOST);
    }
}
