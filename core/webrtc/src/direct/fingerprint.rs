//! The hash of a DTLS certificate, in its three spellings.
//!
//! Enters and leaves: the multihash of a `/certhash`, the `sha-256 AB:CD:…` of an SDP (RFC 8122), raw bytes.
//! Refuses: every hash function but SHA-256, the one that the libp2p specification demands.

use std::fmt::{self, Write as _};

use libp2p::multihash::Multihash;

/// SHA-256's code in the table of multihashes.
const SHA2_256: u64 = 0x12;
/// SHA-256's name in an SDP.
const NAME: &str = "sha-256";

/// The SHA-256 of a certificate in DER.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of 32 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Of what stands after `/certhash/`. `None`: not a SHA-256.
    #[must_use]
    pub fn from_multihash(hash: &Multihash<64>) -> Option<Self> {
        if hash.code() != SHA2_256 {
            return None;
        }
        hash.digest().try_into().ok().map(Self)
    }

    /// Of what stands after `a=fingerprint:`. `None`: not a SHA-256, or not 32 pairs of hexadecimal digits.
    #[must_use]
    pub fn from_sdp(text: &str) -> Option<Self> {
        let (name, pairs) = text.split_once(' ')?;
        if !name.eq_ignore_ascii_case(NAME) {
            return None;
        }
        let mut bytes = [0; 32];
        let mut pairs = pairs.split(':');
        for byte in &mut bytes {
            let pair = pairs.next().filter(|pair| pair.len() == 2 && pair.bytes().all(|c| c.is_ascii_hexdigit()))?;
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        pairs.next().is_none().then_some(Self(bytes))
    }

    /// For `/certhash`, and in the Noise prologue.
    #[must_use]
    pub fn to_multihash(self) -> Multihash<64> {
        Multihash::wrap(SHA2_256, &self.0).unwrap_or_default()
    }

    /// For `a=fingerprint:`.
    #[must_use]
    pub fn to_sdp(self) -> String {
        let mut text = NAME.to_owned();
        for (place, byte) in self.0.iter().enumerate() {
            let separator = if place == 0 { ' ' } else { ':' };
            // Writing to a String cannot fail.
            let _ = write!(text, "{separator}{byte:02X}");
        }
        text
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_sdp())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn all_spellings_name_the_same_hash(bytes: [u8; 32]) {
            let fingerprint = Fingerprint::from_bytes(bytes);
            prop_assert_eq!(Fingerprint::from_sdp(&fingerprint.to_sdp()), Some(fingerprint));
            prop_assert_eq!(Fingerprint::from_sdp(&fingerprint.to_sdp().to_lowercase()), Some(fingerprint));
            prop_assert_eq!(Fingerprint::from_multihash(&fingerprint.to_multihash()), Some(fingerprint));
        }

        #[test]
        fn any_text_is_refused_or_read(text in ".{0,120}") {
            if let Some(read) = Fingerprint::from_sdp(&text) {
                prop_assert_eq!(read.to_sdp().to_lowercase(), text.to_lowercase());
            }
        }
    }

    #[test]
    fn other_hashes_are_refused() {
        let good = Fingerprint::from_bytes([7; 32]).to_sdp();
        for bad in [
            good.replace("sha-256", "sha-1"),
            good.replace("sha-256 ", "sha-256"),
            format!("{good}:07"),
            good[..good.len() - 3].to_owned(),
            good.replacen("07", "+7", 1),
            good.replacen("07", "007", 1),
        ] {
            assert_eq!(Fingerprint::from_sdp(&bad), None, "{bad}");
        }
        assert_eq!(Fingerprint::from_multihash(&Multihash::wrap(0x13, &[0; 64]).unwrap()), None);
        assert_eq!(Fingerprint::from_multihash(&Multihash::wrap(SHA2_256, &[0; 31]).unwrap()), None);
    }
}
