//! What the driver asks of a trainer and what the trainer answers.
//!
//! The trainer runs on its own thread (a worker in a tab, a thread natively) and holds the weights:
//! the shared base, on the CPU, and its own local weights, on the device. Both lists cross as
//! postcard bytes in a tab and as values natively. Jobs are done in the order they come; between
//! training steps the trainer looks for the next job.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::check::{Finding, ReplayOrder, TraceRef};
use crate::spec::RunSpec;
use crate::{BlobRef, Hash, Id};

/// An order to the trainer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Job {
    /// Open the device and build the model. Answered by [`Report::Ready`] or [`Report::Trouble`].
    /// A second `Start` with the same run is a no-op that answers `Ready` again.
    Start {
        /// The run.
        spec: Box<RunSpec>,
        /// The data manifest's JSON bytes.
        data: Bytes,
        /// Whose data to train on.
        me: Id,
        /// Which device to use.
        device: DeviceChoice,
    },
    /// Adopt this snapshot as the base. The first one is also the local start; a later one (rounds
    /// were missed) moves local weights by the difference, so that local work since the last cut
    /// survives. Answered by [`Report::Based`], or by [`Report::Mismatch`] if it came damaged.
    Base {
        /// The first round that trains from it.
        round: u64,
        /// Its name.
        hash: Hash,
        /// The weights.
        weights: Bytes,
    },
    /// Train (on) for this round with the data its seed names, until the next order. Needs a base.
    /// Tokens and losses go on counting from the last cut.
    Train {
        /// The round.
        round: u64,
        /// Its seed.
        seed: Hash,
    },
    /// A data shard that was asked for by [`Report::Need`].
    Shard {
        /// Its name.
        hash: Hash,
        /// Its tokens.
        bytes: Bytes,
    },
    /// Make the update of `round`: base − local, and remember where it was cut. Training goes on
    /// afterwards. Answered by [`Report::Update`] or [`Report::Withheld`].
    Cut {
        /// The round.
        round: u64,
    },
    /// Add this step to the base and check the result. If a cut of that round was sent, local weights
    /// become new base + (local − local at the cut), so that work since the cut survives and the
    /// work that was sent is not counted twice; otherwise they move by the step. Answered by
    /// [`Report::Based`], or by [`Report::Mismatch`] with nothing changed.
    Fold {
        /// The round that folded. The new base is round + 1's.
        round: u64,
        /// The step's bytes (see [`crate::update`]).
        step: Bytes,
        /// What the new base must hash to.
        next: Hash,
    },
    /// Make the dossier of a segment of a cut's trace (see [`crate::check`]). Answered by [`Report::Dossier`].
    Disclose {
        /// The cut's round.
        round: u64,
        /// The segment.
        segment: u8,
    },
    /// Run a segment of another contributor's work again; training waits meanwhile. Answered by
    /// [`Report::Replayed`], or by [`Report::Lacks`] if there are blobs to be had first. A newer order takes the place
    /// of one that is under way, and `Pause` ends it; neither is answered then.
    Replay {
        /// What to run again.
        order: Box<ReplayOrder>,
        /// The dossier, the update, and whatever was lacking, by their names.
        blobs: BTreeMap<Hash, Bytes>,
    },
    /// Stop training at once; keep everything. `Train` goes on.
    Pause,
    /// From now on train so many per cent of the time and rest between steps for the others; at the beginning
    /// it is 100. Holds over another `Start`.
    Pace {
        /// From [`LEAST_PACE`](crate::limits::LEAST_PACE) to 100; less or more counts as these.
        percent: u8,
    },
    /// Write on from a text with the base's weights as they are now, whether it trains or not. Answered by
    /// [`Report::Generated`], several times; a newer order ends an older. Where it trains the two take turns: training
    /// keeps four fifths of the time, and nothing of its results depends on it.
    Generate(Ask),
    /// End what `Generate` began.
    Hush,
    /// Pack the base as files for other programs. Answered by [`Report::Packed`]; training waits meanwhile, for as
    /// long as it takes to copy the weights twice.
    Pack,
}

/// A text to write on from, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Ask {
    /// Names the answer.
    pub id: u32,
    /// The text. With what is written it has at most as many bytes as the model has context, and
    /// [`MAX_WRITTEN`](crate::limits::MAX_WRITTEN).
    pub prompt: String,
    /// Tokens to write at most.
    pub tokens: u32,
    /// 0: the likeliest token each time. Otherwise tokens are drawn, by the model's own probabilities at 1 and flatter
    /// ones above; at most 10.
    pub temperature: f32,
    /// Where draws begin. The same seed draws the same.
    pub seed: u64,
}

/// Which device to train on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(rename_all = "lowercase")]
pub enum DeviceChoice {
    /// A real GPU if there is one, else the CPU.
    #[default]
    Auto,
    /// The GPU adapter that there is, a software one included.
    Gpu,
    /// The CPU.
    Cpu,
}

