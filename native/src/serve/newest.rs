//! `newest.json`: which weights are the newest, for readers that must not open the journal, which a
//! running coordinator holds.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tributary_protocol::BlobRef;
use tributary_protocol::spec::RunSpec;

use crate::files;

const FILE: &str = "newest.json";

/// A settled state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Newest {
    /// The first round that trains from it.
    pub(crate) round: u64,
    /// The weights, a blob of the state folder.
    pub(crate) base: BlobRef,
    /// The run.
    pub(crate) spec: RunSpec,
}

impl Newest {
    /// What the state folder's newest state is; `None` where no coordinator has run yet.
    pub(crate) fn read(state: &Path) -> anyhow::Result<Option<Self>> {
        let path = state.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| {
                anyhow::anyhow!(
                    "{} is damaged ({e}); start the coordinator on this folder to write it anew",
                    path.display()
                )
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(files::trouble("read", &path, &error)),
        }
    }

    /// Writes it, after the blob and the journal: it never names what is not there.
    pub(crate) fn write(&self, state: &Path) -> anyhow::Result<()> {
        let path = state.join(FILE);
        let bytes = serde_json::to_vec_pretty(self)?;
        files::write(&path, &bytes).map_err(|e| files::trouble("write", &path, &e))
    }
}
