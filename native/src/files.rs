//! Files: written whole or not at all, and errors as one sentence that says what to do.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use tributary_protocol::Hash;

/// Begins the name of a file that is being written; [`sweep`] removes what a killed process left.
const TEMPORARY: &str = ".writing-";

/// Writes `bytes` to `path` so that after a crash there is the old file, the new file, never a part:
/// a temporary file beside it, flushed to the disk, then renamed.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_with(path, bytes, |_| Ok(()))
}

/// The same for a secret: only the owner may read the file, from its first byte on.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_with(path, bytes, |file| {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
        }
        #[cfg(not(unix))]
        let _ = file;
        Ok(())
    })
}

fn write_with(path: &Path, bytes: &[u8], prepare: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let dir = path.parent().unwrap_or(Path::new("."));
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let temporary = dir.join(format!("{TEMPORARY}{}-{n}", std::process::id()));
    let written = (|| {
        let mut file = File::create(&temporary)?;
        prepare(&file)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
        return written;
    }
    // Makes the rename itself durable; a file system that cannot flush a folder is not an error.
    if let Ok(dir) = File::open(dir) {
        let _ = dir.sync_all();
    }
    Ok(())
}

/// Removes what an interrupted [`write`] left in `dir`.
pub(crate) fn sweep(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Where a folder of blobs keeps this one.
pub(crate) fn blob_path(blobs: &Path, hash: &Hash) -> PathBuf {
    blobs.join(hash.to_string())
}

/// An error at a file as one sentence: what happened and what to do.
pub(crate) fn trouble(doing: &str, path: &Path, error: &io::Error) -> anyhow::Error {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => anyhow::anyhow!(
            "cannot {doing} {path}: the disk is full; free some space and start again, what was settled is kept"
        ),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            anyhow::anyhow!(
                "cannot {doing} {path}: permission denied; use a folder that this user may write, or change its owner"
            )
        }
        io::ErrorKind::NotFound => {
            anyhow::anyhow!("cannot {doing} {path}: there is no such file or folder; check the path")
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            anyhow::anyhow!("cannot {doing} {path}: a file stands where a folder is needed; use another path")
        }
        _ => anyhow::anyhow!("cannot {doing} {path}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_leftovers_are_swept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write(&path, b"old").unwrap();
        write_private(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        fs::write(dir.path().join(".writing-1-2"), b"part").unwrap();
        sweep(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(write(&dir.path().join("no/such/folder"), b"").is_err());
    }
}
