//! The demo, checked: coordinator, one native contributor and one headless tab on WebGPU train until
//! five rounds are folded, and all three must hold the same weights after each.
//!
//! Leaves one line of JSON, and an error unless the state hashes are equal in every round, both
//! contributors were accepted often enough, the held-out loss fell, and the two moved bulk to each other
//! without the coordinator in between.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::paths::Paths;
use crate::run::{self, human, minutes, say};
use crate::world::{self, Contributor, Coordinator};
use crate::{build, setup, text};

/// Rounds that all three must have folded.
const ROUNDS: usize = 5;
/// Of those, how many each contributor's update must be accepted in. A tab on an emulated adapter, on
/// a machine that also runs everything else, may miss one.
const ACCEPTED: usize = 3;
/// For everything after the builds.
const LIMIT: Duration = minutes(10);
/// An emulated adapter does a step of this batch in some seconds, so that a round has several.
const RUN: &str = "\
[model]\npreset = \"tiny\"\n[inner]\nbatch = 2\nseq = 64\nwarmup = 5\n[round]\nseconds = 40\ngrace = 25\nquorum = 1\n";

/// Hash of the state after each round.
type States = BTreeMap<u64, String>;

/// Builds, runs and judges.
pub(crate) fn run(paths: &Paths) -> Result<()> {
    setup::for_browser(paths)?;
    build::all(paths)?;
    judge(paths)
}

/// Runs and judges what is built.
pub(crate) fn judge(paths: &Paths) -> Result<()> {
    let data = text::import(paths)?;
    let started = Instant::now();
    let dir = paths.work.join("check");
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    let run_toml = world::run_file(&dir, "Demo check", RUN)?;
    let mut coordinator = Coordinator::start(paths, &dir, &run_toml, &data, world::port(0)?)?;
    let url = coordinator.url();
    say(format_args!("   coordinator at {url}; a headless tab on WebGPU and a native contributor join"));
    let mut tab = Contributor::tab(paths, &dir, &format!("{url}?device=gpu"))?;
    let mut native = Contributor::native(paths, &dir, &url, "cpu")?;
    let mut folded = 0;
    let outcome = loop {
        coordinator.check()?;
        tab.check()?;
        native.check()?;
        let outcome = Outcome::gather(&coordinator, &tab, &native)?;
        if outcome.rounds.len() > folded {
            folded = outcome.rounds.len();
            say(format_args!("   {}", outcome.progress(started.elapsed())));
        }
        if folded >= ROUNDS && outcome.is_settled() {
            break outcome;
        }
        if started.elapsed() > LIMIT {
            let why = run::tail(&tab.log, 1).pop().unwrap_or_default();
            say(outcome.json());
            bail!(
                "After {} only {folded} of {ROUNDS} rounds were folded with both contributors there. Logs: {}. The tab: {why}",
                human(LIMIT),
                dir.display(),
            );
        }
        for _ in 0..20 {
            run::tick()?;
        }
    };
    // Newest last: a reader of logs wants to see how they ended.
    drop((tab, native, coordinator));
    say(outcome.json());
    outcome.verdict()
}

/// What the three know about the rounds that all of them were there for.
#[derive(Debug, Default)]
struct Outcome {
    rounds: Vec<u64>,
    states: BTreeMap<&'static str, States>,
    accepted: BTreeMap<&'static str, usize>,
    heldout: BTreeMap<u64, f64>,
    backend: String,
    /// Bytes of blobs that both contributors received from each other, and from the coordinator.
    bulk: (u64, u64),
    /// Receipts whose proofs each contributor checked, or what it found wrong.
    receipts: BTreeMap<&'static str, Receipts>,
    /// How soon each was credited and had its receipts.
    pace: BTreeMap<&'static str, Pace>,
}

/// Receipts that were checked and are shown, or what was found wrong with one.
type Receipts = std::result::Result<usize, String>;

