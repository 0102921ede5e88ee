//! The run: everything that all peers must agree on. Its hash is the run's id.

use serde::{Deserialize, Serialize};

use crate::check::{Check, MAX_SEGMENTS};
use crate::limits::{MAX_PARAMS, MAX_TEXT};
use crate::{BlobRef, Hash};

/// One training run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSpec {
    /// For people.
    pub name: String,
    /// Seeds the first weights.
    pub seed: u64,
    /// The architecture.
    pub model: ModelSpec,
    /// How text becomes tokens.
    pub tokenizer: Tokenizer,
    /// The data manifest, a JSON blob ([`crate::data::DataManifest`]).
    pub data: BlobRef,
    /// The inner optimiser.
    pub inner: Inner,
    /// The outer optimiser.
    pub outer: Outer,
    /// The round's clock.
    pub round: RoundRule,
    /// The form of updates: that of a short way.
    pub update: UpdateFormat,
    /// Steps for which that form has room. An update of twice as many keeps twice as many values, up to all: what few
    /// values say of a long way leads astray. 0: it has room for any.
    pub update_steps: u32,
    /// The form of an update whose sender has no error feedback: it has just joined, or lost it. Denser, so
    /// that one who leaves after a round takes little along. The coordinator takes either.
    pub first: UpdateFormat,
    /// The form of the folded step. What it leaves out the coordinator keeps for the next.
    pub step: UpdateFormat,
    /// What a contributor's update left out counts so much in its next: error feedback.
    pub feedback: f32,
    /// What a round pays.
    pub reward: Reward,
    /// How work is checked, and when pay is final.
    pub check: Check,
}

/// A Llama-architecture decoder with tied embeddings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelSpec {
    /// Tokens in the vocabulary.
    pub vocab: u32,
    /// Width of the residual stream.
    pub width: u32,
    /// Decoder layers.
    pub layers: u32,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads; divides `heads`.
    pub kv_heads: u32,
    /// Width of the SwiGLU hidden layer.
    pub hidden: u32,
    /// Longest sequence, in tokens.
    pub context: u32,
    /// Base of the rotary frequencies.
    pub rope_theta: f32,
    /// Added to the mean square in RMSNorm.
    pub norm_eps: f32,
}

/// How text becomes tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tokenizer {
    /// One token a byte, 256 in all. Byte 0 stands between documents and occurs in none.
    Bytes,
}

/// The inner optimiser.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inner {
    /// Which optimiser.
    pub optimizer: Optimizer,
    /// Peak learning rate.
    pub lr: f32,
    /// Steps of linear warm-up of a contributor that has just joined, whose moments are empty.
    pub warmup: u32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Decoupled weight decay; norms are not decayed.
    pub weight_decay: f32,
    /// The gradient's global norm is clipped to this.
    pub clip: f32,
    /// Sequences a step.
    pub batch: u32,
    /// Tokens a sequence, at most the model's context.
    pub seq: u32,
}

/// What makes a step out of a gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    /// AdamW for everything.
    #[default]
    AdamW,
    /// Muon for the layers' matrices, AdamW for the rest.
    Muon,
}

/// The outer optimiser: SGD with Nesterov momentum on the mean pseudo-gradient.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outer {
    /// Learning rates for 1, 2, 4, 8, … contributors; the last one is for more too. A mean over more of them is
    /// less noisy and bears a larger rate (arXiv 2503.09799).
    pub lr: Vec<f32>,
    /// Momentum.
    pub momentum: f32,
    /// By what a coordinate's sum is divided.
    pub average: Average,
}

/// By what the sum of a coordinate is divided, where not every update has a value for every coordinate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Average {
    /// By the weight of all updates: who sent nothing says zero.
    All,
    /// By the weight of those that have the coordinate: who sent nothing says nothing.
    Senders,
}

/// Learning rates that a run can name: up to 2^11 contributors, which is as many as a round takes.
const MAX_RATES: usize = 12;

impl Outer {
    /// The learning rate in a swarm of so many contributors: between two powers of two in proportion.
    pub fn rate(&self, contributors: usize) -> f32 {
        let contributors = contributors.max(1);
        let at = contributors.ilog2() as usize;
        // A run that has been checked has a rate; one that has none learns nothing.
        let of = |at: usize| self.lr.get(at).or(self.lr.last()).copied().unwrap_or(0.0);
        let part = (contributors - (1 << at)) as f32 / (1 << at) as f32;
        of(at) + part * (of(at + 1) - of(at))
    }
}

