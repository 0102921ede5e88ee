//! What is said on a signalling stream.
//!
//! A message is protobuf behind its length: `{ optional Type type = 1; optional string data = 2; }`. Refuses:
//! messages over [`MAX_MESSAGE`], types that the protocol does not have, data that is not UTF-8.
//!
//! Source: libp2p/specs, webrtc/webrtc.md, "Signaling Protocol".

use bytes::Bytes;

use crate::backend::Candidate;
use crate::wire::{self, Length, Malformed, Splitter, Value};

/// Bytes of the longest message with its length. A description with all its candidates has a few thousand.
pub const MAX_MESSAGE: usize = 16 * 1024;

/// Characters of a candidate's fields. The longest part of a candidate is a host name.
const MAX_FIELD: usize = 1024;

/// A message of the signalling stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// The dialler's description, as SDP.
    Offer(String),
    /// The other side's, as SDP.
    Answer(String),
    /// A candidate, as JSON; see [`read_candidate`].
    Candidate(String),
}

impl Signal {
    /// A candidate as it is sent. One with an empty text, which ends them, is sent as `null`, since js-libp2p
    /// takes exactly that for the end.
    pub(super) fn candidate(candidate: &Candidate) -> Self {
        let json = if candidate.candidate.is_empty() { None } else { serde_json::to_string(candidate).ok() };
        Self::Candidate(json.unwrap_or_else(|| "null".to_owned()))
    }

    /// The message with its length in front.
    pub(super) fn encode(&self) -> Vec<u8> {
        let (kind, data) = match self {
            Self::Offer(data) => (0, data),
            Self::Answer(data) => (1, data),
            Self::Candidate(data) => (2, data),
        };
        let len = Length::of(data.len());
        let body = Length::of(3 + len.as_slice().len() + data.len());
        [body.as_slice(), &[0x08, kind, 0x12], len.as_slice(), data.as_bytes()].concat()
    }

    fn read(mut body: Bytes) -> Result<Self, Malformed> {
        let (mut kind, mut data) = (None, Bytes::new());
        while let Some(field) = wire::field(&mut body)? {
            match field {
                (1, Value::Number(number)) => kind = Some(number),
                (2, Value::Bytes(bytes)) => data = bytes,
                (1 | 2, _) => return Err(Malformed::Unreadable),
                _ => {}
            }
        }
        let data = String::from_utf8(data.into()).map_err(|_| Malformed::Unreadable)?;
        match kind {
            Some(0) => Ok(Self::Offer(data)),
            Some(1) => Ok(Self::Answer(data)),
            Some(2) => Ok(Self::Candidate(data)),
            _ => Err(Malformed::Unreadable),
        }
    }
}

/// Signalling messages out of a stream's bytes.
#[derive(Debug)]
pub struct SignalDecoder(Splitter);

impl Default for SignalDecoder {
    fn default() -> Self {
        Self(Splitter::new(MAX_MESSAGE))
    }
}

impl SignalDecoder {
    /// Takes the next bytes; only once [`Self::next_signal`] has nothing more.
    pub fn push(&mut self, bytes: Bytes) {
        self.0.push(bytes);
    }

    /// The next message; `None`: it takes more bytes.
    ///
    /// # Errors
    ///
    /// [`Malformed`]; the stream cannot go on.
    pub fn next_signal(&mut self) -> Result<Option<Signal>, Malformed> {
        self.0.next()?.map(Signal::read).transpose()
    }
}

