//! Why work was refused or earnings were forfeited: a code in the log, a sentence for people.

use serde::{Deserialize, Serialize};

/// A reason. Its place in this list is its byte in the log: new ones go to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, thiserror::Error)]
pub enum Code {
    /// Something that none of the others says.
    #[error("The update was refused for a reason that this version does not name.")]
    Other,
    /// Older than the oldest that counts.
    #[error("The update came too late to count.")]
    Late,
    /// A second one for the same round.
    #[error("There was an update for this round already.")]
    Twice,
    /// Trained from other weights.
    #[error("The update was trained from other weights than the round's.")]
    Base,
    /// No or too many tokens.
    #[error("The token count is zero or impossible.")]
    Tokens,
    /// The losses are not finite.
    #[error("The training loss is not a number.")]
    Loss,
    /// The round is full.
    #[error("The round had as many contributors as it can take.")]
    Full,
    /// The blob never came, or came wrong.
    #[error("The update could not be fetched.")]
    Unavailable,
    /// The blob is not an update of this model.
    #[error("The update's bytes are not an update of this model.")]
    Malformed,
    /// Zero, not a number, or far from what others sent.
    #[error("The update's size is zero, not a number, or far from that of the others.")]
    Norm,
    /// Another contributor's, sent again.
    #[error("The update is a copy of one that was promised earlier.")]
    Copied,
    /// It does not make the model better.
    #[error("The update does not make the model better on text that nobody knew when it was promised.")]
    Useless,
    /// The trace and what was sent do not hang together.
    #[error("The account of how the update was made does not lead to the update.")]
    Trace,
    /// A segment that was run again gave something else.
    #[error("A part of the training was run again and gave something else.")]
    Different,
    /// Nothing to run again from.
    #[error("What is needed to run a part of the training again was not given.")]
    Missing,
    /// Its owner was caught before.
    #[error("The contributor's earlier work was proved wrong.")]
    Forfeited,
    /// It found nothing wrong with work that was proved wrong.
    #[error("The contributor ran another's work again and vouched for it, and it was proved wrong.")]
    Vouched,
}