impl Outcome {
    fn gather(coordinator: &Coordinator, tab: &Contributor, native: &Contributor) -> Result<Self> {
        let rounds = coordinator.get("/api/rounds")?;
        let rounds = rounds["rounds"].as_array().context("/api/rounds lists rounds")?;
        let number = |row: &Value| row["round"].as_u64();
        let state = |row: &Value| Some((number(row)?, row["state"].as_str()?.to_owned()));
        let after = |row: &Value| Some((number(row)?, row["after"].as_str()?.to_owned()));
        let (tab, native) = (rows(&tab.events()), rows(&native.events()));
        let mut states = BTreeMap::new();
        states.insert("coordinator", rounds.iter().filter_map(after).collect::<States>());
        states.insert("native", native.rows.iter().filter_map(state).collect());
        states.insert("tab", tab.rows.iter().filter_map(state).collect());
        // A contributor was there for a round if it holds the weights that the round began from.
        let (folded, both) = (&states["coordinator"], [&states["native"], &states["tab"]]);
        let first = both.iter().filter_map(|states| states.keys().next().copied()).max();
        let first = first.filter(|_| both.iter().all(|states| !states.is_empty()));
        let shared: Vec<u64> =
            folded.keys().copied().filter(|round| first.is_some_and(|first| *round >= first)).collect();
        for states in states.values_mut() {
            states.retain(|round, _| shared.contains(round));
        }
        let accepted = [("native", &native), ("tab", &tab)].map(|(name, peer)| {
            let credited =
                peer.rows.iter().filter(|row| row["verdict"] == "credited" || row["verdict"]["kind"] == "credited");
            (name, credited.filter_map(number).filter(|round| shared.contains(round)).count())
        });
        // Of the weights that a round begins from: those after a round are the next one's.
        let after = rounds.iter().filter_map(|row| Some((number(row)? + 1, row["bits_per_byte"].as_f64()?)));
        let before = tab.losses.iter().filter_map(|row| Some((number(row)?, row["heldout"].as_f64()?)));
        let heldout = before.chain(after);
        let bulk = (tab.bulk.0 + native.bulk.0, tab.bulk.1 + native.bulk.1);
        let (heldout, accepted) = (heldout.collect(), accepted.into());
        let pace = [("native", native.pace), ("tab", tab.pace)].into();
        let receipts = [("native", native.receipts), ("tab", tab.receipts)].into();
        Ok(Self { heldout, rounds: shared, states, accepted, backend: tab.backend, bulk, receipts, pace })
    }

    /// Whether every peer has folded all of the rounds that the coordinator has, and their loss is known.
    fn is_settled(&self) -> bool {
        let paid = self.receipts.values().all(|receipts| receipts.as_ref().is_ok_and(|n| *n >= ACCEPTED));
        self.states.values().all(|states| states.len() == self.rounds.len()) && self.bpb().1.is_some() && paid
    }

    /// Before the first of the rounds, and after the last.
    fn bpb(&self) -> (Option<f64>, Option<f64>) {
        let at = |round: Option<u64>| self.heldout.get(&round?).copied();
        (at(self.rounds.first().copied()), at(self.rounds.last().map(|last| last + 1)))
    }

    fn progress(&self, elapsed: Duration) -> String {
        let accepted: Vec<String> = self.accepted.iter().map(|(peer, n)| format!("{peer} {n}")).collect();
        let bpb = self.bpb().1.map_or("?".to_owned(), |bpb| format!("{bpb:.3}"));
        let (rounds, accepted) = (self.rounds.len(), accepted.join(", "));
        format!("{}: {rounds} rounds folded, accepted: {accepted}; held-out bits per byte {bpb}", human(elapsed))
    }

    fn json(&self) -> Value {
        let (first, last) = self.bpb();
        json!({
            "rounds": self.rounds.len(),
            "heldout_bpb_first": first,
            "heldout_bpb_last": last,
            "tab_backend": self.backend,
            "state_hash": self.states,
            "accepted": self.accepted,
            "bulk_bytes_direct": self.bulk.0,
            "bulk_bytes_coordinator": self.bulk.1,
            "rounds_to_first_credit": self.paces(|pace| pace.credit),
            "rounds_to_receipt": self.paces(|pace| pace.receipt),
            "receipts_verified": self.receipts.iter().map(|(peer, n)| (*peer, n.clone().unwrap_or(0))).collect::<BTreeMap<_, _>>(),
        })
    }

