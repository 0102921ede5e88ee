//! Why the fold refuses an entry.

use crate::entry::Place;
use crate::rule::{MAX_AGE, short};
use crate::{Key, LinkError};

/// An entry does not follow from those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The log does not begin with its run.
    #[error("the log does not begin with a Run entry")]
    NoRun,
    /// The first entry's rule makes no sense.
    #[error("the run's rule makes no sense: {0}")]
    Rule(&'static str),
    /// An entry where it may not stand.
    #[error("a {got:?} entry must not stand after a {after:?} entry")]
    Order {
        /// The place in a batch of the entry before it.
        after: Place,
        /// Its own.
        got: Place,
    },
    /// Rounds settle once, one after the other.
    #[error("an entry is about round {got}, and the log is at round {expected}")]
    Round {
        /// The round that the log is at.
        expected: u64,
        /// The entry's.
        got: u64,
    },
    /// A round begins with what the one before it ended with.
    #[error("round {0} does not begin with the state that the round before it ended with")]
    Base(u64),
    /// A submission of the future or of long ago.
    #[error("in round {round} nothing can be said about work of round {origin}")]
    Origin {
        /// The round of the batch.
        round: u64,
        /// The work's.
        origin: u64,
    },
    /// A contributor submits once a round.
    #[error("contributor {} submitted for round {origin} before", short(.who))]
    SubmittedTwice {
        /// Who.
        who: Key,
        /// The work's round.
        origin: u64,
    },
    /// A wallet that is not shown to be a contributor's.
    #[error("contributor {} cannot name this wallet: {why}", short(.who))]
    Link {
        /// Who.
        who: Key,
        /// Why not.
        why: LinkError,
    },
    /// There is no such submission.
    #[error("contributor {} submitted nothing for round {origin}", short(.who))]
    NotSubmitted {
        /// Who.
        who: Key,
        /// The work's round.
        origin: u64,
    },
    /// A submission is judged, and paid, once.
    #[error("the work of contributor {} for round {origin} was judged before", short(.who))]
    JudgedTwice {
        /// Who.
        who: Key,
        /// The work's round.
        origin: u64,
    },
    /// More tokens than claimed, or a quality above one.
    #[error("contributor {} is given more for round {origin} than it claimed", short(.who))]
    TooMuch {
        /// Who.
        who: Key,
        /// The work's round.
        origin: u64,
    },
    /// Old work is refused, not counted.
    #[error("work of round {origin} is counted in round {round}, more than {MAX_AGE} rounds late")]
    TooOld {
        /// The work's round.
        origin: u64,
        /// The round that counts it.
        round: u64,
    },
    /// Nobody is its own witness, and a witness runs the same work again once.
    #[error("contributor {} cannot be a witness (again) of this work for round {origin}", short(.by))]
    Witness {
        /// The witness.
        by: Key,
        /// The work's round.
        origin: u64,
    },
    /// Forfeited without a finding.
    #[error("contributor {} forfeits for round {origin}, and no replay in the log found anything wrong", short(.who))]
    NoReplay {
        /// Who.
        who: Key,
        /// The work's round.
        origin: u64,
    },
    /// A batch takes everything at once.
    #[error("contributor {} forfeits twice in one round", short(.0))]
    ForfeitedTwice(Key),
    /// A payment that the rule does not give, or one of two.
    #[error("the rule does not give contributor {} this for round {round}", short(.who))]
    Pay {
        /// Who.
        who: Key,
        /// The round.
        round: u64,
    },
    /// A payment that the rule gives is not there.
    #[error("round {round} does not pay contributor {}, as the rule does", short(.who))]
    Unpaid {
        /// Who.
        who: Key,
        /// The round.
        round: u64,
    },
    /// The sums of a settled round are not those of its payments.
    #[error("the sums of round {0} are not those of its payments")]
    Sums(u64),
    /// A sum does not fit.
    #[error("a sum does not fit 64 bits")]
    Overflow,
}

impl LedgerError {
    /// An entry that is refused means a log that is not ours: nothing to go on with.
    pub fn is_fatal(&self) -> bool {
        true
    }
}
