//! Which wallet a contributor's earnings go to, and from which round on.

use std::collections::BTreeMap;

use crate::link::{LinkError, LinkProof};
use crate::{Key, Rule, Wallet};

/// Wallets that one contributor can name: one a month for ten years, and little for a log to remember.
const MOST_LINKS: usize = 128;

/// Everyone's wallets, those of the past too: an epoch is paid to the wallet that was in force when it began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wallets(BTreeMap<Key, Vec<InForce>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct InForce {
    wallet: Wallet,
    from: u64,
    issued: u64,
}

impl Wallets {
    /// A contributor names a wallet in `round`. The first is in force at once, and for what was earned before, since it
    /// takes nobody's place. Another takes its place from the next round on if that wallet signed for it, and else
    /// after a time in which whoever lost the contributor's key can notice. Whatever waits gives way to what comes.
    pub(crate) fn link(
        &mut self,
        rule: &Rule,
        round: u64,
        who: Key,
        wallet: Wallet,
        proof: &[u8],
    ) -> Result<(), LinkError> {
        let proof = LinkProof::from_bytes(proof)?;
        let message = proof.check(&who, &wallet)?;
        let known = self.0.get(&who).map_or(&[][..], Vec::as_slice);
        if known.last().is_some_and(|last| message.issued <= last.issued) {
            return Err(LinkError::Old);
        }
        if known.len() >= MOST_LINKS {
            return Err(LinkError::TooMany);
        }
        let until_now = known.iter().rev().find(|one| one.from <= round + 1);
        let from = match until_now {
            None => 0,
            Some(one) if proof.hands_over(&message, &one.wallet)? || one.wallet == wallet => round + 1,
            Some(_) => round + 1 + u64::from(rule.relink),
        };
        let all = self.0.entry(who).or_default();
        all.retain(|one| one.from <= round + 1);
        all.push(InForce { wallet, from, issued: message.issued });
        Ok(())
    }

    /// The wallet in force when `round` began.
    pub(crate) fn at(&self, who: &Key, round: u64) -> Option<&Wallet> {
        self.0.get(who)?.iter().rev().find(|one| one.from <= round).map(|one| &one.wallet)
    }

    /// The wallet that was named last, and the round from which on it is in force.
    pub(crate) fn last(&self, who: &Key) -> Option<(&Wallet, u64)> {
        self.0.get(who)?.last().map(|one| (&one.wallet, one.from))
    }
}
