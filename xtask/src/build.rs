//! Builds the product: the `tributary` program, the two wasm modules, the page.
//!
//! A wasm module takes minutes to link, so it is left alone while nothing that goes into it changed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::paths::Paths;
use crate::run::{capture, logged, minutes, say, version};
use crate::{setup, wasm};

/// What a cold build of burn takes on two cores, three times.
const COLD: std::time::Duration = minutes(60);

/// The wasm modules: folder under `web/` and under `www/src/wasm/`, and package.
pub(crate) const MODULES: [(&str, &str); 2] = [("net", "tributary-web-net"), ("trainer", "tributary-web-trainer")];

/// Everything.
pub(crate) fn all(paths: &Paths) -> Result<()> {
    setup::for_build(paths)?;
    native(paths)?;
    page(paths)
}

/// The page, for those who work on it.
pub(crate) fn only_page(paths: &Paths) -> Result<()> {
    setup::for_build(paths)?;
    page(paths)
}

/// The `tributary` program.
pub(crate) fn native(paths: &Paths) -> Result<()> {
    let mut build = paths.command("cargo");
    let build = native_workspace(build.args(["build", "--release", "--bin", "tributary"]));
    logged(paths, "build tributary", build, COLD)
}

/// The workspace, tests and examples included, but for the wasm modules, in the one profile that everything
/// native is built in: a narrower build would unify features otherwise and build burn twice.
pub(crate) fn native_workspace(cargo: &mut Command) -> &mut Command {
    MODULES.iter().fold(cargo.arg("--workspace"), |cargo, (_, package)| cargo.args(["--exclude", package]))
}

/// The program, the tests and the examples.
pub(crate) fn all_tests(paths: &Paths) -> Result<()> {
    let mut build = paths.command("cargo");
    build.args(["build", "--release", "--all-targets"]);
    logged(paths, "build the program and the tests", native_workspace(&mut build), COLD)
}

/// The wasm modules and the page around them.
pub(crate) fn page(paths: &Paths) -> Result<()> {
    for (name, package) in MODULES {
        module(paths, &format!("web/{name}"), package, &paths.root.join("www/src/wasm").join(name))?;
    }
    let mut npm = paths.command("npm");
    logged(paths, "build the page", npm.current_dir(paths.root.join("www")).args(["run", "build"]), minutes(5))
}

/// The wasm module of the peer that WebRTC is tested with.
pub(crate) fn webrtc_peer(paths: &Paths) -> Result<()> {
    module(paths, "tests/webrtc", "tributary-tests-webrtc", &paths.webrtc_module())
}

/// Builds a wasm module from a folder into another.
fn module(paths: &Paths, folder: &str, package: &str, out: &Path) -> Result<()> {
    let stamp = out.join("inputs.hash");
    let inputs = inputs(paths, package)?;
    if std::fs::read_to_string(&stamp).is_ok_and(|found| found == inputs) {
        say(format_args!("ok {folder} (built, nothing in it changed)"));
        return Ok(());
    }
    let mut pack = paths.command("wasm-pack");
    // Our own wasm-opt below: wasm-pack would download one.
    pack.args(["--quiet", "build", "--target", "web", "--profile", "web", "--no-opt", "--no-pack", "--out-dir"])
        .arg(out);
    pack.arg(paths.root.join(folder));
    logged(paths, &format!("build {folder}"), wasm::with_compiler(paths, &mut pack), COLD)?;
    optimise(paths, out, package)?;
    Ok(std::fs::write(stamp, inputs)?)
}

/// How wasm-opt is called. It refuses what rustc and wasm-bindgen let themselves use and it isn't told of.
const OPTIMISE: [&str; 8] = [
    "-Oz",
    "--enable-bulk-memory",
    "--enable-nontrapping-float-to-int",
    "--enable-simd",
    "--enable-sign-ext",
    "--enable-mutable-globals",
    "--enable-reference-types",
    "--enable-multivalue",
];

/// Optimised modules that are kept: the three of this checkout, of the last one and of some branch.
const KEPT: usize = 9;

