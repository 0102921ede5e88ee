//! Every test: the workspace's own, those in a browser, sizes, WebRTC against others, the demo's check and the
//! reference.
//!
//! Each suite says how many passed and failed; the last line sums them up.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::paths::Paths;
use crate::postgres::Server;
use crate::run::{minutes, say, shown, version};
use crate::{browser, build, chain, check, setup, sizes, text, wasm};

/// A cold build of burn and all tests on two cores, twice.
const LIMIT: Duration = minutes(80);
/// A browser test on an emulated adapter waits for its first step, which compiles every kernel.
const BROWSER_TEST_SECONDS: &str = "300";

/// Passed and failed.
type Counts = (usize, usize);

/// A suite's name and what runs it.
type Suite = (&'static str, fn(&Paths) -> Result<Counts>);

/// All, in the order that finds mistakes soonest.
const SUITES: [Suite; 8] = [
    ("unit", unit),
    ("chain", contracts),
    ("postgres", postgres),
    ("wasm", in_wasm),
    ("sizes", sizes::check),
    ("page", page),
    ("interop", interop),
    ("demo", demo),
];

/// Parts of the first, which can be run alone.
const PARTS: [Suite; 1] = [("reference", reference)];

/// Sets up, builds if wanted, and runs all suites, or the one that is named.
pub(crate) fn run(paths: &Paths, only: Option<&str>, build: bool) -> Result<()> {
    let suites: Vec<&Suite> = match only {
        None => SUITES.iter().collect(),
        Some(only) => SUITES.iter().chain(&PARTS).filter(|(name, _)| *name == only).collect(),
    };
    if suites.is_empty() {
        let names: Vec<&str> = SUITES.iter().chain(&PARTS).map(|(name, _)| *name).collect();
        bail!("There is no suite {}. There are: {}.", only.unwrap_or_default(), names.join(", "));
    }
    setup::for_build(paths)?;
    text::ensure(paths)?;
    setup::for_browser(paths)?;
    if build {
        build::all_tests(paths)?;
        build::page(paths)?;
        build::webrtc_peer(paths)?;
    }
    let (mut passed, mut failed) = (0, 0);
    let mut broken = Vec::new();
    for (name, suite) in suites {
        say(format_args!("\n== {name}"));
        let counts = suite(paths).unwrap_or_else(|error| {
            say(format_args!("{error:#}"));
            (0, 1)
        });
        crate::run::tick()?;
        say(format_args!("== {name}: {} passed, {} failed", counts.0, counts.1));
        passed += counts.0;
        failed += counts.1;
        if counts.1 > 0 {
            broken.push(*name);
        }
    }
    if !broken.is_empty() {
        say(format_args!("\nSuites with failures: {}. One alone: cargo xtask test --only NAME", broken.join(", ")));
    }
    say(format_args!("\n{passed} passed, {failed} failed"));
    if failed > 0 {
        std::process::exit(1);
    }
    Ok(())
}

/// The workspace's tests, all but those of the wasm modules.
fn unit(paths: &Paths) -> Result<Counts> {
    native(paths, &[])
}

/// The exported model in Hugging Face transformers, the gradients against PyTorch's.
fn reference(paths: &Paths) -> Result<Counts> {
    native(paths, &["--test", "reference"])
}

/// The coordinator's log on a PostgreSQL server, which the unit suite leaves out.
fn postgres(paths: &Paths) -> Result<Counts> {
    let server = Server::start(paths)?;
    counted(runner(paths, &["--test", "stores"]).env("TRIBUTARY_POSTGRES", server.url()), LIMIT)
}

/// The contracts, compiled and run; the operator's commands, contract wallets, an independent reader and other readers
/// of links' texts on a node; wallets on the page.
fn contracts(paths: &Paths) -> Result<Counts> {
    setup::for_chain(paths)?;
    let mut sum = (0, 0);
    for mut command in chain::suite(paths) {
        let counts = counted(&mut command, LIMIT)?;
        sum = (sum.0 + counts.0, sum.1 + counts.1);
    }
    let which = ["--test", "anvil", "--test", "consent", "--test", "reader", "--test", "siwe"];
    let mut node = runner(paths, &which);
    for (command, limit) in
        [(node.env("TRIBUTARY_ANVIL", chain::anvil(paths)?), LIMIT), (&mut browser::wallet_script(paths)?, minutes(20))]
    {
        let counts = counted(command, limit)?;
        sum = (sum.0 + counts.0, sum.1 + counts.1);
    }
    Ok(sum)
}

fn native(paths: &Paths, which: &[&str]) -> Result<Counts> {
    setup::for_reference(paths)?;
    counted(runner(paths, which).env("TRIBUTARY_PYTHON", setup::python(paths)), LIMIT)
}

/// The best test runner that is there.
fn runner(paths: &Paths, which: &[&str]) -> Command {
    let mut cargo = paths.command("cargo");
    if version(paths, "cargo-nextest").is_some() {
        cargo.args(["nextest", "run", "--no-fail-fast"]);
    } else {
        say(
            "cargo-nextest is not there, so cargo's own runner runs the tests, slower (`cargo install cargo-nextest`).",
        );
        cargo.args(["test", "--no-fail-fast"]);
    }
    build::native_workspace(cargo.arg("--release")).args(which);
    cargo
}

/// wasm-pack's tests of a crate in headless Chromium; what is added goes to cargo.
pub(crate) fn in_browser(paths: &Paths, folder: &str, profile: &str) -> Command {
    let mut pack = paths.command("wasm-pack");
    pack.env("WASM_BINDGEN_TEST_TIMEOUT", BROWSER_TEST_SECONDS).args(["test", "--headless", "--chrome"]);
    if let Some(driver) = setup::chromedriver_path(paths) {
        pack.arg("--chromedriver").arg(driver);
    }
    pack.arg(paths.root.join(folder)).args(["--profile", profile]);
    pack
}

/// A future Chromium's rule, which the suites that connect over WebRTC must pass with as well as without: a page may
/// not alter the credentials in its own offer.
const FIELD_TRIAL: &str = "--force-fieldtrials=WebRTC-NoSdpMangleUfrag/Enabled/";

/// What must hold in a browser: the fold's bits and a training step on WebGPU.
fn in_wasm(paths: &Paths) -> Result<Counts> {
    let mut sum = (0, 0);
    // The trainer in the profile that its module was just built with: burn twice would take too long.
    for (folder, profile) in [("core/protocol", "dev"), ("core/webrtc", "dev"), ("web/trainer", "web")] {
        let mut pack = in_browser(paths, folder, profile);
        // Not the libraries' unit tests: those run natively, and to link them once more takes minutes.
        let counts = counted(wasm::with_compiler(paths, pack.args(["--test", "*"])), LIMIT)?;
        sum = (sum.0 + counts.0, sum.1 + counts.1);
    }
    // Of the page's module there is nothing else: natively it would want libp2p built once more.
    let mut pack = in_browser(paths, "web/net", "web");
    let counts = counted(wasm::with_compiler(paths, pack.arg("--lib")), LIMIT)?;
    sum = (sum.0 + counts.0, sum.1 + counts.1);
    say("\nThe same for WebRTC under the field trial.");
    let mut pack = in_browser(paths, "core/webrtc", "dev");
    pack.env("WASM_BINDGEN_TEST_WEBDRIVER_JSON", field_trial(paths)?);
    let counts = counted(wasm::with_compiler(paths, pack.args(["--test", "*"])), LIMIT)?;
    Ok((sum.0 + counts.0, sum.1 + counts.1))
}

/// The capabilities of core/webrtc's browser with the field trial among its flags, as a file.
fn field_trial(paths: &Paths) -> Result<PathBuf> {
    let usual = std::fs::read(paths.root.join("core/webrtc/webdriver.json"))?;
    let mut usual: serde_json::Value = serde_json::from_slice(&usual)?;
    let flags = usual["goog:chromeOptions"]["args"].as_array_mut().context("webdriver.json lists flags")?;
    flags.push(FIELD_TRIAL.into());
    let file = paths.work.join("webdriver-field-trial.json");
    std::fs::write(&file, usual.to_string())?;
    Ok(file)
}

/// The page in a browser, against a coordinator that its last check ends; then again under the field trial what
/// connects tabs.
fn page(paths: &Paths) -> Result<Counts> {
    let mut sum = (0, 0);
    for (flags, parts) in [("", None), (FIELD_TRIAL, Some("training"))] {
        let world = browser::page_world(paths)?;
        let mut script = browser::script(paths, "page.mjs")?;
        script.arg(world.url()).arg(world.process.child.id().to_string()).args(parts);
        // What the model writes in the tab is compared with, and what has a page of its own.
        script.env("TRIBUTARY_PROGRAM", paths.tributary()).env("TRIBUTARY_WORLD", world.state());
        script.env("TRIBUTARY_WWW", paths.root.join("www/dist"));
        // The suite of the workspace's own tests sets this one up.
        if setup::python(paths).exists() {
            script.env("TRIBUTARY_PYTHON", setup::python(paths));
        }
        let counts = counted(script.env("CHROMIUM_FLAGS", flags), minutes(15))?;
        sum = (sum.0 + counts.0, sum.1 + counts.1);
    }
    Ok(sum)
}

/// Our WebRTC transport against js-libp2p and itself, in tabs and natively.
fn interop(paths: &Paths) -> Result<Counts> {
    counted(&mut browser::webrtc_script(paths, "interop.mjs")?, minutes(40))
}

/// The demo's check is one test.
fn demo(paths: &Paths) -> Result<Counts> {
    check::judge(paths).map(|()| (1, 0))
}

/// Runs a test runner and counts by what it says; a runner that fails without naming a failed test
/// counts as one.
fn counted(command: &mut Command, limit: Duration) -> Result<Counts> {
    let (status, lines) = shown(command, limit)?;
    let (passed, mut failed) = count(&lines);
    if !status.success() && failed == 0 {
        failed = 1;
    }
    if status.success() && passed == 0 {
        bail!("The suite ran no test.");
    }
    Ok((passed, failed))
}

/// Sums up the summaries of nextest (`Summary [...] 3 tests run: 2 passed, 1 failed`), of cargo's and
/// wasm-bindgen's runner (`test result: ok. 3 passed; 0 failed`) and of our scripts (`2 passed, 0 failed`).
fn count(lines: &[String]) -> Counts {
    let mut counts = (0, 0);
    for line in lines {
        let plain = without_colour(line);
        let plain = plain.trim();
        let words: Vec<&str> = plain.split([' ', ',', ';']).filter(|word| !word.is_empty()).collect();
        let summary = plain.starts_with("Summary [") || plain.starts_with("test result:");
        if !summary && !matches!(words[..], [_, "passed", _, "failed"]) {
            continue;
        }
        let number = |what: &str| {
            let at = words.iter().position(|word| *word == what)?;
            words.get(at.checked_sub(1)?)?.parse::<usize>().ok()
        };
        counts.0 += number("passed").unwrap_or(0);
        counts.1 += number("failed").unwrap_or(0) + number("timed").unwrap_or(0);
    }
    counts
}

fn without_colour(line: &str) -> String {
    let mut plain = String::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            chars.by_ref().find(|c| c.is_ascii_alphabetic());
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_runner_is_counted() {
        for (line, expected) in [
            ("     Summary [  12.3s] 45 tests run: 44 passed (1 slow), 1 failed, 2 skipped", (44, 1)),
            (
                "\u{1b}[32;1m     Summary\u{1b}[0m [   0.1s] \u{1b}[1m2\u{1b}[0m tests run: \u{1b}[1m2\u{1b}[0m passed, 0 skipped",
                (2, 0),
            ),
            ("     Summary [   1.0s] 3 tests run: 1 passed, 1 failed, 1 timed out, 0 skipped", (1, 2)),
            ("test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s", (3, 0)),
            ("test result: FAILED. 1 passed; 2 failed; 0 ignored", (1, 2)),
            ("5 passed, 1 failed", (5, 1)),
            ("running 5 tests, none passed yet", (0, 0)),
        ] {
            assert_eq!(count(&[line.to_owned()]), expected, "{line}");
        }
    }
}