/// The round's clock, and what becomes of what misses it. Rounds are fixed in time, not in steps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RoundRule {
    /// Seconds of training.
    pub seconds: u32,
    /// Seconds after that in which commits and updates still count.
    pub grace: u32,
    /// Contributors with an accepted update without which the round is void and the base stays.
    pub quorum: u32,
    /// What is left of an update's weight, and of its paid tokens, with each round that it comes late, from 0
    /// (nothing: it is refused) to 1.
    pub stale: f32,
}

impl RoundRule {
    /// Tokens that count, for weight and pay alike, of an update that comes `age` rounds late: rounded down.
    pub fn counted(&self, tokens: u64, age: u8) -> u64 {
        let factor = (0..age).fold(1.0, |factor, _| factor * f64::from(self.stale));
        // Exact up to the rounding: no round has as many as 2^53 tokens.
        (tokens as f64 * factor) as u64
    }
}

/// The form of updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UpdateFormat {
    /// Every parameter as f32.
    F32,
    /// The largest, in few bits.
    Coded(Coding),
}

impl UpdateFormat {
    /// The usual form of an update: at least 215 times fewer bytes than f32. The laboratory (`cargo xtask bench
    /// learn`) chose it, as it did the other defaults here; see ARCHITECTURE.md.
    pub const UPDATE: Self = Self::Coded(Coding { keep: 64, bits: 2 });
    /// The usual form of a newcomer's first update.
    pub const FIRST: Self = Self::Coded(Coding { keep: 4096, bits: 4 });
    /// The usual form of a round's step: all values, so that none waits while everybody trains it again. It has about
    /// twice the bytes that an eighth of the values have.
    pub const STEP: Self = Self::Coded(Coding { keep: 4096, bits: 4 });
}

/// All values of a chunk.
const WHOLE: u16 = crate::update::CHUNK as u16;

/// The usual steps for which an update's usual form has room.
pub const UPDATE_STEPS: u32 = 10;

/// The usual decay of error feedback.
pub const FEEDBACK: f32 = 0.9;

impl Default for Outer {
    fn default() -> Self {
        Self { lr: vec![1.0, 1.0, 0.7, 0.5], momentum: 0.0, average: Average::Senders }
    }
}

/// How much of an update is sent. Of every [`CHUNK`](crate::update::CHUNK) consecutive values the `keep`
/// largest by magnitude survive; a shorter last chunk keeps its share, rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coding {
    /// From 1 to 4096, which is all.
    pub keep: u16,
    /// Bits of each before entropy coding, the sign included: 1 to 8.
    pub bits: u8,
}

/// What a round pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reward {
    /// Credits that a settled round shares among those whose work counted.
    pub pool: u64,
}

/// One tensor's place in the flat weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name in Hugging Face's `LlamaForCausalLM`.
    pub name: String,
    /// Its shape there (`[out, in]` for projections).
    pub shape: Vec<u32>,
    /// Where it begins in the flat weights, in values.
    pub offset: usize,
}

impl TensorSpec {
    /// Its place in the flat weights.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.shape.iter().map(|&n| n as usize).product::<usize>()
    }
}

impl ModelSpec {
    /// `tiny` (1M parameters: tests, the demo), `small` (10M: tabs) or `base` (50M: gaming PCs).
    pub fn preset(name: &str) -> Option<Self> {
        let (width, layers, heads, kv_heads, hidden, context) = match name {
            "tiny" => (128, 5, 4, 2, 384, 256),
            "small" => (384, 6, 6, 2, 1024, 512),
            "base" => (640, 12, 10, 2, 1664, 1024),
            _ => return None,
        };
        let (rope_theta, norm_eps) = (10_000.0, 1e-5);
        Some(Self { vocab: 256, width, layers, heads, kv_heads, hidden, context, rope_theta, norm_eps })
    }

    /// Values a head.
    pub fn head_dim(&self) -> u32 {
        self.width / self.heads.max(1)
    }

    /// Every tensor in the order of the flat weights. `[out, in]` for projections, as in the
    /// exported file.
    pub fn layout(&self) -> Vec<TensorSpec> {
        let kv = self.kv_heads * self.head_dim();
        let mut tensors = Vec::new();
        let mut offset = 0;
        let mut push = |name: String, shape: &[u32]| {
            tensors.push(TensorSpec { name, shape: shape.to_vec(), offset });
            offset += shape.iter().map(|&n| n as usize).product::<usize>();
        };
        push("model.embed_tokens.weight".into(), &[self.vocab, self.width]);
        for layer in 0..self.layers {
            let mut push = |name: &str, shape: &[u32]| push(format!("model.layers.{layer}.{name}.weight"), shape);
            push("input_layernorm", &[self.width]);
            push("self_attn.q_proj", &[self.width, self.width]);
            push("self_attn.k_proj", &[kv, self.width]);
            push("self_attn.v_proj", &[kv, self.width]);
            push("self_attn.o_proj", &[self.width, self.width]);
            push("post_attention_layernorm", &[self.width]);
            push("mlp.gate_proj", &[self.hidden, self.width]);
            push("mlp.up_proj", &[self.hidden, self.width]);
            push("mlp.down_proj", &[self.width, self.hidden]);
        }
        push("model.norm.weight".into(), &[self.width]);
        tensors
    }

