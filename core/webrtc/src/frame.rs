//! Frames: how a data channel carries a stream with two halves.
//!
//! A frame is a protobuf message `{ optional Flag flag = 1; optional bytes message = 2; }` behind its length.
//! Enters: the messages of a data channel, which may hold a part of a frame or several. Leaves: frames.
//! Refuses: frames over [`MAX_FRAME`] and what is not protobuf. Unknown fields and flags are skipped.
//!
//! Source: libp2p/specs, webrtc/README.md, "Multiplexing".

use bytes::{Bytes, BytesMut};

pub use crate::wire::Malformed;
use crate::wire::{self, Length, Splitter, Value};

/// Bytes of the longest frame, its length prefix included: what every implementation takes (specification).
pub const MAX_FRAME: usize = 16 * 1024;

/// Bytes of payload that fit a frame without a flag: two bytes of length, then tag and two bytes of length.
pub const MAX_PAYLOAD: usize = MAX_FRAME - HEADER;

/// Bytes before the payload, at most.
const HEADER: usize = 5;

/// What a frame says about its stream besides its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flag {
    /// No more will be sent.
    Fin,
    /// What comes is no longer read.
    StopSending,
    /// The stream is given up.
    Reset,
    /// Everything up to FIN has arrived.
    FinAck,
}

impl Flag {
    fn number(self) -> u8 {
        match self {
            Self::Fin => 0,
            Self::StopSending => 1,
            Self::Reset => 2,
            Self::FinAck => 3,
        }
    }

    fn read(number: u64) -> Option<Self> {
        [Self::Fin, Self::StopSending, Self::Reset, Self::FinAck]
            .into_iter()
            .find(|flag| u64::from(flag.number()) == number)
    }

    /// The frame that carries this flag alone.
    #[must_use]
    pub fn encode(self) -> Bytes {
        Bytes::copy_from_slice(&[2, 0x08, self.number()])
    }
}

/// A frame that came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frame {
    /// Applies after the payload.
    pub flag: Option<Flag>,
    /// May be empty.
    pub payload: Bytes,
}

impl Frame {
    /// Reads a frame that is whole, without its length.
    fn read(mut body: Bytes) -> Result<Self, Malformed> {
        let mut frame = Self::default();
        while let Some(field) = wire::field(&mut body)? {
            match field {
                (1, Value::Number(number)) => frame.flag = Flag::read(number),
                (2, Value::Bytes(payload)) => frame.payload = payload,
                (1 | 2, _) => return Err(Malformed::Unreadable),
                _ => {}
            }
        }
        Ok(frame)
    }
}

/// Frames out of data channel messages.
#[derive(Debug)]
pub struct Decoder(Splitter);

impl Default for Decoder {
    fn default() -> Self {
        Self(Splitter::new(MAX_FRAME))
    }
}

impl Decoder {
    /// Takes the next data channel message; only once [`Self::next_frame`] has nothing more.
    pub fn push(&mut self, message: Bytes) {
        self.0.push(message);
    }

    /// The next frame; `None`: it takes another message.
    ///
    /// # Errors
    ///
    /// [`Malformed`]; the stream cannot go on.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Malformed> {
        self.0.next()?.map(Frame::read).transpose()
    }
}

/// A frame of payload that is being filled. Its header is written in front of the payload once its length
/// is known, so a byte is copied once on its way to the data channel.
#[derive(Debug, Default)]
pub struct Filling(BytesMut);

impl Filling {
    /// Takes as much of `payload` as there is room for, and says how much.
    pub fn fill(&mut self, payload: &[u8]) -> usize {
        if self.0.is_empty() {
            // Small writes should not cost a whole frame of memory.
            self.0.reserve(HEADER + payload.len().min(MAX_PAYLOAD));
            self.0.extend_from_slice(&[0; HEADER]);
        }
        let len = payload.len().min(MAX_FRAME - self.0.len());
        self.0.extend_from_slice(&payload[..len]);
        len
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether nothing more fits.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.len() == MAX_FRAME
    }

