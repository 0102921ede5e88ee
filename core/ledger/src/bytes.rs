//! The byte strings of entries: fields that are read and written whole, and the check that an entry has one of them.
//!
//! serde takes a `Vec<u8>` byte by byte; [`serialize`] and [`deserialize`] give the same form in one piece.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserializer, Serialize, Serializer};

/// Writes a field of bytes.
pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_bytes(bytes)
}

/// Reads a field of bytes.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    struct Bytes;
    impl Visitor<'_> for Bytes {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }
    }
    from.deserialize_bytes(Bytes)
}

/// Whether postcard writes `value` as exactly these bytes.
pub(crate) fn are_of(bytes: &[u8], value: &impl Serialize) -> bool {
    postcard::serialize_with_flavor(value, Rest(bytes)).is_ok_and(|rest| rest.is_empty())
}

/// What is left of the bytes that are expected: compares what is written in place of keeping it.
struct Rest<'a>(&'a [u8]);

impl<'a> postcard::ser_flavors::Flavor for Rest<'a> {
    type Output = &'a [u8];

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        match self.0.split_first() {
            Some((first, rest)) if *first == byte => self.0 = rest,
            _ => return Err(postcard::Error::SerializeBufferFull),
        }
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0 = self.0.strip_prefix(bytes).ok_or(postcard::Error::SerializeBufferFull)?;
        Ok(())
    }

    fn finalize(self) -> postcard::Result<&'a [u8]> {
        Ok(self.0)
    }
}
