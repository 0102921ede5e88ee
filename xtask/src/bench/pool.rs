//! Programs side by side, each on a core of its own: two runs of one thread get more done than one of two.

use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail};

use crate::paths::Paths;
use crate::run;

/// Does all of them, as many at once as there are `cores`; the outcomes in their order. `work` gets the core and the
/// job's index. The first that fails ends it.
pub(super) fn all<T: Send, R: Send>(
    jobs: Vec<T>,
    cores: usize,
    work: impl Fn(usize, usize, T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let queue: Mutex<VecDeque<(usize, T)>> = Mutex::new(jobs.into_iter().enumerate().collect());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let one = |core: usize| -> Result<Vec<(usize, R)>> {
        let mut done = Vec::new();
        while let Some((index, job)) = next() {
            done.push((index, work(core, index, job)?));
        }
        Ok(done)
    };
    let mut done = std::thread::scope(|scope| {
        let one = &one;
        let threads: Vec<_> = (0..cores).map(|core| scope.spawn(move || one(core))).collect();
        let mut done = Vec::new();
        for thread in threads {
            done.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok::<_, anyhow::Error>(done)
    })?;
    done.sort_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, outcome)| outcome).collect())
}

/// The cores that there are.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

/// A program that computes on one core and no other.
pub(super) fn on_core(paths: &Paths, core: usize, program: &Path) -> Command {
    let mut command = paths.command("taskset");
    command.args(["--cpu-list", &core.to_string()]).arg(program).env("RAYON_NUM_THREADS", "1");
    command
}

/// Runs a command to its end, with what it prints in a file.
pub(super) fn to_file(command: &mut Command, file: &Path) -> Result<()> {
    let mut child = command.stdin(Stdio::null()).stdout(File::create(file)?).spawn()?;
    loop {
        if let Some(status) = child.try_wait()? {
            if !status.success() {
                bail!("The run with its output in {} failed ({status}).", file.display());
            }
            return Ok(());
        }
        if let Err(interrupted) = run::tick() {
            child.kill()?;
            return Err(interrupted);
        }
    }
}
