//! The reward rule: a round's pool is shared linearly in tokens × quality, to the last unit.

use std::collections::BTreeMap;

use crate::rule::Rule;
use crate::{Credits, Key};

/// The whole, in millionths: the unit of a quality and of the witnesses' part.
pub const PPM: u32 = 1_000_000;

/// What counted tokens of a quality in millionths are worth, rounded down. The quality is at most [`PPM`].
pub fn work(tokens: u64, quality: u32) -> u64 {
    // At most `tokens`, so it fits.
    (u128::from(tokens) * u128::from(quality.min(PPM)) / u128::from(PPM)) as u64
}

/// What one contributor is due for one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payment {
    /// Who.
    pub who: Key,
    /// Its work in tokens × quality.
    pub work: u64,
    /// Tokens it ran again as a witness.
    pub witness: u64,
    /// Credits for both.
    pub amount: Credits,
}

/// What a round pays, by key: everybody with work or tokens run again, even where that rounds to no credits.
/// The sums of the numbers must fit 64 bits; then the amounts add up to at most the pool.
pub(crate) fn payments(rule: &Rule, works: &BTreeMap<Key, u64>, witnesses: &BTreeMap<Key, u64>) -> Vec<Payment> {
    let (for_work, for_witness) = rule.parts(witnesses.values().sum());
    let mut due: BTreeMap<Key, Payment> = BTreeMap::new();
    let list = |from: &BTreeMap<Key, u64>| from.iter().map(|(who, tokens)| (*who, *tokens)).collect::<Vec<_>>();
    let none = |who| Payment { who, work: 0, witness: 0, amount: 0 };
    for share in split(for_work, &list(works)) {
        let payment = due.entry(share.who).or_insert(none(share.who));
        (payment.work, payment.amount) = (share.tokens, share.amount);
    }
    for share in split(for_witness, &list(witnesses)) {
        let payment = due.entry(share.who).or_insert(none(share.who));
        payment.witness = share.tokens;
        payment.amount += share.amount;
    }
    due.into_values().collect()
}

/// What one contributor gets out of one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Who earned it.
    pub who: Key,
    /// Accepted tokens.
    pub tokens: u64,
    /// Credits out of the pool.
    pub amount: Credits,
}

/// Shares `pool` among `work` (contributor, accepted tokens) linearly in tokens.
///
/// Every unit of the pool is paid out as long as anybody did work: each share is rounded down and
/// the remaining units go one by one to the largest remainders (Hamilton's method), ties to the
/// smaller key. Whoever did nothing gets nothing, and with no work at all nothing is paid.
pub fn split(pool: Credits, work: &[(Key, u64)]) -> Vec<Share> {
    let total: u128 = work.iter().map(|(_, tokens)| u128::from(*tokens)).sum();
    if total == 0 {
        return Vec::new();
    }
    let mut shares: Vec<(Share, u128)> = work
        .iter()
        .filter(|(_, tokens)| *tokens > 0)
        .map(|&(who, tokens)| {
            let product = u128::from(pool) * u128::from(tokens);
            // The quotient is at most `pool`, so it fits.
            let amount = (product / total) as Credits;
            (Share { who, tokens, amount }, product % total)
        })
        .collect();
    let paid: Credits = shares.iter().map(|(share, _)| share.amount).sum();
    let mut by_remainder: Vec<usize> = (0..shares.len()).collect();
    by_remainder.sort_by(|&a, &b| {
        let (a, b) = (&shares[a], &shares[b]);
        b.1.cmp(&a.1).then(a.0.who.cmp(&b.0.who))
    });
    // Fewer units are left than there are shares: each lost less than one unit to rounding.
    for &index in by_remainder.iter().take((pool - paid) as usize) {
        shares[index].0.amount += 1;
    }
    shares.into_iter().map(|(share, _)| share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(n: u8) -> Key {
        [n; 32]
    }

    #[test]
    fn shares_are_linear_and_remainders_go_to_the_largest() {
        let shares = split(100, &[(key(1), 1), (key(2), 1), (key(3), 1), (key(4), 0)]);
        let amounts: Vec<_> = shares.iter().map(|s| s.amount).collect();
        assert_eq!(amounts, [34, 33, 33]);
        assert!(split(100, &[(key(1), 0)]).is_empty());
    }

    proptest! {
        #[test]
        fn the_pool_is_conserved(pool in 0u64..=u64::MAX, tokens in prop::collection::vec(0u64..1 << 40, 0..50)) {
            let work: Vec<_> = tokens.iter().enumerate().map(|(i, &t)| (key(i as u8), t)).collect();
            let paid: u128 = split(pool, &work).iter().map(|s| u128::from(s.amount)).sum();
            let due = if tokens.iter().all(|&t| t == 0) { 0 } else { u128::from(pool) };
            prop_assert_eq!(paid, due);
        }

        #[test]
        fn no_share_is_a_unit_off_its_due(pool in 0u64..1 << 50, tokens in prop::collection::vec(1u64..1 << 40, 1..50)) {
            let work: Vec<_> = tokens.iter().enumerate().map(|(i, &t)| (key(i as u8), t)).collect();
            let total: u128 = tokens.iter().map(|&t| u128::from(t)).sum();
            for share in split(pool, &work) {
                let due = u128::from(pool) * u128::from(share.tokens) / total;
                prop_assert!(u128::from(share.amount) - due <= 1);
            }
        }
    }
}
