//! The key of an account on the chain.
//!
//! Enters: 32 bytes as hex from the environment, or a keystore file (Web3 Secret Storage, version 3) and its password.
//! Leaves: signatures. Refuses: a key that is none, a wrong password. A key is never taken from the command line, where
//! others on the machine could read it, and never shown.

use std::fmt;
use std::path::Path;

use aes::cipher::{KeyIvInit, StreamCipher};
use k256::ecdsa::SigningKey;
use serde_json::Value;
use tributary_ledger::abi::unhex;
use tributary_ledger::{Digest, Wallet, address_of, keccak256};

use crate::ChainError;

/// The costliest scrypt that is taken, as the power of two of its memory: 2^20 with 8 blocks is 1 GiB, and common
/// keystores have 2^18.
const MOST_LOG_N: u32 = 20;

/// An account's secret key.
#[derive(Clone)]
pub struct Key(SigningKey);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", tributary_ledger::checksummed(&self.address()))
    }
}

impl Key {
    /// The key of 64 hex digits, with 0x before them or not.
    pub fn from_text(text: &str) -> Result<Self, ChainError> {
        let text = text.trim();
        let bytes = unhex(text).or_else(|| unhex(&format!("0x{text}")));
        Self::from_bytes(&bytes.unwrap_or_default())
    }

    /// The key in a keystore file.
    pub fn from_keystore(file: &Path, password: &str) -> Result<Self, ChainError> {
        let text = std::fs::read_to_string(file);
        let text = text.map_err(|e| ChainError::File { path: file.to_owned(), why: e.to_string() })?;
        let bad = || ChainError::Key(format!("{} is not a keystore of version 3 with scrypt", file.display()));
        let store: Value = serde_json::from_str(&text).map_err(|_| bad())?;
        let crypto = &store["crypto"];
        let hex = |value: &Value| unhex(&format!("0x{}", value.as_str()?));
        let (params, cipher) = (&crypto["kdfparams"], &crypto["cipherparams"]);
        let number = |name: &str| params[name].as_u64().and_then(|number| u32::try_from(number).ok()).ok_or_else(bad);
        let (n, r, p) = (number("n")?, number("r")?, number("p")?);
        let is_ours = store["version"] == 3 && crypto["kdf"] == "scrypt" && crypto["cipher"] == "aes-128-ctr";
        if !is_ours || !n.is_power_of_two() || n.ilog2() > MOST_LOG_N || r > 8 || p > 8 || number("dklen")? != 32 {
            return Err(bad());
        }
        let (salt, iv) = (hex(&params["salt"]).ok_or_else(bad)?, hex(&cipher["iv"]).ok_or_else(bad)?);
        let (mut secret, mac) = (hex(&crypto["ciphertext"]).ok_or_else(bad)?, hex(&crypto["mac"]).ok_or_else(bad)?);
        let params = scrypt::Params::new(n.ilog2() as u8, r, p, 32).map_err(|_| bad())?;
        let mut derived = [0; 32];
        scrypt::scrypt(password.as_bytes(), &salt, &params, &mut derived).map_err(|_| bad())?;
        if keccak256(&[&derived[16..], &secret].concat())[..] != mac {
            return Err(ChainError::Key(format!("the password of {} is wrong", file.display())));
        }
        let cipher = ctr::Ctr128BE::<aes::Aes128>::new_from_slices(&derived[..16], &iv);
        cipher.map_err(|_| bad())?.apply_keystream(&mut secret);
        Self::from_bytes(&secret)
    }

    /// The account.
    pub fn address(&self) -> Wallet {
        address_of(self.0.verifying_key())
    }

    /// r, s and the parity of a signature of a hash, s in the lower half.
    pub(crate) fn sign(&self, hash: &Digest) -> ([u8; 32], [u8; 32], u8) {
        let signed = self.0.sign_prehash_recoverable(hash);
        let (signature, parity) = signed.expect("a hash of 32 bytes can be signed");
        let (r, s) = signature.split_bytes();
        (r.into(), s.into(), parity.to_byte())
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, ChainError> {
        let key = SigningKey::from_slice(bytes)
            .map_err(|_| ChainError::Key("this is no key: 64 hex digits are".to_owned()))?;
        Ok(Self(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with Node's scrypt and AES and viem's Keccak-256.
    const STORE: &str = r#"{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"83dbcc02d8ccb40e466191a123791e0e"},
        "ciphertext":"91c23c03a8b5117a6e3d78dbb5dfc46f037aff9351dff59c2879586f51756502","kdf":"scrypt","kdfparams":
        {"dklen":32,"n":8192,"p":1,"r":8,"salt":"ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19"},
        "mac":"8f8639fe08fe1f43d6c13006d66ad2d993c6674ee2ba03f025596797a73614b9"},"version":3}"#;

    #[test]
    fn a_keystore_opens_with_its_password_only() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key.json");
        std::fs::write(&file, STORE).unwrap();
        let key = Key::from_keystore(&file, "testpassword").unwrap();
        let same = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d";
        assert_eq!(key.address(), Key::from_text(same).unwrap().address());
        assert!(Key::from_keystore(&file, "testpassworD").unwrap_err().to_string().contains("password"));
        std::fs::write(&file, STORE.replace("8192", "4194304")).unwrap();
        assert!(Key::from_keystore(&file, "testpassword").unwrap_err().to_string().contains("not a keystore"));
    }

    #[test]
    fn a_key_is_a_number_below_the_order() {
        for text in ["", "0x", "12", &"00".repeat(32), &"ff".repeat(32), &"g0".repeat(32)] {
            assert!(matches!(Key::from_text(text), Err(ChainError::Key(_))), "{text}");
        }
    }
}
