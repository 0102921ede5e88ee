//! Calls as they are sent.

use alloy_sol_types::SolCall;
use revm::primitives::{Address, B256, U256};

use crate::common::*;

/// A step with accounts and amounts in place.
#[derive(Debug, Clone)]
pub(crate) enum Call {
    Wait { to: u64 },
    Submit { by: Address, number: u64, root: B256, sums: Vec<(Address, u128)>, total: u128 },
    Veto { by: Address, number: u64 },
    Claim { by: Address, number: u64, who: Address, sum: u128, proof: Vec<B256>, genuine: bool },
    Transfer { by: Address, to: Address, amount: u128 },
    Approve { by: Address, spender: Address, amount: u128 },
    TransferFrom { by: Address, from: Address, to: Address, amount: u128 },
    Deposit { by: Address, amount: u128 },
    ClaimFees { by: Address, who: Address },
    Mint { by: Address, to: Address, amount: u128 },
    Raw { by: Address, at: Address, data: Vec<u8>, value: u8 },
}

impl Call {
    /// Its name in the table.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Wait { .. } => "wait",
            Self::Submit { .. } => "submit",
            Self::Veto { .. } => "veto",
            Self::Claim { .. } => "claim",
            Self::Transfer { .. } => "transfer",
            Self::Approve { .. } => "approve",
            Self::TransferFrom { .. } => "transferFrom",
            Self::Deposit { .. } => "depositFees",
            Self::ClaimFees { .. } => "claimFees",
            Self::Mint { .. } => "mint",
            Self::Raw { .. } => "raw",
        }
    }

    /// Sends it.
    pub(crate) fn send(&self, world: &mut World) -> Result<(), Refusal> {
        let (distributor, share) = (world.distributor, world.share);
        match self.clone() {
            Self::Wait { to } => world.warp(to),
            Self::Submit { by, number, root, total, .. } => {
                let (log, data) = (B256::repeat_byte(7), B256::repeat_byte(8));
                world.call(by, distributor, EpochDistributor::submitCall { number, root, log, data, total })?;
            }
            Self::Veto { by, number } => drop(world.call(by, distributor, EpochDistributor::vetoCall { number })?),
            Self::Claim { by, number, who: account, sum, proof, .. } => {
                let cumulative = U256::from(sum);
                world.call(by, distributor, EpochDistributor::claimCall { number, account, cumulative, proof })?;
            }
            Self::Transfer { by, to, amount } => {
                world.call(by, share, ModelShare::transferCall { to, value: U256::from(amount) })?;
            }
            Self::Approve { by, spender, amount } => {
                world.call(by, share, ModelShare::approveCall { spender, value: U256::from(amount) })?;
            }
            Self::TransferFrom { by, from, to, amount } => {
                world.call(by, share, ModelShare::transferFromCall { from, to, value: U256::from(amount) })?;
            }
            Self::Deposit { by, amount } => world.deposit(by, U256::from(amount))?,
            Self::ClaimFees { by, who: account } => {
                world.call(by, share, ModelShare::claimFeesCall { account })?;
            }
            Self::Mint { by, to: account, amount } => {
                world.call(by, share, ModelShare::mintCall { account, amount: U256::from(amount) })?;
            }
            Self::Raw { by, at, data, value } => drop(world.send(by, at, data.into(), U256::from(value))?),
        }
        Ok(())
    }
}

/// Bytes that must not pass, whoever sends them: no function's, coins where none are taken, a permit that its owner did
/// not sign, a call that is cut off.
pub(crate) fn nonsense(
    world: &World,
    owner: Address,
    spender: Address,
    kind: u8,
    junk: &[u8],
) -> (Address, Vec<u8>, u8) {
    let word = |at: usize| B256::from_slice(&[junk, &[0; 64]].concat()[at..at + 32]);
    let permit = ModelShare::permitCall {
        owner,
        spender,
        value: U256::from(1),
        deadline: U256::MAX,
        v: 27 + kind % 2,
        r: word(0),
        s: word(32),
    };
    let mint = ModelShare::mintCall { account: spender, amount: U256::from(1) }.abi_encode();
    match kind % 6 {
        0 => (world.share, [&[0xff], junk].concat(), 0),
        1 => (world.distributor, [&[0xff], junk].concat(), 0),
        2 => (world.share, Vec::new(), 1),
        3 => (world.distributor, Vec::new(), 1),
        4 => (world.share, permit.abi_encode(), 0),
        _ => (world.share, mint[..4 + junk.len() % 64].to_vec(), kind / 128),
    }
}
