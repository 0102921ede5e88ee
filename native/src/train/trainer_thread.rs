//! The trainer on a thread of its own, so that no computation ever holds up the network.

use std::io;
use std::time::Instant;

use futures::channel::mpsc;
use futures::future::{self, LocalBoxFuture};
use tributary_peer::TrainerLink;
use tributary_trainer::Host;

/// Orders and answers under way: the machine has a handful at a time, and the thread takes orders
/// between steps.
const QUEUE: usize = 8;

struct Thread(Instant);

impl Host for Thread {
    fn now_ms(&self) -> u64 {
        self.0.elapsed().as_millis() as u64
    }

    fn breathe(&self) -> LocalBoxFuture<'static, ()> {
        // This thread has no event loop that waits for its turn.
        Box::pin(future::ready(()))
    }
}

/// Starts it. It ends when the link is dropped.
pub(super) fn start() -> io::Result<TrainerLink> {
    let (jobs, orders) = mpsc::channel(QUEUE);
    let (answers, reports) = mpsc::channel(QUEUE);
    std::thread::Builder::new().name("trainer".to_owned()).spawn(move || {
        futures::executor::block_on(tributary_trainer::run(Thread(Instant::now()), orders, answers));
    })?;
    Ok(TrainerLink { jobs, reports })
}
