//! The trainer: a Llama-style decoder on burn, its inner optimiser and everything around them.
//!
//! Enters: [`Job`](tributary_protocol::job::Job)s. Leaves: [`Report`](tributary_protocol::job::Report)s.
//! The way of the data is `data → model → backward → optim`, bound together in `train`, by a session
//! of one run in `session`, and by the loop in `worker`. Nothing here waits without yielding, since a
//! browser's worker must not block, except [`Evaluator`], which is for native programs.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod answer;
mod archive;
mod backward;
mod data;
mod device;
mod error;
mod eval;
mod export;
mod fault;
mod generate;
mod judge;
mod likeness;
mod meter;
mod model;
mod optim;
mod pace;
mod parallel;
mod params;
mod probe;
mod record;
mod replay;
mod replica;
mod score;
mod session;
mod state;
#[cfg(test)]
mod testing;
mod trace;
mod train;
mod worker;

pub use burn;
pub use data::{Batch, Feed, Place};
pub use device::open_device;
pub use error::TrainerError;
pub use eval::Evaluator;
pub use export::export;
pub use fault::Fault;
pub use generate::{Generator, Turn};
pub use judge::{Evidence, Judgement, Look};
pub use likeness::{Likeness, Match};
pub use params::initial_weights;
pub use probe::Prober;
pub use replay::{Case, Replayer, Sources};
pub use replica::Replica;
pub use score::{Baseline, Gain, Score, Scorer, windows};
pub use state::{Dossier, MOMENTS, State, WEIGHTS, max_dossier_bytes};
pub use trace::{MAX_STRETCHES, Mark, Origin, Segment, Stretch, Trace};
pub use train::Trainer;
pub use worker::{Host, run};
