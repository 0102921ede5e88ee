//! The framing of both protocols: a kind (u8), a length (u32, little endian), a body.
//!
//! Enters: bytes of a stream. Leaves: frames. Refuses: a length over the reader's bound, before any
//! byte of that body is kept.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::{AsyncRead, AsyncReadExt};

/// Bytes of a frame's header.
pub(crate) const HEADER: usize = 5;

/// A frame in one piece: for the small frames that are most of the traffic, one write is cheaper
/// than none copied.
pub(crate) fn encode(kind: u8, parts: &[&[u8]]) -> Bytes {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let mut frame = BytesMut::with_capacity(HEADER + len);
    frame.put_u8(kind);
    frame.put_u32_le(len as u32);
    parts.iter().for_each(|part| frame.put_slice(part));
    frame.freeze()
}

/// The length in a frame's header.
fn length(header: &[u8]) -> usize {
    u32::from_le_bytes([header[1], header[2], header[3], header[4]]) as usize
}

/// A frame over its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it sent a frame of {len} bytes where at most {most} are allowed")]
pub(crate) struct Oversize {
    len: usize,
    most: usize,
}

/// Frames out of bytes that come as they come. Holds at most one frame and what was fed last.
#[derive(Default)]
pub(crate) struct Decoder(BytesMut);

impl Decoder {
    /// More bytes of the stream.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next whole frame, if there is one.
    pub(crate) fn next(&mut self, most: usize) -> Result<Option<(u8, Bytes)>, Oversize> {
        if self.0.len() < HEADER {
            return Ok(None);
        }
        let (kind, len) = (self.0[0], length(&self.0));
        if len > most {
            return Err(Oversize { len, most });
        }
        if self.0.len() < HEADER + len {
            return Ok(None);
        }
        self.0.advance(HEADER);
        Ok(Some((kind, self.0.split_to(len).freeze())))
    }
}

/// Bytes read from a stream at a time; yamux carries data in frames of this size.
const READ: usize = 16 * 1024;

/// Reads a stream's frames. Waiting for one can be given up at any time without losing a byte.
#[derive(Default)]
pub(crate) struct Frames(Decoder);

impl Frames {
    /// The next frame, whose body has at most `most` bytes. `came` is told how many bytes were read.
    pub(crate) async fn next(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        most: usize,
        came: impl Fn(usize),
    ) -> io::Result<(u8, Bytes)> {
        loop {
            let frame = self.0.next(most).map_err(|oversize| io::Error::new(io::ErrorKind::InvalidData, oversize))?;
            if let Some(frame) = frame {
                return Ok(frame);
            }
            let mut buffer = [0; READ];
            let len = stream.read(&mut buffer).await?;
            if len == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            came(len);
            self.0.feed(&buffer[..len]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, StreamExt, TryStreamExt};

    #[test]
    fn frames_survive_any_cut() {
        let frames = [(0, &b""[..]), (1, b"a"), (2, &[7; 300])];
        let bytes: Vec<u8> = frames.iter().flat_map(|(kind, body)| encode(*kind, &[body])).collect();
        for step in [1, 2, 5, 7, 64, bytes.len()] {
            let mut decoder = Decoder::default();
            let mut got = Vec::new();
            for piece in bytes.chunks(step) {
                decoder.feed(piece);
                while let Some((kind, body)) = decoder.next(300).unwrap() {
                    got.push((kind, body.to_vec()));
                }
            }
            assert_eq!(got, frames.map(|(kind, body)| (kind, body.to_vec())), "{step}");
        }
    }

    #[test]
    fn an_oversize_length_is_refused_from_its_header_alone() {
        let mut decoder = Decoder::default();
        decoder.feed(&encode(0, &[&[0; 11]])[..HEADER]);
        assert_eq!(decoder.next(10), Err(Oversize { len: 11, most: 10 }));
        let read = futures::executor::block_on(Frames::default().next(&mut &[0, 11, 0, 0, 0][..], 10, |_| {}));
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_wait_that_is_given_up_loses_nothing() {
        let bytes = encode(3, &[b"hello"]);
        let mut halves = bytes.chunks(4).map(Ok::<_, io::Error>).collect::<Vec<_>>();
        let rest = futures::stream::iter(halves.split_off(1));
        let pending = futures::stream::poll_fn(|_| std::task::Poll::Pending);
        let mut first = futures::stream::iter(halves).chain(pending).into_async_read();
        let mut frames = Frames::default();
        assert!(frames.next(&mut first, 9, |_| {}).now_or_never().is_none());
        let frame = frames.next(&mut rest.into_async_read(), 9, |_| {}).now_or_never().unwrap().unwrap();
        assert_eq!(frame, (3, Bytes::from_static(b"hello")));
    }
}
