//! What shows that a contributor and a wallet belong together.
//!
//! Enters: a text that both signed, [`LinkMessage`], and the signatures. Leaves: what the text says. Refuses a text about
//! another contributor or wallet and signatures by others. What only a chain knows, a contract wallet's consent
//! (EIP-1271), is not checked here: the block at which the coordinator asked stands in the log, and anyone can ask again.

use ed25519_dalek::{Signature as PeerSignature, VerifyingKey as PeerKey};
use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::siwe::personal_hash;
use crate::{Digest, Key, LinkMessage, MAX_ENTRY, MessageError, Wallet, bytes, keccak256};

/// Bytes of a proof: what an entry has room for beside its version, its kind, a key, an address and a length.
pub const MAX_PROOF: usize = MAX_ENTRY - 56;

/// Stands before the hash that a contributor's key signs, so that the signature counts for nothing else.
const CONTEXT: &[u8] = b"tributary link v1\0";

/// The proof of an [`crate::Entry::Linked`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkProof {
    /// The text.
    pub message: String,
    /// The contributor's signature of [`LinkProof::peer_signs`], 64 bytes.
    pub peer: Vec<u8>,
    /// The wallet's.
    pub wallet: WalletProof,
    /// The signature of [`LinkMessage::handover`] by the wallet that was paid until now, 65 bytes. Without it another
    /// wallet waits, [`crate::Rule::relink`].
    pub handover: Option<Vec<u8>>,
}

/// How a wallet consents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum WalletProof {
    /// By its key's signature of the text (EIP-191): r, s, and v of 27 or 28.
    Key(Vec<u8>),
    /// A contract said yes to these bytes (EIP-1271).
    Contract {
        /// What it was asked about.
        signature: Vec<u8>,
        /// The block at which it was asked.
        block: u64,
    },
    /// Not at all: whoever holds the contributor's key typed the address in.
    Unproven,
}

/// How a wallet consented, without what shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkedBy {
    /// Its key signed.
    Key,
    /// Its contract said yes.
    Contract,
    /// Not at all.
    Unproven,
}

impl WalletProof {
    /// Its kind.
    pub fn by(&self) -> LinkedBy {
        match self {
            Self::Key(_) => LinkedBy::Key,
            Self::Contract { .. } => LinkedBy::Contract,
            Self::Unproven => LinkedBy::Unproven,
        }
    }
}

/// Why a link is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Not the bytes of a proof, or not the only ones.
    #[error("the proof is damaged")]
    Form,
    /// More than [`MAX_PROOF`].
    #[error("the proof has more bytes than an entry of the log has room for")]
    TooLong,
    /// The text is not a link's.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The text is about somebody else.
    #[error("the signed text is about another contributor or another wallet")]
    About,
    /// Not the contributor's signature.
    #[error("the contributor's key did not sign it")]
    Peer,
    /// Not the wallet's.
    #[error("the wallet did not sign it")]
    Wallet,
    /// Not the signature of the wallet that is paid until now.
    #[error("the wallet that is paid until now did not sign that another takes its place")]
    Handover,
    /// An older text, or the same again.
    #[error("a text as new or newer was used for this contributor before: sign a new one")]
    Old,
    /// Too many wallets.
    #[error("the contributor has named too many wallets; a new identity can name more")]
    TooMany,
}

impl LinkProof {
    /// Its bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("a proof has a finite serde form")
    }

    /// The proof of these bytes, if [`LinkProof::to_bytes`] gives exactly them.
    pub fn from_bytes(from: &[u8]) -> Result<Self, LinkError> {
        if from.len() > MAX_PROOF {
            return Err(LinkError::TooLong);
        }
        let proof: Self = postcard::from_bytes(from).map_err(|_| LinkError::Form)?;
        if bytes::are_of(from, &proof) { Ok(proof) } else { Err(LinkError::Form) }
    }

    /// What the contributor's key signs for a text: the hash that the wallet signs, in a context of its own.
    pub fn peer_signs(message: &str) -> Vec<u8> {
        [CONTEXT, &personal_hash(message)].concat()
    }

    /// What the text says, if it is about these two and they signed it.
    pub fn check(&self, who: &Key, wallet: &Wallet) -> Result<LinkMessage, LinkError> {
        let message = LinkMessage::parse(&self.message)?;
        if message.peer != *who || message.wallet != *wallet {
            return Err(LinkError::About);
        }
        let signed = PeerSignature::from_slice(&self.peer).and_then(|signature| {
            PeerKey::from_bytes(who)?.verify_strict(&Self::peer_signs(&self.message), &signature)
        });
        signed.map_err(|_| LinkError::Peer)?;
        match &self.wallet {
            WalletProof::Key(signature) if recover(&personal_hash(&self.message), signature) != Some(*wallet) => {
                Err(LinkError::Wallet)
            }
            _ => Ok(message),
        }
    }

    /// Whether the wallet that is paid until now lets the text's take its place; an error if another signed that.
    pub(crate) fn hands_over(&self, message: &LinkMessage, until_now: &Wallet) -> Result<bool, LinkError> {
        match &self.handover {
            None => Ok(false),
            Some(signature) if recover(&personal_hash(&message.handover()), signature) == Some(*until_now) => Ok(true),
            Some(_) => Err(LinkError::Handover),
        }
    }
}

/// The address whose key signed a hash: r, s in the lower half (EIP-2), and v of 27 or 28, so that there is one
/// signature of a kind.
pub fn recover(hash: &Digest, signature: &[u8]) -> Option<Wallet> {
    let (v, rs) = signature.split_last()?;
    let parity = v.checked_sub(27).filter(|parity| *parity < 2)?;
    let signature = Signature::from_slice(rs).ok().filter(|signature| signature.normalize_s().is_none())?;
    let key = VerifyingKey::recover_from_prehash(hash, &signature, RecoveryId::from_byte(parity)?).ok()?;
    Some(address_of(&key))
}

/// The address of a key: the last 20 bytes of its hash.
pub fn address_of(key: &VerifyingKey) -> Wallet {
    let hash = keccak256(&key.to_encoded_point(false).as_bytes()[1..]);
    let mut wallet = [0; 20];
    wallet.copy_from_slice(&hash[12..]);
    wallet
}
