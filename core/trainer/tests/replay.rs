//! Replays of what a trainer discloses: honest work is recognised, and whatever else is refused in words.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use bytes::Bytes;
use common::{Driver, Sent, manifest, play, spec};
use tributary_protocol::check::{Finding, PastRound, ReplayOrder};
use tributary_protocol::fold::{f32_to_le, state_hash};
use tributary_protocol::job::{Job, Report};
use tributary_protocol::message::Commit;
use tributary_protocol::spec::{Coding, Optimizer, RunSpec, UpdateFormat};
use tributary_protocol::update::{Update, compress, decode, encode};
use tributary_protocol::{BlobRef, Hash, Id};
use tributary_trainer::burn::tensor::Device;
use tributary_trainer::{Case, Dossier, Fault, Likeness, Origin, Replayer, Sources, WEIGHTS, max_dossier_bytes};

/// A run whose updates are coded, with segments so short that a few steps fill one.
fn coded() -> RunSpec {
    let mut spec = spec();
    spec.round.seconds = 1;
    spec.update = UpdateFormat::Coded(Coding { keep: 64, bits: 2 });
    spec.first = UpdateFormat::Coded(Coding { keep: 4096, bits: 4 });
    spec
}

/// What the verifier knows of the run.
struct Known {
    bases: Vec<Vec<f32>>,
    shard: Bytes,
}

impl Sources for Known {
    fn base(&self, round: u64) -> Option<Vec<f32>> {
        self.bases.get(round as usize).cloned()
    }

    fn is_seed(&self, seed: &Hash) -> bool {
        (0..10_u64).any(|round| Hash::of(&round.to_le_bytes()) == *seed)
    }

    fn shard(&self, _: &Hash) -> Option<Bytes> {
        Some(self.shard.clone())
    }
}

async fn replay(known: &Known, case: &Case<'_>, dossier: &[u8]) -> Result<Likeness, Fault> {
    let manifest = Bytes::from(manifest(&known.shard));
    Replayer::new(&coded(), manifest, Device::flex()).replay(case, dossier, known).await
}

fn case<'a>(round: u64, sent: &'a Sent, known: Option<Hash>, segment: u8) -> Case<'a> {
    let Sent { update, tokens, trace } = sent;
    Case { peer: Id([3; 32]), round, tokens: *tokens, update, trace: *trace, known, segment }
}

fn assert_same(likeness: &Likeness) {
    assert!(likeness.is_same(), "{likeness:?}");
}

/// Half of an update, as the step of its round.
fn step(update: &Update) -> Vec<f32> {
    update.values().iter().map(|value| -0.5 * value).collect()
}

/// Trains until there are so many steps since the last cut.
async fn steps(driver: &mut Driver, count: u64) {
    while driver.progress().await.steps < count {}
}

#[test]
fn honest_rounds_are_recognised_segment_by_segment() {
    play(coded(), async |driver| {
        driver.begin().await;
        let mut known = Known { bases: vec![driver.base.clone()], shard: driver.shard.clone() };
        let mut before = None;
        for round in 0..4 {
            if round > 0 {
                // Work goes on for a while before the fold, and after it with the next round's data.
                driver.send(Job::Train { round: round - 1, seed: Hash::of(&(round - 1).to_le_bytes()) });
                driver.work().await;
                let sent: &Sent = before.as_ref().unwrap();
                driver.send(Job::Pause);
                driver.fold(round - 1, &step(&sent.update)).await;
                known.bases.push(driver.base.clone());
                driver.train(round);
            }
            steps(driver, 40).await;
            let sent = driver.cut(round).await;
            assert!((2..=4).contains(&sent.trace.segments), "{:?}", sent.trace);
            let mut tokens = 0;
            for segment in 0..sent.trace.segments {
                let dossier = driver.disclose(round, segment).await.unwrap();
                let case = case(round, &sent, before.as_ref().map(|sent| sent.trace.hash), segment);
                let likeness = replay(&known, &case, &dossier).await.unwrap();
                assert_same(&likeness);
                assert_eq!(likeness.origin, if round == 0 { Origin::Fresh } else { Origin::Continued });
                assert_eq!(likeness.sent.is_some(), segment + 1 == sent.trace.segments);
                tokens += likeness.tokens;
            }
            assert_eq!(tokens, sent.tokens);
            assert_eq!(driver.disclose(round, sent.trace.segments).await, None);
            before = Some(sent);
        }
        // States of the last two cuts are kept, and no older ones.
        assert!(driver.disclose(2, 0).await.is_some());
        assert_eq!(driver.disclose(1, 0).await, None);
    });
}

