//! `cargo xtask`: sets the machine up, runs the demo, the tests, the benches and the lints.
//!
//! Every command first makes sure that what it needs is there (see [`setup`]), so that each of them
//! works in a fresh clone. Nothing here is part of the product, and it depends on almost nothing, so
//! that it builds in seconds.

mod bench;
mod browser;
mod build;
mod chain;
mod check;
mod demo;
mod lint;
mod local;
mod paths;
mod postgres;
mod run;
mod setup;
mod sizes;
mod test;
mod text;
mod wasm;
mod world;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
cargo xtask COMMAND

  setup                 install what the other commands need; says what and why, skips what is there
  build [page]          build the `tributary` program, the wasm modules and the page, or the last two
  contracts             compile the contracts again, after a change of core/contracts
  demo                  coordinator, one native contributor and the page, until Ctrl-C
  demo --chain          the same with a chain on this machine, on which what is earned is claimed
  demo --check          the same with a headless tab, for five rounds; exits 0 if they agree
  test [--only SUITE]   every test, or one suite: unit, reference, chain, postgres, wasm, sizes,
                        page, interop, demo (--built after either: with what was built before)
  bench NAME            attacks, calibrate, calm, codec, learn, ledger, page, round, step, swarm, transport:
                        a table, then one line of JSON
  bench learn [--quick] [--preset P] [--arms A,B] [--replicas N,N] [--tokens N] [--seeds N] [--gpu]
  lint                  formatting, clippy, dependency rules and the page's own lints

Environment: TRIBUTARY_CACHE is where tools and text are kept between clones (default:
~/.cache/tributary); CARGO_TARGET_DIR is respected.";

fn main() -> ExitCode {
    match command() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not by returning it: that prints a backtrace where one is asked for, which helps nobody here.
            eprintln!("\n{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn command() -> Result<()> {
    run::catch_interrupts()?;
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["setup"] => setup::all(&paths::Paths::find()?),
        ["build"] => build::all(&paths::Paths::find()?),
        ["build", "page"] => build::only_page(&paths::Paths::find()?),
        ["contracts"] => chain::compile(&paths::Paths::find()?),
        ["demo"] => demo::run(&paths::Paths::find()?, false),
        ["demo", "--chain"] => demo::run(&paths::Paths::find()?, true),
        ["demo", "--check"] => check::run(&paths::Paths::find()?),
        ["demo", "--check", "--built"] => check::judge(&paths::Paths::find()?),
        ["test"] => test::run(&paths::Paths::find()?, None, true),
        ["test", "--only", suite] => test::run(&paths::Paths::find()?, Some(suite), true),
        ["test", "--only", suite, "--built"] => test::run(&paths::Paths::find()?, Some(suite), false),
        ["bench", name, ref rest @ ..] => bench::run(&paths::Paths::find()?, name, rest),
        ["lint"] => lint::run(&paths::Paths::find()?),
        [] | ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => bail!("There is no `cargo xtask {}`.\n\n{USAGE}", args.join(" ")),
    }
}
