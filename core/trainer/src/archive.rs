//! Files as one ZIP archive without compression, which weights would hardly profit from and every system opens.
//!
//! Format: PKWARE's APPNOTE 6.3.10, sections 4.3.7 (a file), 4.3.12 (its directory entry) and 4.3.16 (the end). There
//! is no time in it, so the same files make the same bytes. Refuses what needs the format's 64-bit form, which is more
//! than a blob can have.

use bytes::Bytes;

use crate::error::TrainerError;

/// The version of the format that a reader must know: 1.0, in tenths.
const VERSION: u16 = 10;

/// The first day that the format can name, 1980-01-01: year since 1980, month and day in 7, 4 and 5 bits.
const DAY: u16 = 1 << 5 | 1;

/// An archive of files by their paths in it, in the order that they are in. The files' bytes are not copied.
pub(crate) fn zip(files: Vec<(String, Vec<u8>)>) -> Result<Vec<Bytes>, TrainerError> {
    let too_large = || TrainerError::Pack("they are too large for one archive".to_owned());
    let size = |bytes: usize| u32::try_from(bytes).map_err(|_| too_large());
    let (mut pieces, mut directory, mut offset) = (Vec::new(), Vec::new(), 0);
    let count = u16::try_from(files.len()).map_err(|_| too_large())?;
    for (name, bytes) in files {
        let name_bytes = u16::try_from(name.len()).map_err(|_| too_large())?;
        // What both headers say of a file: no flags, stored, at midnight of that day, checksum, both sizes, lengths.
        let mut facts = Vec::new();
        [VERSION, 0, 0, 0, DAY].iter().for_each(|value| facts.extend(value.to_le_bytes()));
        let length = size(bytes.len())?;
        [crc32fast::hash(&bytes), length, length].iter().for_each(|value| facts.extend(value.to_le_bytes()));
        [name_bytes, 0].iter().for_each(|value| facts.extend(value.to_le_bytes()));

        let header = [&b"PK\x03\x04"[..], &facts, name.as_bytes()].concat();
        directory.extend([&b"PK\x01\x02"[..], &VERSION.to_le_bytes(), &facts].concat());
        // No comment, on the first disk, no attributes.
        directory.extend([0; 10]);
        directory.extend(size(offset)?.to_le_bytes());
        directory.extend(name.as_bytes());
        offset += header.len() + bytes.len();
        pieces.extend([Bytes::from(header), Bytes::from(bytes)]);
    }
    let mut end = b"PK\x05\x06\0\0\0\0".to_vec();
    [count, count].iter().for_each(|value| end.extend(value.to_le_bytes()));
    [size(directory.len())?, size(offset)?].iter().for_each(|value| end.extend(value.to_le_bytes()));
    end.extend([0; 2]);
    pieces.extend([Bytes::from(directory), Bytes::from(end)]);
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads an archive the way that readers do: from its end.
    fn unzip(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
        let u16_at = |at: usize| usize::from(u16::from_le_bytes([archive[at], archive[at + 1]]));
        let u32_at = |at: usize| u16_at(at) | u16_at(at + 2) << 16;
        let end = archive.len() - 22;
        assert_eq!(&archive[end..end + 4], b"PK\x05\x06");
        assert_eq!(u32_at(end + 16) + u32_at(end + 12), end);
        let mut entry = u32_at(end + 16);
        let files = (0..u16_at(end + 10)).map(|_| {
            assert_eq!(&archive[entry..entry + 4], b"PK\x01\x02");
            let (file, size, name) = (u32_at(entry + 42), u32_at(entry + 24), u16_at(entry + 28));
            assert_eq!(&archive[file..file + 4], b"PK\x03\x04");
            // The file's own header says the same of it.
            assert_eq!(archive[file + 4..file + 30], archive[entry + 6..entry + 32]);
            let path = &archive[file + 30..file + 30 + name];
            assert_eq!(path, &archive[entry + 46..entry + 46 + name]);
            let bytes = &archive[file + 30 + name..file + 30 + name + size];
            assert_eq!(u32_at(file + 14) as u32, crc32fast::hash(bytes));
            entry += 46 + name;
            (String::from_utf8(path.to_vec()).unwrap(), bytes.to_vec())
        });
        files.collect()
    }

    #[test]
    fn what_goes_in_comes_out() {
        let file = |name: &str, bytes: &[u8]| (name.to_owned(), bytes.to_vec());
        for files in [
            vec![],
            vec![file("empty", b"")],
            vec![file("folder/a.bin", &[7; 70_000]), file("folder/b", b"PK\x05\x06"), file("c", b"text")],
        ] {
            let pieces = zip(files.clone()).unwrap();
            assert_eq!(unzip(&pieces.concat()), files);
        }
    }
}
