//! Frames, blobs and messages from people who mean harm, or whose program is broken.

mod wild;

use bytes::Bytes;
use proptest::prelude::*;
use tributary_ledger::{Checkpoint, Finding, Proven};
use tributary_protocol::blob::{chunk_list, verify_chunk, verify_list};
use tributary_protocol::contributor::{Config, Contributor, Input as ToMachine, Output as FromMachine};
use tributary_protocol::coordinator::{Event, Examined, Gain, Input, Score};
use tributary_protocol::fold::Clip;
use tributary_protocol::job::{Backend, DeviceChoice, DeviceInfo, Progress, Report};
use tributary_protocol::limits::{
    CHUNK, MAX_AGE, MAX_CLIPS, MAX_CONTRIBUTORS, MAX_CONTROL_FRAME, MAX_LINKS, MAX_REFUSALS, MAX_ROSTER, MAX_TEXT,
    MAX_TOKENS_PER_ROUND,
};
use tributary_protocol::message::{
    Accepted, BadFrame, Commit, Evaluation, FoldManifest, Held, Hello, Message, Open, PeerKind, Reason, Receipt,
    Refusal, Roster, RosterPeer, RoundManifest, Status, ToContributor, ToCoordinator, Verdict, Welcome,
};
use tributary_protocol::sketch::Sketch;
use tributary_protocol::spec::{Coding, RoundRule, UpdateFormat};
use tributary_protocol::update::Update;
use tributary_protocol::{BlobRef, Hash, Id, Identity, PROTOCOL_VERSION, Signed, update};
use tributary_tests::desk::{Desk, hello, people};
use tributary_tests::{Random, tiny_run, trace};
use wild::{anything_at_the_desk, anything_for_a_contributor};

fn config() -> ProptestConfig {
    ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() }
}

/// Good messages of every kind in both directions, as frames.
fn frames() -> [Vec<Vec<u8>>; 2] {
    let mut desk = Desk::new(1);
    let who = &people(1)[0];
    desk.hello(who);
    let commit = desk.commit_of(who, 64);
    let to_coordinator = [
        ToCoordinator::Hello(hello()),
        ToCoordinator::Status(Status { round: 3, tokens: 5, tokens_per_s: 1.5, device: "device".to_owned() }),
        ToCoordinator::Commit(Signed::new(who, &commit)),
        ToCoordinator::Pass { round: 9 },
        ToCoordinator::Disclosed { round: 3, segment: 1, dossier: Some(commit.update) },
    ];
    let mut to_contributor: Vec<ToContributor> = desk.sent.iter().map(|(_, message)| message.clone()).collect();
    let fold = fold_manifest(&desk, 3);
    let line = RosterPeer {
        peer: who.id(),
        kind: PeerKind::Tab,
        tokens: 1,
        tokens_per_s: 2.0,
        device: "é".repeat(MAX_TEXT / 2),
    };
    to_contributor.extend([
        ToContributor::Refused(Refusal::Full(3)),
        ToContributor::Verdict { round: 1, verdict: Verdict::Refused(Reason::Late) },
        ToContributor::Folded(Signed::new(&desk.identity, &fold)),
        ToContributor::Evaluated(Evaluation { round: 1, bits_per_byte: 2.0 }),
        ToContributor::Roster(Roster { total: 1, peers: vec![line] }),
        ToContributor::Links(vec![who.id(); MAX_LINKS]),
        ToContributor::Disclose { round: 1, segment: 2 },
        ToContributor::Receipt(Box::new(receipt(&desk.identity))),
    ]);
    [to_coordinator.iter().map(Message::encode).collect(), to_contributor.iter().map(Message::encode).collect()]
}

