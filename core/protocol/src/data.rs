//! The data manifest: which shards there are, by hash.

use serde::{Deserialize, Serialize};

use crate::BlobRef;
use crate::limits::{MAX_SHARD, MAX_SHARDS};
use crate::spec::Tokenizer;

/// The data of a run, as JSON in a file and a blob. Written by `tributary data import`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataManifest {
    /// The manifest's format, 1.
    pub version: u32,
    /// For people.
    pub name: String,
    /// How the text became tokens.
    pub tokenizer: Tokenizer,
    /// Shards to train on. With the bytes tokenizer a shard's bytes are its tokens.
    pub train: Vec<BlobRef>,
    /// Shards to evaluate on, never trained on.
    pub heldout: Vec<BlobRef>,
    /// Where the text came from.
    pub sources: Vec<Source>,
}

/// One imported file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Its text, after cleaning.
    pub text: BlobRef,
    /// Whether it is kept out of training.
    pub heldout: bool,
}

impl DataManifest {
    /// Refuses a manifest that cannot be trained on with sequences of `seq` tokens.
    pub fn check(&self, tokenizer: Tokenizer, seq: u32) -> Result<(), String> {
        if self.version != 1 {
            return Err(format!("the data manifest has version {}, this program reads version 1", self.version));
        }
        if self.tokenizer != tokenizer {
            return Err("the data was made with another tokenizer than the run's".to_owned());
        }
        if self.train.is_empty() || self.train.len() + self.heldout.len() > MAX_SHARDS {
            return Err(format!("the data manifest must name 1 to {MAX_SHARDS} shards"));
        }
        // A window is `seq` tokens and the one after.
        let least = u64::from(seq) + 1;
        match self.train.iter().chain(&self.heldout).find(|s| s.bytes < least || s.bytes > MAX_SHARD) {
            None => Ok(()),
            Some(shard) => {
                Err(format!("shard {} has {} bytes, must have {least} to {MAX_SHARD}", shard.hash.short(), shard.bytes))
            }
        }
    }
}
