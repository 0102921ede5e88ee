//! The tree over an epoch's payouts, whose root goes on the chain.
//!
//! Enters: each wallet's sum. Leaves: the root and the proofs that `EpochDistributor.claim` takes. The tree is that of
//! OpenZeppelin's `StandardMerkleTree` over `(uint256 chain, address contract, address wallet, uint256 sum)`: leaves are
//! hashed twice and sorted, and the two below a node go into it smaller first. An empty list has no tree.

use std::collections::BTreeMap;

use sha3::{Digest as _, Keccak256};

use crate::{Credits, Digest, Wallet};

/// Hashes of one proof: a tree has less than 2^32 wallets.
pub const MAX_PAYOUT_PROOF: usize = 32;

/// The contract that pays. It stands in every leaf, so that a proof is good for one contract on one chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Distributor {
    /// The chain's id.
    pub chain: u64,
    /// The contract's address.
    pub contract: Wallet,
}

/// Payouts of one epoch and the hashes over them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayoutTree {
    total: Credits,
    /// The place of each wallet's leaf among the nodes.
    places: BTreeMap<Wallet, usize>,
    /// The root first; node n stands above 2n + 1 and 2n + 2.
    nodes: Vec<Digest>,
}

impl PayoutTree {
    /// None for no wallets, or for sums that exceed [`Credits`] together.
    pub fn new(at: &Distributor, sums: &BTreeMap<Wallet, Credits>) -> Option<Self> {
        let mut total: Credits = 0;
        let mut leaves = Vec::with_capacity(sums.len());
        for (wallet, sum) in sums {
            total = total.checked_add(*sum)?;
            leaves.push((payout_leaf(at, wallet, *sum), *wallet));
        }
        leaves.sort_unstable();
        let last = (2 * leaves.len()).checked_sub(2)?;
        let mut nodes = vec![[0; 32]; last + 1];
        let mut places = BTreeMap::new();
        for (index, (leaf, wallet)) in leaves.into_iter().enumerate() {
            nodes[last - index] = leaf;
            places.insert(wallet, last - index);
        }
        // From the last inner node to the root.
        for node in (0..last / 2).rev() {
            nodes[node] = pair(&nodes[2 * node + 1], &nodes[2 * node + 2]);
        }
        Some(Self { total, places, nodes })
    }

    /// The root.
    pub fn root(&self) -> Digest {
        self.nodes[0]
    }

    /// The sum of all leaves.
    pub fn total(&self) -> Credits {
        self.total
    }

    /// The hashes beside the way from a wallet's leaf to the root; None for a wallet that is not there.
    pub fn proof(&self, wallet: &Wallet) -> Option<Vec<Digest>> {
        let mut node = *self.places.get(wallet)?;
        let mut proof = Vec::new();
        while node > 0 {
            // The left one of two has an odd number.
            proof.push(self.nodes[if node % 2 == 1 { node + 1 } else { node - 1 }]);
            node = (node - 1) / 2;
        }
        Some(proof)
    }
}

/// The leaf of a wallet, as `EpochDistributor.leaf` gives it.
pub fn payout_leaf(at: &Distributor, wallet: &Wallet, sum: Credits) -> Digest {
    // Solidity's abi.encode: each value in 32 bytes, on the right.
    let mut encoded = [0; 128];
    encoded[24..32].copy_from_slice(&at.chain.to_be_bytes());
    encoded[44..64].copy_from_slice(&at.contract);
    encoded[76..96].copy_from_slice(wallet);
    encoded[120..].copy_from_slice(&sum.to_be_bytes());
    keccak256(&keccak256(&encoded))
}

/// Whether a proof leads from a leaf to a root.
pub fn verify_payout(root: &Digest, leaf: &Digest, proof: &[Digest]) -> bool {
    proof.len() <= MAX_PAYOUT_PROOF && proof.iter().fold(*leaf, |node, beside| pair(&node, beside)) == *root
}

/// Ethereum's hash.
pub fn keccak256(bytes: &[u8]) -> Digest {
    Keccak256::digest(bytes).into()
}

fn pair(one: &Digest, other: &Digest) -> Digest {
    keccak256(&[*one.min(other), *one.max(other)].concat())
}
