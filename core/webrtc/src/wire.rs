//! Length prefixes and protobuf fields: what both message formats of libp2p's WebRTC are made of.
//!
//! Enters: bytes in any pieces. Leaves: whole messages and their fields, as slices of what came, not
//! copies. Refuses: messages over the stated length and everything that is not protobuf. Lengths are
//! checked before anything is added to them, so that nothing overflows where `usize` has 32 bits.

use bytes::{Buf, Bytes, BytesMut};

/// Bytes of the longest length prefix: two hold the largest frame, a third holds every signalling message.
const PREFIX: usize = 3;

/// Why bytes from the other side are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The prefix promises more than a message may have.
    #[error("the other side sent a message that is longer than the protocol allows")]
    TooLong,
    /// Not protobuf, or a field of the wrong kind.
    #[error("the other side sent a message that cannot be read")]
    Unreadable,
}

/// Cuts a stream of bytes into length-prefixed messages.
#[derive(Debug)]
pub(crate) struct Splitter {
    /// The most bytes of a message, its prefix included.
    max: usize,
    /// The beginning of a message whose end has not come; at most `max` bytes.
    partial: BytesMut,
    /// What came last and has not been looked at.
    input: Bytes,
}

impl Splitter {
    /// For messages of at most `max` bytes, their prefix included.
    pub(crate) fn new(max: usize) -> Self {
        Self { max, partial: BytesMut::new(), input: Bytes::new() }
    }

    /// Takes the next piece. Only once [`Self::next`] has nothing more, so that no more than one piece
    /// waits here.
    pub(crate) fn push(&mut self, piece: Bytes) {
        debug_assert!(self.input.is_empty(), "a piece came while another one waits");
        self.input = piece;
    }

    /// The next whole message without its prefix; `None`: it takes more bytes. After an error nothing
    /// that follows has a meaning.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, Malformed> {
        if self.partial.is_empty() {
            // The usual way: a piece is a message, and no byte is copied.
            if let Some((prefix, len)) = prefix(&self.input, self.max)?
                && self.input.len() - prefix >= len
            {
                self.input.advance(prefix);
                return Ok(Some(self.input.split_to(len)));
            }
        }
        while !self.input.is_empty() {
            let known = prefix(&self.partial, self.max)?;
            let whole = known.map_or(self.partial.len() + 1, |(prefix, len)| prefix + len);
            let take = (whole - self.partial.len()).min(self.input.len());
            self.partial.extend_from_slice(&self.input.split_to(take));
            if let Some((prefix, len)) = prefix(&self.partial, self.max)?
                && self.partial.len() == prefix + len
            {
                return Ok(Some(self.partial.split().freeze().split_off(prefix)));
            }
        }
        // A piece that was used up would be kept alive by an empty slice of it.
        self.input = Bytes::new();
        Ok(None)
    }
}

/// The length of the prefix and of the message after it; `None`: the prefix is not whole yet.
fn prefix(bytes: &[u8], max: usize) -> Result<Option<(usize, usize)>, Malformed> {
    let mut len = 0;
    for at in 0..PREFIX {
        let Some(&byte) = bytes.get(at) else { return Ok(None) };
        len |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return if at + 1 + len <= max { Ok(Some((at + 1, len))) } else { Err(Malformed::TooLong) };
        }
    }
    Err(Malformed::TooLong)
}

/// What a protobuf field holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// A number or an enum.
    Number(u64),
    /// Bytes or a text.
    Bytes(Bytes),
    /// A fixed-width number, which neither format has: later versions may.
    Other,
}

