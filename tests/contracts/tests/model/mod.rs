//! What the contracts should do, in the plainest form: who holds what, and why a call is refused.

mod call;
mod fees;
mod step;

use std::collections::BTreeMap;

use alloy_sol_types::SolError;
use revm::primitives::{Address, B256, U256};

use crate::common::*;
pub(crate) use call::Call;
use fees::Fees;
pub(crate) use step::{Step, steps};

/// Every outcome that must be seen, besides each call's success.
pub(crate) const REFUSALS: [(&str, Refusal); 17] = [
    ("submit", EpochDistributor::OnlySubmitter::SELECTOR),
    ("submit", EpochDistributor::WrongEpoch::SELECTOR),
    ("submit", EpochDistributor::NoRoot::SELECTOR),
    ("submit", EpochDistributor::TooEarly::SELECTOR),
    ("submit", EpochDistributor::OverCap::SELECTOR),
    ("veto", EpochDistributor::OnlyGuardian::SELECTOR),
    ("veto", EpochDistributor::NothingToVeto::SELECTOR),
    ("claim", EpochDistributor::NotCounting::SELECTOR),
    ("claim", EpochDistributor::WrongProof::SELECTOR),
    ("claim", EpochDistributor::NothingDue::SELECTOR),
    ("claim", EpochDistributor::OverTotal::SELECTOR),
    ("transfer", ModelShare::ERC20InsufficientBalance::SELECTOR),
    ("transfer", ModelShare::SharesForNobody::SELECTOR),
    ("transferFrom", ModelShare::ERC20InsufficientAllowance::SELECTOR),
    ("depositFees", ModelShare::NoShares::SELECTOR),
    ("claimFees", ModelShare::NoFees::SELECTOR),
    ("mint", ModelShare::OnlyDistributor::SELECTOR),
];

struct Epoch {
    sums: Vec<(Address, u128)>,
    total: u128,
    counts_from: u64,
    vetoed: bool,
}

/// Where the chain should be.
pub(crate) struct Model {
    now: u64,
    epochs: Vec<Epoch>,
    claimed: BTreeMap<Address, u128>,
    shares: BTreeMap<Address, u128>,
    allowances: BTreeMap<(Address, Address), u128>,
    fees: Fees,
    /// Holders, then deployer, submitter and guardian, then contracts, which send nothing.
    everyone: [Address; 9],
    earners: [Address; 4],
}

impl Model {
    /// Right after the deployment.
    pub(crate) fn new(world: &World) -> Self {
        let [a, b, c] = HOLDERS;
        Self {
            now: START,
            epochs: Vec::new(),
            claimed: BTreeMap::new(),
            shares: BTreeMap::new(),
            allowances: BTreeMap::new(),
            fees: Fees::default(),
            everyone: [a, b, c, DEPLOYER, SUBMITTER, GUARDIAN, world.greedy, world.distributor, world.share],
            earners: [a, b, c, world.greedy],
        }
    }

