//! One form for everything that moves: a contributor's pseudo-gradient and the step of a round.
//!
//! Enters: values, or bytes that a peer sent. Leaves: an [`Update`], whose value at every coordinate is
//! exact on every machine, and its bytes. Refuses, each with a sentence: bytes of another version, form or
//! model, and whatever is not the one byte string that an encoder writes for what it says
//! ([`BadUpdate`]). Memory and work are bounded by the model's size before anything is allocated.
//!
//! Layout, little-endian: magic `TRBU`, u16 version (2), u16 kind, u32 count. Kind 0 is followed by
//! `count` f32, kind 1 by what `bytes.rs` describes.

mod bytes;
mod coded;
mod compress;
mod levels;
mod rans;
mod select;

use std::ops::Range;

use ::bytes::{BufMut, Bytes, BytesMut};

use self::coded::Coded;
pub use self::coded::{CHUNK, Chunk};
use crate::spec::UpdateFormat;

const MAGIC: &[u8; 4] = b"TRBU";
const VERSION: u16 = 2;
const HEADER: usize = 12;
const F32: u16 = 0;
const CODED: u16 = 1;

/// Values for the coordinates of a model, all of them or the largest.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    count: usize,
    body: Body,
}

#[derive(Debug, Clone, PartialEq)]
enum Body {
    F32(Vec<f32>),
    Coded(Coded),
}

/// What of `values` the format can say: all, or of every chunk the largest, each to the nearest level.
///
/// Deterministic, so that whoever recomputes a fold gets the same step. The rest, `values` − update, is the
/// caller's to keep ([`Update::take_from`]).
pub fn compress(values: &[f32], format: UpdateFormat) -> Update {
    match format {
        UpdateFormat::F32 => Update::dense(values.to_vec()),
        UpdateFormat::Coded(coding) => {
            Update { count: values.len(), body: Body::Coded(compress::compress(values, coding)) }
        }
    }
}

/// The bytes of an update. One update has one byte string.
pub fn encode(update: &Update) -> Bytes {
    let kind = match update.body {
        Body::F32(_) => F32,
        Body::Coded(_) => CODED,
    };
    let mut out = BytesMut::new();
    out.put_slice(MAGIC);
    out.put_u16_le(VERSION);
    out.put_u16_le(kind);
    // A model has at most MAX_PARAMS = 2^27 parameters.
    out.put_u32_le(update.count as u32);
    match &update.body {
        Body::F32(values) => {
            out.reserve(values.len() * 4);
            values.iter().for_each(|&value| out.put_f32_le(value));
        }
        Body::Coded(coded) => bytes::write(coded, &mut out),
    }
    out.freeze()
}

/// How many bytes an update of `count` values may have.
pub fn max_bytes(format: UpdateFormat, count: u64) -> u64 {
    HEADER as u64
        + match format {
            UpdateFormat::F32 => count * 4,
            UpdateFormat::Coded(coding) => bytes::most(coding, count),
        }
}

/// Decodes an update of `count` values in one of the allowed formats.
pub fn decode(allowed: &[UpdateFormat], bytes: &[u8], count: u64) -> Result<Update, BadUpdate> {
    let (Some(header), Some(body)) = (bytes.get(..HEADER), bytes.get(HEADER..)) else {
        return Err(BadUpdate::NotAnUpdate);
    };
    if &header[..4] != MAGIC {
        return Err(BadUpdate::NotAnUpdate);
    }
    let u16_at = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    if u16_at(4) != VERSION {
        return Err(BadUpdate::Version(u16_at(4)));
    }
    let got = u64::from(u32::from_le_bytes([header[8], header[9], header[10], header[11]]));
    if got != count {
        return Err(BadUpdate::Count { expected: count, got });
    }
    let format = match u16_at(6) {
        F32 => UpdateFormat::F32,
        CODED => UpdateFormat::Coded(bytes::coding(body)?),
        other => return Err(BadUpdate::Kind(other)),
    };
    if !allowed.contains(&format) {
        return Err(BadUpdate::Format);
    }
    if bytes.len() as u64 > max_bytes(format, count) {
        return Err(BadUpdate::Long);
    }
    let count = count as usize;
    let body = match format {
        UpdateFormat::F32 if body.len() < count * 4 => return Err(BadUpdate::Short),
        UpdateFormat::F32 => Body::F32(finite(crate::fold::f32_from_le(body))?),
        UpdateFormat::Coded(coding) => Body::Coded(bytes::read(coding, count, body)?),
    };
    Ok(Update { count, body })
}

fn finite(values: Vec<f32>) -> Result<Vec<f32>, BadUpdate> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(values),
        Some(at) => Err(BadUpdate::NotFinite(at)),
    }
}