/// Takes the next field off a message: its number and value; `None` at the end.
pub(crate) fn field(message: &mut Bytes) -> Result<Option<(u64, Value)>, Malformed> {
    if message.is_empty() {
        return Ok(None);
    }
    let tag = varint(message)?;
    let value = match tag & 7 {
        0 => Value::Number(varint(message)?),
        1 => skip(message, 8)?,
        2 => {
            let len = usize::try_from(varint(message)?).map_err(|_| Malformed::Unreadable)?;
            if len > message.len() {
                return Err(Malformed::Unreadable);
            }
            Value::Bytes(message.split_to(len))
        }
        5 => skip(message, 4)?,
        // Groups, which proto3 has not.
        _ => return Err(Malformed::Unreadable),
    };
    Ok(Some((tag >> 3, value)))
}

fn skip(message: &mut Bytes, len: usize) -> Result<Value, Malformed> {
    if len > message.len() {
        return Err(Malformed::Unreadable);
    }
    message.advance(len);
    Ok(Value::Other)
}

fn varint(message: &mut Bytes) -> Result<u64, Malformed> {
    let mut value = 0;
    for at in 0..10 {
        let byte = message.try_get_u8().map_err(|_| Malformed::Unreadable)?;
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed::Unreadable)
}

/// A length as it is written.
pub(crate) struct Length {
    bytes: [u8; PREFIX],
    used: usize,
}

impl Length {
    pub(crate) fn of(mut value: usize) -> Self {
        debug_assert!(value < 1 << (7 * PREFIX), "lengths fit the prefix");
        let mut length = Self { bytes: [0; PREFIX], used: 0 };
        while length.used < PREFIX {
            let more = value > 0x7f;
            length.bytes[length.used] = (value & 0x7f) as u8 | if more { 0x80 } else { 0 };
            length.used += 1;
            value >>= 7;
            if !more {
                break;
            }
        }
        length
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.used]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefixed(message: &[u8]) -> Vec<u8> {
        [Length::of(message.len()).as_slice(), message].concat()
    }

    fn split(pieces: impl IntoIterator<Item = Vec<u8>>, max: usize) -> Result<Vec<Bytes>, Malformed> {
        let mut splitter = Splitter::new(max);
        let mut messages = Vec::new();
        for piece in pieces {
            splitter.push(piece.into());
            while let Some(message) = splitter.next()? {
                messages.push(message);
            }
            assert!(splitter.partial.len() < max, "what waits is bounded");
        }
        Ok(messages)
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in_however_they_are_cut(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
            cuts in prop::collection::vec(1..200_usize, 1..40),
        ) {
            let bytes: Vec<u8> = messages.iter().flat_map(|message| prefixed(message)).collect();
            let mut cuts = cuts.into_iter().cycle();
            let mut rest = bytes.as_slice();
            let mut pieces = Vec::new();
            while !rest.is_empty() {
                let (piece, left) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                pieces.push(piece.to_vec());
                rest = left;
            }
            let got = split(pieces, 400).unwrap();
            prop_assert_eq!(got, messages.into_iter().map(Bytes::from).collect::<Vec<_>>());
        }

        #[test]
        fn anything_may_come(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..20)) {
            for message in split(pieces, 100).unwrap_or_default() {
                let mut message = message;
                while let Ok(Some(_)) = field(&mut message) {}
            }
        }
    }

    #[test]
    fn a_message_over_the_limit_is_refused_by_its_prefix() {
        assert_eq!(split([prefixed(&[0; 99])], 100).map(|all| all.len()), Ok(1));
        assert_eq!(split([vec![100]], 100), Err(Malformed::TooLong));
        assert_eq!(split([vec![0xff], vec![0xff], vec![0xff]], 100), Err(Malformed::TooLong));
    }

    #[test]
    fn fields_that_end_too_early_are_refused() {
        for bytes in [&[0x08][..], &[0x08, 0x80], &[0x12, 5, 1], &[0x09, 1, 2], &[0x0d, 1], &[0x0b], &[0x80; 11]] {
            assert_eq!(field(&mut Bytes::copy_from_slice(bytes)), Err(Malformed::Unreadable), "{bytes:?}");
        }
        let huge = [0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(field(&mut Bytes::copy_from_slice(&huge)), Err(Malformed::Unreadable));
    }
}