/// A round of a few dozen steps, cut: what was sent, and what the verifier knows.
async fn one_round(driver: &mut Driver) -> (Known, Sent) {
    driver.begin().await;
    let known = Known { bases: vec![driver.base.clone()], shard: driver.shard.clone() };
    steps(driver, 40).await;
    let sent = driver.cut(0).await;
    (known, sent)
}

/// The dossier with changes, and the commit that a forger would have signed.
fn forge(dossier: &[u8], sent: &Sent, change: impl FnOnce(&mut Dossier)) -> (Vec<u8>, Sent) {
    let mut dossier: Dossier = postcard::from_bytes(dossier).unwrap();
    change(&mut dossier);
    let at = usize::from(dossier.segment);
    let (start, end) = (dossier.start.hashes(), dossier.end.hashes());
    let begin = if at == 0 { &mut dossier.trace.start } else { &mut dossier.trace.segments[at - 1].end };
    (begin.weights, begin.moments) = start;
    if let Some(segment) = dossier.trace.segments.get_mut(at) {
        (segment.end.weights, segment.end.moments) = end;
    }
    let sent = Sent { update: sent.update.clone(), tokens: sent.tokens, trace: dossier.trace.named() };
    (postcard::to_stdvec(&dossier).unwrap(), sent)
}

#[test]
fn forged_ends_are_told_from_trained_ones() {
    play(coded(), async |driver| {
        // Text of which no two windows are alike.
        let text = (0..8000_u32).map(|at| 1 + Hash::of(&at.to_le_bytes()).0[0] % 255);
        driver.shard = text.collect::<Vec<u8>>().into();
        let (known, sent) = one_round(driver).await;
        let dossier = driver.disclose(0, 1).await.unwrap();
        let unlike = async |change: fn(&mut Dossier)| {
            let (forged, sent) = forge(&dossier, &sent, change);
            let likeness = replay(&known, &case(0, &sent, None, 1), &forged).await.unwrap();
            assert!(!likeness.is_same(), "{likeness:?}");
            likeness
        };
        let (honest, same) = forge(&dossier, &sent, |_| {});
        assert!(honest == dossier && replay(&known, &case(0, &same, None, 1), &honest).await.unwrap().is_same());
        let idle = unlike(|dossier| dossier.end.weights = dossier.start.weights.clone()).await;
        assert_eq!(idle.way.ratio, 0.0);
        let swapped = unlike(|dossier| dossier.end.moments = dossier.start.moments.clone()).await;
        assert!(swapped.way.cosine > 0.9, "{swapped:?}");
        let tripled = unlike(|dossier| {
            let count = spec().model.params();
            let mut values = decode(&[WEIGHTS], dossier.end.weights.as_ref().unwrap(), count).unwrap().values();
            let start = decode(&[WEIGHTS], dossier.start.weights.as_ref().unwrap(), count).unwrap().values();
            values.iter_mut().zip(start).for_each(|(end, start)| *end += 2.0 * (*end - start));
            dossier.end.weights = Some(encode(&compress(&values, WEIGHTS)));
        });
        let tripled = tripled.await;
        assert!((2.8..3.2).contains(&tripled.way.ratio), "{tripled:?}");
        // Somebody else's work, with somebody else's data.
        let mut copied = case(0, &sent, None, 1);
        copied.peer = Id([4; 32]);
        let copied = replay(&known, &copied, &dossier).await.unwrap();
        assert!(!copied.is_same() && copied.way.cosine < 0.8, "{copied:?}");
    });
}

