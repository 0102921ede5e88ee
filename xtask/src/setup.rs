//! Installs what the other commands need: says what and why, and skips what is there.
//!
//! Everything lands in the cache folder or under git-ignored names, except Debian packages, which
//! only root can install; anyone else is told the exact command.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::paths::Paths;
use crate::run::{capture, logged, minutes, say, version};
use crate::{text, wasm};

/// The newest that was tried; anything from [`WASM_PACK_LEAST`] on will do.
const WASM_PACK: &str = "0.15.1";
/// Custom profiles came with it.
const WASM_PACK_LEAST: (u32, u32) = (0, 13);
/// Vite and the test scripts need it.
const NODE_LEAST: u32 = 20;

/// Everything.
pub(crate) fn all(paths: &Paths) -> Result<()> {
    for_build(paths)?;
    text::ensure(paths)?;
    for_browser(paths)?;
    for_reference(paths)?;
    for_chain(paths)?;
    say("Everything is there. `cargo xtask demo` starts the demo, `cargo xtask test` the tests.");
    Ok(())
}

/// What it takes to build the program, the wasm modules and the page.
pub(crate) fn for_build(paths: &Paths) -> Result<()> {
    c_compiler(paths)?;
    wasm::ensure(paths)?;
    wasm_pack(paths)?;
    wasm_bindgen(paths)?;
    node(paths)?;
    wasm_opt(paths)?;
    npm_ci(paths, "www", "the page's build tools")
}

/// What it takes to drive a browser.
pub(crate) fn for_browser(paths: &Paths) -> Result<()> {
    chromium(paths)?;
    node(paths)?;
    npm_ci(paths, "tests/browser", "what drives the browser in tests, js-libp2p and TensorFlow.js to compare with")
}

/// What it takes to compile the contracts and to run a chain.
pub(crate) fn for_chain(paths: &Paths) -> Result<()> {
    node(paths)?;
    npm_ci(paths, "core/contracts", "the contracts' compiler, what they are built on, and a chain to test with")
}

/// What it takes to compare numbers with PyTorch and transformers.
pub(crate) fn for_reference(paths: &Paths) -> Result<()> {
    /// The last that runs with Debian's PyTorch 1.13, which in turn was built against NumPy 1.
    const PACKAGES: [&str; 2] = ["transformers==4.36.2", "numpy<2"];
    /// Where Debian's packages go.
    const DEBIAN_PYTHON: &str = "/usr/bin/python3";
    let python = python(paths);
    let works = |program: &Path, modules: &str| {
        capture(paths.command(program).args(["-c", &format!("import {modules}")])).is_ok()
    };
    if works(&python, "torch, transformers, safetensors") {
        return there("PyTorch and transformers", "the reference for the model's numbers");
    }
    // Debian's own may not be the first in PATH.
    let candidates = [Path::new("python3"), Path::new(DEBIAN_PYTHON)];
    let base = match candidates.into_iter().find(|program| works(program, "torch, venv, ensurepip")) {
        Some(base) => base,
        None => {
            let why = "PyTorch is the reference for the model's numbers and OpenBLAS makes it fast";
            debian(paths, &["python3-torch", "libopenblas0-pthread", "python3-venv"], why)?;
            Path::new(DEBIAN_PYTHON)
        }
    };
    say("-> transformers: installing, because exported models must load in it and give the same logits");
    let venv = paths.cache.join("python");
    let mut make = paths.command(base);
    logged(
        paths,
        "python venv",
        make.args(["-m", "venv", "--clear", "--system-site-packages"]).arg(&venv),
        minutes(5),
    )?;
    let mut pip = paths.command(&python);
    logged(paths, "pip install", pip.args(["-m", "pip", "install", "--no-input"]).args(PACKAGES), minutes(15))
}

/// The Python that has the reference packages.
pub(crate) fn python(paths: &Paths) -> PathBuf {
    paths.cache.join("python/bin/python")
}

/// The browser for tests.
pub(crate) fn chromium_path(paths: &Paths) -> Option<PathBuf> {
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"].iter().find_map(|name| which(paths, name))
}

/// The browser's driver, which wasm-pack's tests need.
pub(crate) fn chromedriver_path(paths: &Paths) -> Option<PathBuf> {
    which(paths, "chromedriver")
}

/// wasm-opt's command line. npm's `binaryen` is wasm-opt compiled to wasm, run by Node.
pub(crate) fn wasm_opt_path(paths: &Paths) -> PathBuf {
    paths.cache.join("binaryen/node_modules/.bin/wasm-opt")
}

fn c_compiler(paths: &Paths) -> Result<()> {
    let why = "some of the crates below libp2p compile C";
    if version(paths, "cc").is_some() {
        return there("C compiler", why);
    }
    debian(paths, &["build-essential"], why)
}

fn wasm_pack(paths: &Paths) -> Result<()> {
    let why = "it turns the web crates into modules for the page, and runs their tests";
    let found = version(paths, "wasm-pack").and_then(|text| {
        let mut numbers = text.rsplit(' ').next()?.split('.').map(str::parse::<u32>);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    });
    if found.is_some_and(|found| found >= WASM_PACK_LEAST) {
        return there("wasm-pack", why);
    }
    cargo_install(paths, "wasm-pack", WASM_PACK, why)
}