/// Makes a module small. That takes minutes, so what came of the same bytes before is taken from the cache.
fn optimise(paths: &Paths, out: &Path, package: &str) -> Result<()> {
    let file = out.join(format!("{}_bg.wasm", package.replace('-', "_")));
    let cache = paths.cache.join("wasm-opt");
    std::fs::create_dir_all(&cache)?;
    let tool = version(paths, &setup::wasm_opt_path(paths).to_string_lossy());
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("{OPTIMISE:?} {tool:?}").as_bytes());
    let known = cache.join(hasher.update(&std::fs::read(&file)?).finalize().to_hex().as_str());
    if known.is_file() {
        say(format_args!("ok wasm-opt {package} (the same bytes were optimised before)"));
        // What was used last is kept longest.
        std::fs::File::open(&known)?.set_modified(std::time::SystemTime::now())?;
    } else {
        let smaller = cache.join("new");
        let mut opt = paths.command(setup::wasm_opt_path(paths));
        opt.args(OPTIMISE).arg(&file).arg("-o").arg(&smaller);
        logged(paths, &format!("wasm-opt {package}"), &mut opt, minutes(20))?;
        std::fs::rename(smaller, &known)?;
    }
    std::fs::copy(&known, file)?;
    prune(&cache)
}

/// Deletes all but the modules that were used last.
fn prune(cache: &Path) -> Result<()> {
    let mut kept = Vec::new();
    for entry in std::fs::read_dir(cache)? {
        let entry = entry?;
        kept.push((entry.metadata()?.modified()?, entry.path()));
    }
    kept.sort();
    kept.iter().rev().skip(KEPT).try_for_each(|(_, path)| Ok(std::fs::remove_file(path)?))
}

/// A hash over all that goes into a package: its sources, those of the workspace's crates below it, the
/// lockfile and the compiler.
fn inputs(paths: &Paths, package: &str) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    for file in ["Cargo.toml", "Cargo.lock", ".cargo/config.toml"] {
        hasher.update(&std::fs::read(paths.root.join(file))?);
    }
    let mut rustc = paths.command("rustc");
    hasher.update(capture(wasm::with_compiler(paths, rustc.arg("-vV")))?.as_bytes());
    let mut files = BTreeSet::new();
    for dir in crates_below(paths, package)? {
        files.insert(dir.join("Cargo.toml"));
        sources(&dir.join("src"), &mut files)?;
    }
    for file in files {
        let name = file.strip_prefix(&paths.root).unwrap_or(&file).to_string_lossy().into_owned();
        let bytes = std::fs::read(&file).with_context(|| format!("{name} can't be read"))?;
        hasher.update(name.as_bytes()).update(&(bytes.len() as u64).to_le_bytes()).update(&bytes);
    }
    Ok(hasher.finalize().to_hex().to_string())
}

fn sources(dir: &Path, into: &mut BTreeSet<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, into)?;
        } else {
            into.insert(path);
        }
    }
    Ok(())
}

/// The folders of a package and of the workspace's packages that it needs.
fn crates_below(paths: &Paths, package: &str) -> Result<BTreeSet<PathBuf>> {
    let mut metadata = paths.command("cargo");
    let metadata: Value =
        serde_json::from_str(&capture(metadata.args(["metadata", "--format-version", "1", "--no-deps"]))?)?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists packages")?;
    let manifest = |package: &Value| Some(Path::new(package["manifest_path"].as_str()?).parent()?.to_owned());
    let root = packages.iter().find(|one| one["name"] == package).and_then(manifest);
    let mut todo = vec![root.with_context(|| format!("{package} is not in the workspace"))?];
    let mut done = BTreeSet::new();
    while let Some(dir) = todo.pop() {
        let found = packages.iter().find(|one| manifest(one).as_deref() == Some(&dir));
        let needs = found.and_then(|one| one["dependencies"].as_array()).into_iter().flatten();
        // Dev-dependencies have the kind "dev" and go into no module.
        let needs = needs.filter(|need| need["kind"] != "dev").filter_map(|need| need["path"].as_str());
        todo.extend(needs.map(PathBuf::from).filter(|path| !done.contains(path)));
        done.insert(dir);
    }
    Ok(done)
}