    /// Where each tensor lies in the flat weights.
    pub fn ranges(&self) -> Vec<std::ops::Range<usize>> {
        self.layout().iter().map(TensorSpec::range).collect()
    }

    /// Parameters, the tied embedding counted once.
    pub fn params(&self) -> u64 {
        let [vocab, width, layers, hidden] = [self.vocab, self.width, self.layers, self.hidden].map(u64::from);
        let kv = u64::from(self.kv_heads) * u64::from(self.head_dim());
        let layer = 2 * width + 2 * width * width + 2 * kv * width + 3 * hidden * width;
        vocab * width + layers * layer + width
    }

    fn check(&self) -> Result<(), SpecError> {
        let sizes = [
            ("vocab", self.vocab, 1 << 18),
            ("width", self.width, 1 << 14),
            ("layers", self.layers, 1 << 8),
            ("heads", self.heads, 1 << 8),
            ("kv_heads", self.kv_heads, 1 << 8),
            ("hidden", self.hidden, 1 << 16),
            ("context", self.context, 1 << 16),
        ];
        for (field, value, most) in sizes {
            range(&format!("model.{field}"), f64::from(value), 1.0, f64::from(most))?;
        }
        if !self.width.is_multiple_of(self.heads) || !self.head_dim().is_multiple_of(2) {
            return Err(SpecError::new("model.heads", "must divide model.width into heads of an even size"));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(SpecError::new("model.kv_heads", "must divide model.heads"));
        }
        if self.params() > MAX_PARAMS {
            return Err(SpecError::new("model", format!("has {} parameters, at most {MAX_PARAMS} fit", self.params())));
        }
        range("model.rope_theta", self.rope_theta.into(), 1.0, 1e9)?;
        range("model.norm_eps", self.norm_eps.into(), 1e-12, 1e-1)
    }
}

