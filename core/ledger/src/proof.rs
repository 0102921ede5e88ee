//! Verifying that an entry is in a log and that a log only grew: RFC 6962, section 2.1, with SHA-256; the steps are
//! those of RFC 9162, sections 2.1.3.2 and 2.1.4.2.

use sha2::{Digest as _, Sha256};

use crate::Digest;

/// Hashes of one proof: a log has less than 2^64 entries.
pub const MAX_PATH: usize = 64;

/// Why a proof proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Not the number of hashes that a proof of these sizes has.
    #[error("the proof has {0} hashes, which is not the number that logs of these sizes need")]
    Length(usize),
    /// An index or an older size beyond the log's size.
    #[error("the proof is about entry or size {asked} of a log of {size} entries")]
    Range {
        /// The index or older size.
        asked: u64,
        /// The log's size.
        size: u64,
    },
    /// Other hashes come out.
    #[error("the proof leads to another root: this is not the log that was signed")]
    Root,
}

/// The root of a log without entries.
pub fn empty_root() -> Digest {
    Sha256::digest([]).into()
}

/// The hash of an entry's bytes as a leaf.
pub fn leaf_hash(entry: &[u8]) -> Digest {
    Sha256::new_with_prefix([0]).chain_update(entry).finalize().into()
}

/// The hash of two subtrees.
pub(crate) fn node_hash(left: &Digest, right: &Digest) -> Digest {
    Sha256::new_with_prefix([1]).chain_update(left).chain_update(right).finalize().into()
}

/// Whether `leaf` is entry `index` of the log with `size` entries and this root.
pub fn verify_inclusion(
    leaf: &Digest,
    index: u64,
    size: u64,
    path: &[Digest],
    root: &Digest,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::Range { asked: index, size });
    }
    let mut walk = Walk::new(index, size, path)?;
    let mut hash = *leaf;
    for sibling in path {
        hash = match walk.step()? {
            Side::Left => node_hash(sibling, &hash),
            Side::Right => node_hash(&hash, sibling),
        };
    }
    walk.end()?;
    if hash == *root { Ok(()) } else { Err(ProofError::Root) }
}

/// Whether the log with `new_size` entries and `new_root` begins with the one of `old_size` and `old_root`.
pub fn verify_consistency(
    old_size: u64,
    old_root: &Digest,
    new_size: u64,
    new_root: &Digest,
    path: &[Digest],
) -> Result<(), ProofError> {
    if old_size > new_size {
        return Err(ProofError::Range { asked: old_size, size: new_size });
    }
    if old_size == 0 || old_size == new_size {
        // Nothing to be proved by hashes.
        if !path.is_empty() {
            return Err(ProofError::Length(path.len()));
        }
        let same = if old_size == 0 { *old_root == empty_root() } else { old_root == new_root };
        return if same { Ok(()) } else { Err(ProofError::Root) };
    }
    let mut walk = Walk::new(old_size - 1, new_size, path)?;
    // The old log's last complete subtree; where it is all of that log, its root needn't be sent.
    walk.ascend_while_right();
    let (first, rest) =
        if old_size.is_power_of_two() { (old_root, path) } else { path.split_first().ok_or(ProofError::Length(0))? };
    let (mut old, mut new) = (*first, *first);
    for sibling in rest {
        match walk.step()? {
            Side::Left => {
                old = node_hash(sibling, &old);
                new = node_hash(sibling, &new);
            }
            Side::Right => new = node_hash(&new, sibling),
        }
    }
    walk.end()?;
    if old == *old_root && new == *new_root { Ok(()) } else { Err(ProofError::Root) }
}

/// On which side the next sibling stands.
enum Side {
    Left,
    Right,
}

/// A way up the tree: the place of the node reached in its row, and that of the row's last.
struct Walk {
    node: u64,
    last: u64,
    hashes: usize,
}

impl Walk {
    fn new(index: u64, size: u64, path: &[Digest]) -> Result<Self, ProofError> {
        if path.len() > MAX_PATH {
            return Err(ProofError::Length(path.len()));
        }
        Ok(Self { node: index, last: size - 1, hashes: path.len() })
    }

    fn up(&mut self) {
        self.node >>= 1;
        self.last >>= 1;
    }

    fn ascend_while_right(&mut self) {
        while self.node & 1 == 1 {
            self.up();
        }
    }

    /// To the next row in which the node has a sibling, and beyond it.
    fn step(&mut self) -> Result<Side, ProofError> {
        if self.last == 0 {
            return Err(ProofError::Length(self.hashes));
        }
        // A last node without a sibling stands unchanged in the row above.
        while self.node == self.last && self.node & 1 == 0 {
            self.up();
        }
        let side = if self.node & 1 == 1 { Side::Left } else { Side::Right };
        self.up();
        Ok(side)
    }

    fn end(&self) -> Result<(), ProofError> {
        if self.last == 0 { Ok(()) } else { Err(ProofError::Length(self.hashes)) }
    }
}
