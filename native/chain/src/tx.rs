//! Transactions (EIP-1559): their bytes, and the signature over them.

use tributary_ledger::{Digest, Wallet, keccak256};

use crate::Key;

/// The type byte of EIP-2718.
const TYPE: u8 = 2;

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transaction {
    pub(crate) chain: u64,
    pub(crate) nonce: u64,
    /// The most for each unit of gas that the sender adds to the block's own price.
    pub(crate) tip: u128,
    /// The most for each unit of gas in all.
    pub(crate) fee: u128,
    pub(crate) gas: u64,
    /// None deploys.
    pub(crate) to: Option<Wallet>,
    pub(crate) value: u128,
    pub(crate) data: Vec<u8>,
}

impl Transaction {
    /// Its bytes as they are sent, and the hash that names it.
    pub(crate) fn sign(&self, key: &Key) -> (Vec<u8>, Digest) {
        let (r, s, parity) = key.sign(&keccak256(&self.typed(&[])));
        let signed = self.typed(&[int(u128::from(parity)), bytes(trim(&r)), bytes(trim(&s))]);
        let hash = keccak256(&signed);
        (signed, hash)
    }

    fn typed(&self, signature: &[Vec<u8>]) -> Vec<u8> {
        let to = self.to.map_or_else(|| bytes(&[]), |to| bytes(&to));
        // The list of storage to warm up, which is empty.
        let access = list(&[]);
        let head = [self.chain.into(), self.nonce.into(), self.tip, self.fee, self.gas.into()].map(int);
        let rest = [to, int(self.value), bytes(&self.data), access];
        [&[TYPE][..], &list(&[&head[..], &rest, signature].concat())].concat()
    }
}

/// The address of the contract that an account's transaction of this nonce deploys.
pub(crate) fn deployed(by: &Wallet, nonce: u64) -> Wallet {
    let hash = keccak256(&list(&[bytes(by), int(nonce.into())]));
    let mut address = [0; 20];
    address.copy_from_slice(&hash[12..]);
    address
}

/// RLP of a number: its bytes without zeros before them.
fn int(number: u128) -> Vec<u8> {
    bytes(trim(&number.to_be_bytes()))
}

fn trim(number: &[u8]) -> &[u8] {
    &number[number.iter().take_while(|byte| **byte == 0).count()..]
}

/// RLP of bytes.
fn bytes(of: &[u8]) -> Vec<u8> {
    match of {
        [byte @ 0..0x80] => vec![*byte],
        _ => headed(0x80, of),
    }
}

/// RLP of a list.
fn list(items: &[Vec<u8>]) -> Vec<u8> {
    headed(0xc0, &items.concat())
}

/// A length of up to 55 stands in the first byte; a longer one behind it, whose own length stands there.
fn headed(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len().to_be_bytes();
    match trim(&length) {
        [] => vec![kind],
        [length @ 0..56] => [&[kind + length], body].concat(),
        length => [&[kind + 55 + length.len() as u8], length, body].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of Ethereum's description of RLP.
    #[test]
    fn rlp() {
        assert_eq!(bytes(b"dog"), b"\x83dog");
        assert_eq!(list(&[bytes(b"cat"), bytes(b"dog")]), b"\xc8\x83cat\x83dog");
        assert_eq!(bytes(&[]), [0x80]);
        assert_eq!(list(&[]), [0xc0]);
        assert_eq!((int(0), int(15), int(1024)), (vec![0x80], vec![0x0f], vec![0x82, 4, 0]));
        assert_eq!(bytes(&[b'a'; 56])[..3], [0xb8, 56, b'a']);
        assert_eq!(bytes(&[b'a'; 1024])[..4], [0xb9, 4, 0, b'a']);
    }

    /// The first contract of a well-known test account, as every tool shows it.
    #[test]
    fn a_contracts_address() {
        let key = Key::from_text("0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80").unwrap();
        assert_eq!(tributary_ledger::checksummed(&key.address()), "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
        let first = tributary_ledger::checksummed(&deployed(&key.address(), 0));
        assert_eq!(first, "0x5FbDB2315678afecb367f032d93F642f64180aa3");
    }
}
