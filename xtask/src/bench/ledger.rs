//! `bench ledger`: a log of a million entries, verified from a file, and proofs about it
//! (`core/ledger/examples/ledger.rs`).

use anyhow::{Result, bail};

use super::last_json;
use crate::paths::Paths;
use crate::run::{logged, minutes, say, shown};
use crate::{build, setup};

/// Entries by default.
const ENTRIES: &str = "1000000";

/// Runs it; the one setting is the number of entries.
pub(crate) fn run(paths: &Paths, args: &[&str]) -> Result<()> {
    let entries = match args {
        [] => ENTRIES,
        [entries] if entries.parse::<u64>().is_ok() => entries,
        _ => bail!("bench ledger takes a number of entries, and not {}", args.join(" ")),
    };
    setup::for_build(paths)?;
    let mut cargo = paths.command("cargo");
    cargo.args(["build", "--release", "--example", "ledger"]);
    logged(paths, "build the ledger's bench", build::native_workspace(&mut cargo), minutes(60))?;
    let mut example = paths.command(paths.target.join("release/examples/ledger"));
    let (status, lines) = shown(example.arg(entries), minutes(20))?;
    if !status.success() {
        bail!("The measurement failed ({status}).");
    }
    let figures = last_json(&lines.join("\n"))?;
    let number = |key: &str| figures[key].as_f64().unwrap_or(f64::NAN);
    say(format_args!("\n{:<36}{:>12}", "entries", number("entries")));
    say(format_args!("{:<36}{:>12.1}", "MB", number("bytes") / 1e6));
    say(format_args!("{:<36}{:>12.2}", "verified, s", number("verify_s")));
    say(format_args!("{:<36}{:>12.2}", "times plain SHA-256 of the bytes", number("ratio_sha256")));
    say(format_args!("{:<36}{:>12.1}", "peak memory, MiB", number("peak_mib")));
    for proof in ["inclusion", "consistency"] {
        let of = |what: &str| number(&format!("{proof}_{what}"));
        let row = format!("{proof} proof: bytes, make µs, verify µs");
        say(format_args!("{row:<44}{:>4}{:>8.2}{:>8.2}", of("bytes"), of("us"), of("verify_us")));
    }
    say("");
    say(figures);
    Ok(())
}
