//! A link's texts, and the proof that comes of the signatures.
//!
//! Enters: who links which wallet where and when, and what the wallet signed. Leaves: the texts that it signs, and the bytes
//! that the coordinator takes. Refuses addresses and chains that are none, and a signature by another account.

use serde::{Deserialize, Serialize};
use tributary_ledger::abi::{hex, unhex};
use tributary_ledger::{
    LinkMessage, LinkProof, MESSAGE_SECONDS, Wallet, WalletProof, checksummed, personal_hash, recover,
};
use tributary_protocol::{Id, Identity};
use tsify::Tsify;

use super::WalletError;

/// What a link is about.
#[derive(Debug, Clone, Serialize, Deserialize, Tsify)]
pub struct LinkTerms {
    /// Whose earnings: a peer id.
    pub peer: String,
    /// `location.origin`.
    pub origin: String,
    /// The account, as the wallet writes it.
    pub wallet: String,
    /// The chain's id, as the wallet writes it (hex) or in decimal digits.
    pub chain: String,
    /// The coordinator's.
    pub nonce: String,
    /// When it gave that, in seconds since 1970.
    pub issued: u64,
}

/// What wallets are asked to sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Tsify)]
pub struct LinkTexts {
    /// By the wallet.
    pub text: String,
    /// By the wallet that was paid until then, if it lets the other take its place at once.
    pub handover: String,
}

/// What a wallet signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Tsify)]
pub struct WalletSignature {
    /// Hex.
    pub signature: String,
    /// Whether a contract is to be asked about it (EIP-1271).
    pub contract: bool,
}

/// The texts.
pub(crate) fn texts(terms: &LinkTerms) -> Result<LinkTexts, WalletError> {
    let domain = terms.origin.split_once("://").map_or("", |(_, host)| host).to_owned();
    let peer: Id = terms.peer.parse().map_err(|_| WalletError::Peer(terms.peer.clone()))?;
    let message = LinkMessage {
        domain,
        uri: terms.origin.clone(),
        wallet: wallet(&terms.wallet)?,
        chain: chain(&terms.chain)?,
        nonce: terms.nonce.clone(),
        issued: terms.issued,
        expires: terms.issued + MESSAGE_SECONDS,
        peer: peer.0,
    };
    message.check()?;
    Ok(LinkTexts { text: message.to_string(), handover: message.handover() })
}

/// What an account signed for a text. `code`: what the chain has at its address, hex: a contract's signature is for the
/// contract to judge.
pub(crate) fn signed(text: &str, signature: &str, by: &str, code: &str) -> Result<WalletSignature, WalletError> {
    let by = wallet(by)?;
    let mut bytes = unhex(signature).unwrap_or_default();
    // Some wallets give the parity itself.
    if let [_, .., v @ (0 | 1)] = &mut bytes[..]
        && unhex(signature).is_some_and(|all| all.len() == 65)
    {
        *v += 27;
    }
    if recover(&personal_hash(text), &bytes) == Some(by) {
        return Ok(WalletSignature { signature: hex(&bytes), contract: false });
    }
    if code.len() > 2 && !bytes.is_empty() {
        return Ok(WalletSignature { signature: signature.to_owned(), contract: true });
    }
    Err(WalletError::Signer(checksummed(&by)))
}

/// The proof, hex.
pub(crate) fn proof(
    secret: &[u8],
    text: String,
    by: &WalletSignature,
    handover: Option<&str>,
) -> Result<String, WalletError> {
    let secret = secret.try_into().map_err(|_| WalletError::Secret)?;
    let signature = unhex(&by.signature).unwrap_or_default();
    // The coordinator writes in at which block it asked.
    let wallet = if by.contract { WalletProof::Contract { signature, block: 0 } } else { WalletProof::Key(signature) };
    let peer = Identity::from_secret(secret).sign_link(&text);
    Ok(hex(&LinkProof { message: text, peer, wallet, handover: handover.and_then(unhex) }.to_bytes()))
}

/// An address as wallets write it.
pub(crate) fn wallet(text: &str) -> Result<Wallet, WalletError> {
    let bytes = unhex(text).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| WalletError::Address(text.chars().take(60).collect()))
}

