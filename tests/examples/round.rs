//! For what part of their time eight contributors train: `round FIGURES`, a JSON object of what a real model's blobs
//! and work cost ([`Costs`]), as the examples `pause` of the trainer and `codec` of the protocol measure it.
//!
//! A simulated world, so twenty rounds of a minute take seconds: the real machines, each contributor on a link of
//! its own, which begin with a wait for data and read on what they have while a later round's comes. Prints one JSON object.

use std::process::ExitCode;

use serde_json::{Value, json};
use tributary_protocol::spec::{RoundRule, UpdateFormat};
use tributary_tests::world::{Config, Costs, Net, World};
use tributary_tests::{Pace, Pauses, tiny_run};

const CONTRIBUTORS: usize = 8;
const ROUNDS: u64 = 20;
/// 10 Mbit/s, each way.
const BITS_PER_S: u64 = 10_000_000;
/// Milliseconds, one way.
const LATENCY: u64 = 50;
/// Two shards, of the size that `tributary data import` cuts, are asked for at once and share the link.
const DATA: u64 = 2 * 256 * 1024;
/// As `tributary serve` has it unless `run.toml` says otherwise.
const ROUND: RoundRule = RoundRule { seconds: 60, grace: 20, quorum: 1, stale: 0.5 };

fn main() -> ExitCode {
    let figures = std::env::args().nth(1).and_then(|text| serde_json::from_str(&text).ok());
    let Some(costs) = figures.as_ref().and_then(costs) else {
        eprintln!(
            "usage: round '{{\"weights_bytes\":…,\"update_bytes\":…,\"first_bytes\":…,\"step_bytes\":…,\
             \"cut_ms\":…,\"first_cut_ms\":…,\"fold_ms\":…,\"coordinator_fold_ms\":…}}'"
        );
        return ExitCode::FAILURE;
    };
    println!("{}", measure(costs));
    ExitCode::SUCCESS
}

fn costs(figures: &Value) -> Option<Costs> {
    let number = |key: &str| Some(figures[key].as_f64()?.ceil() as u64);
    Some(Costs {
        bits_per_s: BITS_PER_S,
        weights: number("weights_bytes")?,
        update: number("update_bytes")?,
        first: number("first_bytes")?,
        step: number("step_bytes")?,
        data: DATA,
        pauses: Pauses { cut: number("cut_ms")?, first_cut: number("first_cut_ms")?, fold: number("fold_ms")? },
        fold_ms: number("coordinator_fold_ms")?,
    })
}

fn measure(costs: Costs) -> Value {
    let mut run = tiny_run(ROUND);
    (run.spec.update, run.spec.first, run.spec.step) = (UpdateFormat::UPDATE, UpdateFormat::FIRST, UpdateFormat::STEP);
    let net = Net { latency_ms: (LATENCY, LATENCY), ..Net::calm() };
    // A step a millisecond, so that no part of one is lost in the count.
    let pace = Pace::Timed(1);
    let config = Config { round: ROUND, net, pace, costs: Some(costs), ..Config::calm(1, CONTRIBUTORS) };
    let mut world = World::with_run(config, run);
    world.run_until(|world| world.host.settled() >= ROUNDS);
    let parts = world.utilisation();
    let worst = parts.iter().copied().fold(1.0, f64::min);
    let mean = parts.iter().sum::<f64>() / CONTRIBUTORS as f64;
    json!({ "contributors": parts.len(), "rounds": ROUNDS, "utilisation": worst, "utilisation_mean": mean })
}
