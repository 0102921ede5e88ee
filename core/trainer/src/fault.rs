//! Why a segment could not be replayed.

use tributary_protocol::Hash;
use tributary_protocol::update::BadUpdate;

/// Why there is no likeness to tell of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not a dossier, or longer than one can be.
    #[error("the dossier is not readable")]
    Unreadable,
    /// Another trace than the one that was committed to, or than the one that it names as its predecessor.
    #[error("the dossier holds another trace than the one that was committed to")]
    Foreign,
    /// Another segment than the one that was asked for.
    #[error("the dossier is of another segment than {0}, which was asked for")]
    Segment(u8),
    /// No segments, or too many.
    #[error("a trace of {0} segments can't be")]
    Segments(usize),
    /// Tokens that were not trained.
    #[error("the commit claims {claimed} steps, its trace has {traced}")]
    Steps {
        /// By the commit's tokens.
        claimed: u64,
        /// By the trace.
        traced: u64,
    },
    /// Data that was not assigned.
    #[error("the trace has data by the seed {0:?}, which was not this contributor's to train on then")]
    Seed(Hash),
    /// A trace that contradicts itself.
    #[error("segment {segment} of the trace {what}")]
    Torn {
        /// Which.
        segment: u8,
        /// What it does.
        what: &'static str,
    },
    /// A state that isn't the one that was committed to.
    #[error("the {0} in the dossier are not those that the trace names")]
    Hash(&'static str),
    /// A state that can't be read.
    #[error("the {0} in the dossier can't be read: {1}")]
    State(&'static str, BadUpdate),
    /// Training from the claimed state leads to no numbers.
    #[error("training on from the claimed state leads to weights that are no numbers")]
    NotFinite,
    /// Something that the verifier lacks.
    #[error("{0} is missing here, so nothing can be said about the work")]
    Missing(String),
    /// The verifier's device failed.
    #[error("the device failed during the replay: {0}")]
    Device(String),
}

impl Fault {
    /// Whether it is the verifier's own, so that it says nothing about the contributor and another try may help.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Missing(_) | Self::Device(_))
    }
}
