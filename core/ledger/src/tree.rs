//! The tree over a log's entries, and the proofs that it gives: RFC 6962, section 2.1.

use crate::Digest;
use crate::proof::{empty_root, node_hash};

/// An append-only Merkle tree. It keeps the hash of every complete subtree, less than 64 bytes for each leaf, so that
/// an append costs two hashes on average, and a root of any size or a proof at most one for each row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    /// Row r holds the subtrees of 2^r leaves, from the left.
    rows: Vec<Vec<Digest>>,
}

impl Tree {
    /// Adds a leaf hash at the end.
    pub fn push(&mut self, leaf: Digest) {
        let mut hash = leaf;
        for row in 0.. {
            if row == self.rows.len() {
                self.rows.push(Vec::new());
            }
            let nodes = &mut self.rows[row];
            nodes.push(hash);
            // An even number of nodes: the last two have a parent now.
            match nodes[..] {
                [.., left, right] if nodes.len().is_multiple_of(2) => hash = node_hash(&left, &right),
                _ => break,
            }
        }
    }

    /// Leaves.
    pub fn len(&self) -> u64 {
        self.rows.first().map_or(0, |leaves| leaves.len() as u64)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A leaf's hash.
    pub fn leaf(&self, index: u64) -> Option<&Digest> {
        self.rows.first()?.get(usize::try_from(index).ok()?)
    }

    /// The root of all leaves.
    pub fn root(&self) -> Digest {
        self.hash(0, self.len())
    }

    /// The root when there were `size` leaves; None if there are fewer.
    pub fn root_at(&self, size: u64) -> Option<Digest> {
        (size <= self.len()).then(|| self.hash(0, size))
    }

    /// The hashes that lead from leaf `index` to the root of `size` leaves; None if there are fewer or the leaf is not
    /// among them.
    pub fn inclusion(&self, index: u64, size: u64) -> Option<Vec<Digest>> {
        if index >= size || size > self.len() {
            return None;
        }
        let (mut path, mut from, mut to) = (Vec::new(), 0, size);
        while to - from > 1 {
            let middle = from + split(to - from);
            if index < middle {
                path.push(self.hash(middle, to));
                to = middle;
            } else {
                path.push(self.hash(from, middle));
                from = middle;
            }
        }
        path.reverse();
        Some(path)
    }

    /// The hashes that show that the tree of `new` leaves begins with that of `old`; None if there are fewer leaves or
    /// `old` is more than `new`. None are needed from an empty tree or to the same.
    pub fn consistency(&self, old: u64, new: u64) -> Option<Vec<Digest>> {
        if old > new || new > self.len() {
            return None;
        }
        if old == 0 || old == new {
            return Some(Vec::new());
        }
        let (mut path, mut from, mut to) = (Vec::new(), 0, new);
        while to != old {
            let middle = from + split(to - from);
            if old <= middle {
                path.push(self.hash(middle, to));
                to = middle;
            } else {
                path.push(self.hash(from, middle));
                from = middle;
            }
        }
        // The verifier has the old root, so a subtree that is all of the old tree needn't be sent.
        if from > 0 {
            path.push(self.hash(from, to));
        }
        path.reverse();
        Some(path)
    }

    /// The hash of the leaves `from..to`, which begin where a subtree of at least as many does, and are there.
    fn hash(&self, from: u64, to: u64) -> Digest {
        let mut end = to;
        let mut hash: Option<Digest> = None;
        // Complete subtrees from the right, which are the smaller ones.
        while end > from {
            let row = (end - from).trailing_zeros();
            let left = self.rows[row as usize][((end - 1) >> row) as usize];
            hash = Some(hash.map_or(left, |right| node_hash(&left, &right)));
            end -= 1 << row;
        }
        hash.unwrap_or_else(empty_root)
    }
}

/// The largest power of two below `leaves`, which are at least two: the leaves of the left subtree.
fn split(leaves: u64) -> u64 {
    1 << (leaves - 1).ilog2()
}