    /// The frame, for the data channel. Leaves this empty.
    #[must_use]
    pub fn take(&mut self) -> Bytes {
        let mut frame = std::mem::take(&mut self.0);
        let payload = frame.len() - HEADER;
        let len = Length::of(payload);
        let body = Length::of(1 + len.as_slice().len() + payload);
        let header = [body.as_slice(), &[0x12], len.as_slice()].concat();
        let start = HEADER - header.len();
        frame[start..HEADER].copy_from_slice(&header);
        frame.freeze().split_off(start)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(messages: &[&[u8]]) -> Result<Vec<Frame>, Malformed> {
        let mut decoder = Decoder::default();
        let mut frames = Vec::new();
        for message in messages {
            decoder.push(Bytes::copy_from_slice(message));
            while let Some(frame) = decoder.next_frame()? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    fn frame(flag: Option<Flag>, payload: &'static [u8]) -> Frame {
        Frame { flag, payload: Bytes::from_static(payload) }
    }

    #[test]
    fn the_bytes_are_those_of_the_specification() {
        let mut filling = Filling::default();
        filling.fill(b"hello");
        assert_eq!(filling.take(), b"\x07\x12\x05hello".as_slice());
        assert_eq!(Flag::FinAck.encode(), [2, 8, 3].as_slice());
        for (bytes, want) in [
            (&b"\x09\x08\x00\x12\x05hello"[..], frame(Some(Flag::Fin), b"hello")),
            (b"\x02\x08\x01", frame(Some(Flag::StopSending), b"")),
            (b"\x02\x08\x02", frame(Some(Flag::Reset), b"")),
            (b"\x00", frame(None, b"")),
            // Fields and flags of later versions.
            (b"\x02\x08\x09", frame(None, b"")),
            (b"\x06\x18\x07\x22\x02hi", frame(None, b"")),
        ] {
            assert_eq!(decode(&[bytes]), Ok(vec![want]), "{bytes:?}");
        }
    }

    #[test]
    fn a_frame_may_come_in_parts_and_together() {
        let want = Ok(vec![frame(None, b"hello"), frame(Some(Flag::Fin), b"")]);
        assert_eq!(decode(&[b"\x07", b"\x12\x05hello", b"\x02", b"\x08\x00"]), want);
        assert_eq!(decode(&[b"\x07\x12\x05hello\x02\x08\x00"]), want);
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for (bytes, want) in [
            (&b"\x80\x80\x01"[..], Malformed::TooLong),
            (b"\xff\x7f", Malformed::TooLong),
            (b"\xff\xff\xff\xff", Malformed::TooLong),
            (b"\x03\x12\x05h", Malformed::Unreadable),
            (b"\x03\x0a\x01h", Malformed::Unreadable),
            (b"\x02\x10\x01", Malformed::Unreadable),
        ] {
            assert_eq!(decode(&[bytes]), Err(want), "{bytes:?}");
        }
    }

    proptest! {
        // Payloads of more than a frame take their time to make.
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn payload_goes_through(payload in prop::collection::vec(any::<u8>(), 1..20_000)) {
            let mut filling = Filling::default();
            let mut rest = payload.as_slice();
            let mut got = Vec::new();
            while !rest.is_empty() {
                rest = &rest[filling.fill(rest)..];
                prop_assert!(rest.is_empty() || filling.is_full());
                let message = filling.take();
                prop_assert!(message.len() <= MAX_FRAME);
                prop_assert!(filling.is_empty());
                for frame in decode(&[&message]).unwrap() {
                    prop_assert!(frame.payload.len() <= MAX_PAYLOAD);
                    got.extend_from_slice(&frame.payload);
                }
            }
            prop_assert_eq!(got, payload);
        }

        #[test]
        fn anything_may_come(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..20)) {
            let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
            if let Ok(frames) = decode(&messages) {
                let bytes: usize = messages.iter().map(|message| message.len()).sum();
                prop_assert!(frames.iter().map(|frame| frame.payload.len()).sum::<usize>() <= bytes);
            }
        }
    }
}