#[test]
fn what_contradicts_the_commit_or_itself_is_refused_in_words() {
    play(coded(), async |driver| {
        let (known, sent) = one_round(driver).await;
        let dossier = driver.disclose(0, 1).await.unwrap();
        let refused = async |change: fn(&mut Dossier), words: &str| {
            let (forged, sent) = forge(&dossier, &sent, change);
            let fault = replay(&known, &case(0, &sent, None, 1), &forged).await.unwrap_err();
            assert!(!fault.is_ours() && fault.to_string().contains(words), "{fault}");
        };
        refused(|dossier| dossier.trace.segments.truncate(1), "another segment").await;
        refused(|dossier| dossier.segment = 0, "another segment").await;
        refused(|dossier| dossier.trace.segments[0].stretches[0].steps += 1, "claims").await;
        refused(|dossier| dossier.trace.segments[1].end.seen += 1, "segment 1 of the trace ends where").await;
        refused(|dossier| dossier.trace.segments[1].end.base = 1, "segment 1 of the trace ends where").await;
        refused(|dossier| dossier.trace.start.base = 9, "ends where").await;
        refused(|dossier| dossier.trace.segments[1].loss = f32::NAN, "no number").await;
        refused(|dossier| dossier.trace.start.moments = Some([Hash::default(); 2]), "has no trace").await;
        refused(|dossier| dossier.trace.previous = Some(Hash::default()), "another trace").await;
        refused(|dossier| dossier.trace.segments[0].stretches[0].seed = Some(Hash::of(b"mine")), "seed").await;
        refused(
            |dossier| {
                let stretch = dossier.trace.segments[1].stretches[0].clone();
                dossier.trace.segments[1].stretches = vec![stretch; 100];
            },
            "claims",
        )
        .await;
        refused(
            |dossier| {
                let steps = std::mem::take(&mut dossier.trace.segments[1].stretches);
                dossier.trace.segments[0].stretches.extend(steps);
            },
            "segment 1 of the trace has no steps",
        )
        .await;
        refused(|dossier| dossier.end.weights = Some(Bytes::from_static(b"weights")), "weights").await;
        refused(|dossier| dossier.end.moments = None, "moments").await;
        // Not the committed one; more tokens than steps; a segment that wasn't asked for.
        let honest = case(0, &sent, None, 1);
        let mut other = honest;
        other.trace.hash = Hash::default();
        assert_eq!(replay(&known, &other, &dossier).await, Err(Fault::Foreign));
        let more = Case { tokens: sent.tokens + 64, ..honest };
        assert!(matches!(replay(&known, &more, &dossier).await, Err(Fault::Steps { .. })));
        let more = Case { tokens: sent.tokens + 1, ..honest };
        assert!(matches!(replay(&known, &more, &dossier).await, Err(Fault::Steps { .. })));
        let next = Case { segment: 2, ..honest };
        assert_eq!(replay(&known, &next, &dossier).await, Err(Fault::Segment(2)));
        // What the verifier lacks is not the contributor's fault.
        let fault = replay(&Known { bases: vec![], ..known }, &honest, &dossier).await.unwrap_err();
        assert!(fault.is_ours() && fault.to_string().contains("base of round 0"), "{fault}");
    });
}

#[test]
fn damaged_dossiers_are_refused_and_nothing_panics() {
    play(coded(), async |driver| {
        let (known, sent) = one_round(driver).await;
        let last = sent.trace.segments - 1;
        let dossier = driver.disclose(0, last).await.unwrap();
        let case = case(0, &sent, None, last);
        assert_same(&replay(&known, &case, &dossier).await.unwrap());
        for len in (0..dossier.len()).step_by(97) {
            assert!(replay(&known, &case, &dossier[..len]).await.is_err(), "{len}");
        }
        for at in (0..dossier.len()).step_by(211).chain(0..300) {
            let mut damaged = dossier.to_vec();
            damaged[at] ^= 1 << (at % 8);
            assert!(replay(&known, &case, &damaged).await.is_err(), "{at}");
        }
        let long = [&dossier[..], &[0]].concat();
        assert_eq!(replay(&known, &case, &long).await, Err(Fault::Unreadable));
        let endless = vec![0xff; max_dossier_bytes(&driver.spec) as usize + 1];
        assert_eq!(replay(&known, &case, &endless).await, Err(Fault::Unreadable));
    });
}

#[test]
fn whoever_restarts_begins_at_the_base_or_at_the_last_cut() {
    play(coded(), async |driver| {
        let (known, first) = one_round(driver).await;
        // A round that nobody folds is cut again.
        driver.train(0);
        steps(driver, 10).await;
        let second = driver.cut(0).await;
        let dossier = driver.disclose(0, 0).await.unwrap();
        let origin = async |known_trace: Option<Hash>| {
            let likeness = replay(&known, &case(0, &second, known_trace, 0), &dossier).await.unwrap();
            assert_same(&likeness);
            likeness.origin
        };
        assert_eq!(origin(Some(first.trace.hash)).await, Origin::Continued);
        assert_eq!(origin(None).await, Origin::Unproven);
        assert_eq!(origin(Some(Hash::default())).await, Origin::Unproven);
        let (forged, sent) = forge(&dossier, &second, |dossier| {
            dossier.start.weights = Some(encode(&compress(&vec![0.1; spec().model.params() as usize], WEIGHTS)));
        });
        let torn = replay(&known, &case(0, &sent, Some(first.trace.hash), 0), &forged).await.unwrap_err();
        assert!(torn.to_string().contains("does not begin where"), "{torn}");
    });
}