/// The other side's candidate out of its JSON; `None`: there are no more.
///
/// # Errors
///
/// [`Malformed::Unreadable`] for what is no candidate, or could smuggle a line into a description.
pub fn read_candidate(json: &str) -> Result<Option<Candidate>, Malformed> {
    // `null` and the empty text both end the candidates (js-libp2p).
    if matches!(json.trim(), "null" | "\"\"" | "") {
        return Ok(None);
    }
    let candidate: Candidate = serde_json::from_str(json).map_err(|_| Malformed::Unreadable)?;
    let fields = [Some(&candidate.candidate), candidate.sdp_mid.as_ref(), candidate.username_fragment.as_ref()];
    if fields.into_iter().flatten().any(|field| field.len() > MAX_FIELD || field.chars().any(char::is_control)) {
        return Err(Malformed::Unreadable);
    }
    Ok(Some(candidate).filter(|candidate| !candidate.candidate.is_empty()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(bytes: &[u8]) -> Result<Vec<Signal>, Malformed> {
        let mut decoder = SignalDecoder::default();
        decoder.push(Bytes::copy_from_slice(bytes));
        std::iter::from_fn(|| decoder.next_signal().transpose()).collect()
    }

    #[test]
    fn the_bytes_are_those_of_the_specification() {
        assert_eq!(Signal::Offer("v=0".to_owned()).encode(), b"\x07\x08\x00\x12\x03v=0");
        assert_eq!(decode(b"\x05\x12\x01a\x08\x02"), Ok(vec![Signal::Candidate("a".to_owned())]));
        assert_eq!(decode(b"\x02\x08\x01"), Ok(vec![Signal::Answer(String::new())]));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for (bytes, want) in [
            (&b"\x03\x12\x01a"[..], Malformed::Unreadable),
            (b"\x02\x08\x03", Malformed::Unreadable),
            (b"\x05\x08\x00\x12\x01\xff", Malformed::Unreadable),
            (b"\x80\x80\x02", Malformed::TooLong),
        ] {
            assert_eq!(decode(bytes), Err(want), "{bytes:?}");
        }
    }

    #[test]
    fn candidates_are_those_of_js_libp2p() {
        let line = "candidate:1 1 udp 2122260223 192.0.2.1 61665 typ host";
        let json = format!(r#"{{"candidate":"{line}","sdpMLineIndex":0,"sdpMid":"0","usernameFragment":"a/b"}}"#);
        let candidate = read_candidate(&json).unwrap().unwrap();
        assert_eq!((candidate.candidate.as_str(), candidate.sdp_m_line_index), (line, Some(0)));
        assert_eq!(
            Signal::candidate(&candidate),
            Signal::Candidate(format!(
                r#"{{"candidate":"{line}","sdpMid":"0","sdpMLineIndex":0,"usernameFragment":"a/b"}}"#
            ))
        );
        let nulls = format!(r#"{{"candidate":"{line}","sdpMLineIndex":null,"sdpMid":null,"usernameFragment":null}}"#);
        assert_eq!(read_candidate(&nulls).unwrap().unwrap().sdp_mid, None);
        for end in ["null", "\"\"", r#"{"candidate":"","sdpMid":"0"}"#] {
            assert_eq!(read_candidate(end), Ok(None), "{end}");
        }
        assert_eq!(Signal::candidate(&Candidate::default()), Signal::Candidate("null".to_owned()));
        for bad in [
            "{",
            "7",
            r#"{"candidate":7}"#,
            r#"{"candidate":"a\r\nm=video"}"#,
            r#"{"candidate":"a","sdpMLineIndex":70000}"#,
        ] {
            assert_eq!(read_candidate(bad), Err(Malformed::Unreadable), "{bad}");
        }
        let long = format!(r#"{{"candidate":"{}"}}"#, "a".repeat(MAX_FIELD + 1));
        assert_eq!(read_candidate(&long), Err(Malformed::Unreadable));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(data in ".{0,400}", kind in 0..3) {
            let signal = [Signal::Offer, Signal::Answer, Signal::Candidate][kind as usize](data);
            prop_assert_eq!(decode(&signal.encode()), Ok(vec![signal]));
        }

        #[test]
        fn anything_may_come(bytes in prop::collection::vec(any::<u8>(), 0..200), json in ".{0,100}") {
            let _ = decode(&bytes);
            if let Ok(Some(candidate)) = read_candidate(&json) {
                prop_assert!(!candidate.candidate.contains('\n'));
            }
        }
    }
}