impl RunSpec {
    /// The run's id: the hash of its canonical bytes.
    pub fn id(&self) -> Hash {
        let bytes = postcard::to_stdvec(self).expect("a run has a finite serde form");
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"tributary run v4\0").update(&bytes);
        Hash(*hasher.finalize().as_bytes())
    }

    /// Tokens of an inner step.
    pub fn tokens_a_step(&self) -> u64 {
        u64::from(self.inner.batch) * u64::from(self.inner.seq)
    }

    /// The form of an update of so many tokens, if its sender has error feedback.
    pub fn update_format(&self, tokens: u64) -> UpdateFormat {
        let (UpdateFormat::Coded(mut coding), 1..) = (self.update, self.update_steps) else { return self.update };
        let mut room = u64::from(self.update_steps) * self.tokens_a_step();
        while room < tokens && coding.keep < WHOLE {
            (coding.keep, room) = (coding.keep.saturating_mul(2).min(WHOLE), room.saturating_mul(2));
        }
        UpdateFormat::Coded(coding)
    }

    /// The forms that an update of so many tokens may have.
    pub fn forms_of(&self, tokens: u64) -> [UpdateFormat; 2] {
        [self.update_format(tokens), self.first]
    }

    /// The forms that any update may have.
    pub fn sent_formats(&self) -> Vec<UpdateFormat> {
        let mut formats = vec![self.first, self.update];
        let mut tokens = u64::from(self.update_steps).saturating_mul(self.tokens_a_step());
        while formats.last() != Some(&self.update_format(u64::MAX)) {
            tokens = tokens.saturating_mul(2);
            formats.push(self.update_format(tokens));
        }
        formats
    }

    /// Refuses a run that nobody could train, naming the field.
    pub fn check(&self) -> Result<(), SpecError> {
        if self.name.trim().is_empty() || self.name.len() > MAX_TEXT {
            return Err(SpecError::new("name", format!("must have 1 to {MAX_TEXT} bytes")));
        }
        self.model.check()?;
        let Tokenizer::Bytes = self.tokenizer;
        if self.model.vocab != 256 {
            return Err(SpecError::new("model.vocab", "must be 256 with the bytes tokenizer"));
        }
        if !self.data.is_bounded() {
            return Err(SpecError::new("data", "names a manifest that is over the size of a blob"));
        }
        let (inner, outer, round) = (&self.inner, &self.outer, &self.round);
        range("inner.lr", inner.lr.into(), 1e-8, 10.0)?;
        range("inner.warmup", inner.warmup.into(), 0.0, 1e6)?;
        range("inner.beta1", inner.beta1.into(), 0.0, 0.9999)?;
        range("inner.beta2", inner.beta2.into(), 0.0, 0.99999)?;
        range("inner.weight_decay", inner.weight_decay.into(), 0.0, 1.0)?;
        range("inner.clip", inner.clip.into(), 1e-3, 1e6)?;
        range("inner.batch", inner.batch.into(), 1.0, 4096.0)?;
        range("inner.seq", inner.seq.into(), 2.0, self.model.context.into())?;
        if !(1..=MAX_RATES).contains(&outer.lr.len()) {
            let what = format!("has {} rates, must have 1 to {MAX_RATES}: for 1, 2, 4, … contributors", outer.lr.len());
            return Err(SpecError::new("outer.lr", what));
        }
        outer.lr.iter().try_for_each(|&lr| range("outer.lr", lr.into(), 1e-3, 10.0))?;
        range("outer.momentum", outer.momentum.into(), 0.0, 0.999)?;
        for (field, format) in [("update", self.update), ("first", self.first), ("step", self.step)] {
            if let UpdateFormat::Coded(coding) = format {
                range(&format!("{field}.coded.keep"), coding.keep.into(), 1.0, crate::update::CHUNK as f64)?;
                range(&format!("{field}.coded.bits"), coding.bits.into(), 1.0, 8.0)?;
            }
        }
        range("update_steps", self.update_steps.into(), 0.0, 1e6)?;
        range("feedback", self.feedback.into(), 0.0, 1.0)?;
        range("round.seconds", round.seconds.into(), 1.0, 86_400.0)?;
        range("round.grace", round.grace.into(), 1.0, 3600.0)?;
        range("round.quorum", round.quorum.into(), 1.0, crate::limits::MAX_CONTRIBUTORS as f64)?;
        range("round.stale", round.stale.into(), 0.0, 1.0)?;
        let check = &self.check;
        range("check.first", check.first.into(), 0.0, 1e6)?;
        range("check.rate", check.rate.into(), 0.0, 1.0)?;
        range("check.segments", check.segments.into(), 1.0, MAX_SEGMENTS.into())?;
        range("check.settle", check.settle.into(), 1.0, check.hold.into())?;
        range("check.hold", check.hold.into(), 1.0, 1e6)?;
        range("check.witness", check.witness.into(), 0.0, 0.5)?;
        range("check.score", check.score.into(), 0.0, f64::from(1 << 24))
    }
}

fn range(field: &str, value: f64, least: f64, most: f64) -> Result<(), SpecError> {
    // Written so that NaN is refused.
    if value >= least && value <= most {
        return Ok(());
    }
    Err(SpecError::new(field, format!("is {value}, must be from {least} to {most}")))
}

/// A field of a run that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {what}")]
pub struct SpecError {
    /// The field, as in `run.toml`.
    pub field: String,
    /// What is wrong with it.
    pub what: String,
}

impl SpecError {
    fn new(field: &str, what: impl Into<String>) -> Self {
        Self { field: field.to_owned(), what: what.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_have_the_size_they_promise() {
        for (name, about) in [("tiny", 1.0e6), ("small", 10.0e6), ("base", 50.0e6)] {
            let spec = ModelSpec::preset(name).unwrap();
            assert_eq!(spec.check(), Ok(()));
            let params = spec.params() as f64;
            assert!((params / about - 1.0).abs() < 0.1, "{name}: {params}");
            let last = spec.layout().pop().unwrap();
            assert_eq!(last.range().end as u64, spec.params());
        }
        assert_eq!(ModelSpec::preset("huge"), None);
    }

    #[test]
    fn the_rate_goes_in_proportion_from_one_power_of_two_to_the_next() {
        let outer = Outer { lr: vec![1.0, 0.5, 0.25], momentum: 0.9, average: Average::All };
        let rates = [0, 1, 2, 3, 4, 7, 8, 2048].map(|contributors| outer.rate(contributors));
        assert_eq!(rates, [1.0, 1.0, 0.5, 0.375, 0.25, 0.25, 0.25, 0.25]);
    }

    #[test]
    fn each_round_late_leaves_less_of_an_update() {
        let rule = |stale| RoundRule { seconds: 1, grace: 1, quorum: 1, stale };
        assert_eq!([0, 1, 2].map(|age| rule(0.5).counted(103, age)), [103, 51, 25]);
        assert_eq!([0, 1, 2].map(|age| rule(1.0).counted(103, age)), [103; 3]);
        assert_eq!([0, 1, 2].map(|age| rule(0.0).counted(103, age)), [103, 0, 0]);
    }
}
