//! What a visitor downloads: measured compressed, held against fixed caps and against the first
//! build's figures, so that growth is noticed when it happens.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::build::MODULES;
use crate::paths::Paths;
use crate::run::{capture, say};

/// A part may grow this much over its recorded size before the test fails.
const GROWTH: f64 = 1.10;

/// The most that a part may weigh, in bytes of brotli, whatever was recorded.
const CAPS: [(&str, u64); 3] = [("web/net", 1_000_000), ("web/trainer", 2_500_000), ("page", 60_000)];

/// Measures the build and says, part by part, whether it may be so large: `(passed, failed)`.
pub(crate) fn check(paths: &Paths) -> Result<(usize, usize)> {
    let recorded = std::fs::read_to_string(paths.root.join("tests/sizes.json")).context("tests/sizes.json")?;
    let recorded: Value = serde_json::from_str(&recorded).context("tests/sizes.json")?;
    let (mut passed, mut failed) = (0, 0);
    for (part, cap) in CAPS {
        let size = measure(paths, part)?;
        let first = recorded[part].as_u64().with_context(|| format!("tests/sizes.json has no size of {part}"))?;
        let most = cap.min((first as f64 * GROWTH) as u64);
        let verdict = if size <= most { "ok" } else { "TOO LARGE" };
        *(if size <= most { &mut passed } else { &mut failed }) += 1;
        say(format_args!("{part}: {size} bytes of brotli, at most {most} (first build {first}, cap {cap}): {verdict}"));
    }
    Ok((passed, failed))
}

fn measure(paths: &Paths, part: &str) -> Result<u64> {
    let files = files(paths, part)?;
    let script = "const { brotliCompressSync, constants } = require('node:zlib'); \
                  const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 24 }; \
                  const size = (file) => brotliCompressSync(require('node:fs').readFileSync(file), { params }).length; \
                  console.log(process.argv.slice(1).reduce((sum, file) => sum + size(file), 0))";
    let size = capture(paths.command("node").args(["-e", script]).args(files))?;
    size.trim().parse().with_context(|| format!("the size of {part} is {size}"))
}

/// A module's wasm, or the page's own scripts and styles with the modules' glue.
fn files(paths: &Paths, part: &str) -> Result<Vec<PathBuf>> {
    if let Some((name, package)) = MODULES.iter().find(|(name, _)| part == format!("web/{name}")) {
        let file = format!("www/src/wasm/{name}/{}_bg.wasm", package.replace('-', "_"));
        return Ok(vec![paths.root.join(file)]);
    }
    let mut found = Vec::new();
    let mut todo = vec![paths.root.join("www/dist")];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir).with_context(|| format!("{} can't be read", dir.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|end| end == "js" || end == "css") {
                found.push(path);
            }
        }
    }
    Ok(found)
}