/// An answer or a message of the trainer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Report {
    /// The device is open.
    Ready(DeviceInfo),
    /// The base is now this state.
    Based {
        /// The first round that trains from it.
        round: u64,
        /// Its name, computed here.
        hash: Hash,
    },
    /// A step did not lead where it should: the base is as before, fetch the snapshot.
    Mismatch {
        /// The round of the fold or of the snapshot.
        round: u64,
        /// What the new base would have been, or `None` where the bytes were refused.
        got: Option<Hash>,
    },
    /// A shard is wanted now or soon.
    Need(BlobRef),
    /// Steps were done; at most four a second.
    Progress(Progress),
    /// The update of a round.
    Update {
        /// The round.
        round: u64,
        /// The base it is measured from.
        base: Hash,
        /// Its bytes.
        update: Bytes,
        /// Tokens since the last cut.
        tokens: u64,
        /// Mean loss of the first steps since then (up to 8), in nats a token.
        loss_first: f32,
        /// Mean loss of the last steps (up to 8).
        loss_last: f32,
        /// The way from the last cut to this one.
        trace: TraceRef,
    },
    /// How a segment was trained.
    Dossier {
        /// The cut's round.
        round: u64,
        /// The segment.
        segment: u8,
        /// The dossier; `None`: it isn't kept any more.
        dossier: Option<Bytes>,
    },
    /// The ordered segment cannot be run again without these as well.
    Lacks {
        /// Its dossier, which names it.
        dossier: Hash,
        /// What is lacking.
        blobs: Vec<BlobRef>,
    },
    /// The ordered segment was run again.
    Replayed {
        /// Its dossier, which names it.
        dossier: Hash,
        /// Tokens that were trained again.
        tokens: u64,
        /// What came out; `None`: nothing that its maker is to blame for.
        finding: Option<Finding>,
    },
    /// There is no update this round, and why, for a person.
    Withheld {
        /// The round.
        round: u64,
        /// One sentence.
        why: String,
    },
    /// More of what [`Job::Generate`] asked for, about eight times a second.
    Generated {
        /// Which order is answered.
        id: u32,
        /// The weights that write, by name; zeros if there are none.
        state: Hash,
        /// What was written since the last report.
        bytes: Bytes,
        /// Tokens a second since the first, training's turns included.
        tokens_per_s: f32,
        /// Why nothing more comes, if so.
        end: Option<End>,
    },
    /// A part of what [`Job::Pack`] asked for.
    Packed(Packed),
    /// Something a person should know; training goes on (`fatal: false`) or can't (`true`).
    Trouble {
        /// What happened, what it means and what to do.
        what: String,
        /// Whether the trainer has given up.
        fatal: bool,
    },
}

/// How training goes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The round.
    pub round: u64,
    /// Steps since the last cut.
    pub steps: u64,
    /// Tokens since the last cut.
    pub tokens: u64,
    /// Newest known training loss, in nats a token.
    pub loss: f32,
    /// Tokens a second over the last seconds.
    pub tokens_per_s: f32,
}

/// Why a model stopped writing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// It wrote as much as it was asked for.
    Length,
    /// It ended the text itself.
    Text,
    /// It can't read more than there is now.
    Full,
    /// It was told to, or asked for something else.
    Stopped,
    /// It could not go on, or not begin.
    Failed {
        /// What happened and what to do, for a person.
        why: String,
    },
}

/// A part of a model that is packed as files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(rename_all = "lowercase")]
pub enum Packed {
    /// The next bytes of one ZIP archive. Parts come in order and without gaps.
    Part {
        /// The archive's file name, which names the weights too.
        name: String,
        /// Where in the archive it begins.
        at: u64,
        /// Bytes of the archive.
        total: u64,
        /// The part.
        #[cfg_attr(feature = "tsify", tsify(type = "Uint8Array<ArrayBuffer>"))]
        bytes: Bytes,
    },
    /// There will be none.
    Failed {
        /// What happened and what to do, for a person.
        why: String,
    },
}

/// What was written, as text: bytes that are no UTF-8 become U+FFFD, and while more may come a letter that isn't whole
/// is left out.
pub fn readable(bytes: &[u8], ended: bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut left = bytes.len();
    for chunk in bytes.utf8_chunks() {
        left -= chunk.valid().len() + chunk.invalid().len();
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() && (left > 0 || ended) {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    text
}

/// The device that trains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct DeviceInfo {
    /// What computes.
    pub backend: Backend,
    /// The device's own name.
    pub name: String,
    /// Why not the GPU, where it is not the GPU; for a person.
    pub note: Option<String>,
}

/// What computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// WebGPU in a browser.
    WebGpu,
    /// wgpu on a desktop GPU.
    Wgpu,
    /// The processor.
    Cpu,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_grows_is_shown_by_whole_letters() {
        let check = |bytes: &[u8], ended, expected: &str| assert_eq!(readable(bytes, ended), expected, "{bytes:?}");
        let crab = "a 🦀".as_bytes();
        (3..6).for_each(|length| check(&crab[..length], false, "a "));
        check(crab, false, "a 🦀");
        check(&crab[..4], true, "a \u{fffd}");
        check(b"a\xffb\xff", false, "a\u{fffd}b");
        check(b"a\xffb\xff", true, "a\u{fffd}b\u{fffd}");
        check(b"", true, "");
    }
}
