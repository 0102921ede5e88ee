//! Which files an import reads: named ones and those in named folders, each once.

use std::fs;
use std::path::{Path, PathBuf};

use super::Skipped;
use crate::files;

/// How a file holds text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The whole file is one document.
    Txt,
    /// Every line is a JSON object whose "text" is one document.
    Jsonl,
}

/// A file that might be imported.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    /// Where it is.
    pub(super) path: PathBuf,
    /// The same without links, to know a file that is named twice.
    pub(super) real: PathBuf,
    /// Its path below the named folder, with `/`, so that the manifest does not depend on the machine.
    pub(super) name: String,
    /// Its size.
    pub(super) bytes: u64,
    /// By its extension.
    pub(super) form: Form,
}

/// The files that `paths` name, in the order of their names; `out` and what is below it are ours.
pub(super) fn find(paths: &[PathBuf], out: &Path, skipped: &mut Vec<Skipped>) -> anyhow::Result<Vec<Candidate>> {
    let out = fs::canonicalize(out).map_err(|e| files::trouble("use the folder", out, &e))?;
    let mut found = Vec::new();
    for path in paths {
        let meta = fs::metadata(path).map_err(|e| files::trouble("import", path, &e))?;
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        if meta.is_dir() {
            walk(path, "", &out, &mut found, skipped)?;
        } else {
            consider(path, name, meta.len(), &mut found, skipped)?;
        }
    }
    found.sort_by(|a, b| (&a.real, &a.name).cmp(&(&b.real, &b.name)));
    found.dedup_by(|a, b| a.real == b.real);
    found.sort_by(|a, b| (&a.name, &a.real).cmp(&(&b.name, &b.real)));
    Ok(found)
}

fn walk(
    dir: &Path,
    under: &str,
    out: &Path,
    found: &mut Vec<Candidate>,
    skipped: &mut Vec<Skipped>,
) -> anyhow::Result<()> {
    if fs::canonicalize(dir).is_ok_and(|real| real == out) {
        return Ok(());
    }
    let failed = |e| files::trouble("read the folder", dir, &e);
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        let name = format!("{under}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            walk(&path, &format!("{name}/"), out, found, skipped)?;
            continue;
        }
        // Links to files are followed, links to folders are not: they could lead in a circle.
        match fs::metadata(&path) {
            Ok(meta) if meta.is_file() => consider(&path, name, meta.len(), found, skipped)?,
            Ok(_) => skipped.push(Skipped { name, why: "is a link to a folder, or no ordinary file".to_owned() }),
            Err(error) => skipped.push(Skipped { name, why: format!("cannot be read: {error}") }),
        }
    }
    Ok(())
}

fn consider(
    path: &Path,
    name: String,
    bytes: u64,
    found: &mut Vec<Candidate>,
    skipped: &mut Vec<Skipped>,
) -> anyhow::Result<()> {
    let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    let form = match extension.as_deref() {
        Some("txt") => Form::Txt,
        Some("jsonl") => Form::Jsonl,
        _ => {
            skipped.push(Skipped { name, why: "is neither .txt nor .jsonl".to_owned() });
            return Ok(());
        }
    };
    let real = fs::canonicalize(path).map_err(|e| files::trouble("read", path, &e))?;
    found.push(Candidate { path: path.to_path_buf(), real, name, bytes, form });
    Ok(())
}
