//! Links of contributors and wallets: the text against viem, whose texts, hashes and signatures stand in `links.json`,
//! what is no such text, who must have signed, and who takes whose place when.
#![allow(clippy::unwrap_used)]

mod common;

use common::{RULE, identity, key, linked, message, opened, proof, run, settle, wallet, wallet_signs};
use ed25519_dalek::Signer;
use proptest::prelude::*;
use serde_json::Value;
use tributary_ledger::{
    Book, BookError, Entry, LedgerError, LinkError, LinkMessage, LinkProof, LinkedBy, MAX_ENTRY, MAX_PROOF,
    WalletProof, address, checksummed, personal_hash, recover,
};

fn bytes(hex: &Value) -> Vec<u8> {
    let hex = &hex.as_str().unwrap()[2..];
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn viem_writes_hashes_and_signs_the_same() {
    let all: Vec<Value> = serde_json::from_str(include_str!("links.json")).unwrap();
    assert_eq!(all.len(), 12);
    for theirs in all {
        let text = theirs["text"].as_str().unwrap();
        let ours = LinkMessage::parse(text).unwrap();
        let word = |name: &str| theirs[name].as_str().unwrap();
        assert_eq!((&*ours.domain, &*ours.uri, &*ours.nonce), (word("domain"), word("uri"), word("nonce")));
        let number = |name: &str| theirs[name].as_u64().unwrap();
        assert_eq!((ours.chain, ours.issued, ours.expires), (number("chainId"), number("issued"), number("expires")));
        assert_eq!(checksummed(&ours.wallet), word("address"));
        assert_eq!(ours.to_string(), text);
        assert_eq!(personal_hash(text).to_vec(), bytes(&theirs["hash"]));
        assert_eq!(recover(&personal_hash(text), &bytes(&theirs["signature"])), Some(ours.wallet));
    }
}

/// What the specification of ERC-4361 forbids, and what it allows and we don't, because a text has one form here.
#[test]
fn other_texts_are_refused() {
    let text = message(1, 2, 1_795_000_000).to_string();
    assert_eq!(LinkMessage::parse(&text), Ok(message(1, 2, 1_795_000_000)));
    let address = checksummed(&wallet(2));
    for (from, to) in [
        ("train.example:8080 wants", "other.example wants"),
        ("train.example:8080 wants", " wants"),
        ("train.example:8080 wants", "https://train.example:8080 wants"),
        ("train.example:8080 wants", "train.example:8080\n wants"),
        ("wants you", "wants  you"),
        (&*address, &*address.to_lowercase()),
        (&*address, &address[..41]),
        ("I let my", "I give all my"),
        ("I let my", "\nI let my"),
        ("approval.\n\n", "approval.\n"),
        ("URI: https://train.example:8080/", "URI: https://train.example:80801/"),
        ("URI: https://train.example:8080/", "URI: https://evil.example/"),
        ("URI: https", "URI: ftp"),
        ("8080/\n", "8080/ a\n"),
        ("8080/\n", "8080/<a>\n"),
        ("8080/\n", "8080/%2\n"),
        ("8080/\n", "8080/%é\n"),
        ("8080/\n", "8080/#a#b\n"),
        ("train.example:8080", "train.example:8080:80"),
        ("train.example:8080", "train.example:"),
        ("train.example:8080", "train.example:808080"),
        ("train.example:8080", "train.example:http"),
        ("train.example:8080", ":8080"),
        ("train.example:8080", "train_example"),
        ("Version: 1", "Version: 2"),
        ("Version: 1", "Version: 1 "),
        ("Version: 1\n", ""),
        ("Chain ID: 31337", "Chain ID: 031337"),
        ("Chain ID: 31337", "Chain ID: +31337"),
        ("Chain ID: 31337", "Chain ID: -1"),
        ("Chain ID: 31337", "Chain ID: 99999999999999999999"),
        ("Chain ID: 31337", "Chain ID: 9007199254740992"),
        ("Nonce: nonce1795000000", "Nonce: short"),
        ("Nonce: nonce1795000000", "Nonce: nonce-1795000000"),
        ("Nonce: nonce1795000000\n", ""),
        ("Issued At: 2026-11-18T11:06:40Z", "Issued At: 2026-11-18"),
        ("Issued At: 2026-11-18T11:06:40Z", "Issued At: 2026-11-18T11:06:40.000Z"),
        ("Issued At: 2026-11-18T11:06:40Z", "Issued At: 2026-11-18T11:06:40+00:00"),
        ("Issued At: 2026-11-18T11:06:40Z", "Issued At: 2026-11-31T11:06:40Z"),
        ("Issued At: 2026-11-18T11:06:40Z", "Issued At: 2026-02-29T11:06:40Z"),
        ("Issued At: 2026-11-18T11:06:40Z", "Issued At: 2026-11-18T24:06:40Z"),
        ("Issued At: 2026-11-18T11:06:40Z", "Issued At: 2026-00-18T11:06:40Z"),
        ("Expiration Time: 2026-11-18T11:11:40Z", "Expiration Time: 2026-11-18T11:11:41Z"),
        ("Expiration Time: 2026-11-18T11:11:40Z", "Expiration Time: 2026-11-18T11:06:40Z"),
        ("Expiration Time: 2026-11-18T11:11:40Z\n", ""),
        ("Resources:", "Not Before: 2026-11-18T11:06:40Z\nResources:"),
        ("Resources:", "Request ID: 7\nResources:"),
        ("urn:libp2p:peer:12D3", "urn:libp2p:peer:12D4"),
        ("urn:libp2p:peer:", "https://peers.example/"),
        ("- urn", "-urn"),
    ] {
        assert!(text.contains(from), "{from}");
        let other = text.replace(from, to);
        assert!(LinkMessage::parse(&other).is_err(), "{other}");
    }
    for other in [format!("{text}\n"), format!("{text}\n- urn:x:y"), format!(" {text}"), text.replace('\n', "\r\n")] {
        assert!(LinkMessage::parse(&other).is_err(), "{other:?}");
    }
    assert!(LinkMessage::parse(&text[..text.len() - 1]).is_err());
    assert!(LinkMessage::parse("").is_err());
}

/// The examples of EIP-55.
#[test]
fn addresses_carry_their_checksums() {
    for text in [
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    ] {
        assert_eq!(checksummed(&address(text).unwrap()), text);
        assert_eq!(address(&text.replace('b', "B")), None);
        assert_eq!(address(&text[2..]), None);
    }
}

fn check(change: impl FnOnce(&mut LinkProof), expected: Result<(), LinkError>) {
    let mut proof = proof(1, 2, None, 7);
    change(&mut proof);
    assert_eq!(proof.check(&key(1), &wallet(2)).map(drop), expected, "{proof:?}");
}

#[test]
fn both_must_have_signed() {
    let text = message(1, 2, 7).to_string();
    check(|_| (), Ok(()));
    check(|proof| proof.wallet = WalletProof::Contract { signature: vec![1], block: 9 }, Ok(()));
    check(|proof| proof.wallet = WalletProof::Unproven, Ok(()));
    check(|proof| proof.wallet = WalletProof::Key(wallet_signs(3, &text)), Err(LinkError::Wallet));
    check(|proof| proof.wallet = WalletProof::Key(wallet_signs(2, "something else")), Err(LinkError::Wallet));
    check(|proof| proof.wallet = WalletProof::Key(vec![]), Err(LinkError::Wallet));
    check(|proof| proof.peer[0] ^= 1, Err(LinkError::Peer));
    check(|proof| proof.peer.truncate(63), Err(LinkError::Peer));
    // The hash without its context, and another's key.
    check(|proof| proof.peer = identity(1).sign(&personal_hash(&text)).to_vec(), Err(LinkError::Peer));
    check(|proof| proof.peer = identity(3).sign(&LinkProof::peer_signs(&text)).to_vec(), Err(LinkError::Peer));
    check(|proof| proof.message = message(3, 2, 7).to_string(), Err(LinkError::About));
    check(|proof| proof.message = message(1, 3, 7).to_string(), Err(LinkError::About));
    assert!(matches!(LinkMessage::parse("x"), Err(error) if error.to_string().contains("first line")));
}

#[test]
fn a_signature_has_one_form() {
    let hash = personal_hash("text");
    let good = wallet_signs(2, "text");
    assert_eq!(recover(&hash, &good), Some(wallet(2)));
    let other = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut other = good.clone();
        change(&mut other);
        assert_ne!(recover(&hash, &other), Some(wallet(2)), "{other:02x?}");
    };
    other(&|bytes| bytes[64] ^= 7);
    other(&|bytes| bytes[64] -= 27);
    other(&|bytes| bytes.push(0));
    other(&|bytes| bytes[..32].fill(0));
    // The order of the curve less s, with the other parity: the same signature to whoever allows it.
    let high = k256::ecdsa::Signature::from_slice(&good[..64]).unwrap();
    let high = k256::ecdsa::Signature::from_scalars(*high.r(), -*high.s()).unwrap();
    assert_eq!(recover(&hash, &[&high.to_bytes()[..], &[55 - good[64]]].concat()), None);
}

