//! What must hold for any bytes; the fuzz targets and an ordinary test over their corpora both ask this.

use bytes::Bytes;
use tributary_webrtc::direct::sdp::{Local, Username, offer};
use tributary_webrtc::frame::Decoder;
use tributary_webrtc::private::{Signal, SignalDecoder, read_candidate};

/// The first byte says into pieces of which size the rest is cut.
fn cut(bytes: &[u8]) -> (Bytes, usize) {
    let (size, rest) = bytes.split_first().map_or((1, bytes), |(size, rest)| (usize::from(*size) + 1, rest));
    (Bytes::copy_from_slice(rest), size)
}

/// What a decoder makes of the bytes in one piece and in many must be the same, up to the error.
fn same<T: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    mut decoder: impl FnMut() -> Box<dyn FnMut(Bytes) -> (Vec<T>, bool)>,
) -> Vec<T> {
    let (rest, size) = cut(bytes);
    let whole = decoder()(rest.clone());
    let (mut one_by_one, mut parts) = (decoder(), (Vec::new(), true));
    for piece in rest.chunks(size) {
        let (found, fine) = one_by_one(Bytes::copy_from_slice(piece));
        parts.0.extend(found);
        parts.1 = fine;
        if !fine {
            break;
        }
    }
    assert_eq!(whole, parts);
    whole.0
}

/// Frames of a data channel.
pub(crate) fn frame(bytes: &[u8]) {
    let frames = same(bytes, || {
        let mut decoder = Decoder::default();
        Box::new(move |piece| {
            let mut found = Vec::new();
            decoder.push(piece);
            loop {
                match decoder.next_frame() {
                    Ok(Some(frame)) => found.push(frame),
                    Ok(None) => return (found, true),
                    Err(_) => return (found, false),
                }
            }
        })
    });
    assert!(frames.iter().map(|frame| frame.payload.len()).sum::<usize>() <= bytes.len());
}

/// Messages of a signalling stream, and the candidates in them.
pub(crate) fn signal(bytes: &[u8]) {
    let signals = same(bytes, || {
        let mut decoder = SignalDecoder::default();
        Box::new(move |piece| {
            let mut found = Vec::new();
            decoder.push(piece);
            loop {
                match decoder.next_signal() {
                    Ok(Some(signal)) => found.push(signal),
                    Ok(None) => return (found, true),
                    Err(_) => return (found, false),
                }
            }
        })
    });
    for signal in signals {
        if let Signal::Candidate(json) = signal
            && let Ok(Some(candidate)) = read_candidate(&json)
        {
            assert!(!candidate.candidate.contains(['\r', '\n']), "a line was smuggled in");
        }
    }
}

/// A description of our own, and the USERNAME of a stranger.
pub(crate) fn description(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // It may be refused; it may not panic.
    let _ = Local::read(text);
    if let Some(username) = Username::read(text) {
        let stranger = offer("192.0.2.1:9".parse().expect("an address"), &username);
        let usual = Username { server: "s".into(), client: "cccc".into(), client_pwd: "p".into() };
        let usual = offer("192.0.2.1:9".parse().expect("an address"), &usual);
        assert_eq!(stranger.lines().count(), usual.lines().count(), "a line was smuggled in");
    }
}
