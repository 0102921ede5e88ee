//! A contributor's state as compact bytes, and the dossier of one segment.
//!
//! Enters: local weights and moments. Leaves: bytes, about 1.4 for each parameter, whose hashes stand in a
//! [`Trace`]. Refuses: bytes that aren't what a trace names, or of another model. The contributor goes on from what
//! the bytes say, so that a replay begins where it began: training makes small differences large, and after a
//! hundred steps nothing could be told from honest work otherwise (`calibration.md`).

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tributary_protocol::Hash;
use tributary_protocol::check::MAX_SEGMENTS;
use tributary_protocol::spec::{Coding, RunSpec, UpdateFormat};
use tributary_protocol::update::{self, compress};

use crate::fault::Fault;
use crate::optim::Averages;
use crate::parallel;
use crate::trace::{MAX_STRETCHES, Mark, Trace};
use crate::train::Local;

/// The form of local weights less the base: of every value a sign and five bits.
pub const WEIGHTS: UpdateFormat = UpdateFormat::Coded(Coding { keep: 4096, bits: 6 });

/// The form of moments, and of what updates left out.
pub const MOMENTS: UpdateFormat = UpdateFormat::Coded(Coding { keep: 4096, bits: 4 });

/// Bytes of a stretch, and of a mark with its segment, at most, as postcard writes them.
const STRETCH_BYTES: u64 = 64;
const MARK_BYTES: u64 = 256;

/// Local weights less the base, and moments, coded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Values of the form [`WEIGHTS`]; `None` if local weights are the base.
    pub weights: Option<Bytes>,
    /// First moments over the roots of second ones, and the fourth roots of those. A step is nearly that quotient,
    /// so its error must not be that of two numbers; and second moments have so wide a range that few levels
    /// could not say it otherwise. Values of the form [`MOMENTS`]; `None` before the first step.
    pub moments: Option<[Bytes; 2]>,
}

/// What a state says.
pub(crate) struct Said {
    /// Local weights less the base.
    pub(crate) weights: Vec<f32>,
    /// First and second moments.
    moments: Option<[Vec<f32>; 2]>,
}

impl Said {
    /// As moments alone.
    pub(crate) fn moments(&self) -> Option<&[Vec<f32>; 2]> {
        self.moments.as_ref()
    }

    /// The state of whoever has this base, and moments that have seen so many steps.
    pub(crate) fn local(self, base: &[f32], steps: u32) -> Local {
        let weights = base.iter().zip(&self.weights).map(|(base, moved)| base + moved).collect();
        Local { weights, averages: self.moments.map(|[first, second]| Averages { steps, first, second }) }
    }
}

/// What a contributor discloses of one segment: postcard bytes of at most [`max_dossier_bytes`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dossier {
    /// The trace that the commit binds.
    pub trace: Trace,
    /// The trace before it, which it names.
    pub previous: Option<Trace>,
    /// Which segment.
    pub segment: u8,
    /// Where it begins.
    pub start: State,
    /// Where it ends.
    pub end: State,
    /// For the last segment: what the coding of updates had left out before and after the cut, coded.
    pub rest: [Option<Bytes>; 2],
}

/// Bytes that a dossier of this run can have.
pub fn max_dossier_bytes(spec: &RunSpec) -> u64 {
    let params = spec.model.params();
    let trace = u64::from(MAX_SEGMENTS) * (MARK_BYTES + MAX_STRETCHES as u64 * STRETCH_BYTES) + 2 * MARK_BYTES;
    // Two states, each of weights and two moments; two rests; two traces.
    2 * (update::max_bytes(WEIGHTS, params) + 3 * update::max_bytes(MOMENTS, params) + trace)
}

/// Values in few bits, and what is left of them.
pub(crate) fn code_rest(values: &[f32]) -> (Bytes, Vec<f32>) {
    code(values, MOMENTS)
}

fn code(values: &[f32], format: UpdateFormat) -> (Bytes, Vec<f32>) {
    let coded = compress(values, format);
    (update::encode(&coded), coded.values())
}

/// What [`code_rest`] wrote.
pub(crate) fn read_rest(bytes: &[u8], count: u64) -> Result<Vec<f32>, Fault> {
    read("rest", MOMENTS, bytes, count)
}