/// A receipt that nothing hangs on.
fn receipt(coordinator: &Identity) -> Receipt {
    let checkpoint = Checkpoint { run: [1; 32], size: 3, root: [2; 32], round: 4 };
    let proven = Proven { index: 2, entry: vec![1, 2, 3], path: vec![[3; 32]; 2] };
    let receipt = tributary_ledger::Receipt { settled: proven.clone(), paid: Some(proven) };
    let held = Held { provisional: 1, verified: 2, r#final: 3, forfeited: 4 };
    Receipt {
        checkpoint: Signed::new(coordinator, &checkpoint),
        since: Some(2),
        continues: vec![[4; 32]],
        receipt,
        held,
    }
}

fn fold_manifest(desk: &Desk, accepted: usize) -> FoldManifest {
    let accepted = (0..accepted)
        .map(|n| Accepted {
            peer: Identity::from_secret([n as u8; 32]).id(),
            update: BlobRef { hash: Hash::of(&n.to_le_bytes()), bytes: u64::from(u32::MAX) },
            age: MAX_AGE,
            tokens: MAX_TOKENS_PER_ROUND,
            quality: 1_000_000,
            weight: 0.5,
            clip: 0.5,
            clips: vec![Clip { tensor: 2_305, factor: 0.5 }; MAX_CLIPS],
        })
        .collect();
    let (open, blob) = (desk.open(), BlobRef::of(b"blob"));
    let (run, base) = (open.run, open.base);
    FoldManifest { run, round: 0, base, accepted, rate: 0.7, step: blob, next: blob, pool: u64::MAX, probe: run }
}

#[test]
fn the_largest_fold_fits_its_frame() {
    let mut desk = Desk::new(1);
    desk.hello(&people(1)[0]);
    let fold = fold_manifest(&desk, MAX_CONTRIBUTORS);
    let frame = ToContributor::Folded(Signed::new(&desk.identity, &fold)).encode();
    assert!(frame.len() <= MAX_CONTROL_FRAME, "{}", frame.len());
    assert!(ToContributor::decode(&frame).is_ok());
}

#[test]
fn good_frames_decode_and_cut_lengthened_or_oversize_ones_do_not() {
    fn check<M: Message + PartialEq + std::fmt::Debug>(frames: &[Vec<u8>]) {
        for frame in frames {
            let message = M::decode(frame).unwrap();
            assert_eq!(message.encode(), *frame);
            for len in 0..frame.len() {
                assert!(M::decode(&frame[..len]).is_err(), "{message:?} cut to {len}");
            }
            let longer = [frame, &[0u8][..]].concat();
            assert_eq!(M::decode(&longer), Err(BadFrame::Malformed));
        }
        let oversize = vec![0; MAX_CONTROL_FRAME + 1];
        assert_eq!(M::decode(&oversize), Err(BadFrame::TooLong(oversize.len())));
    }
    let [to_coordinator, to_contributor] = frames();
    check::<ToCoordinator>(&to_coordinator);
    check::<ToContributor>(&to_contributor);
}

#[test]
fn texts_and_lists_over_their_bound_are_refused() {
    let long = "x".repeat(MAX_TEXT + 1);
    let line = |device: &str| RosterPeer {
        peer: people(1)[0].id(),
        kind: PeerKind::Tab,
        tokens: 0,
        tokens_per_s: 0.0,
        device: device.to_owned(),
    };
    let status = Status { round: 0, tokens: 0, tokens_per_s: 0.0, device: long.clone() };
    for message in [ToCoordinator::Hello(Hello { agent: long.clone(), ..hello() }), ToCoordinator::Status(status)] {
        assert!(matches!(ToCoordinator::decode(&message.encode()), Err(BadFrame::OutOfBounds(_))));
    }
    for message in [
        ToContributor::Refused(Refusal::Misbehaved(long.clone())),
        ToContributor::Roster(Roster { total: 1, peers: vec![line(&long)] }),
        ToContributor::Roster(Roster { total: 1, peers: vec![line(""); MAX_ROSTER + 1] }),
        ToContributor::Links(vec![Id([1; 32]); MAX_LINKS + 1]),
    ] {
        assert!(matches!(ToContributor::decode(&message.encode()), Err(BadFrame::OutOfBounds(_))));
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), count in 0u64..200) {
        let _ = ToCoordinator::decode(&bytes);
        let _ = ToContributor::decode(&bytes);
        for format in [UpdateFormat::F32, UpdateFormat::Coded(Coding { keep: 64, bits: 2 })] {
            let _ = update::decode(&[format], &bytes, count);
        }
        let _ = std::str::from_utf8(&bytes).map(|text| (text.parse::<Hash>().is_ok(), text.parse::<tributary_protocol::Id>().is_ok()));
    }

    #[test]
    fn mutated_frames_are_refused_or_say_something_else_within_bounds(seed: u64) {
        let mut random = Random::new(seed);
        let [to_coordinator, to_contributor] = frames();
        for frame in to_coordinator.iter().chain(&to_contributor) {
            let mut frame = frame.clone();
            for _ in 0..=random.below(4) {
                let at = random.below(frame.len() as u64) as usize;
                match random.below(3) {
                    0 => frame[at] = random.bits() as u8,
                    1 => frame.insert(at, 0xff),
                    _ => { frame.remove(at); }
                }
                if frame.is_empty() {
                    break;
                }
            }
            if let Ok(message) = ToCoordinator::decode(&frame) {
                prop_assert_eq!(message.check(), Ok(()));
            }
            if let Ok(ToContributor::Folded(fold)) = ToContributor::decode(&frame) {
                // Whatever the bytes say, only the coordinator's signature opens them.
                prop_assert!(fold.open(&people(1)[0].id()).is_err());
            }
        }
    }

    #[test]
    fn a_flipped_bit_is_never_a_blob(len in 1usize..3 * CHUNK, at: prop::sample::Index, bit in 0u8..8) {
        let bytes: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
        let (blob, list) = (BlobRef::of(&bytes), chunk_list(&bytes));
        let mut wrong = bytes.clone();
        wrong[at.index(len)] ^= 1 << bit;
        let index = (at.index(len) / CHUNK) as u32;
        prop_assert!(verify_chunk(&blob, index, &list[index as usize], &bytes[blob.range(index)]));
        prop_assert!(!verify_chunk(&blob, index, &list[index as usize], &wrong[blob.range(index)]));
        let mut liar = list.clone();
        liar[index as usize].0[at.index(32)] ^= 1 << bit;
        prop_assert!(verify_list(&blob, &list) && !verify_list(&blob, &liar));
        let longer = BlobRef { bytes: blob.bytes + CHUNK as u64, ..blob };
        prop_assert!(!verify_list(&longer, &list));
    }

    #[test]
    fn no_list_or_chunk_makes_the_verifier_panic(bytes: u64, count in 0usize..40, index: u32, len in 0usize..2000) {
        let blob = BlobRef { hash: Hash::default(), bytes };
        prop_assert!(!verify_list(&blob, &vec![Hash::default(); count]));
        prop_assert!(!verify_chunk(&blob, index, &Hash::default(), &vec![0; len]));
    }

    #[test]
    fn the_coordinator_takes_anything_in_any_state(seed: u64, acts in prop::collection::vec((0u8..14, 0usize..5, 0u64..8_000), 1..120)) {
        let mut random = Random::new(seed);
        let people = people(5);
        let mut desk = Desk::new(1);
        for (act, who, ms) in acts {
            desk.now += ms;
            let before = desk.sent.len();
            anything_at_the_desk(&mut desk, &people[who], act, &mut random);
            // Nobody can make it say more than a word to everyone at a time.
            prop_assert!(desk.sent.len() - before <= 7 * people.len() + 2, "{} messages", desk.sent.len() - before);
            prop_assert!(desk.fetches.len() <= 64);
            desk.fetches.truncate(4);
        }
        let settled = desk.journal.iter().filter(|event| matches!(event, Event::Settled { .. })).count() as u64;
        prop_assert_eq!(desk.machine.book().ledger().total(), settled * desk.run.spec.reward.pool);
    }

    #[test]
    fn the_contributor_takes_anything_in_any_state(seed: u64, acts in prop::collection::vec((0u8..19, 0u64..20_000), 1..150)) {
        let mut random = Random::new(seed);
        let coordinator = Identity::from_secret([9; 32]);
        let mut machine = Contributor::new(Config {
            identity: Identity::from_secret([1; 32]),
            coordinator: coordinator.id(),
            kind: PeerKind::Tab,
            agent: "x".repeat(500),
            run: None,
            device: DeviceChoice::Auto,
            links: true,
            jitter: seed,
            remembered: None,
        });
        let mut now = 0;
        for (act, ms) in acts {
            now += ms;
            machine.handle(now, anything_for_a_contributor(act, &coordinator, &mut random));
            let mut outputs = 0;
            while let Some(output) = machine.poll() {
                outputs += 1;
                if let FromMachine::Send(message) = output {
                    prop_assert_eq!(message.check(), Ok(()));
                }
            }
            prop_assert!(outputs <= 32, "{} outputs of one input", outputs);
            let view = machine.snapshot(now);
            prop_assert!(view.peers.len() <= MAX_ROSTER);
            prop_assert!(machine.wake_at().is_none_or(|at| at > now || !idle_tick(&mut machine, now)), "it spins");
        }
    }
}

