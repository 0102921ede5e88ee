//! Ways to hold Tributary: a whole swarm in virtual time ([`world`]), one coordinator by hand ([`desk`]),
//! the real program as processes ([`process`]), and wallets ([`wallet`]).
#![allow(clippy::unwrap_used)]

pub mod desk;
pub mod process;
mod random;
mod run;
mod trainer;
pub mod wallet;
pub mod world;

pub use random::Random;
pub use run::{Run, tiny_run};
pub use trainer::{Morals, Pace, Pauses, SEGMENTS, SimTrainer, TOKENS_A_STEP, Word, trace};
