//! A coordinator and contributors as real processes, for the demo, its check and the page's tests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::paths::Paths;
use crate::run::{self, Group};

/// On loopback an answer takes milliseconds; a coordinator that folds may take longer.
const HTTP_LIMIT: Duration = Duration::from_secs(10);
/// Reading the data and making the first weights takes a few seconds; a busy machine takes longer.
const START_LIMIT: Duration = Duration::from_secs(120);

/// A running `tributary serve`.
#[derive(Debug)]
pub(crate) struct Coordinator {
    /// Its process.
    pub(crate) process: Group,
    /// Its log.
    pub(crate) log: PathBuf,
    /// Where it serves the page.
    address: SocketAddr,
    /// Its state folder.
    state: PathBuf,
}

impl Coordinator {
    /// Starts it on a port of 127.0.0.1, with its state and log in `dir`, and waits until it answers.
    pub(crate) fn start(paths: &Paths, dir: &Path, run: &Path, data: &Path, port: u16) -> Result<Self> {
        Self::start_as(paths.command(paths.tributary()), paths, dir, run, data, port)
    }

    /// The same with a command of one's own, which may have flags and an environment.
    pub(crate) fn start_as(
        mut serve: Command,
        paths: &Paths,
        dir: &Path,
        run: &Path,
        data: &Path,
        port: u16,
    ) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let log = dir.join("serve.log");
        let state = dir.join("coordinator");
        serve.arg("serve").arg("--run").arg(run).arg("--data").arg(data).arg("--state").arg(&state);
        serve.args(["--http", &format!("127.0.0.1:{port}")]).arg("--www").arg(paths.root.join("www/dist"));
        // Any free ports: contributors learn them from /run.json.
        for way in ["tcp/0", "udp/0/quic-v1", "udp/0/webrtc-direct", "tcp/0/ws"] {
            let listen = format!("/ip4/127.0.0.1/{way}");
            serve.args(["--listen", &listen]);
        }
        let process = Group::spawn_logged(&mut serve, &log)?;
        let mut coordinator = Self { process, log, address: SocketAddr::from(([127, 0, 0, 1], port)), state };
        let started = Instant::now();
        while coordinator.get("/run.json").is_err() {
            coordinator.check()?;
            if started.elapsed() > START_LIMIT {
                bail!(
                    "The coordinator does not answer at {}. Its log: {}",
                    coordinator.url(),
                    coordinator.log.display()
                );
            }
            run::tick()?;
        }
        Ok(coordinator)
    }

    /// The page's address.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Its state folder, which the program can read while it runs.
    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    /// An error if it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        ended(&mut self.process, "The coordinator", &self.log)
    }

    /// The JSON at a path.
    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        let mut stream = TcpStream::connect_timeout(&self.address, HTTP_LIMIT)?;
        stream.set_read_timeout(Some(HTTP_LIMIT))?;
        // Version 1.0 has no chunks to decode.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address)?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.split(' ').nth(1) != Some("200") {
            bail!("{path}: {}", line.trim());
        }
        while line.trim() != "" {
            line.clear();
            reader.read_line(&mut line)?;
        }
        let mut body = Vec::new();
        reader.read_to_end(&mut body)?;
        serde_json::from_slice(&body).with_context(|| format!("{path} is no JSON"))
    }
}

/// A running contributor that writes JSON lines: `tributary train`, or the script that drives a tab.
#[derive(Debug)]
pub(crate) struct Contributor {
    /// Its process.
    pub(crate) process: Group,
    /// Its JSON lines, and what else it says.
    pub(crate) log: PathBuf,
    name: &'static str,
}

impl Contributor {
    /// Starts `tributary train` against a coordinator.
    pub(crate) fn native(paths: &Paths, dir: &Path, url: &str, device: &str) -> Result<Self> {
        let log = dir.join("train.log");
        let mut train = paths.command(paths.tributary());
        train.arg("train").arg(url).args(["--device", device]).arg("--state").arg(dir.join("contributor"));
        Ok(Self { process: Group::spawn_logged(&mut train, &log)?, log, name: "The native contributor" })
    }

    /// Opens the page in a headless browser, agrees and presses Start.
    pub(crate) fn tab(paths: &Paths, dir: &Path, url: &str) -> Result<Self> {
        let log = dir.join("tab.log");
        let mut tab = crate::browser::script(paths, "tab.mjs")?;
        Ok(Self { process: Group::spawn_logged(tab.arg(url), &log)?, log, name: "The tab" })
    }

    /// An error if it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        ended(&mut self.process, self.name, &self.log)
    }

    /// The JSON lines it wrote so far.
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&text).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

fn ended(process: &mut Group, name: &str, log: &Path) -> Result<()> {
    if let Some(status) = process.finished()? {
        let end = run::tail(log, 20).join("\n");
        bail!("{name} has ended ({status}). The end of its log:\n{end}\n\nAll of it: {}", log.display());
    }
    Ok(())
}

/// `wanted` if it is free, else any free port.
pub(crate) fn port(wanted: u16) -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", wanted)).or_else(|_| TcpListener::bind(("127.0.0.1", 0)));
    Ok(listener.context("No port is free on 127.0.0.1")?.local_addr()?.port())
}

/// A run file for a preset.
pub(crate) fn run_file(dir: &Path, name: &str, text: &str) -> Result<PathBuf> {
    std::fs::create_dir_all(dir)?;
    let path = dir.join("run.toml");
    std::fs::write(&path, format!("name = \"{name}\"\n{text}"))?;
    Ok(path)
}
