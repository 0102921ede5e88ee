//! Replays of what a trainer discloses: honest work is recognised, and whatever else is refused in words.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::{Driver, Sent, manifest, play, spec};
use futures::executor::block_on;
use tributary_protocol::fold::norm;
use tributary_protocol::job::{Job, Report};
use tributary_protocol::spec::{Coding, RunSpec, UpdateFormat};
use tributary_protocol::update::Update;
use tributary_protocol::{Hash, Id};
use tributary_trainer::burn::tensor::Device;
use tributary_trainer::{Case, Dossier, Fault, Likeness, Origin, Replayer, Sources};

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
                println!("{likeness:?}");
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
