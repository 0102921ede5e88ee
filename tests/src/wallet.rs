//! Wallets for tests: numbered keys that sign as wallets do, and links made with them.

use k256::ecdsa::SigningKey;
use tributary_ledger::{LinkMessage, LinkProof, Wallet, WalletProof, address_of, personal_hash};
use tributary_protocol::Identity;

fn key(n: u8) -> SigningKey {
    let mut secret = [1; 32];
    secret[31] = n;
    SigningKey::from_slice(&secret).unwrap()
}

/// The address of wallet `n`.
pub fn wallet(n: u8) -> Wallet {
    address_of(key(n).verifying_key())
}

/// Its signature of a text, as wallets give it: r, s, and v of 27 or 28.
pub fn signs(n: u8, text: &str) -> Vec<u8> {
    let (signature, parity) = key(n).sign_prehash_recoverable(&personal_hash(text)).unwrap();
    [&signature.to_bytes()[..], &[27 + parity.to_byte()]].concat()
}

/// What a contributor and wallet `to` sign in second `issued`, on a page at `domain`.
pub fn message(who: &Identity, to: u8, domain: &str, nonce: &str, issued: u64) -> LinkMessage {
    let (domain, uri, nonce) = (domain.to_owned(), format!("http://{domain}/"), nonce.to_owned());
    LinkMessage {
        domain,
        uri,
        wallet: wallet(to),
        chain: 31_337,
        nonce,
        issued,
        expires: issued + 300,
        peer: who.id().0,
    }
}

/// Both sign a message; wallet `before` may let the other take its place.
pub fn proof(who: &Identity, to: u8, before: Option<u8>, message: &LinkMessage) -> LinkProof {
    let text = message.to_string();
    LinkProof {
        peer: who.sign_link(&text),
        wallet: WalletProof::Key(signs(to, &text)),
        handover: before.map(|before| signs(before, &message.handover())),
        message: text,
    }
}