/// Whether a tick now changes nothing, although the machine asked for it.
fn idle_tick(machine: &mut Contributor, now: u64) -> bool {
    machine.handle(now, ToMachine::Tick);
    while machine.poll().is_some() {}
    machine.wake_at().is_some_and(|at| at <= now)
}

#[test]
fn commits_that_cannot_count_are_refused_with_their_reason() {
    let [me, you] = <[Identity; 2]>::try_from(people(2)).unwrap();
    let check = |change: &dyn Fn(&mut Commit), late_ms: u64, expected: Option<Reason>| {
        let mut desk = Desk::new(1);
        desk.hello(&me);
        let mut commit = desk.commit_of(&me, 64);
        change(&mut commit);
        desk.now += late_ms;
        let journalled = desk.journal.len();
        desk.commit(&me, &commit);
        let refused: Vec<_> = desk.verdicts(&me).into_iter().map(|(_, verdict)| verdict).collect();
        assert_eq!(refused, expected.map(Verdict::Refused).into_iter().collect::<Vec<_>>());
        let taken = desk.journal[journalled..].iter().any(|event| matches!(event, Event::Committed { .. }));
        assert_eq!(taken, expected.is_none());
    };
    check(&|_| {}, 0, None);
    check(&|_| {}, 14_999, None);
    check(&|_| {}, 15_000, Some(Reason::Late));
    check(&|commit| commit.run = Hash::of(b"another run"), 0, Some(Reason::Forged));
    check(&|commit| commit.round = 1, 0, Some(Reason::WrongRound));
    check(&|commit| commit.base = Hash::of(b"another base"), 0, Some(Reason::WrongBase));
    check(&|commit| commit.tokens = 0, 0, Some(Reason::Tokens));
    check(&|commit| commit.tokens = MAX_TOKENS_PER_ROUND + 1, 0, Some(Reason::Tokens));
    check(&|commit| commit.loss_last = f32::NAN, 0, Some(Reason::Loss));
    check(&|commit| commit.update.bytes = 1 << 40, 0, Some(Reason::Malformed));

    // Somebody else's commit, relayed; and the same commit a second time, and another one.
    let mut desk = Desk::new(1);
    [&me, &you].into_iter().for_each(|who| desk.hello(who));
    let commit = desk.commit_of(&you, 64);
    desk.message(&me, ToCoordinator::Commit(Signed::new(&you, &commit)));
    assert_eq!(desk.machine.stats().refused[&Reason::Forged], 1);
    assert!(desk.fetches.is_empty());
    desk.commit(&you, &commit);
    desk.commit(&you, &commit);
    assert_eq!((desk.fetches.len(), desk.verdicts(&you)), (1, vec![]));
    desk.commit(&you, &Commit { update: BlobRef::of(b"second thoughts"), ..commit });
    assert_eq!((desk.fetches.len(), desk.verdicts(&you)), (1, vec![(0, Verdict::Refused(Reason::Twice))]));
}

