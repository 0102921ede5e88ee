//! Random steps. They name accounts and amounts by small numbers, so that most mean something wherever the chain is.

use proptest::prelude::*;

/// One step of a sequence, before it is known where the chain is.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Time passes.
    Wait { seconds: u8 },
    /// Somebody submits a root over new earnings; `lie` says what is wrong with it, if anything.
    Submit { by: u8, skip: u8, earned: [u128; 4], lie: u8 },
    /// Somebody vetoes the newest epoch or one before.
    Veto { by: u8, back: u8 },
    /// Somebody claims, perhaps more than the leaf says or with somebody else's proof.
    Claim { by: u8, back: u8, earner: u8, more: u8, proof: u8 },
    /// Somebody moves some quarters of its shares.
    Transfer { by: u8, to: u8, quarters: u8 },
    /// Somebody lets another move its shares.
    Approve { by: u8, spender: u8, amount: u128 },
    /// Somebody moves another's shares.
    TransferFrom { by: u8, from: u8, to: u8, quarters: u8 },
    /// Somebody pays for the model.
    Deposit { by: u8, amount: u128 },
    /// Somebody has an account paid its fees.
    ClaimFees { by: u8, account: u8 },
    /// Somebody mints.
    Mint { by: u8, to: u8, amount: u128 },
    /// Somebody sends what no function takes.
    Raw { by: u8, kind: u8, junk: Vec<u8> },
}

/// Every step.
pub(crate) fn steps() -> impl Strategy<Value = Step> {
    let any = || any::<u8>();
    // Of those who submit or veto most have the right to: they are the accounts 4 and 5.
    let submitter = prop_oneof![9 => Just(4u8), 1 => any()];
    let guardian = prop_oneof![3 => Just(5u8), 1 => any()];
    let often = |usual: u8| prop_oneof![12 => Just(usual), 1 => 0u8..4];
    let earned = prop::array::uniform4(amounts(99));
    prop_oneof![
        4 => prop_oneof![2 => Just(60), 2 => Just(100), 1 => any()].prop_map(|seconds| Step::Wait { seconds }),
        4 => (submitter, often(0), earned, 0u8..24)
            .prop_map(|(by, skip, earned, lie)| Step::Submit { by, skip, earned, lie }),
        1 => (guardian, often(0)).prop_map(|(by, back)| Step::Veto { by, back }),
        6 => (any(), often(0), 0u8..4, often(0), often(0))
            .prop_map(|(by, back, earner, more, proof)| Step::Claim { by, back, earner, more, proof }),
        3 => (earners(), any(), 0u8..6).prop_map(|(by, to, quarters)| Step::Transfer { by, to, quarters }),
        1 => (any(), any(), amounts(100)).prop_map(|(by, spender, amount)| Step::Approve { by, spender, amount }),
        1 => (any(), earners(), any(), 0u8..6)
            .prop_map(|(by, from, to, quarters)| Step::TransferFrom { by, from, to, quarters }),
        3 => (any(), amounts(90)).prop_map(|(by, amount)| Step::Deposit { by, amount }),
        3 => (any(), earners()).prop_map(|(by, account)| Step::ClaimFees { by, account }),
        1 => (any(), any(), amounts(100)).prop_map(|(by, to, amount)| Step::Mint { by, to, amount }),
        1 => (any(), any(), prop::collection::vec(any(), 4..100))
            .prop_map(|(by, kind, junk)| Step::Raw { by, kind, junk }),
    ]
}

/// Holders and the contract that holds shares, mostly.
fn earners() -> impl Strategy<Value = u8> {
    prop_oneof![8 => prop_oneof![0u8..3, Just(6)], 1 => any::<u8>()]
}

/// None, few, where roundings matter, or very many, where overflows would.
fn amounts(bits: u32) -> impl Strategy<Value = u128> {
    prop_oneof![1 => Just(0), 4 => 1u128..30, 4 => 0u128..=1 << bits]
}
