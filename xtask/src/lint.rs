//! Formatting, clippy, dependency rules and the page's own lints. All of them run; the first failure
//! doesn't hide the others.

use anyhow::{Result, bail};

use crate::build::{MODULES, native_workspace};
use crate::paths::Paths;
use crate::run::{minutes, say, shown, version};
use crate::{setup, wasm};

/// Everything that can be said without running the product.
pub(crate) fn run(paths: &Paths) -> Result<()> {
    setup::for_build(paths)?;
    let mut failed = Vec::new();
    let mut lint = |what: &'static str, command: &mut std::process::Command| -> Result<()> {
        say(format_args!("== {what}"));
        if !shown(command, minutes(40))?.0.success() {
            failed.push(what);
        }
        Ok(())
    };
    lint("formatting", paths.command("cargo").args(["fmt", "--all", "--check"]))?;

    let mut clippy = paths.command("cargo");
    clippy.args(["clippy", "--all-targets"]);
    lint("clippy, native", native_workspace(&mut clippy).args(["--", "-D", "warnings"]))?;

    let mut clippy = paths.command("cargo");
    // Debian's compiler comes without clippy for the toolchain that we make of it.
    let debian = wasm::uses_debian(paths);
    clippy.args([if debian { "check" } else { "clippy" }, "--target", "wasm32-unknown-unknown", "--lib"]);
    for (_, package) in MODULES {
        clippy.args(["--package", package]);
    }
    if !debian {
        clippy.args(["--", "-D", "warnings"]);
    }
    lint("clippy, wasm", wasm::with_compiler(paths, &mut clippy))?;

    if version(paths, "cargo-deny").is_some() {
        lint("dependencies", paths.command("cargo").args(["deny", "check", "licenses", "bans", "sources"]))?;
    } else {
        say("== dependencies: skipped, cargo-deny is not installed (`cargo install cargo-deny` installs it)");
    }
    lint("page", paths.command("npm").current_dir(paths.root.join("www")).args(["run", "check"]))?;

    if !failed.is_empty() {
        bail!("Lints that failed: {}.", failed.join(", "));
    }
    say("All lints passed.");
    Ok(())
}
