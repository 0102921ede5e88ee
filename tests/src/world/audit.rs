//! What must hold in every world, checked from the journal and the blobs alone.

use std::collections::{BTreeMap, BTreeSet};

use tributary_ledger::Book;
use tributary_protocol::coordinator::{Coordinator, Event as Journalled, FoldPlan};
use tributary_protocol::message::FoldManifest;
use tributary_protocol::view::ProofView;
use tributary_protocol::{BlobRef, Hash, Id, update};

use super::World;
use crate::TOKENS_A_STEP;
use crate::trainer::{own_coordinate, steps_in};

/// What a world came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// The state hash of every round's base, from round 0.
    pub states: Vec<Hash>,
    /// Updates of each contributor that were accepted.
    pub accepted: BTreeMap<Id, u64>,
    /// Credits of each contributor.
    pub credits: BTreeMap<Id, u64>,
    /// The accepted set of every round, with its tokens.
    pub sets: Vec<Vec<(Id, u64)>>,
    /// Steps of each contributor that are in the base.
    pub steps: BTreeMap<Id, u64>,
}

/// What the folds of a journal took so far.
#[derive(Default)]
struct Folded {
    updates: BTreeSet<Hash>,
    work: BTreeSet<(Id, u64)>,
}

impl World {
    /// Checks that
    /// - the journal's rounds follow from one another and each folds to the announced state,
    /// - no update is folded twice and no contributor counts twice for the work of a round, however late,
    /// - what comes late counts for less, and what is too old not at all,
    /// - credits are the settled rounds' pools, to the unit, and the running coordinator and one
    ///   restored from the journal agree with that,
    /// - no contributor's steps are in the base twice, and none is paid for more than it did,
    /// - every state a contributor computed is the coordinator's of that round.
    pub fn audit(&mut self) -> Audit {
        let coordinator = self.host.identity.id();
        let mut audit = Audit {
            states: vec![Hash::of(&self.run.weights)],
            accepted: BTreeMap::new(),
            credits: BTreeMap::new(),
            sets: Vec::new(),
            steps: BTreeMap::new(),
        };
        let (mut base, mut momentum_before) = (BlobRef::of(&self.run.weights), None);
        let mut folded = Folded::default();
        for event in self.host.journal.clone() {
            let Journalled::Settled { fold, momentum, .. } = event else { continue };
            let manifest = fold.open(&coordinator).expect("the coordinator signed its own journal");
            assert_eq!((manifest.round, manifest.base), (audit.sets.len() as u64, base.hash));
            let plan = FoldPlan {
                round: manifest.round,
                base,
                momentum: momentum_before,
                accepted: manifest.accepted.clone(),
                outer: self.run.spec.outer.clone(),
                rate: manifest.rate,
            };
            assert_eq!(self.host.fold(&plan), [manifest.step, manifest.next, momentum], "round {}", manifest.round);
            self.count(&mut audit, &manifest, &mut folded);
            audit.states.push(manifest.next.hash);
            (base, momentum_before) = (manifest.next, Some(momentum));
        }
        let entries = self.host.entries.iter().map(|entry| entry.to_bytes());
        let book = Book::read(entries, None).expect("a ledger that adds up");
        let ledger = book.ledger();
        assert_eq!(ledger.total(), audit.sets.len() as u64 * self.run.spec.reward.pool, "credits are conserved");
        audit.credits = ledger.balances().map(|(who, balance)| (Id(*who), balance.paid())).collect();
        self.check_restored(&book, audit.sets.len() as u64, base);
        self.check_nodes(&audit);
        audit
    }

    fn count(&self, audit: &mut Audit, manifest: &FoldManifest, folded: &mut Folded) {
        assert!(manifest.is_bounded(), "{manifest:?}");
        let peers: BTreeSet<_> = manifest.accepted.iter().map(|accepted| accepted.peer).collect();
        let present = peers.len()..=self.nodes.len().max(peers.len());
        let mut rates = present.map(|contributors| self.run.spec.outer.rate(contributors));
        assert!(
            rates.any(|rate| rate == manifest.rate),
            "a rate of {} for {} contributors",
            manifest.rate,
            peers.len()
        );
        assert!(peers.len() >= self.run.spec.round.quorum as usize, "round {} lacks its quorum", manifest.round);
        for accepted in &manifest.accepted {
            assert!(folded.updates.insert(accepted.update.hash), "an update is folded twice");
            let origin = manifest.origin(accepted);
            assert!(folded.work.insert((accepted.peer, origin)), "round {origin}'s work counts twice");
            *audit.accepted.entry(accepted.peer).or_default() += 1;
            let (spec, bytes) = (&self.run.spec, &self.host.blobs[&accepted.update.hash]);
            let values = update::decode(&spec.sent_formats(), bytes, spec.model.params()).unwrap().values();
            let own = own_coordinate(self.index[&accepted.peer], self.run.spec.model.params());
            let steps = steps_in(&values, own);
            let counted = self.run.spec.round.counted(steps * TOKENS_A_STEP, accepted.age);
            assert!(accepted.tokens <= counted, "paid for {} tokens of {steps} steps", accepted.tokens);
            *audit.steps.entry(accepted.peer).or_default() += steps;
        }
        audit.sets.push(manifest.accepted.iter().map(|accepted| (accepted.peer, accepted.tokens)).collect());
    }

    fn check_restored(&self, book: &Book, round: u64, base: BlobRef) {
        let (identity, spec) = (self.host.identity.clone(), self.run.spec.clone());
        let restored =
            Coordinator::restore(identity, spec, self.host.journal.clone(), self.host.entries.clone()).unwrap();
        for machine in [&restored].into_iter().chain(&self.host.machine) {
            assert_eq!(machine.book(), book);
            assert_eq!(machine.head(), (round, base));
        }
    }

    fn check_nodes(&self, audit: &Audit) {
        for (index, node) in self.nodes.iter().enumerate() {
            for (&round, hash) in node.states() {
                assert_eq!(*hash, audit.states[round as usize], "node {index} forked in round {round}");
            }
            let proof = node.snapshot(self.now).earnings.proof;
            assert!(!matches!(proof, ProofView::Bad { .. }), "node {index}: {proof:?}");
            let steps = audit.steps.get(&node.id()).copied().unwrap_or_default();
            assert!(steps <= node.trained(), "node {index} did {} steps and {steps} are in the base", node.trained());
        }
    }
}
