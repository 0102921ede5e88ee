//! Nonces of links' texts.
//!
//! Enters: the time. Leaves: a nonce that says of itself when this coordinator made it, so that nobody can fill a store of
//! them by asking. Refuses one of another's making, one that is older than a text may be, and one that was used.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tributary_ledger::MESSAGE_SECONDS;

/// Used nonces that are remembered until they end. A link of each was taken, and a round takes 256.
const MOST_USED: usize = 4096;

/// Bytes by chance, and of the proof that they are ours: what nobody hits by guessing.
const CHANCE: usize = 8;
const PROOF: usize = 16;

/// Makes nonces and takes each once.
#[derive(Debug)]
pub(super) struct Nonces {
    key: [u8; 32],
    /// With the second in which each was made.
    used: Mutex<BTreeMap<String, u64>>,
}

/// Why a nonce is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NonceError {
    #[error("The signed text carries no nonce of this coordinator: ask for a new text here and sign that.")]
    Foreign,
    #[error("The signed text is older than five minutes: ask for a new one and sign that.")]
    Over,
    #[error("The signed text was used already: look whether the wallet is linked, and else ask for a new text.")]
    Used,
    #[error("More wallets were linked in the last minutes than are kept track of: try again in five minutes.")]
    Full,
}

impl Nonces {
    /// Those of a coordinator with this secret; the same after a restart.
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        let key = blake3::derive_key("tributary 2026-11 nonces of wallet links", secret);
        Self { key, used: Mutex::default() }
    }

    /// A new one, for a text of this second.
    pub(super) fn make(&self, issued: u64) -> Result<String, getrandom::Error> {
        let mut chance = [0; CHANCE];
        getrandom::fill(&mut chance)?;
        Ok(self.of(&hex(&chance), issued))
    }

    fn of(&self, chance: &str, issued: u64) -> String {
        let mut mac = blake3::Hasher::new_keyed(&self.key);
        mac.update(&issued.to_le_bytes()).update(chance.as_bytes());
        chance.to_owned() + &hex(&mac.finalize().as_bytes()[..PROOF])
    }

    /// Whether a text that was issued in this second can still be used.
    pub(super) fn check(&self, nonce: &str, issued: u64, now: u64) -> Result<(), NonceError> {
        let chance = nonce.get(..2 * CHANCE).ok_or(NonceError::Foreign)?;
        if self.of(chance, issued) != nonce {
            return Err(NonceError::Foreign);
        }
        if now < issued || now >= issued + MESSAGE_SECONDS {
            return Err(NonceError::Over);
        }
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.contains_key(nonce) { Err(NonceError::Used) } else { Ok(()) }
    }

    /// Uses it up.
    pub(super) fn take(&self, nonce: &str, issued: u64, now: u64) -> Result<(), NonceError> {
        self.check(nonce, issued, now)?;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, issued| now < *issued + MESSAGE_SECONDS);
        if used.len() >= MOST_USED {
            return Err(NonceError::Full);
        }
        if used.insert(nonce.to_owned(), issued).is_some() { Err(NonceError::Used) } else { Ok(()) }
    }

    /// What it was taken for did not come about.
    pub(super) fn put_back(&self, nonce: &str) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).remove(nonce);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_good_once_for_five_minutes() {
        let nonces = Nonces::new(&[1; 32]);
        let nonce = nonces.make(1_000).unwrap();
        assert!(nonce.len() >= 8 && nonce.chars().all(|c| c.is_ascii_alphanumeric()));
        assert_ne!(nonces.make(1_000).unwrap(), nonce);
        for (issued, now, why) in
            [(1_001, 1_001, NonceError::Foreign), (1_000, 999, NonceError::Over), (1_000, 1_300, NonceError::Over)]
        {
            assert_eq!(nonces.take(&nonce, issued, now), Err(why));
        }
        assert_eq!(Nonces::new(&[1; 32]).check(&nonce, 1_000, 1_299), Ok(()), "after a restart too");
        assert_eq!(Nonces::new(&[2; 32]).check(&nonce, 1_000, 1_299), Err(NonceError::Foreign));
        for other in ["", "short", &nonce[..47], &nonce.replace(&nonce[..1], "g"), "éééééééééééééééééééééééé"]
        {
            assert_eq!(nonces.take(other, 1_000, 1_000), Err(NonceError::Foreign), "{other}");
        }
        nonces.take(&nonce, 1_000, 1_299).unwrap();
        assert_eq!(nonces.take(&nonce, 1_000, 1_299), Err(NonceError::Used));
        nonces.put_back(&nonce);
        nonces.take(&nonce, 1_000, 1_299).unwrap();
    }

    #[test]
    fn as_many_are_remembered_as_there_is_room_for() {
        let nonces = Nonces::new(&[1; 32]);
        for _ in 0..MOST_USED {
            nonces.take(&nonces.make(5).unwrap(), 5, 5).unwrap();
        }
        let one_more = nonces.make(6).unwrap();
        assert_eq!(nonces.take(&one_more, 6, 6), Err(NonceError::Full));
        assert_eq!(nonces.take(&one_more, 6, 305), Ok(()), "the others have ended");
    }
}