impl Update {
    /// An update that holds every value as it is.
    pub fn dense(values: Vec<f32>) -> Self {
        Self { count: values.len(), body: Body::F32(values) }
    }

    /// The model's values, sent or not.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Its form.
    pub fn format(&self) -> UpdateFormat {
        match &self.body {
            Body::F32(_) => UpdateFormat::F32,
            Body::Coded(coded) => UpdateFormat::Coded(coded.coding),
        }
    }

    /// Its chunks of [`CHUNK`] coordinates, in order.
    pub fn chunks(&self) -> impl Iterator<Item = Chunk<'_>> {
        let mut next = 0;
        (0..self.count.div_ceil(CHUNK)).map(move |chunk| {
            let range = chunk * CHUNK..self.count.min((chunk + 1) * CHUNK);
            match &self.body {
                Body::F32(values) => Chunk::Values(&values[range]),
                Body::Coded(coded) => coded.chunk(chunk, range.len(), &mut next),
            }
        })
    }

    /// What was sent: coordinate and value, the coordinates ascending.
    pub fn entries(&self) -> impl Iterator<Item = (usize, f32)> {
        self.chunks()
            .enumerate()
            .flat_map(|(at, chunk)| chunk.entries().map(move |(place, value)| (at * CHUNK + place, value)))
    }

    /// Every coordinate's value, zero where nothing was sent.
    pub fn values(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.count];
        self.zip(&mut values, |to, value| *to = value);
        values
    }

    /// Calls `with` for everything that was sent, with the element of `to` at its coordinate.
    pub fn zip<T>(&self, to: &mut [T], mut with: impl FnMut(&mut T, f32)) {
        for (chunk, to) in self.chunks().zip(to.chunks_mut(CHUNK)) {
            chunk.zip(to, &mut with);
        }
    }

    /// Takes the update from the values it was made of: what is left is the error to feed back.
    pub fn take_from(&self, values: &mut [f32]) {
        self.zip(values, |left, sent| *left -= sent);
    }

    /// The Euclidean norm within each range, summed in f64 in order. The ranges ascend.
    pub fn norms(&self, layout: &[Range<usize>]) -> Vec<f64> {
        let mut squares = vec![0.0; layout.len()];
        for (at, chunk) in self.chunks().enumerate() {
            for (tensor, within) in pieces(layout, at) {
                for (_, value) in chunk.within(within).entries() {
                    squares[tensor] += f64::from(value) * f64::from(value);
                }
            }
        }
        squares.into_iter().map(f64::sqrt).collect()
    }
}

/// Which ranges of an ascending layout reach into a chunk, and where.
pub(crate) fn pieces(layout: &[Range<usize>], chunk: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
    let (start, end) = (chunk * CHUNK, (chunk + 1) * CHUNK);
    let first = layout.partition_point(|range| range.end <= start);
    layout
        .iter()
        .enumerate()
        .skip(first)
        .take_while(move |(_, range)| range.start < end)
        .map(move |(tensor, range)| (tensor, range.start.max(start) - start..range.end.min(end) - start))
}

/// Why bytes are not an update of this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadUpdate {
    /// No header.
    #[error("the bytes are not an update")]
    NotAnUpdate,
    /// Another version of the format.
    #[error("update format version {0} is not known here")]
    Version(u16),
    /// An unknown kind.
    #[error("updates of kind {0} are not known here")]
    Kind(u16),
    /// Another number of values kept, or of bits, than the run's.
    #[error("the update's form is not one that this run takes")]
    Format,
    /// An update for another model.
    #[error("the update has {got} values, the model {expected}")]
    Count {
        /// The model's.
        expected: u64,
        /// The update's.
        got: u64,
    },
    /// Truncated.
    #[error("the update ends too early")]
    Short,
    /// With a tail, or longer than an update of this form can be.
    #[error("the update is longer than what it says")]
    Long,
    /// NaN or infinity.
    #[error("value {0} of the update is not finite")]
    NotFinite(usize),
    /// An exponent out of bounds, or not the one of the largest scale.
    #[error("the update's top exponent does not fit its scales")]
    Top,
    /// Levels that are negative, not finite, too large or not ascending.
    #[error("level {0} of the update is out of bounds or out of order")]
    Level(usize),
    /// Frequencies that are not those of the symbols.
    #[error("a frequency table of the update is not the one that its symbols have")]
    Table,
    /// An index past the end of its chunk.
    #[error("an index of the update's chunk {0} is out of range")]
    Index(usize),
    /// The entropy coder doesn't end where an encoder began.
    #[error("the update's entropy-coded part is damaged")]
    State,
}
