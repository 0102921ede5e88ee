//! What one contributor holds, and how sure it is.

use std::collections::VecDeque;

use crate::{Credits, Rule};

/// A contributor's credits by how sure they are. Their sum is all that it was ever paid.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Balance {
    /// Of rounds whose replays may still be under way.
    pub provisional: Credits,
    /// Of rounds whose replays have ended; can still be forfeited.
    pub verified: Credits,
    /// Safe.
    pub r#final: Credits,
    /// Lost, because work was proved wrong.
    pub forfeited: Credits,
}

impl Balance {
    /// Everything that it was ever paid.
    pub fn paid(&self) -> Credits {
        self.held() + self.forfeited
    }

    /// What it holds, however sure.
    pub fn held(&self) -> Credits {
        self.provisional + self.verified + self.r#final
    }
}

/// A contributor's payments. No sum here can overflow: none exceeds the ledger's total, which is checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Account {
    r#final: Credits,
    forfeited: Credits,
    /// The newest round whose work was run again and was what it said.
    passed: Option<u64>,
    /// Rounds and credits, oldest first, that were not final when the newest of them was paid: at most `hold`.
    held: VecDeque<(u64, Credits)>,
}

impl Account {
    /// Adds the payment of a round that is about to settle.
    pub(crate) fn pay(&mut self, rule: &Rule, round: u64, amount: Credits) {
        // Strictly: what becomes final with this round does so when it has settled.
        while let Some((of, paid)) = self.held.front().copied()
            && of + u64::from(rule.hold) < round
        {
            self.r#final += paid;
            self.held.pop_front();
        }
        self.held.push_back((round, amount));
    }

    /// Work of a round was run again and was what it said.
    pub(crate) fn pass(&mut self, origin: u64) {
        self.passed = self.passed.max(Some(origin));
    }

    /// Takes everything that is not final after `newest`, the last settled round; `unproven`: only what was paid since
    /// work was last run again and was what it said.
    pub(crate) fn forfeit(&mut self, rule: &Rule, newest: Option<u64>, unproven: bool) {
        let is_final = |round: u64| newest.is_some_and(|newest| newest >= round + u64::from(rule.hold));
        let passed = self.passed.filter(|_| unproven);
        for (round, amount) in std::mem::take(&mut self.held) {
            match () {
                () if is_final(round) => self.r#final += amount,
                () if passed.is_some_and(|passed| round <= passed) => self.held.push_back((round, amount)),
                () => self.forfeited += amount,
            }
        }
    }

    /// What it holds when `newest` is the last settled round.
    pub(crate) fn balance(&self, rule: &Rule, newest: Option<u64>) -> Balance {
        let mut balance = Balance { r#final: self.r#final, forfeited: self.forfeited, ..Balance::default() };
        for (round, amount) in &self.held {
            // None for a payment whose round has not settled yet.
            let part = match newest.and_then(|newest| newest.checked_sub(*round)) {
                Some(age) if age >= u64::from(rule.hold) => &mut balance.r#final,
                Some(age) if age >= u64::from(rule.settle) => &mut balance.verified,
                _ => &mut balance.provisional,
            };
            *part += amount;
        }
        balance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule { pool: 10, witness_ppm: 0, settle: 2, hold: 4, relink: 9 };

    fn parts(balance: Balance) -> [Credits; 4] {
        [balance.provisional, balance.verified, balance.r#final, balance.forfeited]
    }

    #[test]
    fn credits_become_verified_and_final_with_the_rounds() {
        let mut account = Account::default();
        for round in 0..6 {
            account.pay(&RULE, round, 1 << round);
        }
        for (newest, expected) in [
            // Round 5 is paid and has not settled.
            (Some(4), [0b111000, 0b000110, 0b000001, 0]),
            (Some(5), [0b110000, 0b001100, 0b000011, 0]),
            (Some(7), [0, 0b110000, 0b001111, 0]),
            (Some(9), [0, 0, 63, 0]),
        ] {
            assert_eq!(parts(account.balance(&RULE, newest)), expected, "{newest:?}");
        }
        assert_eq!(account.held.len(), 5, "what has long been final is one number");
        let mut silent = account.clone();
        silent.pass(3);
        silent.pass(1);
        silent.forfeit(&RULE, Some(5), true);
        assert_eq!(parts(silent.balance(&RULE, Some(5))), [0, 0b001100, 0b000011, 0b110000]);
        silent.forfeit(&RULE, Some(5), false);
        assert_eq!(parts(silent.balance(&RULE, Some(5))), [0, 0, 0b000011, 0b111100]);
        account.forfeit(&RULE, Some(5), false);
        assert_eq!(parts(account.balance(&RULE, Some(9))), [0, 0, 0b000011, 0b111100]);
    }
}
