//! Fees, reckoned deposit by deposit: what each holder must have got at least and may have got at most.

use std::collections::BTreeMap;

use revm::primitives::{Address, U256};

use crate::common::*;

/// What was paid in, what for whom, and what was paid out.
#[derive(Default)]
pub(crate) struct Fees {
    deposited: U256,
    paid_in: BTreeMap<Address, U256>,
    /// Sums of what each deposit was for an account, every one of them rounded down, and up.
    due: BTreeMap<Address, (U256, U256)>,
    paid_out: BTreeMap<Address, U256>,
    payments: BTreeMap<Address, u32>,
}

impl Fees {
    /// Somebody pays in.
    pub(crate) fn deposit(&mut self, by: Address, amount: u128, shares: &BTreeMap<Address, u128>) {
        let (amount, supply) = (U256::from(amount), U256::from(shares.values().sum::<u128>()));
        self.deposited += amount;
        *self.paid_in.entry(by).or_default() += amount;
        for (who, shares) in shares {
            let part = amount * U256::from(*shares);
            let (least, most) = self.due.entry(*who).or_default();
            *least += part / supply;
            *most += part.div_ceil(supply);
        }
    }

    /// Somebody is paid.
    pub(crate) fn pay(&mut self, who: Address, amount: U256) {
        *self.paid_out.entry(who).or_default() += amount;
        *self.payments.entry(who).or_default() += 1;
    }

    /// Whether every coin is where it should be.
    pub(crate) fn check(&self, world: &mut World, everyone: &[Address]) {
        let of = |map: &BTreeMap<Address, U256>, who| map.get(who).copied().unwrap_or_default();
        let mut claimable = U256::ZERO;
        for who in everyone {
            let fees = world.view(world.share, ModelShare::feesOfCall { account: *who });
            claimable += fees;
            let got = of(&self.paid_out, who) + fees;
            let (least, most) = self.due.get(who).copied().unwrap_or_default();
            // One less where parts of 2^-128 are missing to a whole one.
            assert!(got + U256::from(1) >= least && got <= most, "{who}: {got} is not within {least} and {most}");
            if *who != world.share && *who != world.distributor && *who != world.greedy {
                assert_eq!(
                    world.coins(*who) + of(&self.paid_in, who),
                    COINS + of(&self.paid_out, who),
                    "coins of {who}"
                );
            }
        }
        let held = world.coins(world.share);
        assert_eq!(held + self.paid_out.values().sum::<U256>(), self.deposited);
        // Nobody's fees are missing, and no more is left than each one's last fraction and what is carried.
        assert!(claimable <= held && held - claimable <= U256::from(everyone.len() + 1), "{claimable} of {held}");
        assert_eq!(world.coins(world.greedy), of(&self.paid_out, &world.greedy));
        let refused = world.view(world.greedy, Greedy::refusedCall {});
        assert_eq!(refused, U256::from(self.payments.get(&world.greedy).copied().unwrap_or(0)));
        assert!(world.coins(world.distributor).is_zero());
    }
}