    fn paces(&self, of: impl Fn(&Pace) -> Option<u64>) -> BTreeMap<&'static str, Option<u64>> {
        self.pace.iter().map(|(peer, pace)| (*peer, of(pace))).collect()
    }

    fn verdict(&self) -> Result<()> {
        let truth = &self.states["coordinator"];
        for (peer, states) in &self.states {
            for (round, state) in truth {
                let own = states.get(round).map_or("nothing", String::as_str);
                if own != state {
                    bail!("After round {round} the {peer} holds {own}, the coordinator {state}.");
                }
            }
        }
        if let Some((peer, n)) = self.accepted.iter().find(|(_, n)| **n < ACCEPTED) {
            bail!("The {peer} was accepted in {n} rounds, wanted at least {ACCEPTED}.");
        }
        for (peer, receipts) in &self.receipts {
            match receipts {
                Ok(n) if *n >= ACCEPTED => {}
                Ok(n) => bail!("The {peer} has verified {n} receipts, wanted at least {ACCEPTED}."),
                Err(why) => bail!("The {peer} does not believe the ledger: {why}"),
            }
        }
        if self.backend != "webgpu" {
            bail!("The tab trained on {:?}, not on WebGPU.", self.backend);
        }
        if self.bulk.0 == 0 {
            bail!("The tab and the native contributor never moved bulk to each other directly.");
        }
        match self.bpb() {
            (Some(first), Some(last)) if last < first => Ok(()),
            (first, last) => bail!("Held-out bits per byte did not fall: {first:?}, then {last:?}."),
        }
    }
}

/// What a contributor said about its rounds.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) rows: Vec<Value>,
    /// The newest losses by round, where they are told.
    losses: Vec<Value>,
    backend: String,
    /// Bytes of blobs received so far from the other contributor, and from the coordinator.
    pub(crate) bulk: (u64, u64),
    receipts: Receipts,
    pace: Pace,
}

/// How soon a contributor saw what came of its work, in rounds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Pace {
    /// From the first round that it sent something for to the first that it was credited for, both included.
    credit: Option<u64>,
    /// The most from a round to the one in which its receipt was here.
    receipt: Option<u64>,
}

impl Pace {
    fn of(events: &[Value]) -> Self {
        let (mut now, mut sent, mut credited) = (0, u64::MAX, u64::MAX);
        let mut receipts: BTreeMap<u64, u64> = BTreeMap::new();
        for event in events {
            now = event["round"]["round"].as_u64().into_iter().fold(now, u64::max);
            let own = Some(event).filter(|event| event["event"] == "round");
            for row in event["rounds"].as_array().into_iter().flatten().chain(own) {
                let Some(round) = row["round"].as_u64() else { continue };
                // A row is told once its round is over.
                (now, sent) = (now.max(round), sent.min(round));
                if row["verdict"] == "credited" || row["verdict"]["kind"] == "credited" {
                    credited = credited.min(round);
                }
            }
            for receipt in event["earnings"]["receipts"].as_array().into_iter().flatten() {
                if let Some(round) = receipt["round"].as_u64() {
                    receipts.entry(round).or_insert(now.saturating_sub(round));
                }
            }
        }
        let credit = (credited < u64::MAX).then(|| credited + 1 - sent);
        Self { credit, receipt: receipts.values().max().copied() }
    }
}

