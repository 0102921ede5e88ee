//! A compiler for wasm32: the active one with its wasm target, or Debian's.
//!
//! `rustup target add` is right wherever rustup can download. Where it can't, Debian's `rustc-web`
//! can be made to: it ships its own sources, from which the standard library for wasm32 is built
//! once, into a sysroot of our own. That sysroot comes first in `PATH` for wasm builds and for
//! nothing else.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::paths::{Paths, prepend_path};
use crate::run::{capture, logged, minutes, say};
use crate::setup::{debian, which};

const TARGET: &str = "wasm32-unknown-unknown";
/// The compiler, cargo, the sources and the linker.
const PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld-22"];
/// That linker's name for wasm.
const LINKER: &str = "wasm-ld-22";
/// Where those packages put the compiler.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// Where they put cargo.
const DEBIAN_CARGO: &str = "/usr/bin/cargo";

/// Makes a wasm compiler be there.
pub(crate) fn ensure(paths: &Paths) -> Result<()> {
    let why = "the browser's part of Tributary is compiled for it";
    if std::env::var_os("TRIBUTARY_DEBIAN_WASM").is_none() {
        if has_target("rustc") {
            say(format_args!("ok {TARGET} ({why})"));
            return Ok(());
        }
        if which(paths, "rustup").is_some() {
            say(format_args!("-> {TARGET}: installing with rustup, because {why}"));
            let mut add = paths.command("rustup");
            match logged(paths, "rustup target add", add.args(["target", "add", TARGET]), minutes(10)) {
                Ok(()) if has_target("rustc") => return Ok(()),
                Ok(()) => say("   rustup is done, but the active compiler still has no such target."),
                Err(error) => say(format_args!("   rustup could not: {error}")),
            }
        }
    }
    if built(paths).is_some() {
        say(format_args!("ok {TARGET} by Debian's compiler ({why})"));
        return Ok(());
    }
    from_debian(paths).with_context(|| {
        format!("No compiler for {TARGET} could be had. On an ordinary machine `rustup target add {TARGET}` is all")
    })
}

/// Makes `command`, and the cargo it runs, compile for wasm32 with the compiler that [`ensure`] found.
pub(crate) fn with_compiler<'a>(paths: &Paths, command: &'a mut Command) -> &'a mut Command {
    if !uses_debian(paths) {
        return command;
    }
    command
        .env("PATH", prepend_path(&sysroot(paths).join("bin")))
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", LINKER)
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("LD_LIBRARY_PATH")
}

/// Whether wasm is compiled by Debian's compiler, which has no clippy to go with it.
pub(crate) fn uses_debian(paths: &Paths) -> bool {
    (std::env::var_os("TRIBUTARY_DEBIAN_WASM").is_some() || !has_target("rustc")) && built(paths).is_some()
}

fn has_target(rustc: impl AsRef<Path>) -> bool {
    let dir = capture(Command::new(rustc.as_ref()).args(["--print", "target-libdir", "--target", TARGET]));
    dir.is_ok_and(|dir| has_std(Path::new(dir.trim())))
}

fn has_std(dir: &Path) -> bool {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    files.into_iter().any(|file| file.file_name().to_string_lossy().starts_with("libstd-"))
}

fn sysroot(paths: &Paths) -> PathBuf {
    paths.cache.join("wasm-toolchain")
}

/// The version that our sysroot was built for, if it still is the installed one.
fn built(paths: &Paths) -> Option<String> {
    let installed = capture(Command::new(DEBIAN_RUSTC).arg("-vV")).ok()?;
    let stamp = std::fs::read_to_string(sysroot(paths).join("built-for")).ok()?;
    (stamp == installed).then_some(stamp)
}

fn from_debian(paths: &Paths) -> Result<()> {
    let sources = Path::new("/usr/lib/rustlib/src/rust/library");
    if ![Path::new(DEBIAN_RUSTC), Path::new(DEBIAN_CARGO), sources].iter().all(|path| path.exists()) {
        debian(paths, &PACKAGES, "rustup can't fetch the wasm target here and Debian's compiler can build it")?;
    }
    say(format_args!("-> {TARGET}: building its standard library with Debian's compiler (a minute)"));
    let version = capture(Command::new(DEBIAN_RUSTC).arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc -vV names its host")?;
    let root = sysroot(paths);
    if root.exists() {
        std::fs::remove_dir_all(&root)?;
    }
    let rustlib = root.join("lib/rustlib");
    std::fs::create_dir_all(root.join("bin"))?;
    std::fs::create_dir_all(rustlib.join(TARGET).join("lib"))?;
    for shared in [host, "src"] {
        std::os::unix::fs::symlink(Path::new("/usr/lib/rustlib").join(shared), rustlib.join(shared))?;
    }
    std::os::unix::fs::symlink(DEBIAN_CARGO, root.join("bin/cargo"))?;
    let wrapper = format!("#!/bin/sh\nexec {DEBIAN_RUSTC} --sysroot '{}' \"$@\"\n", root.display());
    write_program(&root.join("bin/rustc"), &wrapper)?;

    let lib = build_std(paths, &root)?;
    let mut copied = 0;
    for file in std::fs::read_dir(&lib)? {
        let file = file?;
        if file.path().extension().is_some_and(|end| end == "rlib" || end == "rmeta") {
            std::fs::copy(file.path(), rustlib.join(TARGET).join("lib").join(file.file_name()))?;
            copied += 1;
        }
    }
    if !has_target(root.join("bin/rustc")) {
        bail!("Debian's compiler built {copied} libraries for {TARGET}, but no standard library among them.");
    }
    Ok(std::fs::write(root.join("built-for"), version)?)
}

/// Builds std by way of an empty crate; gives the folder with its libraries.
fn build_std(paths: &Paths, root: &Path) -> Result<PathBuf> {
    let dir = root.join("std");
    std::fs::create_dir_all(dir.join("src"))?;
    let manifest = "[package]\nname = \"empty\"\nedition = \"2024\"\n[profile.release]\ndebug = false\n[workspace]\n";
    std::fs::write(dir.join("Cargo.toml"), manifest)?;
    std::fs::write(dir.join("src/lib.rs"), "")?;
    let mut build = paths.command(DEBIAN_CARGO);
    build
        .current_dir(&dir)
        .env("PATH", prepend_path(&root.join("bin")))
        // -Zbuild-std is for nightly compilers; this lets a stable one, with its own sources, do it.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", dir.join("target"))
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("LD_LIBRARY_PATH")
        .args(["build", "--release", "--target", TARGET, "-Zbuild-std=std,panic_abort,proc_macro,test"]);
    logged(paths, "build std for wasm", &mut build, minutes(10))?;
    Ok(dir.join("target").join(TARGET).join("release/deps"))
}

fn write_program(path: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text)?;
    Ok(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?)
}
