//! An entropy coder: range asymmetric numeral systems (Duda, arXiv 1311.2540) with frequencies that are
//! sent ahead of the symbols.
//!
//! A state of 64 bits from which words of 32 bits move to the stream and back: at most one a symbol, and
//! so long a state loses nothing measurable. The encoder goes backwards and begins with [`LOW`], where
//! the decoder must end; every state lies in [`LOW`, 2^63), so a string of symbols has one string of words.

use ::bytes::{BufMut, BytesMut};

use super::BadUpdate;

/// Frequencies add up to 2^12: a decoder's table then stays in the first-level cache.
const SCALE: u32 = 12;
const TOTAL: u32 = 1 << SCALE;
const LOW: u64 = 1 << 31;

/// Bytes of the state that precedes the words.
pub(super) const STATE_BYTES: usize = 8;

/// Bytes of the longest table of so many symbols.
pub(super) const fn max_table(symbols: u64) -> u64 {
    1 + 2 * symbols
}

/// How often each symbol occurs, of 4096. The last isn't zero.
pub(super) struct Frequencies(Vec<u16>);

impl Frequencies {
    /// Those that a file sends whose symbols occur so often: proportional and at least 1, and what is then
    /// too much or too little is taken from or given to the largest. At least one symbol must occur.
    pub(super) fn of(counts: &[u32]) -> Self {
        let last = counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
        let all: u64 = counts.iter().map(|count| u64::from(*count)).sum();
        let share = |count: u32| match count {
            0 => 0,
            _ => (u64::from(count) * u64::from(TOTAL) / all).max(1) as u16,
        };
        let mut shares: Vec<u16> = counts[..last].iter().map(|count| share(*count)).collect();
        let mut sum: u32 = shares.iter().map(|share| u32::from(*share)).sum();
        while sum != TOTAL {
            // The first of the largest. One at a time is taken, so that nobody comes to zero.
            let Some(largest) = shares.iter_mut().rev().max() else { break };
            if sum < TOTAL {
                *largest += (TOTAL - sum) as u16;
                break;
            }
            *largest -= 1;
            sum -= 1;
        }
        Self(shares)
    }

    /// Writes the number of symbols less one, then for each: a byte below 128; two bytes, the first with its
    /// high bit set, for more; or 0 and one less than the number of zeros that follow each other.
    pub(super) fn write(&self, out: &mut BytesMut) {
        out.put_u8((self.0.len() - 1) as u8);
        for run in self.0.chunk_by(|a, b| *a == 0 && *b == 0) {
            match run[0] {
                0 => out.put_slice(&[0, (run.len() - 1) as u8]),
                share @ 1..128 => out.put_u8(share as u8),
                share => out.put_u16(share | 0x8000),
            }
        }
    }

    /// Reads frequencies of at most `most` symbols. They may be others than an encoder would send, or
    /// written otherwise: who has read the symbols compares with what [`Frequencies::of`] them writes.
    pub(super) fn read(bytes: &mut &[u8], most: usize) -> Result<Self, BadUpdate> {
        let mut byte = || bytes.split_off_first().copied().ok_or(BadUpdate::Short);
        let len = usize::from(byte()?) + 1;
        let mut shares = Vec::with_capacity(len);
        while shares.len() < len {
            match byte()? {
                0 => shares.resize(shares.len() + usize::from(byte()?) + 1, 0),
                share @ 1..128 => shares.push(u16::from(share)),
                high => shares.push(u16::from(high & 0x7f) << 8 | u16::from(byte()?)),
            }
        }
        let sum: u32 = shares.iter().map(|share| u32::from(*share)).sum();
        if shares.len() != len || len > most || sum != TOTAL {
            return Err(BadUpdate::Table);
        }
        Ok(Self(shares))
    }

