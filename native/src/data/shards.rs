//! Cutting a stream of documents into shards.

use std::path::PathBuf;

use anyhow::bail;
use tributary_protocol::limits::MAX_SHARDS;
use tributary_protocol::{BlobRef, Hash};

use super::text::Piece;
use crate::files;

/// Bytes of a shard: four blob chunks, so that a tab has the first one after a moment and holds a few
/// dozen at a time.
const SHARD: usize = 256 * 1024;

/// Bytes of the shortest shard: two sequences of 1024 tokens, the longest of any preset, with the token
/// after.
pub(super) const LEAST: usize = 2 * 1024;

/// Writes shards as documents come.
pub(super) struct Sharder {
    blobs: PathBuf,
    buffer: Vec<u8>,
    shards: Vec<BlobRef>,
    between: bool,
}

impl Sharder {
    /// Writes into the folder `blobs`.
    pub(super) fn new(blobs: PathBuf) -> Self {
        Self { blobs, buffer: Vec::with_capacity(2 * SHARD), shards: Vec::new(), between: false }
    }

    /// Takes more text.
    pub(super) fn push(&mut self, piece: Piece<'_>) -> anyhow::Result<()> {
        let Piece::Text(mut text) = piece else {
            self.between = true;
            return Ok(());
        };
        if std::mem::take(&mut self.between) {
            self.buffer.push(0);
        }
        while !text.is_empty() {
            let (now, later) = text.split_at(text.len().min(SHARD));
            self.buffer.extend_from_slice(now);
            text = later;
            // What stays behind is long enough to be a shard of its own.
            while self.buffer.len() >= SHARD + LEAST {
                self.write(SHARD)?;
            }
        }
        Ok(())
    }

    /// Writes what is left, a remainder shorter than [`LEAST`] together with the shard before it.
    /// Without any text there are no shards; `what` names the text where it is too short for one.
    pub(super) fn finish(mut self, what: &str) -> anyhow::Result<Vec<BlobRef>> {
        if self.buffer.is_empty() && self.shards.is_empty() {
            return Ok(Vec::new());
        }
        if self.buffer.len() < LEAST {
            bail!("the {what} has only {} bytes in all; at least {LEAST} are needed", self.buffer.len());
        }
        self.write(self.buffer.len())?;
        Ok(self.shards)
    }

    fn write(&mut self, len: usize) -> anyhow::Result<()> {
        if self.shards.len() == MAX_SHARDS {
            bail!("the text is over {MAX_SHARDS} shards of 256 KiB, more than a run can name; import less of it");
        }
        let bytes = &self.buffer[..len];
        let blob = BlobRef::of(bytes);
        let path = files::blob_path(&self.blobs, &blob.hash);
        // A shard that is there already, and whole, is left alone: a second import is quick.
        let there = std::fs::read(&path).is_ok_and(|old| Hash::of(&old) == blob.hash);
        if !there {
            files::write(&path, bytes).map_err(|e| files::trouble("write", &path, &e))?;
        }
        self.shards.push(blob);
        self.buffer.drain(..len);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(total: usize) -> Vec<u64> {
        let dir = tempfile::tempdir().unwrap();
        let mut sharder = Sharder::new(dir.path().to_path_buf());
        let text: Vec<u8> = (0..total).map(|i| b'a' + (i % 23) as u8).collect();
        text.chunks(100_000).for_each(|piece| sharder.push(Piece::Text(piece)).unwrap());
        let shards = sharder.finish("text").unwrap();
        let written: Vec<u8> =
            shards.iter().flat_map(|s| std::fs::read(files::blob_path(dir.path(), &s.hash)).unwrap()).collect();
        assert!(written == text, "the shards in order are the text");
        shards.iter().map(|shard| shard.bytes).collect()
    }

    #[test]
    fn no_shard_is_too_short() {
        let (shard, least) = (SHARD as u64, LEAST as u64);
        assert_eq!(lengths(LEAST), [least]);
        assert_eq!(lengths(SHARD), [shard]);
        assert_eq!(lengths(SHARD + LEAST - 1), [shard + least - 1]);
        assert_eq!(lengths(SHARD + LEAST), [shard, least]);
        assert_eq!(lengths(2 * SHARD + 5), [shard, shard + 5]);
        let sharder = |bytes: &'static [u8]| {
            let mut sharder = Sharder::new(PathBuf::new());
            sharder.push(Piece::Text(bytes)).unwrap();
            sharder.finish("text").unwrap_err().to_string()
        };
        assert!(sharder(b"short").contains("only 5 bytes"));
    }

    #[test]
    fn a_zero_stands_between_documents_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let mut sharder = Sharder::new(dir.path().to_path_buf());
        for _ in 0..3 {
            sharder.push(Piece::Text(&[b'x'; 1000])).unwrap();
            sharder.push(Piece::End).unwrap();
        }
        let shards = sharder.finish("text").unwrap();
        let bytes = std::fs::read(files::blob_path(dir.path(), &shards[0].hash)).unwrap();
        assert_eq!(bytes.len(), 3002);
        let zeros: Vec<_> = bytes.iter().enumerate().filter(|(_, b)| **b == 0).map(|(at, _)| at).collect();
        assert_eq!(zeros, [1000, 2001]);
    }
}
