//! `run.toml`: what a run trains, in a form for people, and the [`RunSpec`] that it means.
//!
//! Everything has a default that fits the model's size; only the data must be named. Refuses unknown
//! fields and impossible values, with line and column where the text is wrong.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;
use tributary_protocol::BlobRef;
use tributary_protocol::check::Check;
use tributary_protocol::spec::{
    Average, FEEDBACK, Inner, ModelSpec, Optimizer, Outer, Reward, RoundRule, RunSpec, Tokenizer, UPDATE_STEPS,
    UpdateFormat,
};

use crate::data;
use crate::files;

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RunFile {
    name: Option<String>,
    seed: u64,
    /// Path of the data manifest, relative to this file.
    data: Option<PathBuf>,
    tokenizer: Option<Tokenizer>,
    update: Option<UpdateFormat>,
    update_steps: Option<u32>,
    first: Option<UpdateFormat>,
    step: Option<UpdateFormat>,
    feedback: Option<f32>,
    model: Model,
    inner: InnerFile,
    outer: OuterFile,
    round: RoundFile,
    reward: RewardFile,
    check: Check,
}

/// A preset, its fields changed one by one, or all of a shape.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Model {
    preset: Option<Preset>,
    vocab: Option<u32>,
    width: Option<u32>,
    layers: Option<u32>,
    heads: Option<u32>,
    kv_heads: Option<u32>,
    hidden: Option<u32>,
    context: Option<u32>,
    rope_theta: Option<f32>,
    norm_eps: Option<f32>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Preset {
    #[default]
    Tiny,
    Small,
    Base,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct InnerFile {
    optimizer: Option<Optimizer>,
    lr: Option<f32>,
    warmup: Option<u32>,
    beta1: Option<f32>,
    beta2: Option<f32>,
    weight_decay: Option<f32>,
    clip: Option<f32>,
    batch: Option<u32>,
    seq: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct OuterFile {
    lr: Option<Rates>,
    momentum: Option<f32>,
    average: Option<Average>,
}

/// One learning rate, or those for 1, 2, 4, 8, … contributors.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Rates {
    One(f32),
    By(Vec<f32>),
}

impl From<Rates> for Vec<f32> {
    fn from(rates: Rates) -> Self {
        match rates {
            Rates::One(rate) => vec![rate],
            Rates::By(rates) => rates,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RoundFile {
    seconds: Option<u32>,
    grace: Option<u32>,
    quorum: Option<u32>,
    stale: Option<f32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RewardFile {
    pool: Option<u64>,
}

/// A run that can be trained, and where its data lies.
#[derive(Debug)]
pub(crate) struct Run {
    /// The run.
    pub(crate) spec: RunSpec,
    /// The folder of the data manifest.
    pub(crate) data: PathBuf,
}

/// Reads a run file; without one, the defaults. `data` (a folder) stands above the file's own.
pub(crate) fn load(path: Option<&Path>, data: Option<&Path>) -> anyhow::Result<Run> {
    let file = match path {
        None => RunFile::default(),
        Some(path) => {
            let text = fs::read_to_string(path).map_err(|e| files::trouble("read the run file", path, &e))?;
            toml::from_str(&text).map_err(|e| anyhow::anyhow!("{} cannot be read as a run: {e}", path.display()))?
        }
    };
    let beside = path.and_then(Path::parent).unwrap_or(Path::new(""));
    let manifest = match (data, &file.data) {
        (Some(folder), _) => folder.join(data::MANIFEST),
        (None, Some(manifest)) => beside.join(manifest),
        (None, None) => anyhow::bail!(
            "the run has no data: name a folder with --data, or write data = \"data/manifest.json\" at the top of run.toml; `tributary data import` makes one"
        ),
    };
    let (folder, manifest, bytes) = data::load_manifest(&manifest)?;
    let spec = file.spec(BlobRef::of(&bytes), &manifest.name)?;
    let shown = path.map_or_else(|| "the run".to_owned(), |path| path.display().to_string());
    spec.check().with_context(|| format!("{shown} describes a run that cannot be trained"))?;
    manifest
        .check(spec.tokenizer, spec.inner.seq)
        .map_err(anyhow::Error::msg)
        .with_context(|| format!("{shown} cannot use this data"))?;
    Ok(Run { spec, data: folder })
}

impl RunFile {
    fn spec(self, data: BlobRef, data_name: &str) -> anyhow::Result<RunSpec> {
        let model = self.model.spec()?;
        // The usual peaks for AdamW at these sizes: smaller models bear larger steps.
        let lr = match model.params() {
            ..3_000_000 => 3e-3,
            3_000_000..25_000_000 => 1e-3,
            _ => 6e-4,
        };
        let (inner, outer) = (self.inner, Outer::default());
        Ok(RunSpec {
            name: self.name.unwrap_or_else(|| data_name.to_owned()),
            seed: self.seed,
            tokenizer: self.tokenizer.unwrap_or(Tokenizer::Bytes),
            data,
            inner: Inner {
                optimizer: inner.optimizer.unwrap_or_default(),
                lr: inner.lr.unwrap_or(lr),
                warmup: inner.warmup.unwrap_or(20),
                beta1: inner.beta1.unwrap_or(0.9),
                beta2: inner.beta2.unwrap_or(0.95),
                weight_decay: inner.weight_decay.unwrap_or(0.1),
                clip: inner.clip.unwrap_or(1.0),
                batch: inner.batch.unwrap_or(8),
                seq: inner.seq.unwrap_or(model.context.min(256)),
            },
            outer: Outer {
                lr: self.outer.lr.map_or(outer.lr, Vec::from),
                momentum: self.outer.momentum.unwrap_or(outer.momentum),
                average: self.outer.average.unwrap_or(outer.average),
            },
            round: RoundRule {
                seconds: self.round.seconds.unwrap_or(60),
                grace: self.round.grace.unwrap_or(20),
                quorum: self.round.quorum.unwrap_or(1),
                stale: self.round.stale.unwrap_or(0.5),
            },
            update: self.update.unwrap_or(UpdateFormat::UPDATE),
            update_steps: self.update_steps.unwrap_or(UPDATE_STEPS),
            first: self.first.unwrap_or(UpdateFormat::FIRST),
            step: self.step.unwrap_or(UpdateFormat::STEP),
            feedback: self.feedback.unwrap_or(FEEDBACK),
            reward: Reward { pool: self.reward.pool.unwrap_or(1_000_000) },
            check: self.check,
            model,
        })
    }
}

impl Model {
    fn spec(self) -> anyhow::Result<ModelSpec> {
        let shape = [
            ("width", self.width),
            ("layers", self.layers),
            ("heads", self.heads),
            ("kv_heads", self.kv_heads),
            ("hidden", self.hidden),
            ("context", self.context),
        ];
        let given = shape.iter().any(|(_, value)| value.is_some());
        if self.preset.is_none() && given {
            let missing: Vec<_> = shape.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| *name).collect();
            if !missing.is_empty() {
                anyhow::bail!(
                    "[model] has no preset and lacks {}; add what is missing or write preset = \"tiny\", \"small\" or \"base\"",
                    missing.join(", ")
                );
            }
        }
        let name = match self.preset.unwrap_or_default() {
            Preset::Tiny => "tiny",
            Preset::Small => "small",
            Preset::Base => "base",
        };
        let preset = ModelSpec::preset(name).with_context(|| format!("there is no preset {name}"))?;
        Ok(ModelSpec {
            vocab: self.vocab.unwrap_or(preset.vocab),
            width: self.width.unwrap_or(preset.width),
            layers: self.layers.unwrap_or(preset.layers),
            heads: self.heads.unwrap_or(preset.heads),
            kv_heads: self.kv_heads.unwrap_or(preset.kv_heads),
            hidden: self.hidden.unwrap_or(preset.hidden),
            context: self.context.unwrap_or(preset.context),
            rope_theta: self.rope_theta.unwrap_or(preset.rope_theta),
            norm_eps: self.norm_eps.unwrap_or(preset.norm_eps),
        })
    }
}

#[cfg(test)]
mod tests {
    use tributary_protocol::spec::Coding;

    use super::*;

    /// A folder with a data manifest and `run.toml`.
    fn load_text(run: &str) -> Result<RunSpec, String> {
        let dir = tempfile::tempdir().unwrap();
        let shard = format!("{{\"hash\":\"{}\",\"bytes\":4096}}", "ab".repeat(32));
        let manifest = format!(
            "{{\"version\":1,\"name\":\"books\",\"tokenizer\":\"bytes\",\"train\":[{shard}],\"heldout\":[],\"sources\":[]}}"
        );
        fs::create_dir(dir.path().join("data")).unwrap();
        fs::write(dir.path().join("data/manifest.json"), manifest).unwrap();
        let path = dir.path().join("run.toml");
        fs::write(&path, run).unwrap();
        load(Some(&path), None)
            .map(|run| {
                assert_eq!(run.data, dir.path().join("data"));
                run.spec
            })
            .map_err(|e| format!("{e:#}"))
    }

    #[test]
    fn defaults_fit_the_size_of_the_model() {
        let data = "data = \"data/manifest.json\"\n";
        let tiny = load_text(data).unwrap();
        assert_eq!((tiny.name.as_str(), tiny.model.clone()), ("books", ModelSpec::preset("tiny").unwrap()));
        assert_eq!((tiny.inner.lr, tiny.inner.seq, tiny.round.seconds, tiny.reward.pool), (3e-3, 256, 60, 1_000_000));
        for (preset, lr) in [("small", 1e-3), ("base", 6e-4)] {
            let spec = load_text(&format!("{data}[model]\npreset = \"{preset}\"")).unwrap();
            assert_eq!((spec.inner.lr, spec.model), (lr, ModelSpec::preset(preset).unwrap()));
        }
        let spec = load_text(&format!("{data}[model]\npreset = \"tiny\"\ncontext = 64\n[inner]\nlr = 0.5")).unwrap();
        assert_eq!((spec.model.context, spec.inner.seq, spec.inner.lr), (64, 64, 0.5));
        assert_ne!(spec.id(), tiny.id());
        let form = "update = { coded = { keep = 64, bits = 2 } }\nstep = \"f32\"\nfeedback = 0.9\n";
        let spec = load_text(&format!("{data}{form}[outer]\naverage = \"senders\"")).unwrap();
        assert_eq!(spec.update, UpdateFormat::Coded(Coding { keep: 64, bits: 2 }));
        assert_eq!((spec.first, spec.step, spec.feedback), (UpdateFormat::FIRST, UpdateFormat::F32, 0.9));
        assert_eq!(
            (tiny.update, tiny.step, &tiny.outer),
            (UpdateFormat::UPDATE, UpdateFormat::STEP, &Outer::default())
        );
        assert_eq!(spec.outer.average, Average::Senders);
    }

    #[test]
    fn the_outer_rate_is_a_number_or_one_by_contributors() {
        let rates = |lr: &str| {
            load_text(&format!("data = \"data/manifest.json\"\n[outer]\nlr = {lr}")).map(|spec| spec.outer.lr)
        };
        assert_eq!((rates("0.4"), rates("[0.4, 0.6]")), (Ok(vec![0.4]), Ok(vec![0.4, 0.6])));
        assert!(rates("[]").unwrap_err().contains("outer.lr has 0 rates, must have 1 to 12"));
        assert!(rates("[0.4, 99]").unwrap_err().contains("outer.lr is 99, must be from"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let data = "data = \"data/manifest.json\"\n";
        for (text, expected) in [
            ("data = 5", &["line 1, column 8", "data = 5"][..]),
            ("data = \"x\"\n[inner\nlr = 1", &["line 2, column 7", "[inner"]),
            ("[inner]\nlearning_rate = 1", &["line 2, column 1", "unknown field `learning_rate`", "`lr`"]),
            ("[model]\npreset = \"huge\"", &["line 2, column 10", "huge", "`tiny`, `small`"]),
            ("[model]\nwidth = 64", &["lacks layers, heads, kv_heads, hidden, context"]),
            ("[inner]\nlr = 99", &["inner.lr is 99", "must be from"]),
            ("[inner]\nseq = 512", &["inner.seq is 512, must be from 2 to 256"]),
            ("data = \"data/manifest.json\"\nfirst = { coded = { keep = 0, bits = 2 } }", &["first.coded.keep is 0"]),
            ("data = \"data/manifest.json\"\nstep = { coded = { keep = 64, bits = 9 } }", &["step.coded.bits is 9"]),
            ("data = \"data/manifest.json\"\nfeedback = 1.5", &["feedback is 1.5"]),
            ("[round]\nseconds = 0", &["round.seconds is 0"]),
            ("[model]\npreset = \"tiny\"\nheads = 3", &["model.heads must divide"]),
        ] {
            let whole =
                if text.starts_with("data") { text.to_owned() } else { text.replacen('[', &format!("{data}["), 1) };
            let error = load_text(&whole).unwrap_err();
            // The data line that the case did not write moves the place down by one.
            for part in expected {
                let moved = if whole == text { (*part).to_owned() } else { part.replace("line 2", "line 3") };
                assert!(error.contains(&moved), "{moved:?} in: {error}");
            }
        }
        assert!(load_text("").unwrap_err().contains("--data"));
        assert!(load_text("data = \"nowhere.json\"").unwrap_err().contains("nowhere.json"));
    }
}
