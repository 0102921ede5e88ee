//! The laboratory's bench: `learn ARM.json DATA_FOLDER` trains one arm of an experiment, several replicas in
//! one process, with the real trainer, the real coding and the real fold.
//!
//! Prints one JSON object a line: `{tokens, loss}` as training goes (nats a token on held-out text), and at
//! last the result. `cargo xtask bench learn` plans arms, runs them and makes tables of what they print.

mod arm;
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [arm, data] = args.as_slice() else {
        eprintln!("usage: learn ARM.json DATA_FOLDER");
        return ExitCode::FAILURE;
    };
    match world::run(arm.as_ref(), data.as_ref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
