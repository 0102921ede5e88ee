//! The native programs of the WebRTC tests: `peer` takes commands as lines of JSON on stdin and answers each with
//! a line on stdout; `relay` is what peers meet at.

mod relay;

use std::io::stderr;

use anyhow::{Result, anyhow, bail};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tracing_subscriber::EnvFilter;
use tributary_tests_webrtc::net;

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).with_writer(stderr).init();
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["relay"] => relay::run(None).await,
        ["relay", external] => relay::run(Some(external.parse()?)).await,
        ["peer"] => peer().await,
        _ => bail!("webrtc-peer peer, or webrtc-peer relay [ADDRESS]"),
    }
}

/// Runs until stdin ends.
async fn peer() -> Result<()> {
    let mut peer = net::start().map_err(|error| anyhow!(error))?;
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let outcome = match serde_json::from_str(&line) {
            Ok(command) => peer.run(command).await,
            Err(error) => Err(format!("{line} is no command: {error}")),
        };
        println!("{}", outcome.map_or_else(|error| json!({ "error": error }), |value| json!({ "ok": value })));
    }
    Ok(())
}
