//! What the journal says has settled, and how a damaged newest state comes back from it.

use tributary_ledger::{Entry, Ledger};
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
        let Event::Settled { fold, momentum } = event else { return None };
        fold.open(me).ok().map(|fold| Self { fold, momentum: *momentum })
    }

    /// The ledger entries that it pays.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> {
        let round = self.fold.round;
        self.fold.shares().into_iter().map(move |share| Entry::new(round, share))
    }
}

/// Refuses a journal whose entries are not what its settled rounds pay.
pub(super) fn audit(entries: &[Entry], machine: &Ledger) -> anyhow::Result<()> {
    let ledger = Ledger::replay(entries).map_err(|e| {
        anyhow::anyhow!("the ledger in the state folder does not add up ({e}); put back a copy of the folder")
    })?;
    anyhow::ensure!(
        ledger == *machine,
        "the ledger in the state folder differs from what the settled rounds pay; put back a copy of the folder"
    );
    Ok(())
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
        let accepted = settled.fold.accepted.clone();
        let plan = FoldPlan { round: round as u64, base, momentum, accepted, outer: spec.outer };
        match fold(store, spec, &plan)? {
            Input::Folded { next, .. } if next == settled.fold.next => {}
            _ => return Err(lost()),
        }
    }
    Ok(())
}