#[test]
fn whoever_misbehaves_is_dropped_after_a_bound_and_told_why() {
    let [me] = <[Identity; 1]>::try_from(people(1)).unwrap();
    type Offence = fn(&mut Desk, &Identity);
    let offences: [(&str, Offence); 5] = [
        ("message", |desk, me| desk.input(Input::BadFrame { from: me.id(), why: BadFrame::Malformed })),
        ("before the hello", |desk, me| {
            desk.input(Input::Gone(Identity::from_secret([77; 32]).id()));
            desk.message(&Identity::from_secret(me.secret()), ToCoordinator::Pass { round: 0 });
        }),
        ("validly signed", |desk, me| {
            let commit = desk.commit_of(me, 1);
            let liar = Identity::from_secret([66; 32]);
            desk.message(me, ToCoordinator::Commit(Signed::new(&liar, &commit)));
        }),
        ("another round", |desk, me| {
            let commit = desk.commit_of(me, 1);
            desk.commit(me, &Commit { round: 7, ..commit });
        }),
        ("second hello", |desk, me| desk.hello(me)),
    ];
    for (words, offence) in offences {
        let mut desk = Desk::new(1);
        // A round must be open for some, and somebody else opens it.
        let other = Identity::from_secret([55; 32]);
        desk.hello(&other);
        if words != "before the hello" {
            desk.hello(&me);
        }
        for _ in 0..MAX_REFUSALS - 1 {
            offence(&mut desk, &me);
            assert_eq!(desk.dropped, [], "{words}");
        }
        offence(&mut desk, &me);
        assert_eq!(desk.dropped, [me.id()], "{words}");
        let Some(Refusal::Misbehaved(why)) = desk.refusal(&me) else { panic!("{words}: not told") };
        assert!(why.contains(words) && why.len() <= MAX_TEXT, "{why}");
        // What is still on its way changes nothing and is answered by nothing.
        let sent = desk.sent.len();
        desk.hello(&me);
        offence(&mut desk, &me);
        assert_eq!((desk.sent.len(), desk.dropped.len(), desk.machine.peers()), (sent, 1, 1), "{words}");
        // It may come back on a new connection.
        desk.input(Input::Gone(me.id()));
        desk.hello(&me);
        assert_eq!(desk.machine.peers(), 2, "{words}");
    }
}

