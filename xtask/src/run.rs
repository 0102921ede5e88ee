//! Running other programs: with a time limit, a progress line and a log, and so that Ctrl-C ends
//! them too.
//!
//! Each child leads its own process group, so that a build's compilers end with it. That takes the
//! terminal's Ctrl-C away from them, so xtask catches it and passes it on.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::paths::Paths;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Short enough that nobody waits for it, long enough to cost nothing.
const POLL: Duration = Duration::from_millis(50);
/// How often a long command says that it is still there.
const HEARTBEAT: Duration = Duration::from_secs(60);
/// How long a child that was told to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// Minutes, as the limit of a command.
pub(crate) const fn minutes(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}

/// Makes Ctrl-C and a request to terminate set a flag in place of ending xtask.
pub(crate) fn catch_interrupts() -> Result<()> {
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::SeqCst)).context("Ctrl-C can't be caught")
}

/// Whether the person wants this to end.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Sleeps for one poll interval; an error once the person wants an end.
pub(crate) fn tick() -> Result<()> {
    if interrupted() {
        bail!("Interrupted.");
    }
    std::thread::sleep(POLL);
    Ok(())
}

/// One line about what happens now.
pub(crate) fn say(line: impl std::fmt::Display) {
    println!("{line}");
    // Nobody may be reading; that is no reason to stop.
    let _ = std::io::stdout().flush();
}

/// Runs `command` with its output in a log, which is named if it fails.
pub(crate) fn logged(paths: &Paths, what: &str, command: &mut Command, limit: Duration) -> Result<()> {
    let name: String = what.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let log = paths.logs().join(format!("{name}.log"));
    let file = File::create(&log).with_context(|| format!("{} can't be written", log.display()))?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    say(format_args!("   {what} …"));
    let started = Instant::now();
    let mut child = Group::spawn(command)?;
    let mut beat = started;
    let status = loop {
        if let Some(status) = child.finished()? {
            break status;
        }
        if started.elapsed() > limit {
            drop(child);
            bail!("{what} took longer than {} and was ended. Its output: {}", human(limit), log.display());
        }
        if beat.elapsed() > HEARTBEAT {
            beat = Instant::now();
            let line = tail(&log, 1).pop().unwrap_or_default();
            say(format_args!("   {what} … {} so far: {}", human(started.elapsed()), line.trim()));
        }
        tick()?;
    };
    if !status.success() {
        let end = tail(&log, 30).join("\n");
        bail!("{what} failed ({status}). The end of its output:\n{end}\n\nAll of it: {}", log.display());
    }
    if started.elapsed() > Duration::from_secs(2) {
        say(format_args!("   {what}: {}", human(started.elapsed())));
    }
    Ok(())
}

/// Runs `command`, shows its output as it comes and also gives it back, stdout and stderr together.
pub(crate) fn shown(command: &mut Command, limit: Duration) -> Result<(ExitStatus, Vec<String>)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if std::io::stdout().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    let started = Instant::now();
    let mut child = Group::spawn(command)?;
    let lines = Arc::new(Mutex::new(Vec::new()));
    let stdout = child.child.stdout.take().map(|pipe| tee(pipe, lines.clone()));
    let stderr = child.child.stderr.take().map(|pipe| tee(pipe, lines.clone()));
    let status = loop {
        if let Some(status) = child.finished()? {
            break status;
        }
        if started.elapsed() > limit {
            bail!("{} took longer than {} and was ended.", name(command), human(limit));
        }
        tick()?;
    };
    // What the command left running could hold the pipes open for ever.
    drop(child);
    for reader in [stdout, stderr].into_iter().flatten() {
        let _ = reader.join();
    }
    let lines = std::mem::take(&mut *lines.lock().unwrap_or_else(PoisonError::into_inner));
    Ok((status, lines))
}

fn tee(pipe: impl Read + Send + 'static, lines: Arc<Mutex<Vec<String>>>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            say(&line);
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    })
}

/// What `command` prints, for short questions to other programs.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{} can't be run", name(command)))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        bail!("{} failed ({}): {why}", name(command), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a program is there: `PROGRAM --version` gives its first line.
pub(crate) fn version(paths: &Paths, program: &str) -> Option<String> {
    let text = capture(paths.command(program).arg("--version")).ok()?;
    Some(text.lines().next().unwrap_or_default().trim().to_owned())
}

/// A child and all that it starts; dropping it ends them.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) child: Child,
    ended: bool,
}

impl Group {
    /// Starts it.
    pub(crate) fn spawn(command: &mut Command) -> Result<Self> {
        let child = command.process_group(0).spawn().with_context(|| format!("{} can't be started", name(command)))?;
        Ok(Self { child, ended: false })
    }

    /// Starts it with its output in a file, for servers.
    pub(crate) fn spawn_logged(command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("{} can't be written", log.display()))?;
        Self::spawn(command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file))
    }

    /// How it ended, if it did.
    pub(crate) fn finished(&mut self) -> Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        self.ended |= status.is_some();
        Ok(status)
    }

    /// Sends a signal, by name, to the child alone: what it started is its own to end.
    pub(crate) fn signal(&self, signal: &str) {
        kill(signal, &self.child.id().to_string());
    }

    /// Waits until it has ended by itself; whether it did within the limit.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<bool> {
        let started = Instant::now();
        while started.elapsed() < limit {
            if self.finished()?.is_some() {
                return Ok(true);
            }
            std::thread::sleep(POLL);
        }
        Ok(false)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        if !self.ended {
            kill("TERM", &group);
            if matches!(self.wait(GRACE), Ok(true)) {
                return;
            }
        }
        // Also after a proper end: what it left running in its group.
        kill("KILL", &group);
        let _ = self.child.wait();
    }
}

// The shell's own `kill`, because the program of that name is not everywhere.
fn kill(signal: &str, whom: &str) {
    let script = format!("kill -{signal} {whom} 2>/dev/null");
    let _ = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).status();
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path, lines: usize) -> Vec<String> {
    /// More than this is no tail.
    const MOST: u64 = 64 * 1024;
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let from = file.metadata()?.len().saturating_sub(MOST);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    let all: Vec<String> = text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect();
    all[all.len().saturating_sub(lines)..].to_vec()
}

/// A duration for people.
pub(crate) fn human(duration: Duration) -> String {
    match duration.as_secs() {
        0..60 => format!("{:.1} s", duration.as_secs_f32()),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

fn name(command: &Command) -> String {
    let args = command.get_args().map(|arg| arg.to_string_lossy().into_owned());
    let program = PathBuf::from(command.get_program());
    let program = program.file_name().unwrap_or(command.get_program()).to_string_lossy().into_owned();
    format!("`{}`", std::iter::once(program).chain(args).collect::<Vec<_>>().join(" "))
}
