//! Single cases that random sequences don't reach: permits, the constructor's terms, and what each call costs.

mod common;

use alloy_sol_types::{SolStruct, eip712_domain, sol};
use k256::ecdsa::SigningKey;
use revm::primitives::{Address, B256, U256, keccak256};

use common::*;

sol! {
    struct Permit { address owner; address spender; uint256 value; uint256 nonce; uint256 deadline; }
}

#[test]
fn terms_that_make_no_sense_are_refused() {
    let mut world = World::new();
    assert!(world.deploy_with(terms()).is_ok());
    for bad in [
        EpochDistributor::Terms { run: B256::ZERO, ..terms() },
        EpochDistributor::Terms { submitter: Address::ZERO, ..terms() },
        EpochDistributor::Terms { guardian: Address::ZERO, ..terms() },
        EpochDistributor::Terms { guardian: SUBMITTER, ..terms() },
        EpochDistributor::Terms { cap: 0, ..terms() },
        EpochDistributor::Terms { rounds: 0, ..terms() },
        EpochDistributor::Terms { period: 0, ..terms() },
        EpochDistributor::Terms { delay: 0, ..terms() },
    ] {
        assert_eq!(world.deploy_with(bad).err(), Some(refusal::<EpochDistributor::BadTerms>()));
    }
}

/// Submits an epoch with what each wallet has earned: the holders first, then others.
fn submit(world: &mut World, number: u64, sums: &[u128]) -> Tree {
    let wallet = |index: usize| *HOLDERS.get(index).unwrap_or(&Address::left_padding_from(&index.to_be_bytes()));
    let all: Vec<_> = sums.iter().enumerate().map(|(index, sum)| (wallet(index), *sum)).collect();
    let tree = Tree::new(world, &all);
    let (root, log, data) = (tree.root(), B256::repeat_byte(1), B256::repeat_byte(2));
    let call = EpochDistributor::submitCall { number, root, log, data, total: sums.iter().sum() };
    assert!(world.call(SUBMITTER, world.distributor, call).is_ok());
    tree
}

/// Submits epoch 0 and waits until it counts.
fn submitted(world: &mut World, sums: &[u128]) -> Tree {
    let tree = submit(world, 0, sums);
    world.warp(START + DELAY);
    tree
}

/// A holder claims.
fn claim(world: &mut World, tree: &Tree, number: u64, index: usize, sum: u128) {
    let (account, cumulative, proof) = (HOLDERS[index], U256::from(sum), tree.proof(index));
    let call = EpochDistributor::claimCall { number, account, cumulative, proof };
    assert!(world.call(DEPLOYER, world.distributor, call).is_ok_and(|amount| !amount.is_zero()));
}

#[test]
fn a_permit_moves_shares_once_and_only_its_owners() {
    let mut world = World::new();
    let key = SigningKey::from_slice(&[7; 32]).expect("a secret");
    let point = key.verifying_key().to_encoded_point(false);
    let owner = Address::from_slice(&keccak256(&point.as_bytes()[1..])[12..]);
    let (value, deadline, share) = (U256::from(5), U256::MAX, world.share);
    let domain = eip712_domain! { name: "Tributary", version: "1", chain_id: 1, verifying_contract: share, };
    let permit = Permit { owner, spender: DEPLOYER, value, nonce: U256::ZERO, deadline };
    let hash = permit.eip712_signing_hash(&domain);
    let (signature, parity) = key.sign_prehash_recoverable(&hash[..]).expect("a signature");
    let (r, s) = signature.split_bytes();
    let (r, s, v) = (B256::from_slice(&r), B256::from_slice(&s), 27 + parity.to_byte());
    let call = |owner, value| ModelShare::permitCall { owner, spender: DEPLOYER, value, deadline, v, r, s };
    let invalid = Err(refusal::<ModelShare::ERC2612InvalidSigner>());
    assert_eq!(world.call(GUARDIAN, share, call(HOLDERS[0], value)).map(drop), invalid, "another owner");
    assert_eq!(world.call(GUARDIAN, share, call(owner, value + value)).map(drop), invalid, "another amount");
    assert_eq!(world.call(GUARDIAN, share, call(owner, value)).map(drop), Ok(()));
    assert_eq!(world.view(share, ModelShare::allowanceCall { owner, spender: DEPLOYER }), value);
    assert_eq!(world.call(GUARDIAN, share, call(owner, value)).map(drop), invalid, "used before");
}

