//! A PostgreSQL server for tests: Debian's, in a folder of its own, reached through a socket in that folder.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::paths::Paths;
use crate::run::{Group, capture, logged, minutes, say, tail, tick};
use crate::setup;

/// Where Debian's packages put the programs of each version.
const DEBIAN: &str = "/usr/lib/postgresql";
/// The user that Debian's package makes. PostgreSQL refuses to be run by root.
const USER: &str = "postgres";

/// A server that runs until it is dropped, and is gone with its data then.
#[derive(Debug)]
pub(crate) struct Server {
    url: String,
    // Dropped in this order: the server ends before its folder goes.
    _group: Group,
    _folder: Folder,
}

impl Server {
    /// Installs PostgreSQL if need be, makes a database and starts it.
    pub(crate) fn start(paths: &Paths) -> Result<Self> {
        let programs = programs(paths)?;
        let is_root = capture(paths.command("id").arg("-u"))?.trim() == "0";
        let program = |name: &str| {
            let program = programs.join(name);
            if !is_root {
                return paths.command(program);
            }
            let mut command = paths.command("setpriv");
            command.args([&format!("--reuid={USER}"), &format!("--regid={USER}"), "--clear-groups", "--"]).arg(program);
            command
        };
        // Not in the checkout: another user must get there, and a socket's path may have about a hundred bytes.
        let folder = Folder(std::env::temp_dir().join(format!("tributary-postgres-{}", std::process::id())));
        std::fs::create_dir(&folder.0).with_context(|| format!("{} can't be made", folder.0.display()))?;
        if is_root {
            capture(paths.command("chown").arg(USER).arg(&folder.0))?;
        }
        let data = folder.0.join("data");
        let mut init = program("initdb");
        init.current_dir(&folder.0).args(["--auth=trust", "--username=tributary", "--encoding=UTF8", "-D"]).arg(&data);
        logged(paths, "initdb", &mut init, minutes(2))?;
        let log = paths.logs().join("postgres.log");
        let mut server = program("postgres");
        server.current_dir(&folder.0).args(["-c", "listen_addresses=", "-D"]).arg(&data).arg("-k").arg(&folder.0);
        let group = wait(paths, &programs, Group::spawn_logged(&mut server, &log)?, &folder.0, &log)?;
        let socket = folder.0.display().to_string().replace('/', "%2F");
        let url = format!("postgresql://tributary@{socket}/postgres");
        Ok(Self { url, _group: group, _folder: folder })
    }

    /// How to reach it.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

/// Waits until it takes connections.
fn wait(paths: &Paths, programs: &Path, mut group: Group, folder: &Path, log: &Path) -> Result<Group> {
    let started = Instant::now();
    let is_ready = || capture(paths.command(programs.join("pg_isready")).arg("-q").arg("-h").arg(folder)).is_ok();
    while !is_ready() {
        tick()?;
        if group.finished()?.is_some() || started.elapsed() > minutes(1) {
            bail!("PostgreSQL did not start. The end of {}:\n{}", log.display(), tail(log, 10).join("\n"));
        }
    }
    say("ok PostgreSQL runs");
    Ok(group)
}

/// The folder of the newest version's programs.
fn programs(paths: &Paths) -> Result<PathBuf> {
    let find = || {
        let versions = std::fs::read_dir(DEBIAN).into_iter().flatten().filter_map(Result::ok);
        let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
        let found = versions.map(|entry| entry.path()).filter(|path| path.join("bin/initdb").is_file());
        found.max_by_key(|path| version(path)).map(|path| path.join("bin"))
    };
    if let Some(found) = find() {
        return Ok(found);
    }
    setup::debian(paths, &["postgresql"], "the coordinator's log is tested on it")?;
    find().with_context(|| format!("There is no initdb under {DEBIAN}, where Debian's package puts it."))
}

/// A folder that goes when it is dropped.
#[derive(Debug)]
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            say(format_args!("{} can't be removed: {error}", self.0.display()));
        }
    }
}
