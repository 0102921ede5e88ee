//! Logs to test with: whatever a plan of a few numbers says, as far as the ledger allows it.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::sync::LazyLock;

use ed25519_dalek::{Signer, SigningKey};
use proptest::prelude::*;
use tributary_ledger::{
    Book, Checkpoint, Code, Digest, Entry, Finding, Key, LinkMessage, LinkProof, Rule, Verdict, Wallet, WalletProof,
    address_of, personal_hash,
};

/// A rule under which a few rounds see every state of credits.
pub(crate) const RULE: Rule = Rule { pool: 1_000_003, witness_ppm: 120_000, settle: 1, hold: 3, relink: 5 };

/// The coordinator of [`run`].
pub(crate) const COORDINATOR: Key = [0xc0; 32];

/// Contributor `n`.
pub(crate) fn key(n: u8) -> Key {
    identity(n).verifying_key().to_bytes()
}

/// Its key pair; their keys stand in the order of their numbers.
pub(crate) fn identity(n: u8) -> &'static SigningKey {
    static ALL: LazyLock<Vec<SigningKey>> = LazyLock::new(|| {
        let mut all: Vec<_> = (0..=u8::MAX).map(|n| SigningKey::from_bytes(&[n; 32])).collect();
        all.sort_by_key(|pair| pair.verifying_key().to_bytes());
        all
    });
    &ALL[usize::from(n)]
}

/// The key of wallet `n`.
pub(crate) fn wallet_key(n: u8) -> k256::ecdsa::SigningKey {
    let mut secret = [1; 32];
    secret[31] = n;
    k256::ecdsa::SigningKey::from_slice(&secret).expect("a secret below the curve's order")
}

/// Its address.
pub(crate) fn wallet(n: u8) -> Wallet {
    address_of(wallet_key(n).verifying_key())
}

/// A wallet's signature of a text.
pub(crate) fn wallet_signs(n: u8, text: &str) -> Vec<u8> {
    let (signature, parity) = wallet_key(n).sign_prehash_recoverable(&personal_hash(text)).expect("a signature");
    [&signature.to_bytes()[..], &[27 + parity.to_byte()]].concat()
}

/// What contributor and wallet sign, in second `issued`.
pub(crate) fn message(who: u8, to: u8, issued: u64) -> LinkMessage {
    let (domain, uri) = ("train.example:8080".to_owned(), "https://train.example:8080/".to_owned());
    let nonce = format!("nonce{issued:08}");
    LinkMessage { domain, uri, wallet: wallet(to), chain: 31_337, nonce, issued, expires: issued + 300, peer: key(who) }
}

/// Contributor and wallet name each other; the wallet before may sign for it.
pub(crate) fn proof(who: u8, to: u8, before: Option<u8>, issued: u64) -> LinkProof {
    let said = message(who, to, issued);
    let text = said.to_string();
    LinkProof {
        peer: identity(who).sign(&LinkProof::peer_signs(&text)).to_bytes().to_vec(),
        wallet: WalletProof::Key(wallet_signs(to, &text)),
        handover: before.map(|before| wallet_signs(before, &said.handover())),
        message: text,
    }
}

/// The entry of [`proof`].
pub(crate) fn linked(who: u8, to: u8, before: Option<u8>, issued: u64) -> Entry {
    Entry::Linked { who: key(who), wallet: wallet(to), proof: proof(who, to, before, issued).to_bytes() }
}

/// The state that a round begins with.
pub(crate) fn state(round: u64) -> Digest {
    [round as u8 ^ 0x55; 32]
}

/// The first entry.
pub(crate) fn run() -> Entry {
    Entry::Run { run: [9; 32], coordinator: COORDINATOR, rule: RULE }
}

/// The beginning of a batch.
pub(crate) fn opened(round: u64) -> Entry {
    Entry::Opened { round, seed: [7; 32], base: state(round), signed: vec![round as u8; 3] }
}

