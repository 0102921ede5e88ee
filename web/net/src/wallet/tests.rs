//! A log and a chain that agree, and each way in which they don't.

use k256::ecdsa::SigningKey;
use tributary_ledger::abi::{self, Word, hex, unhex};
use tributary_ledger::{
    Book, Distributor, Entry, Epochs, LinkMessage, LinkProof, Rule, Verdict, Wallet, WalletProof, address_of,
    checksummed, frame_all, keccak256, personal_hash, verify_payout,
};
use tributary_protocol::{Hash, Identity, Signed};
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::books::Log;
use super::look::{ChainFile, ClaimView, Look};
use super::{PaidTo, WalletError};

const RULE: Rule = Rule { pool: 1_000, witness_ppm: 0, settle: 1, hold: 2, relink: 9 };
const RUN: [u8; 32] = [9; 32];
const ROUNDS: u64 = 4;
const AT: Distributor = Distributor { chain: 31_337, contract: [0xd1; 20] };
const SHARE: Wallet = [0x5a; 20];

fn coordinator() -> Identity {
    Identity::from_secret([0xc0; 32])
}

fn me() -> Identity {
    Identity::from_secret([1; 32])
}

fn wallet(n: u8) -> Wallet {
    address_of(SigningKey::from_slice(&[n; 32]).unwrap().verifying_key())
}

fn linked(to: u8, issued: u64) -> Entry {
    let peer = me().id().0;
    let (domain, uri, nonce) = ("a.example".to_owned(), "https://a.example".to_owned(), format!("nonce{issued:05}"));
    let said = LinkMessage { domain, uri, wallet: wallet(to), chain: 1, nonce, issued, expires: issued + 60, peer };
    let message = said.to_string();
    let key = SigningKey::from_slice(&[to; 32]).unwrap();
    let (signature, parity) = key.sign_prehash_recoverable(&personal_hash(&message)).unwrap();
    let by = WalletProof::Key([&signature.to_bytes()[..], &[27 + parity.to_byte()]].concat());
    let proof = LinkProof { peer: me().sign_link(&message), message, wallet: by, handover: None };
    Entry::Linked { who: peer, wallet: wallet(to), proof: proof.to_bytes() }
}

/// Rounds in which one contributor earns everything; it names a wallet in round 0 and another in round 5.
fn rows(rounds: u64) -> (Vec<Vec<u8>>, Book) {
    let (mut book, mut rows) = (Book::default(), Vec::new());
    let mut add = |book: &mut Book, entry: Entry| {
        book.append(&entry).unwrap();
        rows.push(entry.to_bytes());
    };
    add(&mut book, Entry::Run { run: RUN, coordinator: coordinator().id().0, rule: RULE });
    for round in 0..rounds {
        let who = me().id().0;
        add(&mut book, Entry::Opened { round, seed: [7; 32], base: [round as u8; 32], signed: vec![1] });
        match round {
            0 => add(&mut book, linked(11, 100)),
            5 => add(&mut book, linked(12, 105)),
            _ => {}
        }
        add(&mut book, Entry::Submitted { origin: round, who, update: [2; 32], tokens: 300, signed: vec![3] });
        let verdict = Verdict::Counted { tokens: 300, quality: 1_000_000 };
        add(&mut book, Entry::Judged { origin: round, who, verdict });
        for entry in book.settlement(round, [round as u8 + 1; 32], [3; 32]).unwrap() {
            add(&mut book, entry);
        }
    }
    (rows, book)
}

fn signed(book: &Book, by: &Identity) -> Vec<u8> {
    postcard::to_stdvec(&Signed::new(by, &book.checkpoint().unwrap())).unwrap()
}

fn new_log() -> Log {
    Log::new(&Hash(RUN).to_string(), &coordinator().id().to_string(), Some(ROUNDS)).unwrap()
}

fn read(rounds: u64) -> Log {
    let (rows, book) = rows(rounds);
    let mut log = new_log();
    log.read_to(&signed(&book, &coordinator())).unwrap();
    while let Some(from) = log.missing() {
        log.push(&frame_all(rows[from as usize..].iter().take(7))).unwrap();
    }
    log
}

