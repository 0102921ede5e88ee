//! `bench page`: Lighthouse over the page as the program serves it (`tests/browser/lighthouse.mjs`).

use anyhow::{Result, bail};

use super::last_json;
use crate::paths::Paths;
use crate::run::{minutes, say, shown};
use crate::{browser, build, setup};

/// The least that each score may be, of 100.
const LEAST: f64 = 95.0;

/// Milliseconds after which the page can be worked, at most, on a fast 4G line.
const INTERACTIVE_MS: f64 = 1000.0;

/// Runs it; there are no settings. Fails where a score is too low, the page comes too late, or another site was asked for
/// anything.
pub(crate) fn run(paths: &Paths, args: &[&str]) -> Result<()> {
    if !args.is_empty() {
        bail!("bench page takes no settings, and not {}", args.join(" "));
    }
    build::all(paths)?;
    setup::for_browser(paths)?;
    let world = browser::page_world(paths)?;
    let (status, lines) = shown(browser::script(paths, "lighthouse.mjs")?.arg(world.url()), minutes(20))?;
    if !status.success() {
        bail!("Lighthouse failed ({status}).");
    }
    let figures = last_json(&lines.join("\n"))?;
    say("");
    for score in ["performance", "accessibility", "best-practices"] {
        say(format_args!("{score:<20}{:>6}", figures[score]));
    }
    say(format_args!("\n{figures}"));
    if let Some(foreign) = figures["foreign"].as_array().and_then(|all| all.first()) {
        bail!("The page asked {foreign}, which is another site.");
    }
    let low = ["performance", "accessibility", "best-practices"].into_iter().find(|score| {
        // What isn't there is too low as well.
        !figures[score].as_f64().is_some_and(|points| points >= LEAST)
    });
    if let Some(score) = low {
        bail!("{score} is under {LEAST}. On a busy machine look at total-blocking-time first.");
    }
    match figures["interactive_fast_4g"].as_f64() {
        Some(ms) if ms <= INTERACTIVE_MS => Ok(()),
        found => bail!("On fast 4G the page can be worked after {found:?} ms; {INTERACTIVE_MS} are allowed."),
    }
}
