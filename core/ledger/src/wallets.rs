//! Which wallet a contributor's earnings go to, and from which round on.

use std::collections::BTreeMap;

use crate::link::{LinkError, LinkProof, LinkedBy};
use crate::{Key, Wallet};

/// Wallets that one contributor can name: one a month for ten years, and little for a log to remember.
const MOST_LINKS: usize = 128;

/// Everyone's wallets, those of the past too: an epoch is paid to the wallet that was in force when it began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wallets(BTreeMap<Key, Vec<Payee>>);

/// A wallet that a contributor named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payee {
    /// Its address.
    pub wallet: Wallet,
    /// The round from which on it is paid, if no other is named before.
    pub from: u64,
    /// How it consented.
    pub by: LinkedBy,
    /// When the text was made that both signed, in seconds since 1970.
    pub issued: u64,
}

impl Wallets {
    /// A contributor names a wallet in `round`. The first is in force at once, and for what was earned before, since it
    /// takes nobody's place. Another takes its place from the next round on if that wallet signed for it, and else
    /// after `relink` rounds, in which whoever lost the contributor's key can notice. Whatever waits gives way to what
    /// comes.
    pub(crate) fn link(
        &mut self,
        relink: u32,
        round: u64,
        who: Key,
        wallet: Wallet,
        proof: &[u8],
    ) -> Result<(), LinkError> {
        let payee = self.check(relink, round, &who, &wallet, proof)?;
        let all = self.0.entry(who).or_default();
        all.retain(|one| one.from <= round + 1);
        all.push(payee);
        Ok(())
    }

    /// What [`Wallets::link`] would add.
    pub(crate) fn check(
        &self,
        relink: u32,
        round: u64,
        who: &Key,
        wallet: &Wallet,
        proof: &[u8],
    ) -> Result<Payee, LinkError> {
        let proof = LinkProof::from_bytes(proof)?;
        let message = proof.check(who, wallet)?;
        let known = self.all(who);
        if known.last().is_some_and(|last| message.issued <= last.issued) {
            return Err(LinkError::Old);
        }
        if known.len() >= MOST_LINKS {
            return Err(LinkError::TooMany);
        }
        let until_now = known.iter().rev().find(|one| one.from <= round + 1);
        let from = match until_now {
            None => 0,
            Some(one) if proof.hands_over(&message, &one.wallet)? || one.wallet == *wallet => round + 1,
            Some(_) => round + 1 + u64::from(relink),
        };
        Ok(Payee { wallet: *wallet, from, by: proof.wallet.by(), issued: message.issued })
    }

    /// The wallets that were named and not given up before they were in force, oldest first.
    pub(crate) fn all(&self, who: &Key) -> &[Payee] {
        self.0.get(who).map_or(&[], Vec::as_slice)
    }

    /// The wallet in force when `round` began.
    pub(crate) fn at(&self, who: &Key, round: u64) -> Option<&Wallet> {
        self.all(who).iter().rev().find(|one| one.from <= round).map(|one| &one.wallet)
    }
}
