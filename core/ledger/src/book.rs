//! The log's keeper: the fold and the tree together.

use crate::{Checkpoint, Digest, Entry, EntryError, Ledger, LedgerError, MAX_ENTRY, Proven, Tree, leaf_hash};

/// A log without its bytes: what follows from it, and the hashes for proofs about it. The coordinator writes with it,
/// and whoever checks a log reads with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Book {
    tree: Tree,
    ledger: Ledger,
    checkpoint: Option<Checkpoint>,
}

/// Why a log is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BookError {
    /// Bytes that are no entry.
    #[error("entry {index}: {why}")]
    Entry {
        /// Its place in the log, from 0.
        index: u64,
        /// What is wrong with it.
        why: EntryError,
    },
    /// An entry that does not follow.
    #[error("entry {index}: {why}")]
    Ledger {
        /// Its place in the log, from 0.
        index: u64,
        /// What is wrong with it.
        why: LedgerError,
    },
    /// Cut off in the middle of a round.
    #[error("the log ends after {0} entries in the middle of a round: its end is lost")]
    Cut(u64),
    /// A checkpoint of another log.
    #[error("the checkpoint of round {round} is about {size} entries of another log, or of another run")]
    Checkpoint {
        /// The checkpoint's newest round.
        round: u64,
        /// The checkpoint's entries.
        size: u64,
    },
}

impl BookError {
    /// A log that is refused is not ours: nothing to go on with.
    pub fn is_fatal(&self) -> bool {
        true
    }
}

impl Book {
    /// Reads a whole log and compares it with a `remembered` checkpoint of it.
    pub fn read<B: AsRef<[u8]>>(
        entries: impl IntoIterator<Item = B>,
        remembered: Option<&Checkpoint>,
    ) -> Result<Self, BookError> {
        let mut book = Self::default();
        for bytes in entries {
            book.append_bytes(bytes.as_ref())?;
        }
        if !book.ledger.is_settled() {
            return Err(BookError::Cut(book.len()));
        }
        remembered.map_or(Ok(()), |checkpoint| book.check(checkpoint))?;
        Ok(book)
    }

    /// Adds an entry and gives its place in the log. On refusal nothing has changed.
    pub fn append(&mut self, entry: &Entry) -> Result<u64, BookError> {
        let bytes = entry.to_bytes();
        if bytes.len() > MAX_ENTRY {
            return Err(BookError::Entry { index: self.len(), why: EntryError::TooLong(bytes.len()) });
        }
        self.add(entry, &bytes)
    }

    /// The same with an entry's bytes.
    pub fn append_bytes(&mut self, bytes: &[u8]) -> Result<u64, BookError> {
        let entry = Entry::from_bytes(bytes).map_err(|why| BookError::Entry { index: self.len(), why })?;
        self.add(&entry, bytes)
    }

    /// Whether a checkpoint is one of this log: of this run, with this root, after this round.
    pub fn check(&self, checkpoint: &Checkpoint) -> Result<(), BookError> {
        let Checkpoint { run, size, root, round } = *checkpoint;
        let is_ours = self.ledger.run() == Some(run) && self.tree.root_at(size) == Some(root);
        let in_time = self.ledger.newest_round().is_some_and(|newest| round <= newest);
        if is_ours && in_time { Ok(()) } else { Err(BookError::Checkpoint { round, size }) }
    }

    /// What the log was when its newest round had settled; None before the first.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.checkpoint
    }

    /// The entries that are missing for the open round to settle, [`Ledger::settlement`].
    pub fn settlement(&self, round: u64, next: Digest, fold: Digest) -> Result<Vec<Entry>, LedgerError> {
        self.ledger.settlement(round, next, fold)
    }

    /// Entry `index` with the proof that it is in the log of a checkpoint with `size` entries. None if it is not.
    pub fn prove(&self, index: u64, entry: &Entry, size: u64) -> Option<Proven> {
        let bytes = entry.to_bytes();
        let path = self.tree.inclusion(index, size).filter(|_| self.tree.leaf(index) == Some(&leaf_hash(&bytes)))?;
        Some(Proven { index, entry: bytes, path })
    }

    /// Entries.
    pub fn len(&self) -> u64 {
        self.tree.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// The fold.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The tree.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    fn add(&mut self, entry: &Entry, bytes: &[u8]) -> Result<u64, BookError> {
        let index = self.len();
        self.ledger.append(entry).map_err(|why| BookError::Ledger { index, why })?;
        self.tree.push(leaf_hash(bytes));
        if let (Entry::Settled { round, .. }, Some(run)) = (entry, self.ledger.run()) {
            self.checkpoint = Some(Checkpoint { run, size: self.len(), root: self.tree.root(), round: *round });
        }
        Ok(index)
    }
}