fn read(what: &'static str, format: UpdateFormat, bytes: &[u8], count: u64) -> Result<Vec<f32>, Fault> {
    let update = update::decode(&[format], bytes, count).map_err(|why| Fault::State(what, why))?;
    Ok(update.values())
}

/// A first moment over the root of the second one, or as it is where that is zero.
fn ratio(first: f32, second: f32) -> f32 {
    if second > 0.0 { first / second.sqrt() } else { first }
}

/// The moments of which these are the quotient and the fourth root.
fn moments(mut first: Vec<f32>, mut second: Vec<f32>) -> [Vec<f32>; 2] {
    for (first, second) in first.iter_mut().zip(&mut second) {
        let root = *second * *second;
        (*first, *second) = (*first * if root > 0.0 { root } else { 1.0 }, root * root);
    }
    [first, second]
}

impl State {
    /// Codes local weights and moments, each on a core of its own where there are several. Beside the state stands
    /// what is left of weights and moments by coding them: whoever goes on from that can be followed exactly.
    pub(crate) fn code(base: &[f32], local: &Local) -> (Self, Local) {
        let part = |part: usize| match (part, &local.averages) {
            (0, _) => {
                let moved: Vec<f32> = local.weights.iter().zip(base).map(|(local, base)| local - base).collect();
                moved.iter().any(|value| *value != 0.0).then(|| code(&moved, WEIGHTS))
            }
            (1, Some(Averages { first, second, .. })) => {
                let steps: Vec<f32> = first.iter().zip(second).map(|(first, second)| ratio(*first, *second)).collect();
                Some(code(&steps, MOMENTS))
            }
            (_, Some(Averages { second, .. })) => {
                let roots: Vec<f32> = second.iter().map(|value| value.sqrt().sqrt()).collect();
                Some(code(&roots, MOMENTS))
            }
            (_, None) => None,
        };
        let mut parts = parallel::map(parallel::cores(), vec![0, 1, 2], part).into_iter();
        let mut next = || parts.next().flatten().unzip();
        let ((weights, moved), (first, steps), (second, roots)) = (next(), next(), next());
        let moments = steps.zip(roots).map(|(steps, roots)| moments(steps, roots));
        let said = Said { weights: moved.unwrap_or_else(|| vec![0.0; base.len()]), moments };
        let seen = local.averages.as_ref().map_or(0, |averages| averages.steps);
        (Self { weights, moments: first.zip(second).map(|(first, second)| [first, second]) }, said.local(base, seen))
    }

    /// The state of whoever begins with these weights and empty moments.
    pub(crate) fn at(base: &[f32], weights: &[f32]) -> Self {
        let moved: Vec<f32> = weights.iter().zip(base).map(|(local, base)| local - base).collect();
        let is_base = moved.iter().all(|value| *value == 0.0);
        Self { weights: (!is_base).then(|| code(&moved, WEIGHTS).0), moments: None }
    }

    /// Its hashes, as a mark has them.
    pub fn hashes(&self) -> (Option<Hash>, Option<[Hash; 2]>) {
        let moments = self.moments.as_ref().map(|[first, second]| [Hash::of(first), Hash::of(second)]);
        (self.weights.as_ref().map(|bytes| Hash::of(bytes)), moments)
    }

    /// What it says, if it is the state at `mark`, of a model of `count` parameters.
    pub(crate) fn read(&self, mark: &Mark, count: u64) -> Result<Said, Fault> {
        let (weights, moments) = self.hashes();
        if weights != mark.weights {
            return Err(Fault::Hash("weights"));
        }
        if moments != mark.moments {
            return Err(Fault::Hash("moments"));
        }
        self.said(count)
    }

    /// What it says, of a model of `count` parameters.
    fn said(&self, count: u64) -> Result<Said, Fault> {
        let weights = match &self.weights {
            Some(bytes) => read("weights", WEIGHTS, bytes, count)?,
            None => vec![0.0; count as usize],
        };
        let moments = match &self.moments {
            Some([first, second]) => {
                Some(moments(read("moments", MOMENTS, first, count)?, read("moments", MOMENTS, second, count)?))
            }
            None => None,
        };
        Ok(Said { weights, moments })
    }
}
