//! Reading documents: checked as UTF-8, without a byte order mark, with `\n` at the ends of lines.
//!
//! A .txt file streams in pieces; of a .jsonl file one line at a time is in memory.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use indicatif::ProgressBar;
use serde::Deserialize;

use super::find::{Candidate, Form};
use crate::files;

/// Bytes read at once.
const PIECE: usize = 256 * 1024;

/// Bytes of one .jsonl line, which is held in memory whole.
const MAX_LINE: u64 = 64 * 1024 * 1024;

/// What a reader gets.
#[derive(Debug, Clone, Copy)]
pub(super) enum Piece<'a> {
    /// More of the document, never empty.
    Text(&'a [u8]),
    /// The document ends. Documents without any text are left out altogether.
    End,
}

/// Why a file is not imported.
#[derive(Debug)]
pub(super) enum Bad {
    /// It is left out, and why ("is …", "has …").
    Skip(String),
    /// The whole import stops.
    Refuse(anyhow::Error),
}

impl From<anyhow::Error> for Bad {
    fn from(error: anyhow::Error) -> Self {
        Self::Refuse(error)
    }
}

/// Takes the pieces of a file's documents.
pub(super) type Sink<'a> = dyn FnMut(Piece<'_>) -> anyhow::Result<()> + 'a;

/// Reads a file's documents into `sink`.
pub(super) fn read(file: &Candidate, bar: &ProgressBar, sink: &mut Sink<'_>) -> Result<(), Bad> {
    let open = File::open(&file.path).map_err(|e| files::trouble("read", &file.path, &e))?;
    match file.form {
        Form::Txt => read_txt(file, bar.wrap_read(open), sink),
        Form::Jsonl => read_jsonl(file, BufReader::with_capacity(PIECE, bar.wrap_read(open)), sink),
    }
}

fn read_txt(file: &Candidate, mut from: impl Read, sink: &mut Sink<'_>) -> Result<(), Bad> {
    let mut buffer = vec![0; PIECE];
    // Bytes at the buffer's start that were kept from the last read: the beginning of a character,
    // or a carriage return whose line feed may follow.
    let mut kept = 0;
    let (mut first, mut any) = (true, false);
    loop {
        let got = match from.read(&mut buffer[kept..]) {
            Ok(got) => got,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Bad::Refuse(files::trouble("read", &file.path, &error))),
        };
        let (have, last) = (kept + got, got == 0);
        // A byte order mark has three bytes; wait until it can be told from text.
        if first && have < 3 && !last {
            kept = have;
            continue;
        }
        let mark = first && buffer[..have].starts_with(b"\xEF\xBB\xBF");
        first = false;
        let start = if mark { 3 } else { 0 };
        let valid = start + whole_characters(&buffer[start..have], last)?;
        let hold = usize::from(!last && buffer[start..valid].ends_with(b"\r"));
        let text = &buffer[start..valid - hold];
        if text.contains(&0) {
            return Err(Bad::Skip(
                "contains a NUL byte, which stands between documents; is it a text file?".to_owned(),
            ));
        }
        if !text.is_empty() {
            sink(Piece::Text(&unix_lines(text)))?;
            any = true;
        }
        if last {
            break;
        }
        kept = have - (valid - hold);
        buffer.copy_within(valid - hold..have, 0);
    }
    if any { Ok(sink(Piece::End)?) } else { Ok(()) }
}

/// How many of the bytes are whole characters; an incomplete one may only stand at the end of a piece
/// that is not the last.
fn whole_characters(bytes: &[u8], last: bool) -> Result<usize, Bad> {
    match std::str::from_utf8(bytes) {
        Ok(_) => Ok(bytes.len()),
        Err(error) if error.error_len().is_none() && !last => Ok(error.valid_up_to()),
        Err(_) => Err(Bad::Skip("is not UTF-8; convert it first".to_owned())),
    }
}

