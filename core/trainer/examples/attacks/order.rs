//! What to run: a cheat, a seed and a size, as JSON; and the text that there is.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tributary_protocol::check::Check;
use tributary_protocol::data::DataManifest;
use tributary_protocol::spec::{
    FEEDBACK, Inner, ModelSpec, Optimizer, Outer, Reward, RoundRule, RunSpec, Tokenizer, UpdateFormat,
};
use tributary_protocol::{BlobRef, Hash};

use crate::cheat::Cheat;

/// Credits of a round: so many that rounding doesn't show.
const POOL: u64 = 1_000_000_000;

/// One world.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    pub(crate) cheat: Cheat,
    pub(crate) seed: u64,
    /// Rounds in which the cheat is there. Its replays end in the few rounds after them.
    pub(crate) rounds: u64,
    /// Those who do what they say.
    pub(crate) honest: usize,
    /// Inner steps of each in a round.
    pub(crate) steps: u64,
}

impl Order {
    /// A model that two cores train for seven contributors in seconds, checked as any run is that says nothing else.
    pub(crate) fn spec(&self, manifest: &[u8]) -> Result<RunSpec, String> {
        let (rope_theta, norm_eps) = (10_000.0, 1e-5);
        let spec = RunSpec {
            name: "attacks".to_owned(),
            seed: self.seed,
            model: ModelSpec {
                vocab: 256,
                width: 32,
                layers: 1,
                heads: 2,
                kv_heads: 1,
                hidden: 64,
                context: 32,
                rope_theta,
                norm_eps,
            },
            tokenizer: Tokenizer::Bytes,
            data: BlobRef::of(manifest),
            inner: Inner {
                optimizer: Optimizer::AdamW,
                lr: 3e-3,
                warmup: 20,
                beta1: 0.9,
                beta2: 0.95,
                weight_decay: 0.1,
                clip: 1.0,
                batch: 4,
                seq: 32,
            },
            outer: Outer::default(),
            round: RoundRule { seconds: crate::worker::seconds(self.steps), grace: 20, quorum: 1, stale: 0.5 },
            update: UpdateFormat::UPDATE,
            first: UpdateFormat::FIRST,
            step: UpdateFormat::STEP,
            update_steps: 0,
            feedback: FEEDBACK,
            reward: Reward { pool: POOL },
            check: Check::default(),
        };
        spec.check().map_err(|error| error.to_string())?;
        Ok(spec)
    }
}

/// What is trained on and evaluated with.
#[derive(Clone)]
pub(crate) struct Text {
    pub(crate) bytes: Bytes,
    pub(crate) manifest: DataManifest,
    pub(crate) shards: Rc<BTreeMap<Hash, Bytes>>,
    pub(crate) heldout: Rc<Vec<Bytes>>,
}

impl Text {
    pub(crate) fn load(folder: &Path) -> Result<Self, String> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read(&path).map(Bytes::from).map_err(|error| format!("{}: {error}", path.display()))
        };
        let bytes = read("manifest.json")?;
        let manifest: DataManifest = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        let shard = |blob: &BlobRef| Ok((blob.hash, read(&format!("blobs/{}", blob.hash))?));
        let shards: Result<BTreeMap<_, _>, String> = manifest.train.iter().map(shard).collect();
        let heldout: Result<Vec<_>, String> = manifest.heldout.iter().map(|blob| Ok(shard(blob)?.1)).collect();
        Ok(Self { bytes, manifest, shards: Rc::new(shards?), heldout: Rc::new(heldout?) })
    }

    /// The same with nothing to train on but its first shard.
    pub(crate) fn easier(&self) -> Result<Self, String> {
        let mut manifest = self.manifest.clone();
        manifest.train.truncate(1);
        let bytes = serde_json::to_vec(&manifest).map_err(|error| error.to_string())?.into();
        Ok(Self { bytes, manifest, ..self.clone() })
    }
}
