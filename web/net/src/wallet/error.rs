//! What can be wrong with a link, a log or a chain, each in a sentence for the person with a way on.

use tributary_ledger::{BookError, FrameError, MessageError, PayoutError};

/// Why something of a wallet does not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WalletError {
    /// No address of an account.
    #[error("The wallet names an account that is none ({0}). Try another wallet.")]
    Address(String),
    /// No chain's id.
    #[error("The wallet names a chain that is none ({0}). Choose another network in it, then try again.")]
    Chain(String),
    /// No name of a contributor.
    #[error("This is not a contributor's name: {0}. Reload the page.")]
    Peer(String),
    /// The identity's secret has another length.
    #[error("The stored identity is damaged. Restore it from its backup, or clear this site's data.")]
    Secret,
    /// The text would not be a link's.
    #[error("No link can be made from this page's address: {0}. Tell whoever runs this site.")]
    Message(#[from] MessageError),
    /// Another account signed.
    #[error("Another account than {0} signed. Choose that account in the wallet, then try again.")]
    Signer(String),
    /// The coordinator's run file, checkpoint or chain file cannot be read.
    #[error(
        "The coordinator's {0} can't be read. Reload the page; if that does not help, tell whoever runs this site."
    )]
    Coordinator(&'static str),
    /// The checkpoint's signature or run is not the coordinator's.
    #[error(
        "The coordinator's newest checkpoint is not validly signed ({0}). Don't rely on it: tell whoever runs this site."
    )]
    Unsigned(String),
    /// The log does not hold.
    #[error(
        "The coordinator's log does not hold: {0}. Don't rely on it: save a backup, and tell whoever runs this site."
    )]
    Log(#[from] BookError),
    /// The log's bytes are no entries.
    #[error("The log was cut off on its way ({0}). Check again.")]
    Frames(#[from] FrameError),
    /// Fewer entries than were signed.
    #[error(
        "The coordinator signed {size} entries and shows {shown}: some are missing. Check again; if it stays so, tell whoever runs this site."
    )]
    Missing {
        /// Entries that are here.
        shown: u64,
        /// Entries that the checkpoint has.
        size: u64,
    },
    /// The coordinator doesn't know its contract yet.
    #[error(
        "The coordinator has not reached its chain's node yet. Check again in a minute; if it stays so, tell whoever runs this site."
    )]
    NoRounds,
    /// The chain's terms make no sense.
    #[error("The contract's epochs can't be: {0}. Tell whoever runs this site.")]
    Epochs(#[from] PayoutError),
    /// A question of the chain was answered with what cannot be.
    #[error(
        "The wallet's network answers {question} with what cannot be. Its node may be broken or lie: choose another for this network in the wallet, then check again."
    )]
    Answer {
        /// What was asked.
        question: &'static str,
    },
    /// There is no such contract.
    #[error(
        "The wallet's network has no such contract. Its node may be of another chain, or behind: choose another for this network in the wallet, then check again."
    )]
    NoContract,
    /// The contract is of another run or has other terms than the coordinator says.
    #[error(
        "The contract on the chain is not what the coordinator says it is (its {0}). Don't claim: tell whoever runs this site."
    )]
    Contract(&'static str),
}