fn read_jsonl(file: &Candidate, mut from: impl BufRead, sink: &mut Sink<'_>) -> Result<(), Bad> {
    #[derive(Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        text: Cow<'a, str>,
    }
    let mut line = Vec::new();
    for number in 1u64.. {
        line.clear();
        from.by_ref()
            .take(MAX_LINE + 1)
            .read_until(b'\n', &mut line)
            .map_err(|e| files::trouble("read", &file.path, &e))?;
        if line.is_empty() {
            break;
        }
        let refuse = |column: usize, what: &str| {
            let at = if column == 0 { String::new() } else { format!(", column {column}") };
            Bad::Refuse(anyhow::anyhow!(
                "{}: line {number}{at}: {what}; correct the line or leave the file out, nothing was imported",
                file.path.display()
            ))
        };
        if line.len() as u64 > MAX_LINE {
            return Err(refuse(0, "is over 64 MiB"));
        }
        let content = if number == 1 { line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&line) } else { &line };
        if content.trim_ascii().is_empty() {
            continue;
        }
        let parsed: Line<'_> = serde_json::from_slice(content).map_err(|error| {
            let what = error.to_string();
            // serde_json ends in a position of its own; its line is always 1 here.
            refuse(error.column(), what.split(" at line ").next().unwrap_or(&what))
        })?;
        if parsed.text.contains('\0') {
            return Err(refuse(0, "the text contains a NUL character, which stands between documents"));
        }
        if !parsed.text.is_empty() {
            sink(Piece::Text(&unix_lines(parsed.text.as_bytes())))?;
            sink(Piece::End)?;
        }
    }
    Ok(())
}

/// `\r\n` as `\n`.
fn unix_lines(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.windows(2).any(|pair| pair == b"\r\n") {
        return Cow::Borrowed(text);
    }
    let next = text.iter().skip(1).copied().map(Some).chain([None]);
    Cow::Owned(
        text.iter().copied().zip(next).filter(|pair| *pair != (b'\r', Some(b'\n'))).map(|(byte, _)| byte).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte a read, so that every boundary falls everywhere.
    struct Drip<'a>(&'a [u8]);
    impl Read for Drip<'_> {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            let got = self.0.len().min(1);
            into[..got].copy_from_slice(&self.0[..got]);
            self.0 = &self.0[got..];
            Ok(got)
        }
    }

    fn file() -> Candidate {
        Candidate { path: "f".into(), real: "f".into(), name: "f".into(), bytes: 0, form: Form::Txt }
    }

    fn collect(read: impl FnOnce(&mut Sink<'_>) -> Result<(), Bad>) -> Result<Vec<String>, String> {
        let (mut documents, mut open) = (Vec::new(), Vec::new());
        let result = read(&mut |piece| {
            match piece {
                Piece::Text(text) => open.extend_from_slice(text),
                Piece::End => documents.push(String::from_utf8(std::mem::take(&mut open))?),
            }
            Ok(())
        });
        match result {
            Ok(()) => Ok(documents),
            Err(Bad::Skip(why)) => Err(why),
            Err(Bad::Refuse(error)) => Err(error.to_string()),
        }
    }

    #[test]
    fn text_is_cleaned_alike_in_one_piece_and_byte_by_byte() {
        let cases: [(&[u8], &str); 6] = [
            (b"\xEF\xBB\xBFa\r\nb\rc\r\n\r\n", "a\nb\rc\n\n"),
            ("é€😀\r".as_bytes(), "é€😀\r"),
            (b"\xEF\xBB", "is not UTF-8"),
            (b"ab\xFFcd", "is not UTF-8"),
            (b"a\0b", "NUL"),
            (b"ab", "ab"),
        ];
        for (bytes, expected) in cases {
            let whole = collect(|sink| read_txt(&file(), bytes, sink));
            let drip = collect(|sink| read_txt(&file(), Drip(bytes), sink));
            assert_eq!(whole, drip);
            match whole {
                Ok(documents) => assert_eq!(documents, [expected]),
                Err(why) => assert!(why.contains(expected), "{why}"),
            }
        }
        assert_eq!(collect(|sink| read_txt(&file(), &b"\xEF\xBB\xBF"[..], sink)), Ok(vec![]));
    }

    #[test]
    fn every_line_is_a_document_and_a_bad_one_is_named() {
        let read = |text: &'static str| collect(|sink| read_jsonl(&file(), text.as_bytes(), sink));
        let good = "{\"text\":\"one\\r\\ntwo\",\"id\":7}\n\n{\"text\":\"\"}\r\n{\"text\":\"three\"}";
        assert_eq!(read(good), Ok(vec!["one\ntwo".into(), "three".into()]));
        for (text, expected) in [
            ("{\"text\":\"a\"}\n{\"text\":", "f: line 2, column 8: EOF"),
            ("{\"body\":\"a\"}", "line 1, column 12: missing field `text`"),
            ("{\"text\":5}", "line 1, column 9: invalid type"),
            ("{\"text\":\"a\\u0000\"}", "line 1: the text contains a NUL"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