/// A wallet, who hands over to it, when that was issued, and what comes of it.
type Link = (u8, Option<u8>, u64, Result<(), LinkError>);

/// Round after round, one link in each.
fn follow(links: &[Link]) -> Book {
    let mut book = Book::default();
    book.append(&run()).unwrap();
    for (round, (to, before, issued, expected)) in links.iter().enumerate() {
        book.append(&opened(round as u64)).unwrap();
        let found = book.append(&linked(1, *to, *before, *issued));
        let index = book.len();
        let expected = expected.map_err(|why| BookError::Ledger { index, why: LedgerError::Link { who: key(1), why } });
        assert_eq!(found.map(drop), expected, "round {round}");
        settle(&mut book, round as u64);
    }
    book
}

#[test]
fn another_wallet_waits_unless_the_one_before_signs() {
    let payees = |book: &Book, rounds: [u64; 3]| rounds.map(|round| book.ledger().payee(&key(1), round).copied());
    let wait = u64::from(RULE.relink);
    let some = |wallets: [u8; 3]| wallets.map(|n| Some(wallet(n)));
    // The first is paid for all that was before.
    assert_eq!(payees(&follow(&[(2, None, 5, Ok(()))]), [0, 1, 9]), some([2, 2, 2]));
    let handed = follow(&[(2, None, 5, Ok(())), (3, Some(2), 6, Ok(()))]);
    assert_eq!(payees(&handed, [1, 2, 9]), some([2, 3, 3]));
    let taken = follow(&[(2, None, 5, Ok(())), (3, None, 6, Ok(()))]);
    assert_eq!(payees(&taken, [1, 1 + wait, 2 + wait]), some([2, 2, 3]));
    assert_eq!(taken.ledger().wallet(&key(1)), Some((&wallet(3), 2 + wait)));
    // Whoever has the wallet that is paid until now ends the wait, whatever the other asked for.
    let kept = follow(&[(2, None, 5, Ok(())), (3, None, 6, Ok(())), (2, Some(2), 7, Ok(()))]);
    assert_eq!(payees(&kept, [2, 2 + wait, 99]), some([2, 2, 2]));
}

