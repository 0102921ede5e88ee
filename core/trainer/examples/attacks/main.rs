//! A world with a cheat in it: `attacks ORDER.json DATA_FOLDER` runs it and prints, as its last line, what everybody
//! kept, what became of honest work, what the model was like in the end and what checking cost. `cargo xtask bench
//! attacks` runs all of them.
//!
//! The coordinator's machine, its journal's ledger, the fold, the scores, the replays and the trainers are the real
//! ones; only the network and the clock are not there.

mod account;
mod cheat;
mod desk;
mod order;
mod worker;
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let run = match args.as_slice() {
        [order, data] => world::run(order.as_ref(), data.as_ref()),
        _ => Err("usage: attacks ORDER.json DATA_FOLDER".to_owned()),
    };
    match run {
        Ok(outcome) => {
            println!("{outcome}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
