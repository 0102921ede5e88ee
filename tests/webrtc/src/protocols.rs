//! The test protocols, both sides of each. What a JavaScript peer must answer to be tested against stands
//! here: four protocols, each a few lines in any language.
//!
//! Enters: a stream. Leaves: what came of it. Refuses: answers that are not the agreed ones, in words.

use std::io;

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::{Stream, StreamProtocol};
use web_time::Instant;

/// Sends back what comes until the other side has closed, then closes.
pub(crate) const ECHO: StreamProtocol = StreamProtocol::new("/tributary-test/echo/1");
/// Says [`GREETING`], closes its own side, and only then hears the other side out.
pub(crate) const LAST_WORD: StreamProtocol = StreamProtocol::new("/tributary-test/last-word/1");
/// Waits for a byte and resets the stream.
pub(crate) const RESET: StreamProtocol = StreamProtocol::new("/tributary-test/reset/1");
/// Takes a length (8 bytes, little endian) and grants of credit (4 bytes each), sends so many bytes of the
/// [`blob`], never more than was granted, and closes.
pub(crate) const BLOB: StreamProtocol = StreamProtocol::new("/tributary-test/blob/1");

/// What the server of [`LAST_WORD`] says.
const GREETING: &[u8] = b"that is all from me";
/// Texts are short; whoever sends more is not our test.
const MOST_TEXT: u64 = 64 * 1024;
/// Bytes on the way: twice what WebRTC holds for the network, and half of what js-libp2p keeps unread.
const WINDOW: u32 = 2 * 1024 * 1024;
/// Credit comes back in portions of so many bytes.
const GRANT: u32 = 256 * 1024;
/// Bytes that are handed to a stream, or asked of it, at a time.
const PIECE: usize = 64 * 1024;
/// The largest blob: what a page can hold twice without trouble.
pub(crate) const MOST_BLOB: usize = 256 * 1024 * 1024;

/// What a blob fetch came to.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Fetched {
    /// Bytes that came.
    pub bytes: usize,
    /// From asking to the last byte.
    pub ms: f64,
}

/// The bytes that every peer makes for itself and so can check: the little-endian words `i * 0x9E3779B1`.
pub(crate) fn blob(bytes: usize) -> Vec<u8> {
    let words = (0..bytes.div_ceil(4) as u32).flat_map(|i| i.wrapping_mul(0x9E37_79B1).to_le_bytes());
    let mut blob = Vec::with_capacity(bytes.next_multiple_of(4));
    blob.extend(words);
    blob.truncate(bytes);
    blob
}

/// Serves [`ECHO`].
pub(crate) async fn serve_echo(stream: Stream) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    futures::io::copy(reader, &mut writer).await?;
    writer.close().await
}

/// Sends a text, closes its own side and takes the echo, which comes after that.
pub(crate) async fn echo(stream: Stream, text: &str) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    writer.write_all(text.as_bytes()).await?;
    writer.close().await?;
    let mut back = String::new();
    reader.take(MOST_TEXT).read_to_string(&mut back).await?;
    if back == text { Ok(()) } else { Err(io::Error::other(format!("the echo of {text:?} is {back:?}"))) }
}

/// Serves [`LAST_WORD`]; what the client said after that, or that it reset the stream.
pub(crate) async fn serve_last_word(mut stream: Stream) -> String {
    let close = async {
        stream.write_all(GREETING).await?;
        stream.close().await
    };
    if let Err(error) = close.await {
        return format!("closing failed: {error}");
    }
    let mut heard = String::new();
    match stream.take(MOST_TEXT).read_to_string(&mut heard).await {
        Ok(_) => heard,
        Err(_) => "reset".to_owned(),
    }
}

/// Hears the server out and then says `text`, or resets the stream where there is none.
pub(crate) async fn last_word(mut stream: Stream, text: Option<&str>) -> io::Result<()> {
    let mut greeting = Vec::new();
    (&mut stream).take(MOST_TEXT).read_to_end(&mut greeting).await?;
    if greeting != GREETING {
        return Err(io::Error::other(format!("it said {:?}", String::from_utf8_lossy(&greeting))));
    }
    match text {
        Some(text) => {
            stream.write_all(text.as_bytes()).await?;
            stream.close().await
        }
        None => {
            stream.write_all(b"you will not hear the end of th").await?;
            stream.flush().await
            // Dropping a stream that is not closed resets it.
        }
    }
}

/// Serves [`RESET`].
pub(crate) async fn serve_reset(mut stream: Stream) -> io::Result<()> {
    stream.read_exact(&mut [0]).await
}

/// Asks to be reset, and is content only if it is.
pub(crate) async fn be_reset(mut stream: Stream) -> io::Result<()> {
    stream.write_all(&[1]).await?;
    stream.flush().await?;
    match stream.read(&mut [0]).await {
        Err(_) => Ok(()),
        Ok(_) => Err(io::Error::other("the stream ended as if all were well")),
    }
}

/// Serves [`BLOB`] from `blob`.
pub(crate) async fn serve_blob(stream: Stream, blob: &[u8]) -> io::Result<()> {
    let (mut reader, mut writer) = stream.split();
    let mut length = [0; 8];
    reader.read_exact(&mut length).await?;
    let length = u64::from_le_bytes(length) as usize;
    let Some(mut rest) = blob.get(..length) else {
        return Err(io::Error::other(format!("{length} bytes were asked for and {} are there", blob.len())));
    };
    let mut credit = 0;
    while !rest.is_empty() {
        if credit == 0 {
            let mut grant = [0; 4];
            reader.read_exact(&mut grant).await?;
            credit = u32::from_le_bytes(grant) as usize;
            continue;
        }
        let (piece, after) = rest.split_at(rest.len().min(credit).min(PIECE));
        writer.write_all(piece).await?;
        credit -= piece.len();
        rest = after;
    }
    writer.close().await
}

/// Fetches as many bytes as `into` has room for.
pub(crate) async fn fetch(stream: Stream, into: &mut [u8]) -> io::Result<Fetched> {
    let started = Instant::now();
    let (mut reader, mut writer) = stream.split();
    writer.write_all(&(into.len() as u64).to_le_bytes()).await?;
    writer.write_all(&WINDOW.to_le_bytes()).await?;
    writer.flush().await?;
    let (mut at, mut owed) = (0, 0);
    while at < into.len() {
        let end = into.len().min(at + PIECE);
        let read = reader.read(&mut into[at..end]).await?;
        if read == 0 {
            return Err(io::Error::other(format!("it ended after {at} bytes of {}", into.len())));
        }
        at += read;
        owed += read as u32;
        if owed >= GRANT {
            writer.write_all(&owed.to_le_bytes()).await?;
            writer.flush().await?;
            owed = 0;
        }
    }
    let ms = started.elapsed().as_secs_f64() * 1000.0;
    writer.close().await?;
    if reader.read(&mut [0]).await? > 0 {
        return Err(io::Error::other("more came than was asked for"));
    }
    Ok(Fetched { bytes: at, ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blob_is_what_every_language_makes() {
        assert_eq!(blob(10), [0, 0, 0, 0, 0xB1, 0x79, 0x37, 0x9E, 0x62, 0xF3]);
        assert_eq!(blob(4096).len(), 4096);
    }
}