fn chain() -> ChainFile {
    let (distributor, share) = (checksummed(&AT.contract), checksummed(&SHARE));
    ChainFile { chain: "31337".into(), distributor, share, rounds: Some(ROUNDS), explorer: None }
}

/// What a contract answers, with roots of these epochs, each counting from a time or vetoed.
struct Contract {
    epochs: Epochs,
    submitted: Vec<Result<u64, ()>>,
    claimed: u64,
    run: Word,
}

impl Contract {
    fn new(rounds: u64, submitted: &[Result<u64, ()>]) -> Self {
        let mut epochs = Epochs::new(ROUNDS).unwrap();
        rows(rounds).0.iter().for_each(|row| epochs.append_bytes(row).unwrap());
        Self { epochs, submitted: submitted.to_vec(), claimed: 0, run: RUN }
    }

    fn answer(&self, to: &str, data: &str) -> Vec<Word> {
        let data = unhex(data).unwrap();
        let is = |signature: &str| data[..4] == keccak256(signature.as_bytes())[..4];
        assert_eq!(
            to,
            checksummed(if is("feesOf(address)") || is("balanceOf(address)") { &SHARE } else { &AT.contract })
        );
        match () {
            () if is("run()") => vec![self.run],
            () if is("rounds()") => vec![abi::number(ROUNDS)],
            () if is("share()") => vec![abi::address(&SHARE)],
            () if is("next()") => vec![abi::number(self.submitted.len() as u64)],
            () if is("claimed(address)") => vec![abi::number(self.claimed)],
            () if is("feesOf(address)") => vec![abi::number(77_u64)],
            () if is("balanceOf(address)") => vec![abi::number(self.claimed)],
            () if is("epochs(uint64)") => {
                let number = data[35] as usize;
                let epoch = &self.epochs.closed()[number];
                let total: u64 = epoch.sums.values().sum();
                let (from, vetoed) = self.submitted[number].map_or((0, 1), |from| (from, 0));
                let end = [total, from, vetoed].map(abi::number);
                [&[epoch.root(&AT), epoch.log, epoch.data()][..], &end].concat()
            }
            () => panic!("an unknown question"),
        }
    }

    fn look(&self, log: &Log, to: u8, remembered: Option<&[u8]>) -> Result<ClaimView, WalletError> {
        let mut look = Look::new(&chain(), log.run(), &checksummed(&wallet(to)), 1_000)?;
        while let Some(question) = look.ask() {
            let words = self.answer(&question.to, &question.data);
            look.tell(log.epochs.closed(), &hex(words.as_flattened()))?;
        }
        Ok(look.view(log.epochs.closed(), log.ticks(remembered)))
    }
}

