//! The listener's DTLS certificate, whose hash stands in its address.

use std::fmt;
use std::time::{Duration, SystemTime};

use rtc::crypto::{SignatureScheme, default_provider};
use rtc::peer_connection::certificate::{CertificateParams, RTCCertificate};

use super::super::Fingerprint;

/// Nobody looks at when it expires: it is known by its hash alone.
const LIFETIME: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A certificate with its key. Kept between runs, it keeps the listener's address the same.
#[derive(Clone)]
pub struct Certificate {
    pub(super) inner: RTCCertificate,
    fingerprint: Fingerprint,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the WebRTC certificate cannot be used: {0}. Without its file a new one is made, with a new address")]
pub struct Unusable(String);

impl Certificate {
    /// A new one.
    pub fn generate() -> Result<Self, Unusable> {
        let provider = default_provider().map_err(unusable)?;
        let params = CertificateParams::new(Vec::new()).map_err(unusable)?;
        Self::new(
            RTCCertificate::generate(provider.crypto(), SignatureScheme::EcdsaP256Sha256, params).map_err(unusable)?,
        )
    }

    /// Reads what [`Self::to_pem`] wrote.
    pub fn from_pem(pem: &str) -> Result<Self, Unusable> {
        let provider = default_provider().map_err(unusable)?;
        let inner = rtc::dtls::crypto::Certificate::from_pem(pem, provider.crypto()).map_err(unusable)?;
        Self::new(RTCCertificate::from_existing(inner, SystemTime::now() + LIFETIME))
    }

    /// The certificate and its secret key, for a file that only its owner may read.
    pub fn to_pem(&self) -> Result<String, Unusable> {
        let all = self.inner.serialize_pem().map_err(unusable)?;
        // The first block is a date that only crate `rtc` knows, and that it panics on when it is cut short.
        let (_, pem) = all.split_once("\n\n").unwrap_or(("", &all));
        Ok(pem.to_owned())
    }

    /// Its hash.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    fn new(inner: RTCCertificate) -> Result<Self, Unusable> {
        let provider = default_provider().map_err(unusable)?;
        let fingerprints = inner.get_fingerprints(provider.crypto()).map_err(unusable)?;
        let first = fingerprints.first().map(|found| format!("{} {}", found.algorithm, found.value));
        let fingerprint = first.as_deref().and_then(Fingerprint::from_sdp);
        let fingerprint = fingerprint.ok_or_else(|| Unusable("it holds no certificate".to_owned()))?;
        Ok(Self { inner, fingerprint })
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the key.
        f.debug_tuple("Certificate").field(&self.fingerprint).finish()
    }
}

fn unusable(error: impl fmt::Display) -> Unusable {
    Unusable(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_certificate_keeps_its_hash() {
        let made = Certificate::generate().unwrap();
        let read = Certificate::from_pem(&made.to_pem().unwrap()).unwrap();
        assert_eq!(read.fingerprint(), made.fingerprint());
        assert_ne!(Certificate::generate().unwrap().fingerprint(), made.fingerprint());
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let pem = Certificate::generate().unwrap().to_pem().unwrap();
        let half = &pem[..pem.len() / 2];
        for bad in ["", "-----BEGIN CERTIFICATE-----", half, "nonsense"] {
            let error = Certificate::from_pem(bad).unwrap_err().to_string();
            assert!(error.contains("cannot be used"), "{error}");
        }
    }

    #[test]
    fn its_key_is_never_logged() {
        let made = Certificate::generate().unwrap();
        let logged = format!("{made:?}");
        assert!(logged.len() < 140 && logged.contains("sha-256"), "{logged}");
    }
}
