//! Signatures: a value's canonical bytes under the libp2p identity.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tributary_ledger::LinkProof;

use crate::Id;

/// An Ed25519 key pair, the same that libp2p authenticates the connection with.
#[derive(Clone)]
pub struct Identity(SigningKey);

impl Identity {
    /// The identity of this 32-byte secret, which must come from a good random source.
    pub fn from_secret(secret: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&secret))
    }

    /// The secret, to be stored where only its owner reads.
    pub fn secret(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The public name.
    pub fn id(&self) -> Id {
        Id(self.0.verifying_key().to_bytes())
    }

    /// The contributor's half of a [`LinkProof`]: its signature of what stands for a link's text.
    pub fn sign_link(&self, text: &str) -> Vec<u8> {
        self.0.sign(&LinkProof::peer_signs(text)).to_bytes().to_vec()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({:?})", self.id())
    }
}

/// A value that gets signed, with a context of its own so that no signature counts for two types.
pub trait Signable: Serialize + DeserializeOwned {
    /// Stands before the bytes that are signed; ends in the type's version.
    const CONTEXT: &'static str;
}

/// The bytes of a `T` with a signature over them. What was signed is kept as it was, so that a
/// later reader checks the very same bytes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Signed<T> {
    body: Bytes,
    signer: Id,
    // 64 bytes; serde has no arrays of that length.
    signature: Vec<u8>,
    #[serde(skip)]
    of: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for Signed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signed({} bytes by {:?})", self.body.len(), self.signer)
    }
}

impl<T: Signable> Signed<T> {
    /// Signs `value`.
    pub fn new(identity: &Identity, value: &T) -> Self {
        let body = Bytes::from(postcard::to_stdvec(value).expect("a signable value has a finite serde form"));
        let signature = identity.0.sign(&Self::message(&body)).to_bytes().to_vec();
        Self { body, signer: identity.id(), signature, of: PhantomData }
    }

    /// The value, if `signer` and nobody else signed it.
    pub fn open(&self, signer: &Id) -> Result<T, SignError> {
        if self.signer != *signer {
            return Err(SignError::Signer { expected: *signer, got: self.signer });
        }
        let key = VerifyingKey::from_bytes(&self.signer.0).map_err(|_| SignError::Signature)?;
        let signature = Signature::from_slice(&self.signature).map_err(|_| SignError::Signature)?;
        key.verify_strict(&Self::message(&self.body), &signature).map_err(|_| SignError::Signature)?;
        match postcard::take_from_bytes(&self.body) {
            Ok((value, [])) => Ok(value),
            _ => Err(SignError::Body),
        }
    }

    /// Who claims to have signed. Only [`Signed::open`] says whether it is true.
    pub fn signer(&self) -> Id {
        self.signer
    }

    fn message(body: &[u8]) -> Vec<u8> {
        [T::CONTEXT.as_bytes(), &[0], body].concat()
    }
}

/// Why a signed value was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// Signed by somebody else.
    #[error("signed by {got} and not by {expected}")]
    Signer {
        /// Who should have signed.
        expected: Id,
        /// Who claims to have.
        got: Id,
    },
    /// Not a signature of these bytes.
    #[error("the signature does not fit the bytes")]
    Signature,
    /// Signed rightly, but not a value of this type.
    #[error("the signed bytes are not a value of the expected type")]
    Body,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Note(u64);
    impl Signable for Note {
        const CONTEXT: &'static str = "tributary test note v1";
    }
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Other(u64);
    impl Signable for Other {
        const CONTEXT: &'static str = "tributary test other v1";
    }

    #[test]
    fn only_the_signer_the_type_and_the_bytes_open_it() {
        let (me, you) = (Identity::from_secret([1; 32]), Identity::from_secret([2; 32]));
        let signed = Signed::new(&me, &Note(5));
        assert_eq!(signed.open(&me.id()), Ok(Note(5)));
        assert!(matches!(signed.open(&you.id()), Err(SignError::Signer { .. })));
        let bytes = postcard::to_stdvec(&signed).unwrap();
        let other: Signed<Other> = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(other.open(&me.id()), Err(SignError::Signature));
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            if let Ok(forged) = postcard::from_bytes::<Signed<Note>>(&bytes) {
                assert!(forged.open(&me.id()).is_err(), "byte {at}");
            }
        }
    }
}
