//! Who this machine is: an Ed25519 secret in a file that only its owner reads.

pub(crate) mod commands;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tributary_protocol::Identity;
use tributary_webrtc::direct::listen::Certificate;

use crate::files;

/// The file's name in a state folder: 32 bytes of secret.
const FILE: &str = "identity.key";

/// The WebRTC certificate's file.
const CERTIFICATE: &str = "webrtc.pem";

/// The identity of a state folder; the first call makes folder and identity.
pub(crate) fn load_or_create(state: &Path) -> anyhow::Result<Identity> {
    if let Some(identity) = load(state)? {
        return Ok(identity);
    }
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).context("the system gives no random numbers for an identity")?;
    let identity = Identity::from_secret(secret);
    store(state, &identity)?;
    Ok(identity)
}

/// The identity of a state folder, if there is one.
fn load(state: &Path) -> anyhow::Result<Option<Identity>> {
    let path = state.join(FILE);
    match fs::read(&path) {
        Ok(bytes) => {
            let Ok(secret) = <[u8; 32]>::try_from(bytes.as_slice()) else {
                bail!(
                    "{} is not an identity (it has {} bytes, not 32); import the backup you kept (tributary identity import FILE --replace), or delete it to begin anew under another name, without this one's credits",
                    path.display(),
                    bytes.len()
                );
            };
            Ok(Some(Identity::from_secret(secret)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(files::trouble("read", &path, &error)),
    }
}

/// Makes a state folder this identity's.
fn store(state: &Path, identity: &Identity) -> anyhow::Result<()> {
    fs::create_dir_all(state).map_err(|e| files::trouble("use the state folder", state, &e))?;
    let path = state.join(FILE);
    files::write_private(&path, &identity.secret()).map_err(|e| files::trouble("write", &path, &e))
}

/// The certificate of a state folder's `/webrtc-direct` port, as PEM; the first call makes it. It proves
/// nothing about who this is, but its hash is a part of the address that people may have written down.
pub(crate) fn certificate(state: &Path) -> anyhow::Result<String> {
    let path = state.join(CERTIFICATE);
    match fs::read_to_string(&path) {
        Ok(pem) => {
            Certificate::from_pem(&pem).with_context(|| format!("{} is damaged; delete it", path.display()))?;
            Ok(pem)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let pem = Certificate::generate()?.to_pem()?;
            files::write_private(&path, pem.as_bytes()).map_err(|e| files::trouble("write", &path, &e))?;
            Ok(pem)
        }
        Err(error) => Err(files::trouble("read", &path, &error)),
    }
}

/// A contributor's usual state folder: where this platform keeps a user's data.
pub(crate) fn default_state() -> anyhow::Result<PathBuf> {
    let from_env = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = if cfg!(target_os = "windows") {
        from_env("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        std::env::home_dir().map(|home| home.join("Library/Application Support"))
    } else {
        from_env("XDG_DATA_HOME").or_else(|| std::env::home_dir().map(|home| home.join(".local/share")))
    };
    base.map(|base| base.join("tributary")).context("this user has no home folder; name a folder with --state")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_stays_and_a_broken_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("new/state");
        let id = load_or_create(&state).unwrap().id();
        assert_eq!(load_or_create(&state).unwrap().id(), id);
        fs::write(state.join(FILE), b"short").unwrap();
        let error = load_or_create(&state).unwrap_err().to_string();
        assert!(error.contains("5 bytes"), "{error}");
    }

    #[test]
    fn a_certificate_stays_and_a_broken_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let pem = certificate(dir.path()).unwrap();
        assert_eq!(certificate(dir.path()).unwrap(), pem);
        fs::write(dir.path().join(CERTIFICATE), &pem[..40]).unwrap();
        let error = certificate(dir.path()).unwrap_err().to_string();
        assert!(error.contains("webrtc.pem") && error.contains("delete it"), "{error}");
    }
}
