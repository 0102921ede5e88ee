//! The fold as the coordinator runs it: blobs in, blobs out. Blocking.

use std::io;

use anyhow::Context;
use bytes::Bytes;
use tributary_protocol::coordinator::{FoldPlan, Input};
use tributary_protocol::fold::{self, OuterState, Term};
use tributary_protocol::message::Reason;
use tributary_protocol::spec::RunSpec;
use tributary_protocol::{BlobRef, update};
use tributary_swarm::BlobStore;

use super::store::DiskStore;
use crate::files;

/// Folds what the plan names and stores step, new base and new outer state (where the plan says momentum), all
/// three on the disk when this returns. An update that cannot be used is an [`Input::FoldFailed`]; an error is fatal.
pub(super) fn fold(store: &DiskStore, spec: &RunSpec, plan: &FoldPlan) -> anyhow::Result<Input> {
    let (round, params) = (plan.round, spec.model.params());
    let mut base = fold::f32_from_le(&need(store, &plan.base, "weights")?);
    let mut state = match &plan.momentum {
        Some(blob) => OuterState::from_bytes(&need(store, blob, "outer state")?, base.len(), &plan.outer, spec.step)
            .with_context(|| {
                format!("the outer state {} is not of this run; begin anew with another --state", blob.hash.short())
            })?,
        None => OuterState::default(),
    };
    let layout = spec.model.ranges();
    let mut updates = Vec::with_capacity(plan.accepted.len());
    for accepted in &plan.accepted {
        let failed = |why| Input::FoldFailed { round, peer: accepted.peer, age: accepted.age, why };
        let Some(bytes) = store.get(&accepted.update).map_err(|e| unreadable(&accepted.update, &e))? else {
            return Ok(failed(Reason::Unavailable));
        };
        match update::decode(&spec.sent_formats(), &bytes, params) {
            Ok(update) => updates.push(update),
            Err(_) => return Ok(failed(Reason::Malformed)),
        }
    }
    let clips: Vec<_> = plan.accepted.iter().map(|accepted| accepted.factors(layout.len())).collect();
    let terms: Vec<_> = plan
        .accepted
        .iter()
        .zip(updates.iter().zip(&clips))
        .map(|(accepted, (update, clips))| Term { weight: accepted.weight, clips, update })
        .collect();
    let step = fold::fold(&terms, &layout, &mut state, &plan.outer, plan.rate, spec.step);
    fold::apply(&mut base, &step);
    if !(state.is_finite() && base.iter().all(|value| value.is_finite())) {
        // Finite updates overflowed in the sum: the one that is largest somewhere goes, and the round folds again.
        let largest = |term: &Term<'_>| {
            let sizes = term.update.norms(&layout).into_iter().enumerate();
            sizes.map(|(tensor, norm)| norm * f64::from(term.factor(tensor))).fold(0.0, f64::max)
        };
        let sizes = plan.accepted.iter().zip(&terms).map(|(accepted, term)| (accepted, largest(term)));
        let Some((accepted, _)) = sizes.max_by(|(_, a), (_, b)| a.total_cmp(b)) else {
            anyhow::bail!("the weights overflow by the outer momentum alone; begin anew with a smaller outer.lr");
        };
        return Ok(Input::FoldFailed { round, peer: accepted.peer, age: accepted.age, why: Reason::Norm });
    }
    Ok(Input::Folded {
        round,
        step: put(store, update::encode(&step))?,
        next: put(store, fold::f32_to_le(&base).into())?,
        momentum: put(store, state.to_bytes().into())?,
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
