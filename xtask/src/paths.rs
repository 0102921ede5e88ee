//! Where things are: the checkout, cargo's target folder and the cache that outlives a clone.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// The folders that every command works with.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    /// The checkout.
    pub(crate) root: PathBuf,
    /// Cargo's target folder, wherever it is configured to be.
    pub(crate) target: PathBuf,
    /// Tools and text, shared by all clones.
    pub(crate) cache: PathBuf,
    /// The demo's data and state, ignored by git.
    pub(crate) work: PathBuf,
}

impl Paths {
    /// Finds them and makes those that are ours to make.
    pub(crate) fn find() -> Result<Self> {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map_or(env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        let root = manifest.parent().context("xtask lies in the checkout's root")?.to_owned();
        let mut metadata = Command::new("cargo");
        metadata.current_dir(&root).args(["metadata", "--format-version", "1", "--no-deps"]);
        let metadata: serde_json::Value = serde_json::from_str(&crate::run::capture(&mut metadata)?)?;
        let target = metadata["target_directory"].as_str().context("cargo metadata names the target folder")?.into();
        let cache = cache_dir()?;
        let paths = Self { target, work: root.join(".tributary"), root, cache };
        for dir in [paths.logs(), paths.bin(), paths.work.clone()] {
            std::fs::create_dir_all(&dir).with_context(|| {
                format!("{} can't be made. Set TRIBUTARY_CACHE to a folder you may write to.", dir.display())
            })?;
        }
        Ok(paths)
    }

    /// Logs of the commands that run behind a progress line.
    pub(crate) fn logs(&self) -> PathBuf {
        self.cache.join("logs")
    }

    /// Programs that set-up installed.
    pub(crate) fn bin(&self) -> PathBuf {
        self.cache.join("tools/bin")
    }

    /// The program under test.
    pub(crate) fn tributary(&self) -> PathBuf {
        self.target.join("release/tributary")
    }

    /// The peer that WebRTC is tested with, as a program.
    pub(crate) fn webrtc_peer(&self) -> PathBuf {
        self.target.join("release/webrtc-peer")
    }

    /// The same peer as a wasm module.
    pub(crate) fn webrtc_module(&self) -> PathBuf {
        self.work.join("webrtc-peer")
    }

    /// A command that finds set-up's programs first and doesn't inherit what `cargo run` told
    /// xtask about itself: build scripts would take that for their own and rebuild.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.current_dir(&self.root).env("PATH", prepend_path(&self.bin()));
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            let own = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
            if name == "CARGO" || own.iter().any(|prefix| name.starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command
    }
}

/// `PATH` with one folder before the others.
pub(crate) fn prepend_path(dir: &Path) -> OsString {
    let mut path = dir.as_os_str().to_owned();
    if let Some(rest) = std::env::var_os("PATH") {
        path.push(":");
        path.push(rest);
    }
    path
}

fn cache_dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("TRIBUTARY_CACHE") {
        return Ok(std::path::absolute(PathBuf::from(dir))?);
    }
    if let Some(dir) = std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()) {
        return Ok(PathBuf::from(dir).join("tributary"));
    }
    let home = std::env::var_os("HOME").context("HOME is not set. Set TRIBUTARY_CACHE to a folder for tools.")?;
    Ok(PathBuf::from(home).join(".cache/tributary"))
}
