//! Entries as the coordinator hands them out: each with its length before it, u32 little-endian.

use crate::MAX_ENTRY;

/// Bytes that are not whole frames of at most [`MAX_ENTRY`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an entry of the log is too long or cut off")]
pub struct FrameError;

/// Each with its length before it.
pub fn frame_all<B: AsRef<[u8]>>(rows: impl IntoIterator<Item = B>) -> Vec<u8> {
    let mut all = Vec::new();
    for row in rows {
        all.extend_from_slice(&(row.as_ref().len() as u32).to_le_bytes());
        all.extend_from_slice(row.as_ref());
    }
    all
}

/// What [`frame_all`] was given.
pub fn frames(mut bytes: &[u8]) -> Result<Vec<&[u8]>, FrameError> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<4>() {
        let len = u32::from_le_bytes(*head) as usize;
        let (row, rest) = rest.split_at_checked(len).filter(|_| len <= MAX_ENTRY).ok_or(FrameError)?;
        frames.push(row);
        bytes = rest;
    }
    if bytes.is_empty() { Ok(frames) } else { Err(FrameError) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_whole_or_refused() {
        let rows: [&[u8]; 3] = [b"one", b"", b"three"];
        let bytes = frame_all(rows);
        assert_eq!(frames(&bytes), Ok(rows.to_vec()));
        for cut in [1, 3, 5, 8, bytes.len() - 1] {
            assert_eq!(frames(&bytes[..cut]), Err(FrameError), "{cut}");
        }
        assert_eq!(frames(&frame_all([vec![0; MAX_ENTRY + 1]])), Err(FrameError));
    }
}