    /// The step as it is sent from here.
    pub(crate) fn call(&self, world: &World, step: &Step) -> Call {
        let who = |index: &u8| self.everyone[usize::from(*index) % self.everyone.len()];
        let sender = |index: &u8| self.everyone[usize::from(*index) % 6];
        let newest = |back: &u8| (self.epochs.len() as u64).saturating_sub(1 + u64::from(*back));
        match step {
            Step::Wait { seconds } => Call::Wait { to: self.now + u64::from(*seconds) },
            Step::Submit { by, skip, earned, lie } => self.submission(world, sender(by), *skip, earned, *lie),
            Step::Veto { by, back } => Call::Veto { by: sender(by), number: newest(back) },
            Step::Claim { by, back, earner, more, proof } => {
                let (by, number, earner) = (sender(by), newest(back), usize::from(*earner));
                let Some(epoch) = self.epochs.get(number as usize) else {
                    return Call::Claim { by, number, who: who(&0), sum: 1, proof: vec![], genuine: false };
                };
                let (who, sum) = epoch.sums[earner];
                let proof = Tree::new(world, &epoch.sums).proof((earner + usize::from(*proof)) % 4);
                let genuine = *more == 0 && proof == Tree::new(world, &epoch.sums).proof(earner);
                Call::Claim { by, number, who, sum: sum + u128::from(*more), proof, genuine }
            }
            Step::Transfer { by, to, quarters } => {
                Call::Transfer { by: sender(by), to: who(to), amount: self.quarters(&sender(by), *quarters) }
            }
            Step::Approve { by, spender, amount } => {
                Call::Approve { by: sender(by), spender: who(spender), amount: *amount }
            }
            Step::TransferFrom { by, from, to, quarters } => {
                let (by, from, to) = (sender(by), who(from), who(to));
                Call::TransferFrom { by, from, to, amount: self.quarters(&from, *quarters) }
            }
            Step::Deposit { by, amount } => Call::Deposit { by: sender(by), amount: *amount },
            Step::ClaimFees { by, account } => Call::ClaimFees { by: sender(by), who: who(account) },
            Step::Mint { by, to, amount } => Call::Mint { by: sender(by), to: who(to), amount: *amount },
            Step::Raw { by, kind, junk } => {
                let (at, data, value) = call::nonsense(world, who(&junk[0]), sender(by), *kind, junk);
                Call::Raw { by: sender(by), at, data, value }
            }
        }
    }

    fn submission(&self, world: &World, by: Address, skip: u8, earned: &[u128; 4], lie: u8) -> Call {
        let number = self.epochs.len() as u64;
        // Beyond the next, or one that is there.
        let number = if skip == 3 { number.saturating_sub(1) } else { number + u64::from(skip) };
        let before = |at: usize| self.epochs.last().map_or(0, |epoch| epoch.sums[at].1);
        let sums: Vec<_> = (0..4).map(|at| (self.earners[at], before(at) + earned[at])).collect();
        let sum: u128 = sums.iter().map(|(_, sum)| sum).sum();
        // A total that is too small must bound what is minted; one too large changes nothing.
        let total = match lie {
            0 => sum / 2,
            1 => sum * 2,
            2 => CAP * (u128::from(number) + 1) + 1,
            _ => sum,
        };
        let root = if lie == 3 { B256::ZERO } else { Tree::new(world, &sums).root() };
        Call::Submit { by, number, root, sums, total }
    }

    /// Some quarters of an account's shares; with five of them one share more than it has.
    fn quarters(&self, of: &Address, quarters: u8) -> u128 {
        let shares = self.shares(of);
        if quarters > 4 { shares + 1 } else { shares / 4 * u128::from(quarters) }
    }

    fn supply(&self) -> u128 {
        self.shares.values().sum()
    }

    fn shares(&self, of: &Address) -> u128 {
        self.shares.get(of).copied().unwrap_or(0)
    }

    /// What the call must come to, and if it must succeed, what follows.
    pub(crate) fn expect(&mut self, world: &mut World, call: &Call) -> Result<(), Refusal> {
        match call {
            Call::Wait { to } => self.now = *to,
            Call::Submit { by, number, root, sums, total } => self.submit(*by, *number, *root, sums, *total)?,
            Call::Veto { by, number } => {
                ensure::<EpochDistributor::OnlyGuardian>(*by == GUARDIAN)?;
                let epoch = self.epochs.get_mut(*number as usize);
                let Some(epoch) = epoch.filter(|epoch| !epoch.vetoed && self.now < epoch.counts_from) else {
                    return ensure::<EpochDistributor::NothingToVeto>(false);
                };
                epoch.vetoed = true;
            }
            Call::Claim { number, who, sum, genuine, .. } => self.claim(*number, *who, *sum, *genuine)?,
            Call::Transfer { by, to, amount } => self.transfer(world, by, to, *amount)?,
            Call::Approve { by, spender, amount } => drop(self.allowances.insert((*by, *spender), *amount)),
            Call::TransferFrom { by, from, to, amount } => {
                let allowed = self.allowances.get(&(*from, *by)).copied().unwrap_or(0);
                ensure::<ModelShare::ERC20InsufficientAllowance>(*amount <= allowed)?;
                self.transfer(world, from, to, *amount)?;
                self.allowances.insert((*from, *by), allowed - amount);
            }
            Call::Deposit { by, amount } => {
                ensure::<ModelShare::NoFees>(*amount > 0)?;
                ensure::<ModelShare::NoShares>(self.supply() > 0)?;
                self.fees.deposit(*by, *amount, &self.shares);
            }
            Call::ClaimFees { who, .. } => {
                let due = world.view(world.share, ModelShare::feesOfCall { account: *who });
                ensure::<ModelShare::NoFees>(!due.is_zero())?;
                self.fees.pay(*who, due);
            }
            Call::Mint { .. } => ensure::<ModelShare::OnlyDistributor>(false)?,
            Call::Raw { .. } => return Err(Refusal::default()),
        }
        Ok(())
    }

