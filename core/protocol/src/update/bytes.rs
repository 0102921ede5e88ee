//! The bytes of a coded update, after the header.
//!
//! u16 keep, u8 bits, i8 top exponent; 2^(bits−1) levels as f32, non-negative and ascending; for every
//! chunk its scale code. If any chunk isn't zero: the frequencies of gaps (unless all values survive) and of
//! codes, and the entropy coder's state and words. They say, for every value that survives, how many places
//! lie between it and the one before, then its code. Of a gap the low bits ([`low_bits`]) are sent as they are and
//! the rest as a symbol, of which the last is followed by 12 bits that are added to it.

use ::bytes::{BufMut, BytesMut};

use super::BadUpdate;
use super::coded::{self, CHUNK, Coded};
use super::rans::{Decoder, Encoder, Frequencies, STATE_BYTES, Span, max_table};
use crate::spec::Coding;

/// Bytes before the levels.
const HEAD: usize = 4;

/// Symbols of the gaps: what a byte can say.
const GAPS: usize = 256;

/// The symbol of this and all longer gaps.
const LONG: u16 = GAPS as u16 - 1;

/// Bits by which a long gap is longer, over its low bits.
const LONG_BITS: u32 = CHUNK.ilog2();

/// Bits of a gap that are sent as they are: within a quarter of the mean gap, gaps are about equally frequent.
/// At most four: with these, the symbols reach all gaps.
fn low_bits(coding: Coding) -> u32 {
    (CHUNK as u32 / u32::from(coding.keep)).ilog2().saturating_sub(2).min(4)
}

/// How many bytes a coded update of `count` values may have.
///
/// A table that is proportional to what it codes costs at most the logarithm of its symbols' number, and
/// rounding to 4096ths less than half a bit more: 8 + 4 bits a gap, `bits` a code, one for the rounding. Long
/// gaps are few where there are fewer than four low bits, and cost less than those bits would.
pub(super) fn most(coding: Coding, count: u64) -> u64 {
    let (chunks, rest) = (count / CHUNK as u64, (count % CHUNK as u64) as usize);
    let entries = chunks * u64::from(coding.keep) + if rest > 0 { coding.kept(rest) as u64 } else { 0 };
    let place = if coding.is_dense() { 0 } else { 12 };
    let tables = max_table(GAPS as u64) + max_table(1 << coding.bits);
    let fixed = (HEAD + STATE_BYTES + 4) as u64 + (4 << (coding.bits - 1)) + tables;
    fixed + count.div_ceil(CHUNK as u64) + (entries * (place + u64::from(coding.bits) + 1)).div_ceil(8)
}

/// Writes what follows the header.
pub(super) fn write(coded: &Coded, out: &mut BytesMut) {
    let dense = coded.coding.is_dense();
    out.put_u16_le(coded.coding.keep);
    out.put_u8(coded.coding.bits);
    out.put_i8(coded.top);
    coded.signed.iter().step_by(2).for_each(|level| out.put_f32_le(*level));
    out.put_slice(&coded.scales);
    if coded.codes.is_empty() {
        return;
    }
    let coding = coded.coding;
    let codes = Frequencies::of(&count_codes(&coded.codes, coding));
    let code_spans = codes.spans();
    let mut encoder = Encoder::new();
    if dense {
        codes.write(out);
        coded.codes.iter().rev().for_each(|&code| encoder.put(code_spans[usize::from(code)], 0, 0));
    } else {
        let gaps = Frequencies::of(&count_gaps(&coded.places, coding));
        let (gap_spans, low) = (gaps.spans(), low_bits(coding));
        [gaps, codes].iter().for_each(|table| table.write(out));
        let chunks = coded.places.chunks(coding.keep.into()).zip(coded.codes.chunks(coding.keep.into()));
        for (places, codes) in chunks.rev() {
            for (gap, &code) in gaps_of(places).zip(codes).rev() {
                encoder.put(code_spans[usize::from(code)], 0, 0);
                let (symbol, more) = split(gap >> low);
                if let Some(more) = more {
                    encoder.put(Span::ALL, LONG_BITS, more.into());
                }
                encoder.put(gap_spans[usize::from(symbol)], low, u64::from(gap & ((1 << low) - 1)));
            }
        }
    }
    encoder.finish(out);
}

/// The form that a body announces.
pub(super) fn coding(body: &[u8]) -> Result<Coding, BadUpdate> {
    match *body {
        [a, b, bits, ..] => Ok(Coding { keep: u16::from_le_bytes([a, b]), bits }),
        _ => Err(BadUpdate::Short),
    }
}

