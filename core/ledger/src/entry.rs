//! What stands in the log, and its one byte string.

use serde::{Deserialize, Serialize};

use crate::{Code, Credits, Digest, Key, Rule, bytes, leaf_hash};

/// Bytes of one entry: room for a signed message of a round or for a wallet's proof, and little enough that
/// whoever checks a log needn't trust its lengths.
pub const MAX_ENTRY: usize = 4096;

/// The first byte of every entry: which list of variants its other bytes were written by.
const VERSION: u8 = 1;

/// One line of the log. Each settled round writes one batch: Opened, Linked*, Submitted*, Judged*, Replayed*,
/// Forfeited*, Paid*, Settled; Run stands before the first. The order below is that order and must not change: it is
/// also how the variants are numbered in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// What the log is about; its first entry.
    Run {
        /// The run.
        run: Digest,
        /// Who keeps the log, and is not paid for running work again.
        coordinator: Key,
        /// How it pays.
        rule: Rule,
    },
    /// A round that has settled was opened; begins its batch.
    Opened {
        /// The round, from 0.
        round: u64,
        /// Names everyone's data.
        seed: Digest,
        /// The state that it began with.
        base: Digest,
        /// The coordinator's signed manifest.
        #[serde(with = "bytes")]
        signed: Vec<u8>,
    },
    /// A contributor named the wallet that its earnings go to.
    Linked {
        /// Who.
        who: Key,
        /// The wallet's address.
        wallet: [u8; 20],
        /// What shows that both belong together.
        #[serde(with = "bytes")]
        proof: Vec<u8>,
    },
    /// A contributor promised an update.
    Submitted {
        /// The round whose work it is.
        origin: u64,
        /// Whose.
        who: Key,
        /// The update's hash.
        update: Digest,
        /// Tokens that it claims.
        tokens: u64,
        /// The contributor's signed promise.
        #[serde(with = "bytes")]
        signed: Vec<u8>,
    },
    /// What became of a submission.
    Judged {
        /// The round whose work it is.
        origin: u64,
        /// Whose.
        who: Key,
        /// What became of it.
        verdict: Verdict,
    },
    /// A part of a submission's training was run again.
    Replayed {
        /// The round whose work it is.
        origin: u64,
        /// Whose.
        who: Key,
        /// Who ran it again; the coordinator is not paid for it.
        by: Key,
        /// Tokens that were run again.
        tokens: u64,
        /// What came out.
        finding: Finding,
    },
    /// Everything of a contributor that is not final is gone, and what it did in this round counts for nothing.
    Forfeited {
        /// Who.
        who: Key,
        /// The round whose work shows it: there is a finding about it that is not [`Finding::Same`]. With
        /// [`Code::Vouched`] it is the work of another, of which `who` found [`Finding::Same`].
        origin: u64,
        /// Why.
        code: Code,
    },
    /// What the rule gives a contributor for this round.
    Paid {
        /// The round.
        round: u64,
        /// Who.
        who: Key,
        /// Its work: tokens × quality of everything of it that this round counted.
        work: u64,
        /// Tokens that it ran again as a witness.
        witness: u64,
        /// Credits.
        amount: Credits,
    },
    /// The round has settled; ends its batch.
    Settled {
        /// The round.
        round: u64,
        /// The state that it ended with.
        next: Digest,
        /// The hash of the signed fold manifest.
        fold: Digest,
        /// All work.
        work: u64,
        /// All tokens that witnesses ran again.
        witness: u64,
        /// All credits.
        paid: Credits,
    },
}

/// What became of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It is in the round's fold.
    Counted {
        /// Tokens, as far as they count.
        tokens: u64,
        /// How good it was found to be, in millionths.
        quality: u32,
    },
    /// It is not.
    Refused(Code),
}

/// What came out of running work again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Finding {
    /// What the contributor claimed.
    Same,
    /// Something else.
    Different,
    /// The contributor did not give what is needed to run it again.
    Missing,
}

/// Why bytes are not an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// More than [`MAX_ENTRY`].
    #[error("an entry of {0} bytes is longer than the 4096 that are allowed")]
    TooLong(usize),
    /// Written by another version of this program.
    #[error("an entry's first byte is {0:?} and not 1: read the log with the version that wrote it")]
    Version(Option<u8>),
    /// Not the bytes of any entry, or not the only bytes of one.
    #[error("an entry's bytes are not those that this program writes: the log is damaged")]
    Form,
}