#[test]
fn what_a_division_leaves_over_goes_with_the_next_fees() {
    let mut world = World::new();
    let tree = submitted(&mut world, &[1, 1, 2]);
    for (index, sum) in [1, 1, 2].into_iter().enumerate() {
        claim(&mut world, &tree, 0, index, sum);
    }
    let fees = |world: &mut World| HOLDERS.map(|account| world.view(world.share, ModelShare::feesOfCall { account }));
    world.deposit(DEPLOYER, U256::from(7)).expect("there are shares");
    assert_eq!(fees(&mut world), [1, 1, 3].map(U256::from));
    world.deposit(DEPLOYER, U256::from(1)).expect("there are shares");
    assert_eq!(fees(&mut world), [2, 2, 4].map(U256::from));
}

/// What each call costs in gas, its data and the fee of a transaction included; ARCHITECTURE.md shows it.
const GAS: &str = "\
deploy both contracts: 2261408
submit, first: 138426
claim, first of all: 139742
claim, first of a wallet: 105532
depositFees, first: 91760
depositFees: 40460
transfer to a new holder: 124211
transfer, with fees to settle: 87211
claimFees: 45491
submit: 121338
claim: 71332
veto: 30300";

#[test]
fn what_calls_cost_is_known() {
    let mut world = World::new();
    let mut table = Vec::new();
    let mut row = |what: &str, world: &World| table.push(format!("{what}: {}", world.gas));
    world.deploy_with(terms()).expect("good terms");
    row("deploy both contracts", &world);
    // A thousand wallets, so ten hashes a proof.
    let sums = |sum| (0..1024).map(|_| sum).collect::<Vec<u128>>();
    let tree = submitted(&mut world, &sums(1_000));
    row("submit, first", &world);
    claim(&mut world, &tree, 0, 0, 1_000);
    row("claim, first of all", &world);
    claim(&mut world, &tree, 0, 1, 1_000);
    row("claim, first of a wallet", &world);
    let fees = U256::from(1_000_003);
    world.deposit(DEPLOYER, fees).expect("there are shares");
    row("depositFees, first", &world);
    world.deposit(DEPLOYER, fees).expect("there are shares");
    row("depositFees", &world);
    let (share, [one, other, third]) = (world.share, HOLDERS);
    let transfer = |to| ModelShare::transferCall { to, value: U256::from(10) };
    assert_eq!(world.call(one, share, transfer(third)), Ok(true));
    row("transfer to a new holder", &world);
    assert_eq!(world.call(one, share, transfer(other)), Ok(true));
    row("transfer, with fees to settle", &world);
    assert!(world.call(third, share, ModelShare::claimFeesCall { account: one }).is_ok());
    row("claimFees", &world);
    world.warp(START + PERIOD);
    let tree = submit(&mut world, 1, &sums(2_000));
    row("submit", &world);
    world.warp(START + PERIOD + DELAY);
    claim(&mut world, &tree, 1, 0, 2_000);
    row("claim", &world);
    world.warp(START + 2 * PERIOD);
    submit(&mut world, 2, &sums(3_000));
    assert!(world.call(GUARDIAN, world.distributor, EpochDistributor::vetoCall { number: 2 }).is_ok());
    row("veto", &world);
    let table = table.join("\n");
    println!("{table}");
    assert_eq!(table, GAS, "calls cost something else: say so here and in ARCHITECTURE.md");
}
