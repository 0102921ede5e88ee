//! The run's rule about money, which stands in the first entry of the log.

use serde::{Deserialize, Serialize};

use crate::reward::PPM;
use crate::{Credits, Key};

/// Rounds after its own in which an update can still be counted.
pub const MAX_AGE: u64 = 2;

/// The longest hold, in rounds: the fold remembers every submission and payment that is not final, which is some
/// hundred bytes for each contributor and round.
pub const MAX_HOLD: u32 = 4096;

/// How a round's pool is shared out, and when credits become safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// What a round shares out.
    pub pool: Credits,
    /// The witnesses' part of it, in millionths, if a witness ran something again.
    pub witness_ppm: u32,
    /// Rounds after its own until a payment is verified: until then every replay asked for has ended.
    pub settle: u32,
    /// Rounds after its own until a payment is final and cannot be forfeited; not fewer than `settle`.
    pub hold: u32,
    /// Rounds until a wallet that only the contributor's key asks for takes another's place: 72 hours of them.
    pub relink: u32,
}

impl Rule {
    /// The first thing that is wrong with the rule, in words.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.witness_ppm > PPM {
            return Err("the witnesses' part is more than the whole pool");
        }
        if self.settle > self.hold {
            return Err("credits would be final before they are verified");
        }
        if self.hold > MAX_HOLD {
            return Err("credits would be held for more than 4096 rounds");
        }
        Ok(())
    }

    /// The pool's parts for contributors and for witnesses, who ran `replayed` tokens again.
    pub fn parts(&self, replayed: u64) -> (Credits, Credits) {
        let all = u128::from(self.pool) * u128::from(self.witness_ppm) / u128::from(PPM);
        // At most the pool, since a checked rule's millionths are at most all of them.
        let witnesses = if replayed == 0 { 0 } else { (all as Credits).min(self.pool) };
        (self.pool - witnesses, witnesses)
    }

    /// Rounds after its own in which something can be said about a submission.
    pub(crate) fn window(&self) -> u64 {
        u64::from(self.hold) + MAX_AGE
    }
}

/// A key in a message: its first four bytes, as hex.
pub(crate) fn short(who: &Key) -> String {
    who[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule { pool: 1_000, witness_ppm: 150_000, settle: 2, hold: 5, relink: 9 };

    #[test]
    fn the_witnesses_part_is_there_if_a_witness_was() {
        assert_eq!((RULE.parts(0), RULE.parts(1)), ((1_000, 0), (850, 150)));
        let large = Rule { pool: u64::MAX, witness_ppm: PPM, ..RULE };
        assert_eq!(large.parts(7), (0, u64::MAX));
    }

    #[test]
    fn a_rule_that_makes_no_sense_is_named() {
        assert_eq!(RULE.check(), Ok(()));
        for (rule, word) in [
            (Rule { witness_ppm: PPM + 1, ..RULE }, "whole pool"),
            (Rule { settle: 6, ..RULE }, "before they are verified"),
            (Rule { hold: MAX_HOLD + 1, ..RULE }, "4096"),
        ] {
            assert!(rule.check().unwrap_err().contains(word), "{rule:?}");
        }
    }
}