/// A chain's id as wallets or the coordinator write it.
pub(crate) fn chain(text: &str) -> Result<u64, WalletError> {
    let number = text.strip_prefix("0x").map_or_else(|| text.parse(), |hex| u64::from_str_radix(hex, 16));
    number.map_err(|_| WalletError::Chain(text.chars().take(60).collect()))
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use k256::ecdsa::SigningKey;
    use tributary_ledger::{Key, address_of};

    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_slice(&[7; 32]).unwrap()
    }

    fn address() -> String {
        hex(&address_of(key().verifying_key()))
    }

    fn sign(text: &str, first: u8) -> String {
        let (signature, parity) = key().sign_prehash_recoverable(&personal_hash(text)).unwrap();
        hex(&[&signature.to_bytes()[..], &[first + parity.to_byte()]].concat())
    }

    fn terms(peer: &Identity) -> LinkTerms {
        LinkTerms {
            peer: peer.id().to_string(),
            origin: "https://train.example:8080".into(),
            wallet: address(),
            chain: "0x7a69".into(),
            nonce: "nonce00001".into(),
            issued: 1_700_000_000,
        }
    }

    #[test]
    fn what_the_page_makes_the_ledger_takes() {
        let me = Identity::from_secret([1; 32]);
        let made = texts(&terms(&me)).unwrap();
        let said = LinkMessage::parse(&made.text).unwrap();
        assert_eq!((said.chain, said.expires, said.handover()), (31_337, 1_700_000_300, made.handover.clone()));
        for first in [0, 27] {
            let by = signed(&made.text, &sign(&made.text, first), &address(), "0x").unwrap();
            assert!(!by.contract);
            let bytes = proof(&[1; 32], made.text.clone(), &by, Some(&sign(&made.handover, 27))).unwrap();
            let proof = LinkProof::from_bytes(&unhex(&bytes).unwrap()).unwrap();
            let who: Key = me.id().0;
            assert_eq!(proof.check(&who, &wallet(&address()).unwrap()), Ok(said.clone()));
            assert_eq!(proof.handover.map(|bytes| bytes.len()), Some(65));
        }
    }

    #[test]
    fn a_contracts_signature_is_for_the_contract() {
        let text = texts(&terms(&Identity::from_secret([1; 32]))).unwrap().text;
        let other = "0x1111111111111111111111111111111111111111";
        let refused = Err(WalletError::Signer(checksummed(&[0x11; 20])));
        assert_eq!(signed(&text, &sign(&text, 27), other, "0x"), refused);
        assert_eq!(signed(&text, "0x", other, "0x60"), refused);
        assert_eq!(
            signed(&text, "nonsense", &address(), "0x"),
            Err(WalletError::Signer(checksummed(&wallet(&address()).unwrap())))
        );
        let by = signed(&text, &sign(&text, 27), other, "0x6001").unwrap();
        assert!(by.contract);
        let bytes = unhex(&proof(&[1; 32], text, &by, None).unwrap()).unwrap();
        assert!(matches!(LinkProof::from_bytes(&bytes).unwrap().wallet, WalletProof::Contract { block: 0, .. }));
    }

    #[test]
    fn what_no_link_can_be_made_of_is_refused() {
        let good = terms(&Identity::from_secret([1; 32]));
        let refused = |change: fn(&mut LinkTerms)| {
            let mut terms = good.clone();
            change(&mut terms);
            texts(&terms).unwrap_err()
        };
        assert!(matches!(refused(|terms| terms.wallet.truncate(41)), WalletError::Address(_)));
        assert!(matches!(refused(|terms| terms.chain = "main".into()), WalletError::Chain(_)));
        assert!(matches!(refused(|terms| terms.peer = "me".into()), WalletError::Peer(_)));
        assert!(matches!(refused(|terms| terms.origin = "null".into()), WalletError::Message(_)));
        assert!(matches!(refused(|terms| terms.nonce = "a b".into()), WalletError::Message(_)));
        assert_eq!(
            proof(&[1; 31], String::new(), &WalletSignature { signature: "0x".into(), contract: false }, None),
            Err(WalletError::Secret)
        );
    }
}