#[test]
fn another_run_or_version_is_told_in_words() {
    let me = &people(1)[0];
    let mut desk = Desk::new(1);
    let other = Hash::of(b"another run");
    desk.message(me, ToCoordinator::Hello(Hello { run: Some(other), ..hello() }));
    let ours = desk.run.spec.id();
    assert_eq!(desk.refusal(me), Some(&Refusal::Run { ours, yours: other }));
    assert!(desk.refusal(me).unwrap().to_string().contains("check the address"));
    assert_eq!((&desk.dropped[..], desk.machine.peers()), (&[me.id()][..], 0));

    let mut desk = Desk::new(1);
    desk.message(me, ToCoordinator::Hello(Hello { version: 99, ..hello() }));
    assert_eq!(desk.refusal(me), Some(&Refusal::Version { ours: PROTOCOL_VERSION, yours: 99 }));
    // Version 1 said nothing of links: its hello is shorter, and still readable enough to be answered.
    let mut old = ToCoordinator::Hello(Hello { version: 1, ..hello() }).encode();
    old.pop();
    let read = ToCoordinator::decode(&old);
    assert!(matches!(&read, Ok(ToCoordinator::Hello(Hello { version: 1, .. }))), "{read:?}");
    let mut ours = ToCoordinator::Hello(hello()).encode();
    ours.pop();
    assert_eq!(ToCoordinator::decode(&ours), Err(BadFrame::Malformed));
    assert!(desk.refusal(me).unwrap().to_string().contains("reload the page"));
    assert_eq!((&desk.dropped[..], desk.machine.peers()), (&[me.id()][..], 0));
}
