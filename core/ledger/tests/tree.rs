//! The tree against an implementation that we did not write, and against known values.
#![allow(clippy::unwrap_used)]

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
use proptest::prelude::*;
use sha2::Sha256;
use tributary_ledger::{Digest, ProofError, Tree, empty_root, leaf_hash, verify_consistency, verify_inclusion};

/// The same leaves in both.
fn trees(leaves: &[Vec<u8>]) -> (Tree, MemoryBackedTree<Sha256, Vec<u8>>) {
    let (mut ours, mut theirs) = (Tree::default(), MemoryBackedTree::new());
    for leaf in leaves {
        ours.push(leaf_hash(leaf));
        theirs.push(leaf.clone());
    }
    (ours, theirs)
}

fn digests(bytes: &[u8]) -> Vec<Digest> {
    bytes.chunks(32).map(|hash| hash.try_into().unwrap()).collect()
}

fn root(tree: &Tree, size: u64) -> RootHash<Sha256> {
    RootHash::new(tree.root_at(size).unwrap().into(), size)
}

fn check_inclusion(leaves: &[Vec<u8>], index: usize) {
    let (ours, theirs) = trees(leaves);
    let size = ours.len();
    assert_eq!(ours.root()[..], theirs.root().as_bytes()[..]);
    let path = ours.inclusion(index as u64, size).unwrap();
    let proof = theirs.prove_inclusion(index);
    assert_eq!(path, digests(proof.as_bytes()));
    let leaf = leaf_hash(&leaves[index]);
    assert_eq!(verify_inclusion(&leaf, index as u64, size, &digests(proof.as_bytes()), &ours.root()), Ok(()));
    let ours_to_them = InclusionProof::from_digests(path.iter().map(|hash| hash.into()));
    theirs.root().verify_inclusion(&leaves[index], index as u64, &ours_to_them).unwrap();
}

fn check_consistency(leaves: &[Vec<u8>], old: usize) {
    let (ours, theirs) = trees(leaves);
    let (old_size, size) = (old as u64, ours.len());
    let path = ours.consistency(old_size, size).unwrap();
    let proof = theirs.prove_consistency(leaves.len() - old);
    assert_eq!(path, digests(proof.as_bytes()));
    let old_root = ours.root_at(old_size).unwrap();
    assert_eq!(verify_consistency(old_size, &old_root, size, &ours.root(), &digests(proof.as_bytes())), Ok(()));
    let ours_to_them = ConsistencyProof::from_digests(path.iter().map(|hash| hash.into()));
    theirs.root().verify_consistency(&root(&ours, old_size), &ours_to_them).unwrap();
}

fn numbered(leaves: usize) -> Vec<Vec<u8>> {
    (0..leaves).map(|n| n.to_le_bytes().to_vec()).collect()
}

#[test]
fn all_small_trees_agree() {
    for size in 1..=40 {
        for at in 0..size {
            check_inclusion(&numbered(size), at);
            if at > 0 {
                check_consistency(&numbered(size), at);
            }
        }
    }
}

proptest! {
    #[test]
    fn random_trees_agree(
        leaves in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..90), 2..1500),
        at in any::<prop::sample::Index>(),
    ) {
        check_inclusion(&leaves, at.index(leaves.len()));
        check_consistency(&leaves, 1 + at.index(leaves.len() - 1));
    }

    #[test]
    fn a_proof_of_something_else_proves_nothing(
        size in 2u64..600,
        at in any::<(prop::sample::Index, prop::sample::Index, prop::sample::Index)>(),
        random in prop::collection::vec(any::<Digest>(), 0..70),
    ) {
        let (tree, _) = trees(&numbered(size as usize));
        let root = tree.root();
        let (index, old) = (at.0.index(size as usize) as u64, 1 + at.0.index(size as usize - 1) as u64);
        let (leaf, old_root) = (*tree.leaf(index).unwrap(), tree.root_at(old).unwrap());
        let inclusion = tree.inclusion(index, size).unwrap();
        let consistency = tree.consistency(old, size).unwrap();
        for mut path in [inclusion.clone(), consistency.clone()] {
            path[at.1.index(inclusion.len().min(consistency.len()))][at.2.index(32)] ^= 1;
            prop_assert!(verify_inclusion(&leaf, index, size, &path, &root).is_err());
            prop_assert!(verify_consistency(old, &old_root, size, &root, &path).is_err());
        }
        for path in [&random[..], &[], &inclusion[1..], &[&inclusion[..], &[root]].concat()] {
            prop_assert!(verify_inclusion(&leaf, index, size, path, &root).is_err());
        }
        for path in [&random[..], &[], &consistency[1..], &[&consistency[..], &[root]].concat()] {
            prop_assert!(verify_consistency(old, &old_root, size, &root, path).is_err());
        }
        let other = (index + 1) % size;
        prop_assert!(verify_inclusion(&leaf, other, size, &inclusion, &root).is_err());
        prop_assert!(verify_consistency(size, &root, old, &old_root, &consistency).is_err());
    }
}

#[test]
fn what_a_log_does_not_have_is_not_proved() {
    let (tree, _) = trees(&numbered(5));
    assert_eq!(tree.inclusion(5, 5), None);
    assert_eq!(tree.inclusion(0, 6), None);
    assert_eq!(tree.consistency(3, 6), None);
    assert_eq!(tree.consistency(4, 3), None);
    assert_eq!(tree.root_at(6), None);
    let root = tree.root();
    assert_eq!(verify_inclusion(&root, 0, 0, &[], &root), Err(ProofError::Range { asked: 0, size: 0 }));
    assert_eq!(verify_consistency(0, &empty_root(), 5, &root, &[]), Ok(()));
    assert_eq!(verify_consistency(0, &root, 5, &root, &[]), Err(ProofError::Root));
    assert_eq!(verify_consistency(5, &empty_root(), 5, &root, &[]), Err(ProofError::Root));
    assert_eq!(verify_consistency(4, &root, 5, &root, &[[0; 32]; 65]), Err(ProofError::Length(65)));
}

/// The leaves and roots that implementations of Certificate Transparency are tested with.
#[test]
fn known_roots() {
    let leaves = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    let roots = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let bytes = |hex: &str| -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    };
    let mut tree = Tree::default();
    assert_eq!(tree.root()[..], bytes(roots[0])[..]);
    for (leaf, root) in leaves.iter().zip(&roots[1..]) {
        tree.push(leaf_hash(&bytes(leaf)));
        assert_eq!(tree.root()[..], bytes(root)[..]);
    }
    for (size, root) in roots.iter().enumerate() {
        assert_eq!(tree.root_at(size as u64).unwrap()[..], bytes(root)[..]);
    }
}