#[test]
fn what_was_used_or_signed_by_another_is_refused() {
    follow(&[(2, None, 5, Ok(())), (2, None, 5, Err(LinkError::Old)), (3, None, 4, Err(LinkError::Old))]);
    follow(&[(2, None, 5, Ok(())), (3, Some(3), 6, Err(LinkError::Handover)), (3, Some(2), 6, Ok(()))]);
    let mut damaged = proof(1, 2, None, 5).to_bytes();
    damaged.push(0);
    assert_eq!(LinkProof::from_bytes(&damaged), Err(LinkError::Form));
    assert!(Entry::Linked { who: key(1), wallet: wallet(2), proof: damaged }.to_bytes().len() < 1_000);
}

/// A dry run says what the entry would come to and changes nothing; a long proof never reaches the log.
#[test]
fn a_link_can_be_tried_before_it_is_written() {
    let book = follow(&[(2, None, 5, Ok(()))]);
    let ledger = book.ledger();
    let tried =
        |to: u8, before, issued| ledger.check_link(1, &key(1), &wallet(to), &proof(1, to, before, issued).to_bytes());
    let from = |to, before| tried(to, before, 6).map(|payee| (payee.from, payee.by));
    assert_eq!(from(3, Some(2)), Ok((2, LinkedBy::Key)));
    assert_eq!(from(3, None), Ok((2 + u64::from(RULE.relink), LinkedBy::Key)));
    assert_eq!(from(3, Some(4)), Err(LinkError::Handover));
    assert_eq!(tried(3, None, 5), Err(LinkError::Old));
    assert_eq!(
        Book::default().ledger().check_link(0, &key(1), &wallet(2), &proof(1, 2, None, 5).to_bytes()).map(|p| p.from),
        Ok(0)
    );
    assert_eq!(ledger.payees(&key(1)).len(), 1);
    let mut long = proof(1, 2, None, 7);
    let room = MAX_PROOF
        - LinkProof { wallet: WalletProof::Contract { signature: vec![], block: 9 }, ..long.clone() }.to_bytes().len();
    // The length of the signature itself takes a second byte.
    long.wallet = WalletProof::Contract { signature: vec![0; room - 1], block: 9 };
    let entry =
        |proof: &LinkProof| Entry::Linked { who: key(1), wallet: wallet(2), proof: proof.to_bytes() }.to_bytes();
    assert!(Entry::from_bytes(&entry(&long)).is_ok());
    assert_eq!((entry(&long).len(), LinkProof::from_bytes(&long.to_bytes())), (MAX_ENTRY, Ok(long.clone())));
    long.wallet = WalletProof::Contract { signature: vec![0; room], block: 9 };
    assert_eq!(LinkProof::from_bytes(&long.to_bytes()), Err(LinkError::TooLong));
    assert!(Entry::from_bytes(&entry(&long)).is_err());
}

#[test]
fn wallets_are_bounded() {
    let many: Vec<_> = (0..130u64)
        .map(|n| {
            (
                2 + (n % 2) as u8,
                Some(3 - (n % 2) as u8).filter(|_| n > 0),
                n,
                if n < 128 { Ok(()) } else { Err(LinkError::TooMany) },
            )
        })
        .collect();
    follow(&many);
}

proptest! {
    /// Dates, and everything else of a text, come back as they were; a changed letter never passes for the same.
    #[test]
    fn a_text_says_what_it_was_made_of(issued in 0u64..253_402_300_000, at in any::<prop::sample::Index>(), letter in 32u8..127) {
        let said = message(1, 2, issued);
        let text = said.to_string();
        prop_assert_eq!(LinkMessage::parse(&text), Ok(said.clone()));
        let mut other = text.clone().into_bytes();
        other[at.index(text.len())] = letter;
        let other = String::from_utf8(other).unwrap();
        if other != text {
            prop_assert_ne!(LinkMessage::parse(&other), Ok(said));
        }
    }
}
