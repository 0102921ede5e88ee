//! Calls of our contracts in Solidity's encoding: a function's four bytes, then words of 32 bytes.

use tributary_ledger::{Digest, Wallet, keccak256};

/// The contracts' errors, which a node gives by the first four bytes of their hashes.
pub(crate) const ERRORS: [&str; 16] = [
    "BadTerms()",
    "NothingDue()",
    "NothingToVeto()",
    "NoFees()",
    "NoRoot()",
    "NoShares()",
    "NotCounting()",
    "OnlyDistributor()",
    "OnlyGuardian()",
    "OnlySubmitter()",
    "OverCap(uint256)",
    "OverTotal()",
    "SharesForNobody()",
    "TooEarly(uint256)",
    "WrongEpoch(uint64)",
    "WrongProof()",
];

/// One word.
pub(crate) type Word = [u8; 32];

/// A call of the function with this signature.
pub(crate) fn call(signature: &str, words: &[Word]) -> Vec<u8> {
    [&keccak256(signature.as_bytes())[..4], words.as_flattened()].concat()
}

/// A number's word.
pub(crate) fn number(value: impl Into<u128>) -> Word {
    let mut word = [0; 32];
    word[16..].copy_from_slice(&value.into().to_be_bytes());
    word
}

/// An address's word.
pub(crate) fn address(of: &Wallet) -> Word {
    let mut word = [0; 32];
    word[12..].copy_from_slice(of);
    word
}

/// The number of a word, if it has at most 128 bits.
pub(crate) fn to_number(word: &Word) -> Option<u128> {
    let (high, low) = word.split_first_chunk::<16>()?;
    Some(u128::from_be_bytes(low.try_into().ok()?)).filter(|_| high == &[0; 16])
}

/// The address of a word.
pub(crate) fn to_address(word: &Word) -> Option<Wallet> {
    word[12..].try_into().ok().filter(|_| word[..12] == [0; 12])
}

/// The words of a constructor's two texts and of what follows them in place.
pub(crate) fn constructor(texts: [&str; 2], words: &[Word]) -> Vec<Word> {
    let mut tail: Vec<Word> = Vec::new();
    let mut all = Vec::new();
    let head = texts.len() + words.len();
    for text in texts {
        all.push(number((32 * (head + tail.len())) as u128));
        tail.push(number(text.len() as u128));
        for chunk in text.as_bytes().chunks(32) {
            let mut word = [0; 32];
            word[..chunk.len()].copy_from_slice(chunk);
            tail.push(word);
        }
    }
    all.extend_from_slice(words);
    all.extend(tail);
    all
}

/// `EpochDistributor.submit`.
pub(crate) fn submit(epoch: u64, root: &Digest, log: &Digest, data: &Digest, total: u64) -> Vec<u8> {
    call("submit(uint64,bytes32,bytes32,bytes32,uint128)", &[number(epoch), *root, *log, *data, number(total)])
}
