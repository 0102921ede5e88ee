//! Blobs: bytes named by their BLAKE3 hash, verified chunk by chunk.
//!
//! A chunk is 64 KiB, a whole subtree of BLAKE3's tree, and its hash is that subtree's chaining
//! value. The chunk list therefore proves itself against the blob's ordinary BLAKE3 hash (what
//! `b3sum` prints), and a lying source is caught at the list or at the first wrong chunk.

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use serde::{Deserialize, Serialize};

use crate::Hash;
use crate::limits::{CHUNK, MAX_BLOB};

/// The name and size of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlobRef {
    /// BLAKE3 of the bytes.
    pub hash: Hash,
    /// How many bytes.
    pub bytes: u64,
}

impl BlobRef {
    /// The name of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self { hash: Hash::of(bytes), bytes: bytes.len() as u64 }
    }

    /// How many chunks the blob has; an empty blob has one, empty.
    pub fn chunks(&self) -> u32 {
        // At most MAX_BLOB / CHUNK = 8192 for a blob that is within its bound.
        self.bytes.div_ceil(CHUNK as u64).max(1).min(u64::from(u32::MAX)) as u32
    }

    /// The byte range of chunk `index`.
    pub fn range(&self, index: u32) -> std::ops::Range<usize> {
        let start = (u64::from(index) * CHUNK as u64).min(self.bytes);
        let end = (start + CHUNK as u64).min(self.bytes);
        start as usize..end as usize
    }

    /// Whether the blob is within [`MAX_BLOB`].
    pub fn is_bounded(&self) -> bool {
        self.bytes <= MAX_BLOB
    }
}

/// The chunk hashes of `bytes`, in order.
pub fn chunk_list(bytes: &[u8]) -> Vec<Hash> {
    if bytes.len() <= CHUNK {
        return vec![Hash::of(bytes)];
    }
    bytes.chunks(CHUNK).enumerate().map(|(index, chunk)| subtree(index as u32, chunk)).collect()
}

/// Whether `list` is the chunk list of `blob`.
pub fn verify_list(blob: &BlobRef, list: &[Hash]) -> bool {
    if !blob.is_bounded() || list.len() != blob.chunks() as usize {
        return false;
    }
    match list {
        [only] => *only == blob.hash,
        [..] => {
            let (left, right) = list.split_at(left_len(list.len()));
            let root = merge_subtrees_root(&merge(left), &merge(right), Mode::Hash);
            *root.as_bytes() == blob.hash.0
        }
    }
}

/// Whether `chunk` is chunk `index` of `blob`, whose chunk hash is `expected`.
pub fn verify_chunk(blob: &BlobRef, index: u32, expected: &Hash, chunk: &[u8]) -> bool {
    if index >= blob.chunks() || chunk.len() != blob.range(index).len() {
        return false;
    }
    let got = if blob.chunks() == 1 { Hash::of(chunk) } else { subtree(index, chunk) };
    got == *expected
}

fn subtree(index: u32, chunk: &[u8]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(u64::from(index) * CHUNK as u64);
    hasher.update(chunk);
    Hash(hasher.finalize_non_root())
}

/// BLAKE3 gives the left subtree the largest power of two of chunks that leaves some to the right.
fn left_len(len: usize) -> usize {
    len.next_power_of_two() / 2
}

fn merge(list: &[Hash]) -> ChainingValue {
    match list {
        [only] => only.0,
        [..] => {
            let (left, right) = list.split_at(left_len(list.len()));
            merge_subtrees_non_root(&merge(left), &merge(right), Mode::Hash)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
    }

    #[test]
    fn lists_prove_themselves_against_the_ordinary_hash() {
        for len in [0, 1, 1024, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK, 7 * CHUNK + 5, 17 * CHUNK] {
            let bytes = bytes(len);
            let (blob, list) = (BlobRef::of(&bytes), chunk_list(&bytes));
            assert!(verify_list(&blob, &list), "{len}");
            for index in 0..blob.chunks() {
                let chunk = &bytes[blob.range(index)];
                assert!(verify_chunk(&blob, index, &list[index as usize], chunk), "{len} {index}");
                let mut wrong = chunk.to_vec();
                if let Some(byte) = wrong.last_mut() {
                    *byte ^= 1;
                    assert!(!verify_chunk(&blob, index, &list[index as usize], &wrong));
                }
            }
            let mut wrong = list.clone();
            wrong[0].0[0] ^= 1;
            assert!(!verify_list(&blob, &wrong));
            assert!(!verify_list(&blob, &list[1..]));
        }
    }

    #[test]
    fn a_size_over_the_bound_is_no_blob() {
        let blob = BlobRef { hash: Hash::default(), bytes: u64::MAX };
        assert!(!blob.is_bounded() && !verify_list(&blob, &[Hash::default()]));
    }
}
