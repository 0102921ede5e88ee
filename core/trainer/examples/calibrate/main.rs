//! What replays of honest work look like, and what replays of cheats.
//!
//! `calibrate record DATA_FOLDER FILE cpu|gpu` trains honestly and dishonestly on one device and writes what
//! would be disclosed; `calibrate replay FILE cpu|gpu [MOST_STEPS]` runs it again, on another device or on other
//! cores, and prints one JSON object a segment; `calibrate report LINES…` makes tables of such lines. `cargo xtask
//! bench calibrate` does all of it.

mod cases;
mod play;
mod report;

use std::path::Path;
use std::process::ExitCode;

use bytes::Bytes;
use futures::executor::block_on;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tributary_protocol::check::TraceRef;
use tributary_protocol::job::DeviceChoice;
use tributary_protocol::spec::RunSpec;
use tributary_protocol::{Hash, Id, update};
use tributary_trainer::{Case, Dossier, Match, Replayer, Sources, open_device};

/// What a run recorded.
#[derive(Serialize, Deserialize)]
struct Record {
    spec: RunSpec,
    manifest: Bytes,
    shards: Vec<(Hash, Bytes)>,
    /// Of each round.
    bases: Vec<Vec<f32>>,
    backend: String,
    shown: Vec<Shown>,
}

/// What is to be replayed.
#[derive(Serialize, Deserialize)]
struct Shown {
    /// `honest`, or the cheat's name.
    name: String,
    /// Steps of its round.
    steps: u64,
    peer: Id,
    round: u64,
    tokens: u64,
    update: Bytes,
    trace: TraceRef,
    known: Option<Hash>,
    segment: u8,
    dossier: Bytes,
}

impl Sources for Record {
    fn base(&self, round: u64) -> Option<Vec<f32>> {
        self.bases.get(round as usize).cloned()
    }

    fn is_seed(&self, _: &Hash) -> bool {
        true
    }

    fn shard(&self, hash: &Hash) -> Option<Bytes> {
        self.shards.iter().find(|(name, _)| name == hash).map(|(_, bytes)| bytes.clone())
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        ["record", data, file, device] => choice(device).and_then(|device| record(data.as_ref(), file, device)),
        ["replay", file, device] => choice(device).and_then(|device| replay(file, device, u64::MAX)),
        ["replay", file, device, most] => {
            let most = most.parse().map_err(|_| format!("{most} is no number of steps"));
            choice(device).and_then(|device| replay(file, device, most?))
        }
        ["report", ref files @ ..] if !files.is_empty() => report::print(files),
        _ => {
            Err("usage: calibrate record DATA_FOLDER FILE cpu|gpu, replay FILE cpu|gpu [MOST_STEPS], or report LINES…"
                .to_owned())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn choice(name: &str) -> Result<DeviceChoice, String> {
    match name {
        "cpu" => Ok(DeviceChoice::Cpu),
        "gpu" => Ok(DeviceChoice::Gpu),
        _ => Err(format!("there is no device {name}")),
    }
}

fn record(data: &Path, file: &str, device: DeviceChoice) -> Result<(), String> {
    let record = cases::record(data, device)?;
    let bytes = postcard::to_stdvec(&record).map_err(|error| error.to_string())?;
    std::fs::write(file, bytes).map_err(|error| format!("{file}: {error}"))
}

fn replay(file: &str, device: DeviceChoice, most: u64) -> Result<(), String> {
    let bytes = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
    let record: Record = postcard::from_bytes(&bytes).map_err(|error| format!("{file}: {error}"))?;
    let (device, info) = block_on(open_device(device))?;
    let replayer = Replayer::new(&record.spec, record.manifest.clone(), device);
    let params = record.spec.model.params();
    for shown in record.shown.iter().filter(|shown| shown.steps <= most) {
        let update = update::decode(&record.spec.sent_formats(), &shown.update, params).map_err(|e| e.to_string())?;
        let Shown { peer, round, tokens, trace, known, segment, .. } = *shown;
        let case = Case { peer, round, tokens, update: &update, trace, known, segment };
        let (name, fault) = (&shown.name, |fault| format!("{}: {fault}", shown.name));
        let likeness = block_on(replayer.replay(&case, &shown.dossier, &record)).map_err(fault)?;
        let dossier: Dossier = postcard::from_bytes(&shown.dossier).map_err(|error| error.to_string())?;
        let traced = &dossier.trace.segments[usize::from(segment)];
        let pair = |m: Match| json!([m.ratio, m.cosine]);
        println!(
            "{}",
            json!({
                "name": name, "round_steps": shown.steps, "steps": traced.steps(), "segment": segment,
                "recorded": record.backend, "replayed": info.backend, "same": likeness.is_same(),
                "way": pair(likeness.way), "momentum": pair(likeness.moments[0]), "scale": pair(likeness.moments[1]),
                "loss": traced.loss, "loss_less": likeness.loss, "update": likeness.sent.map(|sent| pair(sent[0])),
                "rest": likeness.sent.map(|sent| pair(sent[1])),
                "bytes_per_param": shown.dossier.len() as f64 / params as f64,
            })
        );
    }
    Ok(())
}