#[test]
fn the_page_reads_what_the_log_says() {
    let log = read(9);
    let account = log.account(&me().id().to_string()).unwrap();
    assert_eq!((account.round, account.provisional, account.verified, account.r#final), (8, 1_000, 1_000, 7_000));
    let paid = |n: u8, from| Some(PaidTo { address: checksummed(&wallet(n)), from });
    assert_eq!((account.wallet, account.pending), (paid(11, 0), paid(12, 15)));
    assert_eq!(read(16).account(&me().id().to_string()).unwrap().wallet, paid(12, 15));
    let nobody = log.account(&Identity::from_secret([5; 32]).id().to_string()).unwrap();
    assert_eq!((nobody.r#final, nobody.wallet), (0, None));
    assert!(log.account("nobody").is_err());
}

#[test]
fn a_log_that_is_not_the_signed_one_is_refused() {
    let (rows, book) = rows(3);
    let mut log = new_log();
    assert!(matches!(log.read_to(&signed(&book, &me())), Err(WalletError::Unsigned(_))));
    assert!(matches!(log.read_to(&[1, 2]), Err(WalletError::Coordinator(_))));
    log.read_to(&signed(&book, &coordinator())).unwrap();
    assert!(matches!(log.push(&[]), Err(WalletError::Missing { shown: 0, .. })));
    assert!(matches!(log.push(&[9, 0, 0, 0, 1]), Err(WalletError::Frames(_))));
    let swapped = frame_all([&rows[0], &rows[2], &rows[1]]);
    assert!(matches!(log.push(&swapped), Err(WalletError::Log(_))));
    assert_eq!(read(3).ticks(None), (true, true));
    let (_, other) = self::rows(2);
    assert_eq!(read(3).ticks(Some(&signed(&other, &coordinator()))), (true, true));
    let (_, more) = self::rows(4);
    assert_eq!(read(3).ticks(Some(&signed(&more, &coordinator()))), (true, false), "it was longer before");
    assert_eq!(read(3).ticks(Some(&signed(&more, &me()))), (true, true), "somebody else's is nothing to go by");
}

#[test]
fn what_the_log_gives_and_the_chain_has_can_be_claimed() {
    let log = read(9);
    let contract = Contract::new(9, &[Ok(500), Ok(900)]);
    let view = contract.look(&log, 11, None).unwrap();
    // Epoch 1 closed with round 7: rounds 0 to 5 were final by then.
    assert_eq!((view.ticks.as_slice(), view.due, view.claimed, view.fees), (&[true; 5][..], 6_000, 0, 77));
    assert_eq!((view.closes, view.differs, view.waits), (11, None, None));
    let data = unhex(&view.claim.unwrap().data).unwrap();
    let words = abi::words(&data[4..]).unwrap();
    assert_eq!((abi::to_number(&words[0]), abi::to_number(&words[2])), (Some(1), Some(6_000)));
    let root = log.epochs.closed()[1].tree(&AT).unwrap().root();
    assert!(verify_payout(&root, &tributary_ledger::payout_leaf(&AT, &wallet(11), 6_000), &words[5..]));
    let all = Contract { claimed: 6_000, ..contract }.look(&log, 11, None).unwrap();
    assert_eq!((all.due, all.claimed, all.claim), (0, 6_000, None));
    let stranger = Contract::new(9, &[Ok(500)]).look(&log, 13, None).unwrap();
    assert_eq!((stranger.due, stranger.claim, stranger.ticks[3]), (0, None, false));
}

#[test]
fn roots_wait_and_are_vetoed() {
    let log = read(9);
    let view = Contract::new(9, &[Ok(500), Ok(2_000)]).look(&log, 11, None).unwrap();
    assert_eq!((view.due, view.waits.map(|waits| (waits.due, waits.from))), (2_000, Some((4_000, 2_000))));
    let view = Contract::new(9, &[Ok(500), Err(())]).look(&log, 11, None).unwrap();
    assert_eq!((view.due, view.waits.is_some()), (2_000, false));
    let view = Contract::new(9, &[]).look(&log, 11, None).unwrap();
    assert_eq!((view.due, view.claim, view.ticks[4]), (0, None, false));
}

#[test]
fn a_chain_that_says_otherwise_is_not_claimed_from() {
    let log = read(9);
    let ahead = Contract::new(9, &[Ok(500), Ok(900)]).look(&read(7), 11, None).unwrap();
    assert_eq!((ahead.differs, ahead.claim, ahead.ticks[4]), (Some(1), None, false));
    // What this browser remembers is no part of this log.
    let (_, more) = rows(12);
    let view = Contract::new(9, &[Ok(500)]).look(&log, 11, Some(&signed(&more, &coordinator()))).unwrap();
    assert_eq!((view.ticks.as_slice(), view.claim), (&[true, true, false, true, true][..], None));
    let elsewhere = Contract { run: [8; 32], ..Contract::new(9, &[]) };
    assert_eq!(elsewhere.look(&log, 11, None), Err(WalletError::Contract("run")));
    let mut look = Look::new(&chain(), log.run(), &checksummed(&wallet(11)), 1_000).unwrap();
    assert_eq!(look.tell(&[], "0x"), Err(WalletError::NoContract));
    assert_eq!(look.tell(&[], "0x00"), Err(WalletError::Answer { question: "eth_call" }));
}
