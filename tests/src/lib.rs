//! A whole swarm in one thread and no real time.
//!
//! Enters: a seed, a run, a network's faults, and what a test does to the swarm (crash, cut off, kill,
//! restart). Leaves: the journal, what every contributor computed, and an [`Audit`](world::Audit) that
//! has checked both. The machines are the real ones of `tributary-protocol`; the network, the clock,
//! the disks and the trainers are simulated. A swarm in which nothing moves any more is a panic.
#![allow(clippy::unwrap_used)]

pub mod desk;
mod random;
mod run;
mod trainer;
pub mod world;

pub use random::Random;
pub use run::{Run, tiny_run};
pub use trainer::{Pace, SimTrainer, TOKENS_A_STEP};