/// Reads what [`write`] writes, for a coding that the run allows.
pub(super) fn read(coding: Coding, count: usize, body: &[u8]) -> Result<Coded, BadUpdate> {
    let mut body = body;
    let mut part = |len: usize| body.split_off(..len).ok_or(BadUpdate::Short);
    let top = part(HEAD)?[HEAD - 1] as i8;
    let signed = read_levels(part(4 << (coding.bits - 1))?)?;
    let scales = part(count.div_ceil(CHUNK))?.to_vec();
    let largest = scales.iter().copied().max().unwrap_or(0);
    // The largest scale is in the top octave, unless there is none so small.
    if !coded::TOP.contains(&top) || (largest < 248 && top != *coded::TOP.start()) {
        return Err(BadUpdate::Top);
    }
    let mut coded = Coded { coding, top, signed, scales, places: Vec::new(), codes: Vec::new() };
    if largest > 0 {
        read_entries(&mut coded, count, body)?;
    } else if !body.is_empty() {
        return Err(BadUpdate::Long);
    }
    Ok(coded)
}

fn read_levels(bytes: &[u8]) -> Result<Vec<f32>, BadUpdate> {
    let levels = crate::fold::f32_from_le(bytes);
    let mut least = 0.0;
    for (at, &level) in levels.iter().enumerate() {
        if !(level.is_sign_positive() && (least..=coded::MAX_LEVEL).contains(&level)) {
            return Err(BadUpdate::Level(at));
        }
        least = level;
    }
    Ok(levels.into_iter().flat_map(|level| [level, -level]).collect())
}

fn read_entries(coded: &mut Coded, count: usize, body: &[u8]) -> Result<(), BadUpdate> {
    let (coding, dense) = (coded.coding, coded.coding.is_dense());
    let kept = |at: usize| coding.kept(CHUNK.min(count - at * CHUNK));
    let full = coded.scales.iter().enumerate().filter(|(_, code)| **code != 0).map(|(at, _)| at);
    let entries = full.clone().map(kept).sum();
    let mut rest = body;
    let gaps = if dense { None } else { Some(Frequencies::read(&mut rest, GAPS)?) };
    let codes = Frequencies::read(&mut rest, 1 << coding.bits)?;
    let tables = body.len() - rest.len();

    let mut decoder = Decoder::new(rest)?;
    let slots = codes.slots();
    coded.codes.reserve_exact(entries);
    if let Some(gaps) = &gaps {
        let (gap_slots, low) = (gaps.slots(), low_bits(coding));
        coded.places.reserve_exact(entries);
        for at in full {
            let (mut place, len) = (0, CHUNK.min(count - at * CHUNK) as u32);
            for _ in 0..kept(at) {
                let (symbol, rest) = decoder.take(&gap_slots, low)?;
                let more = if u16::from(symbol) == LONG { decoder.bits(LONG_BITS)? } else { 0 };
                place += (u32::from(symbol) + u32::from(more)) << low | u32::from(rest);
                if place >= len {
                    return Err(BadUpdate::Index(at));
                }
                coded.places.push(place as u16);
                coded.codes.push(decoder.take(&slots, 0)?.0);
                place += 1;
            }
        }
    } else {
        for _ in 0..entries {
            coded.codes.push(decoder.take(&slots, 0)?.0);
        }
    }
    decoder.finish()?;
    // One byte string an update: the tables are those that an encoder sends for these symbols.
    let mut expected = BytesMut::new();
    if !dense {
        Frequencies::of(&count_gaps(&coded.places, coding)).write(&mut expected);
    }
    Frequencies::of(&count_codes(&coded.codes, coding)).write(&mut expected);
    if expected != body[..tables] {
        return Err(BadUpdate::Table);
    }
    Ok(())
}

/// The gaps before the places of one chunk.
fn gaps_of(places: &[u16]) -> impl DoubleEndedIterator<Item = u16> + ExactSizeIterator {
    let before = |at: usize| if at == 0 { 0 } else { places[at - 1] + 1 };
    (0..places.len()).map(move |at| places[at] - before(at))
}

/// The symbol of a gap without its low bits, and by how much a long one is longer.
fn split(high: u16) -> (u16, Option<u16>) {
    if high < LONG { (high, None) } else { (LONG, Some(high - LONG)) }
}

/// How often each symbol of the gaps occurs. All chunks have as many places but the last.
fn count_gaps(places: &[u16], coding: Coding) -> Vec<u32> {
    let (mut counts, low) = (vec![0; GAPS], low_bits(coding));
    for chunk in places.chunks(coding.keep.into()) {
        gaps_of(chunk).for_each(|gap| counts[usize::from(split(gap >> low).0)] += 1);
    }
    counts
}

fn count_codes(codes: &[u8], coding: Coding) -> Vec<u32> {
    let mut counts = vec![0; 1 << coding.bits];
    codes.iter().for_each(|&code| counts[usize::from(code)] += 1);
    counts
}
