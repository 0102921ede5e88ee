//! Our contracts' calls and answers in Solidity's encoding: a function's four bytes, then words of 32 bytes; and bytes in
//! hex, as nodes and wallets write them.
//!
//! Enters: numbers, addresses and texts, or what a chain answered. Leaves: calls, or numbers and addresses. Refuses, by
//! giving nothing, a word that says more than its type can.

use crate::{Credits, Digest, Wallet, keccak256};

/// The contracts' errors, which a node gives by the first four bytes of their hashes.
const ERRORS: [&str; 16] = [
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

/// The name of the error of ours that a call ended with.
pub fn error_name(data: &[u8]) -> Option<&'static str> {
    let is_it = |name: &&&str| data.first_chunk() == keccak256(name.as_bytes()).first_chunk::<4>();
    ERRORS.iter().find(is_it).copied()
}

/// One word.
pub type Word = Digest;

/// A call of the function with this signature.
pub fn call(signature: &str, words: &[Word]) -> Vec<u8> {
    [&keccak256(signature.as_bytes())[..4], words.as_flattened()].concat()
}

/// A number's word.
pub fn number(value: impl Into<u128>) -> Word {
    let mut word = [0; 32];
    word[16..].copy_from_slice(&value.into().to_be_bytes());
    word
}

/// An address's word.
pub fn address(of: &Wallet) -> Word {
    let mut word = [0; 32];
    word[12..].copy_from_slice(of);
    word
}

/// The number of a word, if it has at most 128 bits.
pub fn to_number(word: &Word) -> Option<u128> {
    let (high, low) = word.split_first_chunk::<16>()?;
    Some(u128::from_be_bytes(low.try_into().ok()?)).filter(|_| high == &[0; 16])
}

/// The address of a word.
pub fn to_address(word: &Word) -> Option<Wallet> {
    word[12..].try_into().ok().filter(|_| word[..12] == [0; 12])
}

/// The words of a constructor's two texts and of what follows them in place.
pub fn constructor(texts: [&str; 2], words: &[Word]) -> Vec<Word> {
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
pub fn submit(epoch: u64, root: &Digest, log: &Digest, data: &Digest, total: u64) -> Vec<u8> {
    call("submit(uint64,bytes32,bytes32,bytes32,uint128)", &[number(epoch), *root, *log, *data, number(total)])
}

/// `EpochDistributor.claim`.
pub fn claim(epoch: u64, wallet: &Wallet, sum: Credits, proof: &[Digest]) -> Vec<u8> {
    // The list stands behind the four words, its length before it.
    let head = [number(epoch), address(wallet), number(sum), number(4_u64 * 32), number(proof.len() as u64)];
    call("claim(uint64,address,uint256,bytes32[])", &[&head, proof].concat())
}

/// Bytes as nodes write them.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

/// Bytes that a node wrote.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x").filter(|digits| digits.is_ascii() && digits.len().is_multiple_of(2))?;
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok()).collect()
}

/// The words of an answer, if it is whole words.
pub fn words(answer: &[u8]) -> Option<&[Word]> {
    let (words, rest) = answer.as_chunks::<32>();
    rest.is_empty().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As viem encodes it.
    #[test]
    fn a_claim_is_encoded_as_others_do() {
        let wallet = crate::address("0xa28020D16a2dCE33871a6D0C1951cbA3CD0EE991").unwrap();
        let word = |low: &str| format!("{low:0>64}");
        let words = [word("7"), word("a28020d16a2dce33871a6d0c1951cba3cd0ee991"), word("f4243"), word("80"), word("2")];
        let expected = format!("0xa2f94bd3{}{}{}", words.concat(), "11".repeat(32), "22".repeat(32));
        let encoded = claim(7, &wallet, 1_000_003, &[[0x11; 32], [0x22; 32]]);
        assert_eq!((hex(&encoded), unhex(&expected)), (expected, Some(encoded)));
    }

    #[test]
    fn what_is_no_answer_gives_nothing() {
        assert_eq!((unhex("00"), unhex("0x0"), unhex("0xgg"), unhex("0x\u{e9}")), (None, None, None, None));
        assert_eq!((words(&[0; 33]), words(&[]), words(&[1; 32])), (None, Some(&[][..]), Some(&[[1; 32]][..])));
        assert_eq!((to_number(&[1; 32]), to_address(&[1; 32])), (None, None));
        assert_eq!((error_name(&keccak256(b"NothingDue()")), error_name(&[1, 2])), (Some("NothingDue()"), None));
    }
}
