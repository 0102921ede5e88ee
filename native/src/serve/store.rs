//! Blobs on disk, each a file named by its hash.
//!
//! Enters: blobs that the swarm verified, and our own. Leaves: bytes whose hash was checked when the file
//! was first read after the start, or when it was written. A file that fails the check counts as
//! absent; in the state folder it is deleted, so that it can be fetched or made again.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tributary_protocol::{BlobRef, Hash};
use tributary_swarm::BlobStore;

use crate::files;

/// The store of a coordinator: its own folder, and the data folder, which it only reads.
#[derive(Debug)]
pub(crate) struct DiskStore {
    own: PathBuf,
    data: PathBuf,
    /// What is known of the files that were looked at: where and how long, or that they are no good.
    /// Holds at most one entry a file that exists or existed.
    known: Mutex<HashMap<Hash, Option<Found>>>,
}

#[derive(Debug, Clone)]
struct Found {
    path: PathBuf,
    bytes: u64,
}

impl DiskStore {
    /// Opens `own`, making it if need be, over the shards in `data`.
    pub(crate) fn open(own: PathBuf, data: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir_all(&own).map_err(|e| files::trouble("make the folder", &own, &e))?;
        files::sweep(&own).map_err(|e| files::trouble("clean the folder", &own, &e))?;
        Ok(Self { own, data, known: Mutex::default() })
    }

    /// The whole blob, or `None` where it is absent or was damaged.
    pub(crate) fn get(&self, blob: &BlobRef) -> io::Result<Option<Bytes>> {
        match self.len(&blob.hash) {
            Some(bytes) if bytes == blob.bytes => self.read(&blob.hash, 0..bytes),
            _ => Ok(None),
        }
    }

    /// Where an own blob lies.
    pub(crate) fn path(&self, hash: &Hash) -> PathBuf {
        files::blob_path(&self.own, hash)
    }

    /// Deletes these own blobs.
    pub(crate) fn remove(&self, hashes: &[Hash]) -> io::Result<()> {
        hashes.iter().try_for_each(|hash| {
            self.known().remove(hash);
            match fs::remove_file(self.path(hash)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        })
    }

    /// Deletes every own blob that `keep` does not want.
    pub(crate) fn retain(&self, keep: impl Fn(&Hash) -> bool) -> io::Result<()> {
        for entry in fs::read_dir(&self.own)? {
            let entry = entry?;
            let Some(hash) = entry.file_name().to_str().and_then(|name| name.parse::<Hash>().ok()) else { continue };
            if !keep(&hash) {
                self.remove(&[hash])?;
            }
        }
        Ok(())
    }

    fn find(&self, hash: &Hash) -> Option<Found> {
        if let Some(known) = self.known().get(hash) {
            return known.clone();
        }
        let mut damaged = false;
        let found = [&self.own, &self.data].into_iter().find_map(|dir| {
            let path = files::blob_path(dir, hash);
            let bytes = match check(&path, hash) {
                Ok(bytes) => bytes?,
                Err(error) => {
                    tracing::warn!("cannot read {}: {error}", path.display());
                    return None;
                }
            };
            if let Some(bytes) = bytes {
                return Some(Found { path, bytes });
            }
            damaged = true;
            tracing::warn!("{} is damaged and counts as absent", path.display());
            if dir == &self.own {
                let _ = fs::remove_file(&path);
            }
            None
        });
        // What is absent may come; what is damaged stays so until it is written again.
        if found.is_some() || damaged {
            self.known().insert(*hash, found.clone());
        }
        found
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Hash, Option<Found>>> {
        // Every change to the map is one call, so a panic elsewhere leaves it whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The length of a file if its content has that hash: `None` where there is no file, `Some(None)` where
/// it is damaged.
fn check(path: &Path, hash: &Hash) -> io::Result<Option<Option<u64>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file)?;
    Ok(Some((hasher.finalize().as_bytes() == &hash.0).then(|| hasher.count())))
}

impl BlobStore for DiskStore {
    fn len(&self, hash: &Hash) -> Option<u64> {
        self.find(hash).map(|found| found.bytes)
    }

    fn read(&self, hash: &Hash, range: Range<u64>) -> io::Result<Option<Bytes>> {
        let Some(found) = self.find(hash) else { return Ok(None) };
        if range.start > range.end || range.end > found.bytes {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a range beyond the blob's end"));
        }
        let mut file = match File::open(&found.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.known().remove(hash);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        file.seek(SeekFrom::Start(range.start))?;
        let mut bytes = vec![0; (range.end - range.start) as usize];
        file.read_exact(&mut bytes)?;
        Ok(Some(bytes.into()))
    }

    fn put(&self, blob: &BlobRef, bytes: Bytes) -> io::Result<()> {
        if self.find(&blob.hash).is_some() {
            return Ok(());
        }
        let path = self.path(&blob.hash);
        files::write(&path, &bytes)?;
        self.known().insert(blob.hash, Some(Found { path, bytes: blob.bytes }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(dir: &Path) -> DiskStore {
        DiskStore::open(dir.join("own"), dir.join("data")).unwrap()
    }

    #[test]
    fn a_damaged_file_is_deleted_and_counts_as_absent() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = Bytes::from_static(b"weights");
        let blob = BlobRef::of(&bytes);
        store(dir.path()).put(&blob, bytes.clone()).unwrap();
        let after = store(dir.path());
        assert_eq!(after.get(&blob).unwrap(), Some(bytes.clone()));
        assert_eq!(after.read(&blob.hash, 1..3).unwrap().unwrap(), b"ei"[..]);
        assert!(after.read(&blob.hash, 1..9).is_err());

        let path = files::blob_path(&dir.path().join("own"), &blob.hash);
        fs::write(&path, b"weightz").unwrap();
        let after = store(dir.path());
        assert_eq!((after.len(&blob.hash), path.exists()), (None, false));
        after.put(&blob, bytes.clone()).unwrap();
        assert_eq!(after.get(&blob).unwrap(), Some(bytes));
    }

    #[test]
    fn data_is_read_and_never_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = Bytes::from_static(b"shard");
        let blob = BlobRef::of(&bytes);
        let path = files::blob_path(&dir.path().join("data"), &blob.hash);
        fs::create_dir(dir.path().join("data")).unwrap();
        fs::write(&path, &bytes).unwrap();
        let first = store(dir.path());
        assert_eq!(first.get(&blob).unwrap(), Some(bytes));
        first.retain(|_| false).unwrap();
        assert!(path.exists());
        fs::write(&path, b"shrad").unwrap();
        assert_eq!((store(dir.path()).len(&blob.hash), path.exists()), (None, true));
    }

    #[test]
    fn only_what_is_wanted_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let blobs = [&b"old"[..], b"new"].map(|bytes| {
            store.put(&BlobRef::of(bytes), Bytes::from_static(bytes)).unwrap();
            BlobRef::of(bytes)
        });
        store.retain(|hash| *hash == blobs[1].hash).unwrap();
        assert_eq!(blobs.map(|blob| store.len(&blob.hash)), [None, Some(3)]);
    }
}
