//! The trainer on a thread of its own, so that no computation ever holds up the network.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::channel::mpsc;
use futures::future::{self, LocalBoxFuture};
use tributary_peer::TrainerLink;
use tributary_trainer::Host;

use crate::files;

/// Orders and answers under way: the machine has a handful at a time, and the thread takes orders
/// between steps.
const QUEUE: usize = 8;

struct Thread {
    began: Instant,
    state: PathBuf,
}

impl Host for Thread {
    fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    fn breathe(&self) -> LocalBoxFuture<'static, ()> {
        // This thread has no event loop that waits for its turn.
        Box::pin(future::ready(()))
    }

    fn rest(&self, ms: u64) -> LocalBoxFuture<'static, ()> {
        std::thread::sleep(Duration::from_millis(ms));
        Box::pin(future::ready(()))
    }

    fn keep(&self, name: &str, bytes: Vec<u8>) -> LocalBoxFuture<'static, ()> {
        let path = self.state.join(name);
        if let Err(error) = files::write(&path, &bytes) {
            tracing::warn!("{} can't be written ({error}): a restart will send one larger update", path.display());
        }
        Box::pin(future::ready(()))
    }

    fn recall(&self, name: &str) -> LocalBoxFuture<'static, Option<Vec<u8>>> {
        Box::pin(future::ready(std::fs::read(self.state.join(name)).ok()))
    }
}

/// Starts it; what it must know after a restart it keeps in `state`. It ends when the link is dropped.
pub(super) fn start(state: PathBuf) -> io::Result<TrainerLink> {
    let (jobs, orders) = mpsc::channel(QUEUE);
    let (answers, reports) = mpsc::channel(QUEUE);
    std::thread::Builder::new().name("trainer".to_owned()).spawn(move || {
        futures::executor::block_on(tributary_trainer::run(Thread { began: Instant::now(), state }, orders, answers));
    })?;
    Ok(TrainerLink { jobs, reports })
}