/// A promise.
pub(crate) fn submitted(origin: u64, who: u8, tokens: u64) -> Entry {
    Entry::Submitted { origin, who: key(who), update: [who ^ origin as u8; 32], tokens, signed: vec![who; 2] }
}

/// Work that counts.
pub(crate) fn counted(origin: u64, who: u8, tokens: u64, quality: u32) -> Entry {
    Entry::Judged { origin, who: key(who), verdict: Verdict::Counted { tokens, quality } }
}

/// Work that doesn't.
pub(crate) fn refused(origin: u64, who: u8, code: Code) -> Entry {
    Entry::Judged { origin, who: key(who), verdict: Verdict::Refused(code) }
}

/// Work that was run again.
pub(crate) fn replayed(origin: u64, who: u8, by: Key, tokens: u64, finding: Finding) -> Entry {
    Entry::Replayed { origin, who: key(who), by, tokens, finding }
}

/// What is left of a batch.
pub(crate) fn settle(book: &mut Book, round: u64) -> Vec<Entry> {
    let rest = book.settlement(round, state(round + 1), [3; 32]).expect("the round is open");
    for entry in &rest {
        book.append(entry).expect("a settlement is accepted");
    }
    rest
}

/// A log, with the checkpoint of every round.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    /// All of it.
    pub(crate) book: Book,
    /// Its entries.
    pub(crate) entries: Vec<Entry>,
    /// What the coordinator signed.
    pub(crate) checkpoints: Vec<Checkpoint>,
}

impl Log {
    /// The entries' bytes.
    pub(crate) fn bytes(&self) -> Vec<Vec<u8>> {
        self.entries.iter().map(Entry::to_bytes).collect()
    }
}

/// Random logs of one to seven rounds: of every contributor, and of some twice, what a number of its says.
pub(crate) fn logs() -> impl Strategy<Value = Log> {
    let round = prop::collection::vec((0u8..5, any::<u32>()), 0..8);
    prop::collection::vec(round, 1..8).prop_map(|rounds| log(&rounds))
}

fn log(rounds: &[Vec<(u8, u32)>]) -> Log {
    let mut log = Log { book: Book::default(), entries: Vec::new(), checkpoints: Vec::new() };
    let write = |log: &mut Log, entry: Entry| {
        // What does not follow is left out.
        if log.book.append(&entry).is_ok() {
            log.entries.push(entry);
        }
    };
    write(&mut log, run());
    for (round, plan) in rounds.iter().enumerate() {
        let round = round as u64;
        write(&mut log, opened(round));
        let mut entries: Vec<Entry> = plan.iter().flat_map(|&(who, number)| planned(round, who, number)).collect();
        entries.sort_by_key(|entry| entry.to_bytes()[1]);
        entries.into_iter().for_each(|entry| write(&mut log, entry));
        let rest = settle(&mut log.book, round);
        log.entries.extend(rest);
        log.checkpoints.extend(log.book.checkpoint());
    }
    log
}

fn planned(round: u64, who: u8, number: u32) -> Vec<Entry> {
    let choice = |bits: u32, of: u32| number.rotate_right(bits) % of;
    let origin = round.saturating_sub(u64::from(choice(0, 3)));
    let tokens = u64::from(number % 100_000);
    let by = if choice(3, 3) == 0 { COORDINATOR } else { key(choice(5, 6) as u8) };
    let finding = [Finding::Same, Finding::Same, Finding::Different, Finding::Missing][choice(7, 4) as usize];
    let mut entries = vec![submitted(origin, who, tokens), replayed(origin, who, by, tokens / 2, finding)];
    match choice(11, 5) {
        0 => entries.push(refused(origin, who, Code::Useless)),
        1 => {}
        _ => entries.push(counted(origin, who, tokens, choice(13, 1_000_001))),
    }
    if choice(17, 4) == 0 {
        entries.push(linked(who, number as u8, None, round));
    }
    if choice(19, 2) == 0 {
        entries.push(Entry::Forfeited { who: key(who), origin, code: Code::Different });
    }
    entries
}
