//! The fold as the coordinator runs it: blobs in, blobs out. Blocking.

use std::io;

use bytes::Bytes;
use tributary_protocol::coordinator::{FoldPlan, Input};
use tributary_protocol::fold::{self, Term};
use tributary_protocol::message::Reason;
use tributary_protocol::spec::RunSpec;
use tributary_protocol::{BlobRef, update};
use tributary_swarm::BlobStore;

use super::store::DiskStore;
use crate::files;

/// Folds what the plan names and stores step, new base and new momentum, all three on the disk when
/// this returns. An update that cannot be used is an [`Input::FoldFailed`]; an error is fatal.
pub(super) fn fold(store: &DiskStore, spec: &RunSpec, plan: &FoldPlan) -> anyhow::Result<Input> {
    let (round, params) = (plan.round, spec.model.params());
    let mut base = fold::f32_from_le(&need(store, &plan.base, "weights")?);
    let mut momentum = match &plan.momentum {
        Some(blob) => fold::f32_from_le(&need(store, blob, "outer momentum")?),
        None => vec![0.0; base.len()],
    };
    let layout = spec.model.ranges();
    let mut updates = Vec::with_capacity(plan.accepted.len());
    for accepted in &plan.accepted {
        let failed = |why| Input::FoldFailed { round, peer: accepted.peer, age: accepted.age, why };
        let Some(bytes) = store.get(&accepted.update).map_err(|e| unreadable(&accepted.update, &e))? else {
            return Ok(failed(Reason::Unavailable));
        };
        match update::decode(spec.update, &bytes, params) {
            Ok(mut values) => {
                fold::clip(&mut values, &accepted.factors(layout.len()), &layout);
                updates.push(values);
            }
            Err(_) => return Ok(failed(Reason::Malformed)),
        }
    }
    let terms: Vec<_> = plan
        .accepted
        .iter()
        .zip(&updates)
        .map(|(accepted, values)| Term { weight: accepted.weight, clip: 1.0, values })
        .collect();
    let step = fold::fold(&terms, &mut momentum, &plan.outer, plan.rate);
    fold::apply(&mut base, &step);
    if ![&step, &base, &momentum].iter().all(|values| values.iter().all(|value| value.is_finite())) {
        // Finite updates overflowed in the sum: the largest of them goes, and the round folds again.
        let size = |term: &Term<'_>| fold::norm(term.values);
        let largest = plan.accepted.iter().zip(&terms).max_by(|(_, a), (_, b)| size(a).total_cmp(&size(b)));
        let Some((accepted, _)) = largest else {
            anyhow::bail!("the weights overflow by the outer momentum alone; begin anew with a smaller outer.lr");
        };
        return Ok(Input::FoldFailed { round, peer: accepted.peer, age: accepted.age, why: Reason::Norm });
    }
    Ok(Input::Folded {
        round,
        step: put(store, update::encode(spec.update, &step))?,
        next: put(store, fold::f32_to_le(&base).into())?,
        momentum: put(store, fold::f32_to_le(&momentum).into())?,
    })
}

/// Stores bytes of ours.
pub(super) fn put(store: &DiskStore, bytes: Bytes) -> anyhow::Result<BlobRef> {
    let blob = BlobRef::of(&bytes);
    store.put(&blob, bytes).map_err(|e| files::trouble("write", &store.path(&blob.hash), &e))?;
    Ok(blob)
}

fn need(store: &DiskStore, blob: &BlobRef, what: &str) -> anyhow::Result<Bytes> {
    let path = store.path(&blob.hash);
    store.get(blob).map_err(|e| files::trouble("read", &path, &e))?.ok_or_else(|| {
        anyhow::anyhow!(
            "the {what} in {} are gone or damaged; start again, which restores them if it can",
            path.display()
        )
    })
}

fn unreadable(blob: &BlobRef, error: &io::Error) -> anyhow::Error {
    anyhow::anyhow!(
        "the update {} cannot be read from the disk ({error}); check the disk and start again",
        blob.hash.short()
    )
}