    fn submit(
        &mut self,
        by: Address,
        number: u64,
        root: B256,
        sums: &[(Address, u128)],
        total: u128,
    ) -> Result<(), Refusal> {
        ensure::<EpochDistributor::OnlySubmitter>(by == SUBMITTER)?;
        ensure::<EpochDistributor::WrongEpoch>(number == self.epochs.len() as u64)?;
        ensure::<EpochDistributor::NoRoot>(!root.is_zero())?;
        ensure::<EpochDistributor::TooEarly>(self.now >= START + number * PERIOD)?;
        ensure::<EpochDistributor::OverCap>(total <= CAP * (u128::from(number) + 1))?;
        self.epochs.push(Epoch { sums: sums.to_vec(), total, counts_from: self.now + DELAY, vetoed: false });
        Ok(())
    }

    fn claim(&mut self, number: u64, who: Address, sum: u128, genuine: bool) -> Result<(), Refusal> {
        let epoch = self.epochs.get(number as usize);
        let Some(epoch) = epoch.filter(|epoch| !epoch.vetoed && self.now >= epoch.counts_from) else {
            return ensure::<EpochDistributor::NotCounting>(false);
        };
        ensure::<EpochDistributor::WrongProof>(genuine)?;
        let due = sum.saturating_sub(self.claimed.get(&who).copied().unwrap_or(0));
        ensure::<EpochDistributor::NothingDue>(due > 0)?;
        ensure::<EpochDistributor::OverTotal>(self.supply() + due <= epoch.total)?;
        self.claimed.insert(who, sum);
        *self.shares.entry(who).or_default() += due;
        Ok(())
    }

    fn transfer(&mut self, world: &World, from: &Address, to: &Address, amount: u128) -> Result<(), Refusal> {
        ensure::<ModelShare::SharesForNobody>(*to != world.share && *to != world.distributor)?;
        ensure::<ModelShare::ERC20InsufficientBalance>(amount <= self.shares(from))?;
        *self.shares.entry(*from).or_default() -= amount;
        *self.shares.entry(*to).or_default() += amount;
        Ok(())
    }

    /// Whether the chain is where the model is, to the unit, and within what was submitted.
    pub(crate) fn check(&self, world: &mut World) {
        let (distributor, share) = (world.distributor, world.share);
        for account in self.everyone {
            let shares = world.view(share, ModelShare::balanceOfCall { account });
            assert_eq!(shares, U256::from(self.shares(&account)), "shares of {account}");
            let claimed = world.view(distributor, EpochDistributor::claimedCall { account });
            assert_eq!(claimed, U256::from(self.claimed.get(&account).copied().unwrap_or(0)), "claimed by {account}");
        }
        let minted = world.view(distributor, EpochDistributor::mintedCall {});
        assert_eq!(minted, U256::from(self.supply()));
        assert_eq!(world.view(share, ModelShare::totalSupplyCall {}), minted);
        let counts = self.epochs.iter().filter(|epoch| !epoch.vetoed && self.now >= epoch.counts_from);
        let accepted = counts.map(|epoch| epoch.total).max().unwrap_or(0);
        assert!(self.supply() <= accepted && accepted <= CAP * self.epochs.len() as u128);
        self.fees.check(world, &self.everyone);
    }
}

fn ensure<E: SolError>(holds: bool) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(refusal::<E>()) }
}