    /// For each symbol its frequency and where it begins.
    pub(super) fn spans(&self) -> Vec<Span> {
        let mut start = 0;
        let span = |&share: &u16| {
            let span = Span { share: u64::from(share), start };
            start += span.share;
            span
        };
        self.0.iter().map(span).collect()
    }

    /// For each of 4096 slots the symbol, the slot's number within the symbol and the frequency less one.
    pub(super) fn slots(&self) -> Box<[u32; TOTAL as usize]> {
        let mut slots = Box::new([0; TOTAL as usize]);
        let symbols = self.0.iter().zip(0_u32..).flat_map(|(&share, symbol)| {
            (0..u32::from(share)).map(move |within| symbol << 24 | within << SCALE | (u32::from(share) - 1))
        });
        slots.iter_mut().zip(symbols).for_each(|(slot, entry)| *slot = entry);
        slots
    }
}

/// A symbol's part of 4096.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    share: u64,
    start: u64,
}

impl Span {
    /// The only symbol: for bits without one.
    pub(super) const ALL: Self = Self { share: TOTAL as u64, start: 0 };
}

/// Takes symbols, the last first.
pub(super) struct Encoder {
    state: u64,
    words: Vec<u32>,
}

impl Encoder {
    pub(super) fn new() -> Self {
        Self { state: LOW, words: Vec::new() }
    }

    /// Takes a symbol and `width` bits as they are, which the decoder reads after it.
    #[inline]
    pub(super) fn put(&mut self, span: Span, width: u32, bits: u64) {
        if self.state >= span.share << (63 - SCALE - width) {
            self.words.push(self.state as u32);
            self.state >>= 32;
        }
        let state = self.state << width | bits;
        self.state = (state / span.share) << SCALE | (state % span.share + span.start);
    }

    /// Writes the state, then the words in the decoder's order.
    pub(super) fn finish(self, out: &mut BytesMut) {
        out.put_u64_le(self.state);
        out.reserve(self.words.len() * 4);
        self.words.iter().rev().for_each(|word| out.put_u32_le(*word));
    }
}

/// Gives symbols, the first first.
pub(super) struct Decoder<'a> {
    state: u64,
    words: &'a [[u8; 4]],
}

impl<'a> Decoder<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, BadUpdate> {
        let (state, words) = bytes.split_first_chunk::<STATE_BYTES>().ok_or(BadUpdate::Short)?;
        let state = u64::from_le_bytes(*state);
        let (words, rest) = words.as_chunks::<4>();
        if !rest.is_empty() || !(LOW..1 << 63).contains(&state) {
            return Err(BadUpdate::State);
        }
        Ok(Self { state, words })
    }

    /// A symbol and the `width` bits after it, at most 4.
    #[inline]
    pub(super) fn take(&mut self, slots: &[u32; TOTAL as usize], width: u32) -> Result<(u8, u16), BadUpdate> {
        let mask = u64::from(TOTAL - 1);
        let slot = u64::from(slots[(self.state & mask) as usize]);
        self.state = ((slot & mask) + 1) * (self.state >> SCALE) + (slot >> SCALE & mask);
        Ok(((slot >> 24) as u8, self.bits(width)?))
    }

    /// Bits without a symbol, at most 12.
    #[inline]
    pub(super) fn bits(&mut self, width: u32) -> Result<u16, BadUpdate> {
        let bits = self.state & ((1 << width) - 1);
        self.state >>= width;
        if self.state < LOW {
            let (word, words) = self.words.split_first().ok_or(BadUpdate::Short)?;
            self.state = self.state << 32 | u64::from(u32::from_le_bytes(*word));
            self.words = words;
        }
        Ok(bits as u16)
    }

    /// Whether all words are read and the state is the one that an encoder begins with.
    pub(super) fn finish(self) -> Result<(), BadUpdate> {
        match (self.words, self.state) {
            ([], LOW) => Ok(()),
            ([], _) => Err(BadUpdate::State),
            _ => Err(BadUpdate::Long),
        }
    }
}