/// The newest row about each round in a contributor's JSON lines. The program writes a line a round, the
/// tab whole snapshots, each with the last rounds.
pub(crate) fn rows(events: &[Value]) -> Rows {
    let mut newest = BTreeMap::new();
    let (mut backend, mut bulk, mut losses, mut receipts) = (String::new(), (0, 0), Vec::new(), Ok(0));
    for event in events {
        if let (Some(direct), Some(coordinator)) = (event["bulk_direct"].as_u64(), event["bulk_coordinator"].as_u64()) {
            bulk = (direct, coordinator);
        }
        if let Some(told) = event["losses"].as_array() {
            losses.clone_from(told);
        }
        match event["earnings"]["proof"]["kind"].as_str() {
            Some("good") => receipts = Ok(event["earnings"]["receipts"].as_array().map_or(0, Vec::len)),
            Some("bad") => receipts = Err(event["earnings"]["proof"]["why"].to_string()),
            _ => {}
        }
        let own = Some(event).filter(|event| event["event"] == "round");
        for row in event["rounds"].as_array().into_iter().flatten().chain(own) {
            newest.insert(row["round"].as_u64(), row.clone());
        }
        if let Some(name) = event["device"]["backend"].as_str() {
            name.clone_into(&mut backend);
        }
    }
    Rows { rows: newest.into_values().collect(), losses, backend, bulk, receipts, pace: Pace::of(events) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(tab_state: &str, accepted: usize, last: f64) -> Outcome {
        let states = |state: &str| States::from([(3, state.to_owned()), (4, "b".to_owned())]);
        Outcome {
            rounds: vec![3, 4],
            states: [("coordinator", states("a")), ("native", states("a")), ("tab", states(tab_state))].into(),
            accepted: [("native", 3), ("tab", accepted)].into(),
            heldout: [(2, 9.0), (3, 5.0), (4, 4.0), (5, last)].into(),
            backend: "webgpu".to_owned(),
            bulk: (1, 0),
            receipts: [("native", Ok(3)), ("tab", Ok(3))].into(),
            pace: BTreeMap::new(),
        }
    }

    #[test]
    fn only_agreement_and_progress_pass() {
        for (outcome, refusal) in [
            (outcome("a", 3, 4.5), None),
            (outcome("x", 3, 4.5), Some("the tab holds x")),
            (outcome("a", 2, 4.5), Some("tab was accepted in 2")),
            (outcome("a", 3, 5.5), Some("did not fall")),
            (Outcome { backend: "cpu".to_owned(), ..outcome("a", 3, 4.5) }, Some("not on WebGPU")),
            (Outcome { bulk: (0, 9), ..outcome("a", 3, 4.5) }, Some("never moved bulk")),
            (Outcome { receipts: [("tab", Ok(2))].into(), ..outcome("a", 3, 4.5) }, Some("verified 2 receipts")),
            (Outcome { receipts: [("tab", Err("x".into()))].into(), ..outcome("a", 3, 4.5) }, Some("does not believe")),
        ] {
            let error = outcome.verdict().err().map(|error| error.to_string());
            match refusal {
                None => assert_eq!(error, None),
                Some(words) => assert!(error.as_deref().is_some_and(|error| error.contains(words)), "{error:?}"),
            }
        }
    }

    #[test]
    fn credits_and_receipts_are_timed_in_rounds() {
        let row = |round: u64, kind: &str| json!({ "round": round, "verdict": { "kind": kind } });
        let events = [
            json!({ "round": { "round": 3 }, "rounds": [row(3, "sent")] }),
            json!({ "round": { "round": 4 }, "rounds": [row(3, "late"), row(4, "credited")] }),
            json!({ "round": { "round": 5 }, "earnings": { "receipts": [{ "round": 4 }] } }),
            json!({ "round": { "round": 7 }, "earnings": { "receipts": [{ "round": 4 }, { "round": 5 }] } }),
        ];
        assert_eq!(Pace::of(&events), Pace { credit: Some(2), receipt: Some(2) });
        assert_eq!(Pace::of(&events[..1]), Pace::default());
    }

    #[test]
    fn the_newest_row_of_a_round_counts() {
        let row = |round: u64, kind: &str| json!({ "round": round, "verdict": { "kind": kind } });
        let events = [
            json!({ "rounds": [row(1, "sent")], "device": { "backend": "webgpu" } }),
            json!({ "bulk_direct": 5, "bulk_coordinator": 7 }),
            json!({ "earnings": { "proof": { "kind": "good" }, "receipts": [{}, {}] } }),
            json!({ "rounds": [row(2, "sent"), row(1, "credited")] }),
        ];
        let found = rows(&events);
        assert_eq!(found.rows, [row(1, "credited"), row(2, "sent")]);
        let line = json!({ "event": "round", "round": 7, "verdict": "credited", "state": "ab" });
        assert_eq!(rows(std::slice::from_ref(&line)).rows, [line]);
        assert_eq!((found.backend.as_str(), found.bulk, &found.receipts), ("webgpu", (5, 7), &Ok(2)));
    }
}
