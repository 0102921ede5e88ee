//! The `tributary` program: a coordinator, a contributor, and what prepares, exports and backs up around them.
//!
//! Enters: flags, environment, `tributary.toml`, `run.toml`. Leaves: a running peer, or files, with
//! lines for people on a terminal and JSON lines elsewhere. Refuses: with one sentence that says what
//! to do, and exit code 1.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod chain;
mod cli;
mod config;
mod data;
mod files;
mod generate;
mod identity;
mod ledger;
mod model;
mod output;
mod runfile;
mod serve;
mod signals;
mod train;
mod wallet;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use cli::{Cli, Command, DataCommand, LedgerCommand, ModelCommand};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("TRIBUTARY_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The chain on one line; never a backtrace.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Serve(args) => serve::run(config::serve(args, cli.config.as_deref())?),
        Command::Train(args) => train::run(config::train(args, cli.config.as_deref())?),
        Command::Data { command: DataCommand::Import(args) } => data::import(&args),
        Command::Model { command: ModelCommand::Export(args) } => model::export(&args),
        Command::Model { command: ModelCommand::Generate(args) } => generate::run(&args),
        Command::Ledger { command: LedgerCommand::Verify(args) } => ledger::verify(&args),
        Command::Chain { command } => chain::run(&command),
        Command::Wallet(args) => wallet::run(args, cli.config.as_deref()),
        Command::Identity(args) => {
            identity::commands::run(&config::train_state(args.state, cli.config.as_deref())?, args.command)
        }
    }
}
