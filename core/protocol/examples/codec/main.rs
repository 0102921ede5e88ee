//! Measures the codec: a line of JSON for each number of parameters named on the command line, by default
//! 1, 10 and 50 million. `cargo run --release -p tributary-protocol --example codec -- 10000000`
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock and the process's memory")]

mod measure;

use std::process::Command;
use std::time::Instant;

use measure::{SPARSE, measure, round, sent, values};
use tributary_protocol::fold::OuterState;
use tributary_protocol::update::{compress, decode, encode};

/// In a process of its own with this first argument, [`peak_copies`] is measured: memory that was used before
/// and is kept by the allocator would hide what is used again.
const PEAK: &str = "peak";

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == PEAK) {
        if let Some(copies) = arguments.get(1).and_then(|params| peak_copies(params.parse().ok()?)) {
            println!("{copies}");
        }
        return;
    }
    if arguments.is_empty() {
        arguments = [1_000_000, 10_000_000, 50_000_000].map(|params| params.to_string()).to_vec();
    }
    let start = Instant::now();
    let now = || start.elapsed().as_secs_f64() * 1000.0;
    for params in arguments.iter().filter_map(|params| params.parse().ok()) {
        println!("{}", measure(params, now).json(peak_elsewhere(params)));
    }
}

/// [`peak_copies`], asked of another process whose allocator (glibc's) gives back whatever is large.
fn peak_elsewhere(params: usize) -> Option<f64> {
    let mut child = Command::new(std::env::current_exe().ok()?);
    let output = child.args([PEAK, &params.to_string()]).env("MALLOC_MMAP_THRESHOLD_", "65536").output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// The most memory that a contributor's or the coordinator's work takes beside the values or the outer state
/// and the bytes, in copies of the weights. None where the system doesn't say.
fn peak_copies(params: usize) -> Option<f64> {
    let copies = |bytes: f64| bytes / (params as f64 * 4.0);
    let values = values(params, 0);
    let contributor = peak_bytes(|| {
        let bytes = encode(&compress(&values, SPARSE));
        drop(decode(&[SPARSE], &bytes, params as u64));
    })?;
    drop(values);
    let (sent, mut state) = (sent(params), OuterState::default());
    round(params, &sent, &mut state);
    let coordinator = peak_bytes(|| drop(round(params, &sent, &mut state)))?;
    Some(copies(contributor.max(coordinator)))
}

/// How far the resident memory rises above what it was (Linux).
fn peak_bytes(run: impl FnOnce()) -> Option<f64> {
    let field = |name: &str| {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find(|line| line.starts_with(name))?;
        Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? * 1024.0)
    };
    // Makes the peak what is resident now.
    std::fs::write("/proc/self/clear_refs", "5").ok()?;
    let before = field("VmRSS:")?;
    run();
    Some(field("VmHWM:")? - before)
}
