//! `tributary identity`: who this machine is, as text that outlives it.
//!
//! Enters: a contributor's state folder, a backup. Leaves: a backup, or a state folder that is another's from
//! now on. Refuses: to write over a file or an identity that it wasn't told to replace.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::json;
use tributary_protocol::{Identity, backup};

use super::{FILE, load, store};
use crate::cli::IdentityCommand;
use crate::files;
use crate::output::Output;

/// Runs one of the commands on a state folder.
pub(crate) fn run(state: &Path, command: IdentityCommand) -> anyhow::Result<()> {
    let output = Output::new();
    match command {
        IdentityCommand::Show => {
            let id = existing(state)?.id();
            let json = || json!({"event": "identity", "me": id, "state": state});
            output.event(json, || format!("{id}, in {}", state.display()));
            Ok(())
        }
        IdentityCommand::Export { out } => export(&existing(state)?, out.as_deref(), output),
        IdentityCommand::Import { file, replace } => import(state, &file, replace, output),
    }
}

/// The identity of a state folder, which must have one.
pub(crate) fn existing(state: &Path) -> anyhow::Result<Identity> {
    load(state)?.with_context(|| {
        format!(
            "{} has no identity yet; `tributary train` makes one, `tributary identity import FILE` takes it from a backup, --state names another folder",
            state.display()
        )
    })
}

fn export(identity: &Identity, out: Option<&Path>, output: Output) -> anyhow::Result<()> {
    let sheet = backup::sheet(identity);
    let Some(out) = out else {
        return io::stdout().write_all(sheet.as_bytes()).context("cannot print the backup");
    };
    if out.exists() {
        bail!("{} exists; write the backup to another file, or delete that one", out.display());
    }
    files::write_private(out, sheet.as_bytes()).map_err(|e| files::trouble("write", out, &e))?;
    let id = identity.id();
    output.event(
        || json!({"event": "exported", "me": id, "file": out}),
        || {
            format!(
                "Backup of {id} written to {}.\nIt is not encrypted: whoever has it has this identity and what it earned. \
                 Keep it off this machine, where only you read it.",
                out.display()
            )
        },
    );
    Ok(())
}

fn import(state: &Path, file: &Path, replace: bool, output: Output) -> anyhow::Result<()> {
    let text = read(file)?;
    let new = backup::read(&text).with_context(|| format!("cannot take {} for a backup", file.display()))?;
    let id = new.id();
    let path = state.join(FILE);
    let old = match fs::read(&path) {
        Ok(old) => Some(old),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(files::trouble("read", &path, &error)),
    };
    let kept = match old {
        Some(old) if old == new.secret() => None,
        Some(old) if replace => Some(keep(state, &old)?),
        Some(old) => bail!(
            "{} belongs to {}, and what that earned stays with it; nothing was changed. --replace makes it {id}'s and keeps the other beside it; --state names another folder",
            state.display(),
            name(&old),
        ),
        None => None,
    };
    store(state, &new)?;
    let json = || json!({"event": "imported", "me": id, "state": state, "kept": kept});
    output.event(json, || {
        let kept = kept.as_ref().map(|kept| format!("\nThe identity before it is kept as {}.", kept.display()));
        format!(
            "{} is {id}'s now.{}\nNext: tributary train URL. A contributor that runs already must be started again. \
             Train with one identity in one place at a time.",
            state.display(),
            kept.unwrap_or_default()
        )
    });
    Ok(())
}

/// Keeps the secret that is about to be replaced: as a backup, so that it can be imported again, or as it is
/// if it is none.
fn keep(state: &Path, old: &[u8]) -> anyhow::Result<PathBuf> {
    let (name, bytes) = match <[u8; 32]>::try_from(old) {
        Ok(secret) => {
            let old = Identity::from_secret(secret);
            (format!("identity-{}.txt", old.id()), backup::sheet(&old).into_bytes())
        }
        Err(_) => ("identity-damaged.key".to_owned(), old.to_vec()),
    };
    let path = state.join(name);
    files::write_private(&path, &bytes).map_err(|e| files::trouble("keep the old identity as", &path, &e))?;
    Ok(path)
}

fn name(secret: &[u8]) -> String {
    match <[u8; 32]>::try_from(secret) {
        Ok(secret) => Identity::from_secret(secret).id().to_string(),
        Err(_) => "a damaged identity".to_owned(),
    }
}

/// A file's text or that of the standard input, as far as a backup can be long; lone bytes of other encodings,
/// in the words before it, do no harm.
fn read(file: &Path) -> anyhow::Result<String> {
    let most = backup::MAX_TEXT as u64 + 1;
    let mut bytes = Vec::new();
    let done = if file == Path::new("-") {
        io::stdin().take(most).read_to_end(&mut bytes)
    } else {
        File::open(file).and_then(|file| file.take(most).read_to_end(&mut bytes))
    };
    done.map_err(|e| files::trouble("read", file, &e))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
