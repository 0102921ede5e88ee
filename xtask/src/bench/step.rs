//! `bench step`.

use anyhow::Result;

use crate::paths::Paths;

/// Runs it.
pub(crate) fn run(_paths: &Paths, _args: &[&str]) -> Result<()> {
    Ok(())
}
