//! What the journal says has settled, and how a damaged newest state comes back from it.

use tributary_protocol::coordinator::{Event, FoldPlan, Input};
use tributary_protocol::message::FoldManifest;
use tributary_protocol::spec::RunSpec;
use tributary_protocol::{BlobRef, Id, fold};

use super::fold::{fold, put};
use super::store::DiskStore;

/// A settled round.
#[derive(Debug, Clone)]
pub(super) struct Settled {
    /// What it became.
    pub(super) fold: FoldManifest,
    /// The outer momentum after it.
    pub(super) momentum: BlobRef,
}

impl Settled {
    /// The settled round of an event, if it is one; `me` signed it.
    pub(super) fn of(event: &Event, me: &Id) -> Option<Self> {
        let Event::Settled { fold, momentum, .. } = event else { return None };
        fold.open(me).ok().map(|fold| Self { fold, momentum: *momentum })
    }
}

/// Makes sure that the newest base and momentum are in the store: if one is gone or damaged, folds again
/// from the newest round whose blobs are all there, at worst from the first weights.
pub(super) fn restore(store: &DiskStore, spec: &RunSpec, genesis: BlobRef, settled: &[Settled]) -> anyhow::Result<()> {
    let state = |round: usize| match round.checked_sub(1).map(|last| &settled[last]) {
        None => (genesis, None),
        Some(last) => (last.fold.next, Some(last.momentum)),
    };
    let is_whole = |round: usize| {
        let (base, momentum) = state(round);
        store.get(&base).ok().flatten().is_some() && momentum.is_none_or(|m| store.get(&m).ok().flatten().is_some())
    };
    let head = settled.len();
    if is_whole(head) {
        return Ok(());
    }
    tracing::warn!("the newest weights or momentum are gone or damaged; folding again from an older round");
    if store.get(&genesis)?.is_none() && head < 2 {
        put(store, fold::f32_to_le(&tributary_trainer::initial_weights(spec)).into())?;
    }
    let lost = || {
        anyhow::anyhow!(
            "the newest weights in the state folder are gone or damaged and the rounds before them too; put back a copy of the folder, or begin anew with another --state"
        )
    };
    let from = (0..=head).rev().find(|round| is_whole(*round)).ok_or_else(lost)?;
    for (round, settled) in settled.iter().enumerate().skip(from) {
        let (base, momentum) = state(round);
        let (accepted, outer, rate) = (settled.fold.accepted.clone(), spec.outer.clone(), settled.fold.rate);
        let plan = FoldPlan { round: round as u64, base, momentum, accepted, outer, rate };
        match fold(store, spec, &plan)? {
            Input::Folded { next, .. } if next == settled.fold.next => {}
            _ => return Err(lost()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use tributary_protocol::check::Check;
    use tributary_protocol::message::{Accepted, Reason};
    use tributary_protocol::spec::{
        Average, Inner, ModelSpec, Optimizer, Outer, Reward, RoundRule, Tokenizer, UpdateFormat,
    };
    use tributary_protocol::{Hash, update};
    use tributary_swarm::BlobStore;

    use super::*;

    fn spec() -> RunSpec {
        let model = ModelSpec {
            width: 4,
            layers: 1,
            heads: 1,
            kv_heads: 1,
            hidden: 4,
            context: 8,
            ..ModelSpec::preset("tiny").unwrap()
        };
        RunSpec {
            name: "test".into(),
            seed: 1,
            model,
            tokenizer: Tokenizer::Bytes,
            data: BlobRef::of(b"data"),
            inner: Inner {
                optimizer: Optimizer::AdamW,
                lr: 1e-3,
                warmup: 0,
                beta1: 0.9,
                beta2: 0.95,
                weight_decay: 0.1,
                clip: 1.0,
                batch: 1,
                seq: 8,
            },
            outer: Outer { lr: vec![0.7], momentum: 0.9, average: Average::All },
            round: RoundRule { seconds: 1, grace: 1, quorum: 1, stale: 0.5 },
            update: UpdateFormat::F32,
            first: UpdateFormat::F32,
            step: UpdateFormat::F32,
            update_steps: 0,
            feedback: 1.0,
            reward: Reward { pool: 10 },
            check: Check::default(),
        }
    }

    fn open(dir: &Path) -> DiskStore {
        DiskStore::open(dir.join("own"), dir.join("data")).unwrap()
    }

    fn plan(
        store: &DiskStore,
        spec: &RunSpec,
        round: u64,
        base: BlobRef,
        momentum: Option<BlobRef>,
        value: f32,
    ) -> FoldPlan {
        let values = vec![value; spec.model.params() as usize];
        let update = put(store, update::encode(&update::compress(&values, spec.update))).unwrap();
        let (peer, clips) = (Id([1; 32]), Vec::new());
        let accepted =
            vec![Accepted { peer, update, age: 0, tokens: 5, quality: 1_000_000, weight: 1.0, clip: 1.0, clips }];
        FoldPlan { round, base, momentum, accepted, outer: spec.outer.clone(), rate: 0.7 }
    }

    /// Three settled rounds.
    fn world(dir: &Path) -> (RunSpec, BlobRef, Vec<Settled>) {
        let (spec, store) = (spec(), open(dir));
        let genesis = put(&store, fold::f32_to_le(&vec![0.5; spec.model.params() as usize]).into()).unwrap();
        let (mut base, mut momentum, mut settled) = (genesis, None, Vec::new());
        for round in 0..3 {
            let plan = plan(&store, &spec, round, base, momentum, 0.01 * (round + 1) as f32);
            let Input::Folded { step, next, momentum: after, .. } = super::fold(&store, &spec, &plan).unwrap() else {
                panic!("round {round} did not fold");
            };
            let (run, accepted, rate, pool) = (spec.id(), plan.accepted, plan.rate, spec.reward.pool);
            let fold = FoldManifest { run, round, base: base.hash, accepted, rate, step, next, pool, probe: base.hash };
            settled.push(Settled { fold, momentum: after });
            (base, momentum) = (next, Some(after));
        }
        (spec, genesis, settled)
    }

    #[test]
    fn a_damaged_newest_state_is_folded_again() {
        let dir = tempfile::tempdir().unwrap();
        let (spec, genesis, settled) = world(dir.path());
        let (head, momentum) = (settled[2].fold.next, settled[2].momentum);
        let damage = |hash: &Hash| fs::write(open(dir.path()).path(hash), b"damaged").unwrap();
        for lost in [
            vec![head],
            vec![momentum],
            vec![head, settled[1].momentum],
            vec![head, settled[1].momentum, settled[0].fold.next],
        ] {
            lost.iter().for_each(|blob| damage(&blob.hash));
            let store = open(dir.path());
            restore(&store, &spec, genesis, &settled).unwrap();
            assert!([head, momentum].iter().all(|blob| store.len(&blob.hash) == Some(blob.bytes)));
        }
        // Without the updates there is nothing to fold again.
        settled.iter().for_each(|settled| damage(&settled.fold.accepted[0].update.hash));
        damage(&head.hash);
        let error = restore(&open(dir.path()), &spec, genesis, &settled).unwrap_err().to_string();
        assert!(error.contains("put back a copy"), "{error}");
    }

    #[test]
    fn an_update_that_cannot_be_used_is_named_and_not_folded() {
        let dir = tempfile::tempdir().unwrap();
        let (spec, genesis, _) = world(dir.path());
        let store = open(dir.path());
        let check = |plan: &FoldPlan, expected: Reason| match super::fold(&store, &spec, plan).unwrap() {
            Input::FoldFailed { round: 7, peer: Id([1, ..]), age: 0, why } => assert_eq!(why, expected),
            other => panic!("{other:?}"),
        };
        let mut missing = plan(&store, &spec, 7, genesis, None, 0.1);
        missing.accepted[0].update = BlobRef::of(b"never sent");
        check(&missing, Reason::Unavailable);
        let mut malformed = plan(&store, &spec, 7, genesis, None, 0.1);
        malformed.accepted[0].update = put(&store, b"no update"[..].into()).unwrap();
        check(&malformed, Reason::Malformed);
        check(&plan(&store, &spec, 7, genesis, None, f32::MAX), Reason::Norm);
    }
}