fn wasm_bindgen(paths: &Paths) -> Result<()> {
    let wanted = locked_version(paths, "wasm-bindgen")?;
    let why = "wasm-pack needs the very version of the lockfile";
    if version(paths, "wasm-bindgen").is_some_and(|text| text.ends_with(&wanted)) {
        return there(&format!("wasm-bindgen {wanted}"), why);
    }
    cargo_install(paths, "wasm-bindgen-cli", &wanted, why)
}

// Without `--locked`: a registry mirror can lag behind the lockfile that a tool was published with.
fn cargo_install(paths: &Paths, name: &str, version: &str, why: &str) -> Result<()> {
    say(format_args!("-> {name} {version}: installing (a few minutes), because {why}"));
    let mut install = paths.command("cargo");
    // Its own target folder: an install must not wait for, or disturb, a build of the workspace.
    install.env_remove("CARGO_TARGET_DIR").args(["install", "--force", "--version", version, name, "--root"]);
    logged(paths, &format!("cargo install {name}"), install.arg(paths.cache.join("tools")), minutes(20))
}

fn node(paths: &Paths) -> Result<()> {
    let why = "Vite builds the page with it";
    let major = |text: String| text.trim_start_matches('v').split('.').next()?.parse::<u32>().ok();
    let found = || version(paths, "node").and_then(major);
    if found().is_none() || version(paths, "npm").is_none() {
        debian(paths, &["nodejs", "npm"], why)?;
    }
    match found() {
        Some(major) if major >= NODE_LEAST => there(&format!("Node {major}"), why),
        found => bail!(
            "Node {NODE_LEAST} or newer is needed, because {why}; this is {}. Install it from nodejs.org or with nvm, \
             then run this again.",
            found.map_or("none".to_owned(), |major| format!("Node {major}"))
        ),
    }
}

fn wasm_opt(paths: &Paths) -> Result<()> {
    let why = "it makes the wasm modules smaller";
    let dir = paths.cache.join("binaryen");
    std::fs::create_dir_all(&dir)?;
    for file in ["package.json", "package-lock.json"] {
        let from = paths.root.join("xtask/binaryen").join(file);
        std::fs::copy(&from, dir.join(file)).with_context(|| format!("{} can't be read", from.display()))?;
    }
    npm_ci_in(paths, &dir, "wasm-opt", why)
}

fn npm_ci(paths: &Paths, dir: &str, why: &str) -> Result<()> {
    npm_ci_in(paths, &paths.root.join(dir), &format!("npm packages of {dir}"), why)
}

fn npm_ci_in(paths: &Paths, dir: &Path, what: &str, why: &str) -> Result<()> {
    let lock = dir.join("package-lock.json");
    let lock = std::fs::read(&lock).with_context(|| format!("{} can't be read", lock.display()))?;
    let stamp = dir.join("node_modules/.tributary-stamp");
    let hash = blake3::hash(&lock).to_hex();
    if std::fs::read_to_string(&stamp).is_ok_and(|found| found == hash.as_str()) {
        return there(what, why);
    }
    say(format_args!("-> {what}: installing ({why})"));
    let mut npm = paths.command("npm");
    npm.current_dir(dir).args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]);
    logged(paths, &format!("npm ci for {what}"), &mut npm, minutes(10))?;
    Ok(std::fs::write(stamp, hash.as_str())?)
}

fn chromium(paths: &Paths) -> Result<()> {
    let why = "the page's tests run in it";
    if chromium_path(paths).is_some() && chromedriver_path(paths).is_some() {
        return there("Chromium and its driver", why);
    }
    debian(paths, &["chromium", "chromium-driver"], why)
}

/// Installs Debian packages if this is Debian and we are root, else says how to.
pub(crate) fn debian(paths: &Paths, packages: &[&str], why: &str) -> Result<()> {
    let list = packages.join(" ");
    let Some(apt) = which(paths, "apt-get") else {
        bail!(
            "{list} (Debian's names) can't be installed from here, because there is no apt-get. {why}. Install what this system calls them."
        );
    };
    if capture(paths.command("id").arg("-u"))?.trim() != "0" {
        bail!(
            "{list} must be installed, because {why}. Run this, then the same command again:\n\n  sudo apt-get install --no-install-recommends {list}"
        );
    }
    say(format_args!("-> {list}: installing, because {why}"));
    let mut install = paths.command(&apt);
    install.env("DEBIAN_FRONTEND", "noninteractive").args(["install", "-y", "--no-install-recommends"]).args(packages);
    if logged(paths, "apt-get install", &mut install, minutes(15)).is_ok() {
        return Ok(());
    }
    // Most often the package lists are missing or old.
    logged(paths, "apt-get update", paths.command(&apt).arg("update"), minutes(5))?;
    logged(paths, "apt-get install", &mut install, minutes(15))
}

/// Where a program lies.
pub(crate) fn which(paths: &Paths, program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(paths.bin()).chain(std::env::split_paths(&path)).map(|dir| dir.join(program)).find(|p| p.is_file())
}

/// The version of a crate in the lockfile.
pub(crate) fn locked_version(paths: &Paths, name: &str) -> Result<String> {
    let lock = std::fs::read_to_string(paths.root.join("Cargo.lock")).context("Cargo.lock can't be read")?;
    let entry = format!("name = \"{name}\"\nversion = \"");
    let from = lock.find(&entry).with_context(|| format!("{name} is not in Cargo.lock"))? + entry.len();
    Ok(lock[from..].chars().take_while(|&c| c != '"').collect())
}

fn there(what: &str, why: &str) -> Result<()> {
    say(format_args!("ok {what} ({why})"));
    Ok(())
}