#[test]
fn work_that_is_undone_leaves_no_trace() {
    play(coded(), async |driver| {
        let (mut known, first) = one_round(driver).await;
        // A base that nobody can train from: steps are undone until there is another.
        let good = driver.base.clone();
        let bad: Vec<f32> = good.iter().map(|value| 1000.0 * value).collect();
        driver.fold(0, &bad).await;
        known.bases.push(driver.base.clone());
        driver.train(1);
        assert!(matches!(driver.report().await, Report::Trouble { fatal: false, .. }));
        driver.send(Job::Pause);
        let (round, hash, weights) = (2, state_hash(&good), f32_to_le(&good).into());
        driver.send(Job::Base { round, hash, weights });
        while driver.report().await != (Report::Based { round, hash }) {}
        (driver.base, known.bases) = (good.clone(), [known.bases, vec![good]].concat());
        driver.send(Job::Cut { round });
        assert!(matches!(driver.report().await, Report::Withheld { round: 2, .. }));
        driver.train(2);
        steps(driver, 20).await;
        let sent = driver.cut(2).await;
        for segment in 0..sent.trace.segments {
            let dossier = driver.disclose(2, segment).await.unwrap();
            let case = case(2, &sent, Some(first.trace.hash), segment);
            let likeness = replay(&known, &case, &dossier).await.unwrap();
            assert_same(&likeness);
            assert_eq!(likeness.origin, Origin::Restarted);
        }
    });
}

#[test]
fn muon_is_replayed_too() {
    let mut spec = coded();
    spec.inner.optimizer = Optimizer::Muon;
    play(spec.clone(), async |driver| {
        let (known, sent) = one_round(driver).await;
        for segment in 0..sent.trace.segments {
            let dossier = driver.disclose(0, segment).await.unwrap();
            let replayer = Replayer::new(&spec, manifest(&known.shard).into(), Device::flex());
            let likeness = replayer.replay(&case(0, &sent, None, segment), &dossier, &known).await.unwrap();
            assert_same(&likeness);
        }
    });
}

#[test]
fn a_witness_runs_it_between_its_own_steps() {
    play(coded(), async |driver| {
        let (known, sent) = one_round(driver).await;
        driver.train(0);
        let bytes = f32_to_le(&known.bases[0]);
        let update = encode(&sent.update);
        let base = BlobRef::of(&bytes);
        let (tokens, trace) = (sent.tokens, sent.trace);
        let commit = Commit {
            run: coded().id(),
            round: 0,
            base: base.hash,
            update: BlobRef::of(&update),
            tokens,
            loss_first: 3.0,
            loss_last: 2.0,
            trace,
        };
        let rounds = vec![PastRound { round: 0, seed: Hash::of(&0_u64.to_le_bytes()), base }];
        let honest = driver.disclose(0, 1).await.unwrap();
        let (forged, other) = forge(&honest, &sent, |dossier| {
            dossier.trace.segments[1].loss += 1.0;
            dossier.end = dossier.start.clone();
            let (weights, moments) = dossier.end.hashes();
            let end = &mut dossier.trace.segments[1].end;
            (end.weights, end.moments) = (weights, moments);
        });
        for (dossier, trace, finding) in
            [(honest, sent.trace, Finding::Same), (Bytes::from(forged), other.trace, Finding::Different)]
        {
            let commit = Commit { trace, ..commit.clone() };
            let name = BlobRef::of(&dossier);
            let (who, rounds) = (Id([3; 32]), rounds.clone());
            let order = Box::new(ReplayOrder { who, commit, segment: 1, before: None, dossier: name, rounds });
            let mut blobs: BTreeMap<Hash, Bytes> =
                [dossier.clone(), update.clone()].map(|bytes| (Hash::of(&bytes), bytes)).into();
            driver.send(Job::Replay { order: order.clone(), blobs: blobs.clone() });
            let Report::Lacks { dossier: of, blobs: lacking } = driver.report().await else { panic!("nothing lacks") };
            let mut due = [base, BlobRef::of(&known.shard)];
            due.sort();
            let mut lacking = lacking;
            lacking.sort();
            assert_eq!((of, &lacking[..]), (name.hash, &due[..]));
            for bytes in [Bytes::from(bytes.clone()), known.shard.clone()] {
                blobs.insert(Hash::of(&bytes), bytes);
            }
            // What the driver wants meanwhile is done at once, and its own training goes on afterwards.
            driver.send(Job::Replay { order, blobs });
            driver.send(Job::Disclose { round: 0, segment: 0 });
            assert!(matches!(driver.report().await, Report::Dossier { segment: 0, dossier: Some(_), .. }));
            let Report::Replayed { dossier, tokens, finding: got } = driver.report().await else { panic!("not run") };
            assert_eq!((dossier, got), (name.hash, Some(finding)));
            assert!(finding == Finding::Different || (tokens > 0 && tokens < sent.tokens));
            let steps = driver.progress().await.steps;
            while driver.progress().await.steps <= steps {}
        }
    });
}