impl Entry {
    /// Its bytes: the version, then postcard's form. There is one byte string for each entry.
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_stdvec(&(VERSION, self)).expect("an entry has a finite serde form")
    }

    /// The entry of these bytes, if [`Entry::to_bytes`] gives exactly them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EntryError> {
        if bytes.len() > MAX_ENTRY {
            return Err(EntryError::TooLong(bytes.len()));
        }
        let Some((&VERSION, body)) = bytes.split_first() else {
            return Err(EntryError::Version(bytes.first().copied()));
        };
        let entry: Self = postcard::from_bytes(body).map_err(|_| EntryError::Form)?;
        // Integers can be written longer than need be, and bytes can follow.
        if bytes::are_of(body, &entry) { Ok(entry) } else { Err(EntryError::Form) }
    }

    /// Its leaf in the tree.
    pub fn leaf(&self) -> Digest {
        leaf_hash(&self.to_bytes())
    }

    /// Its place in a batch.
    pub(crate) fn place(&self) -> Place {
        match self {
            Self::Run { .. } => Place::Run,
            Self::Opened { .. } => Place::Opened,
            Self::Linked { .. } => Place::Linked,
            Self::Submitted { .. } => Place::Submitted,
            Self::Judged { .. } => Place::Judged,
            Self::Replayed { .. } => Place::Replayed,
            Self::Forfeited { .. } => Place::Forfeited,
            Self::Paid { .. } => Place::Paid,
            Self::Settled { .. } => Place::Settled,
        }
    }
}

/// The kinds of entries, in the order that they have in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Before the first batch.
    Run,
    /// Begins a batch.
    Opened,
    /// Any number, as all up to the last.
    Linked,
    /// See [`Entry::Submitted`].
    Submitted,
    /// See [`Entry::Judged`].
    Judged,
    /// See [`Entry::Replayed`].
    Replayed,
    /// See [`Entry::Forfeited`].
    Forfeited,
    /// See [`Entry::Paid`].
    Paid,
    /// Ends a batch.
    Settled,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples() -> [Entry; 10] {
        let rule = Rule { pool: 1_000_000, witness_ppm: 120_000, settle: 3, hold: 300, relink: 4_320 };
        let (run, who, by, origin, round, tokens) = ([1; 32], [2; 32], [3; 32], 4, 5, 6_000);
        let judged = |verdict| Entry::Judged { origin, who, verdict };
        let (work, witness, amount) = (u64::MAX, 0, 127);
        [
            Entry::Run { run, coordinator: by, rule },
            Entry::Opened { round, seed: [4; 32], base: [5; 32], signed: vec![6, 7] },
            Entry::Linked { who, wallet: [8; 20], proof: vec![] },
            Entry::Submitted { origin, who, update: [9; 32], tokens, signed: vec![10] },
            judged(Verdict::Counted { tokens, quality: 999_999 }),
            judged(Verdict::Refused(Code::Forfeited)),
            Entry::Replayed { origin, who, by, tokens, finding: Finding::Missing },
            Entry::Forfeited { who, origin, code: Code::Different },
            Entry::Paid { round, who, work, witness, amount },
            Entry::Settled { round, next: [11; 32], fold: [12; 32], work, witness, paid: amount },
        ]
    }

    #[test]
    fn an_entry_has_one_byte_string() {
        for entry in examples() {
            let bytes = entry.to_bytes();
            assert_eq!(Entry::from_bytes(&bytes).as_ref(), Ok(&entry));
            let tail = [&bytes[..], &[0]].concat();
            assert_eq!(Entry::from_bytes(&tail), Err(EntryError::Form), "{entry:?}");
            assert!(Entry::from_bytes(&bytes[..bytes.len() - 1]).is_err());
            let other = [&[2], &bytes[1..]].concat();
            assert_eq!(Entry::from_bytes(&other), Err(EntryError::Version(Some(2))));
        }
        // Version, variant, round 4, a key, refused, code 1 written in two bytes.
        let mut bytes = Entry::Judged { origin: 4, who: [2; 32], verdict: Verdict::Refused(Code::Late) }.to_bytes();
        assert_eq!(bytes.pop(), Some(1));
        bytes.extend([0x81, 0]);
        assert_eq!(Entry::from_bytes(&bytes), Err(EntryError::Form));
        assert_eq!(Entry::from_bytes(&[]), Err(EntryError::Version(None)));
    }

    /// The bytes of a log must not change: this hash is over every variant's, written once and kept.
    #[test]
    fn golden() {
        let entry = Entry::Paid { round: 300, who: [7; 32], work: 1_000, witness: 5, amount: 128 };
        let bytes = [&[1, 7, 0xac, 2][..], &[7; 32], &[0xe8, 7, 5, 0x80, 1]].concat();
        assert_eq!(entry.to_bytes(), bytes);
        let all: Vec<u8> = examples().iter().flat_map(Entry::to_bytes).collect();
        let hash: String = leaf_hash(&all).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hash, "fbf7efbb21714e5ee6caffb37694cfdacdac291af40fff633538cf204abe56ec");
    }
}
