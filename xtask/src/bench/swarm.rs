//! `bench swarm`: two tabs and six native contributors on one machine, linked by real WebRTC, train a model of
//! about 10 MB. How often did what they all need leave the coordinator, and do they hold the same weights?

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::paths::Paths;
use crate::run::{self, human, minutes, say};
use crate::world::{self, Contributor, Coordinator};
use crate::{build, check, setup, text};

const TABS: usize = 2;
const NATIVES: usize = 6;
/// Rounds that all must have folded.
const ROUNDS: usize = 5;
/// Blobs that count: models and steps. Texts are small, and everyone reads others.
const LARGE: u64 = 1024 * 1024;
/// For everything after the builds.
const LIMIT: Duration = minutes(15);
/// 2.46 million parameters, and steps so small that eight peers share two cores. A round waits until everyone's
/// update is in. Steps go uncoded: 10 MB are to be spread in every round.
const RUN: &str = "\
update = \"f32\"\nfirst = \"f32\"\nstep = \"f32\"\n[model]\nwidth = 192\nlayers = 6\nheads = 6\nkv_heads = 2\nhidden = 512\ncontext = 64\n\
[inner]\nbatch = 1\nseq = 32\nwarmup = 5\n[round]\nseconds = 20\ngrace = 60\nquorum = 1\n";

/// Builds, runs and reports.
pub(crate) fn run(paths: &Paths, args: &[&str]) -> Result<()> {
    if let Some(arg) = args.first() {
        bail!("bench swarm has no settings, and so no {arg}");
    }
    setup::for_browser(paths)?;
    build::all(paths)?;
    let data = text::import(paths)?;
    let dir = paths.work.join("swarm");
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    let run_toml = world::run_file(&dir, "Swarm bench", RUN)?;
    let mut coordinator = Coordinator::start(paths, &dir, &run_toml, &data, world::port(0)?)?;
    let url = coordinator.url();
    say(format_args!("   coordinator at {url}; {TABS} tabs and {NATIVES} native contributors join"));
    let mut peers = Vec::new();
    for n in 0..TABS + NATIVES {
        let own = dir.join(n.to_string());
        std::fs::create_dir_all(&own)?;
        peers.push(match n {
            n if n < TABS => Contributor::tab(paths, &own, &format!("{url}?device=cpu"))?,
            _ => Contributor::native(paths, &own, &url, "cpu")?,
        });
    }
    let (started, mut shown) = (Instant::now(), 0);
    let outcome = loop {
        coordinator.check()?;
        peers.iter_mut().try_for_each(Contributor::check)?;
        let outcome = Outcome::gather(&coordinator, &peers)?;
        if outcome.rounds.len() > shown {
            shown = outcome.rounds.len();
            say(format_args!("   {}: {shown} rounds folded by all", human(started.elapsed())));
        }
        if shown >= ROUNDS {
            break outcome;
        }
        if started.elapsed() > LIMIT {
            bail!("After {} all had folded {shown} of {ROUNDS} rounds. Logs: {}", human(LIMIT), dir.display());
        }
        for _ in 0..20 {
            run::tick()?;
        }
    };
    drop((peers, coordinator));
    outcome.table();
    say(outcome.json());
    Ok(())
}

/// What the peers and the coordinator say.
struct Outcome {
    /// The rounds whose state every contributor has computed.
    rounds: BTreeSet<u64>,
    hashes_equal: bool,
    /// Of each large blob: its size and the bytes that left the coordinator.
    blobs: Vec<(String, u64, u64)>,
    /// Bytes of blobs that all contributors received: from each other, from the coordinator.
    bulk: (u64, u64),
}

impl Outcome {
    fn gather(coordinator: &Coordinator, peers: &[Contributor]) -> Result<Self> {
        let rounds = coordinator.get("/api/rounds")?;
        let rounds = rounds["rounds"].as_array().context("/api/rounds lists rounds")?;
        let pair = |row: &Value, key: &str| Some((row["round"].as_u64()?, row[key].as_str()?.to_owned()));
        let truth: BTreeMap<u64, String> = rounds.iter().filter_map(|row| pair(row, "after")).collect();
        let said: Vec<check::Rows> = peers.iter().map(|peer| check::rows(&peer.events())).collect();
        let states: Vec<BTreeMap<u64, String>> =
            said.iter().map(|rows| rows.rows.iter().filter_map(|row| pair(row, "state")).collect()).collect();
        let by_all = |round: &&u64| states.iter().all(|states| states.contains_key(round));
        let rounds: BTreeSet<u64> = truth.keys().filter(by_all).copied().collect();
        let right = |round: &u64| states.iter().all(|states| states.get(round) == truth.get(round));
        let blobs = coordinator.get("/api/blobs")?;
        let blobs = blobs["blobs"].as_array().context("/api/blobs lists blobs")?.iter();
        let blob =
            |blob: &Value| Some((blob["hash"].as_str()?.to_owned(), blob["bytes"].as_u64()?, blob["sent"].as_u64()?));
        Ok(Self {
            hashes_equal: rounds.iter().all(right),
            rounds,
            blobs: blobs.filter_map(blob).filter(|(_, bytes, _)| *bytes >= LARGE).collect(),
            bulk: said.iter().fold((0, 0), |sum, rows| (sum.0 + rows.bulk.0, sum.1 + rows.bulk.1)),
        })
    }

    fn copies(&self) -> f64 {
        self.blobs.iter().map(|(_, bytes, sent)| *sent as f64 / *bytes as f64).fold(0.0, f64::max)
    }

    fn table(&self) {
        say("\nblob              MB    copies that left the coordinator");
        for (hash, bytes, sent) in &self.blobs {
            let (mb, copies) = (*bytes as f64 / 1e6, *sent as f64 / *bytes as f64);
            say(format_args!("{}  {mb:6.2}  {copies:6.2}", hash.get(..12).unwrap_or(hash)));
        }
        say("");
    }

    fn json(&self) -> Value {
        json!({
            "contributors": TABS + NATIVES,
            "rounds": self.rounds.len(),
            "coordinator_copies": self.copies(),
            "hashes_equal": self.hashes_equal,
            "bulk_bytes_direct": self.bulk.0,
            "bulk_bytes_coordinator": self.bulk.1,
        })
    }
}
