//! What crosses the control stream, in frames of postcard.
//!
//! The coordinator is one peer; everyone else talks to it. Bulk never travels here: messages name
//! blobs. Refuses frames over [`MAX_CONTROL_FRAME`](crate::limits::MAX_CONTROL_FRAME), frames with a tail, and texts over
//! [`MAX_TEXT`](crate::limits::MAX_TEXT).

mod frame;
mod manifest;

pub use frame::{BadFrame, Message, bounded_text};
pub use manifest::{Accepted, FoldManifest, RoundManifest};

use serde::{Deserialize, Serialize};
use tributary_ledger::{Balance, Checkpoint, Digest, MAX_ENTRY, MAX_PATH, Proven};

use crate::check::{Finding, ReplayOrder, TraceRef};
use crate::limits::{MAX_AGE, MAX_TOKENS_PER_ROUND};
use crate::sign::Signable;
use crate::spec::RunSpec;
use crate::{BlobRef, Hash, Id, Signed};

/// From a contributor to the coordinator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToCoordinator {
    /// The first message on a connection, and here: other versions find it by that.
    Hello(Hello),
    /// How it goes, for the others to see; at most one every [`STATUS_EVERY_MS`].
    Status(Status),
    /// The hash of a round's update. The coordinator then fetches that blob from the sender. Said again on a
    /// new connection, until there is a verdict.
    Commit(Signed<Commit>),
    /// The answer to [`ToContributor::Disclose`].
    Disclosed {
        /// The commit's round.
        round: u64,
        /// The segment.
        segment: u8,
        /// Its dossier, for the coordinator to fetch from the sender; `None`: it isn't kept any more.
        dossier: Option<BlobRef>,
    },
    /// The answer to [`ToContributor::Witness`].
    Witnessed {
        /// Whose work it was.
        who: Id,
        /// The commit's round.
        round: u64,
        /// The segment.
        segment: u8,
        /// What came out; `None`: it was not run again, or nothing can be said of it.
        finding: Option<Finding>,
    },
    /// The newest ledger that the sender knows has so many entries: the receipt that came continues another.
    Seen(u64),
    /// Nothing will come from the sender for this round: no need to wait.
    Pass {
        /// The round.
        round: u64,
    },
}

/// Milliseconds between a contributor's status messages.
pub const STATUS_EVERY_MS: u64 = 2_000;

/// Who joins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL_VERSION`](crate::PROTOCOL_VERSION) of the sender. First, so that it stays readable in any version.
    pub version: u16,
    /// The run it wants, if it wants a certain one.
    pub run: Option<Hash>,
    /// Tab or native.
    pub kind: PeerKind,
    /// Program and version, for people.
    pub agent: String,
    /// Whether it can link with other contributors; one that can't gets everything from the
    /// coordinator.
    pub links: bool,
    /// Whether it runs others' work again when it is asked to.
    pub witness: bool,
    /// Entries of the ledger at the newest checkpoint that it remembers.
    pub seen: Option<u64>,
}

/// What a contributor runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(rename_all = "lowercase")]
pub enum PeerKind {
    /// A browser tab.
    Tab,
    /// The native binary.
    Native,
}

/// A contributor's own account of its round; shown, never paid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The round it works on.
    pub round: u64,
    /// Tokens trained in it so far.
    pub tokens: u64,
    /// Tokens a second.
    pub tokens_per_s: f32,
    /// The device, in words.
    pub device: String,
}

/// A contributor's promise of one update, made before it shows the update.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    /// The run.
    pub run: Hash,
    /// The round.
    pub round: u64,
    /// The state it was trained from.
    pub base: Hash,
    /// The update.
    pub update: BlobRef,
    /// Tokens trained.
    pub tokens: u64,
    /// Mean training loss, in nats a token, over the round's first steps.
    pub loss_first: f32,
    /// The same over its last steps.
    pub loss_last: f32,
    /// The way from the last update to this one.
    pub trace: TraceRef,
}

impl Signable for Commit {
    const CONTEXT: &'static str = "tributary commit v2";
}

/// From the coordinator to a contributor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToContributor {
    /// The answer to a hello that is welcome.
    Welcome(Box<Welcome>),
    /// The sender won't be served; the connection ends after this.
    Refused(Refusal),
    /// A round begins.
    Open(Open),
    /// What became of a commit.
    Verdict {
        /// The commit's round.
        round: u64,
        /// The verdict.
        verdict: Verdict,
    },
    /// Show how you got to the update of a round.
    Disclose {
        /// The commit's round.
        round: u64,
        /// The segment.
        segment: u8,
    },
    /// Run a segment of another contributor's work again. Whoever can't says so, which costs nothing.
    Witness(Box<Signed<ReplayOrder>>),
    /// A round is folded: here is the new base.
    Folded(Signed<FoldManifest>),
    /// What the newest settled round paid the receiver, with its proof. After every round, and after a welcome.
    Receipt(Box<Receipt>),
    /// The new base's loss on held-out text.
    Evaluated(Evaluation),
    /// Who is here.
    Roster(Roster),
    /// With whom to link, in place of whom was named before: see [`crate::links`]. At most
    /// [`MAX_LINKS`](crate::limits::MAX_LINKS). They are told the same of the receiver; of two the one with the smaller id dials.
    Links(Vec<Id>),
}

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Its update is here; the next fold takes it.
    Received,
    /// A fold that the sender may have missed has taken it.
    Folded {
        /// What it earned.
        credits: u64,
    },
    /// It doesn't count.
    Refused(Reason),
}

/// Everything a contributor needs to begin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    /// The run.
    pub spec: RunSpec,
    /// The newest round that has not folded.
    pub round: u64,
    /// The weights it starts from.
    pub base: BlobRef,
    /// That round, if it is open.
    pub open: Option<Open>,
    /// What the newcomer has earned so far.
    pub credits: u64,
    /// Held-out evaluations so far, oldest first, the newest
    /// [`VIEW_HISTORY`](crate::limits::VIEW_HISTORY).
    pub evaluations: Vec<Evaluation>,
}

/// A receipt and what it hangs on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The ledger as the coordinator stands by it.
    pub checkpoint: Signed<Checkpoint>,
    /// The entries that it is proved to continue: [`Hello::seen`], or those of the receipt before.
    pub since: Option<u64>,
    /// The proof of that.
    pub continues: Vec<Digest>,
    /// The round's end and the receiver's pay, with the proof that they are in it.
    pub receipt: tributary_ledger::Receipt,
    /// What the receiver holds, by the coordinator's account.
    pub held: Held,
}

impl Signable for Checkpoint {
    const CONTEXT: &'static str = "tributary checkpoint v1";
}

/// What a contributor holds, by how sure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Held {
    /// Of rounds whose replays may still be under way.
    pub provisional: u64,
    /// Of rounds whose replays have ended.
    pub verified: u64,
    /// Safe.
    pub r#final: u64,
    /// Lost.
    pub forfeited: u64,
}

impl From<Balance> for Held {
    fn from(balance: Balance) -> Self {
        let Balance { provisional, verified, r#final, forfeited } = balance;
        Self { provisional, verified, r#final, forfeited }
    }
}

impl Receipt {
    fn is_bounded(&self) -> bool {
        let proofs = [Some(&self.receipt.settled), self.receipt.paid.as_ref()];
        let proven = |proof: &Proven| proof.path.len() <= MAX_PATH && proof.entry.len() <= MAX_ENTRY;
        self.continues.len() <= 2 * MAX_PATH && proofs.into_iter().flatten().all(proven)
    }
}

/// An open round, with the time left as the sender sees it, so that clocks needn't agree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Open {
    /// The signed manifest.
    pub manifest: Signed<RoundManifest>,
    /// Milliseconds to the deadline.
    pub remaining_ms: u64,
}

/// The loss of a state on held-out text, as the coordinator measured it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The state is the base of this round.
    pub round: u64,
    /// Bits per byte.
    pub bits_per_byte: f32,
}

/// Who is here: the newest states of at most [`MAX_ROSTER`](crate::limits::MAX_ROSTER) peers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Roster {
    /// How many there are in all.
    pub total: u32,
    /// Some of them: all while they fit, then a stretch at a time.
    pub peers: Vec<RosterPeer>,
}

/// One line of the roster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RosterPeer {
    /// Who.
    pub peer: Id,
    /// Tab or native.
    pub kind: PeerKind,
    /// Tokens in the current round, by its own account.
    pub tokens: u64,
    /// Tokens a second, by its own account.
    pub tokens_per_s: f32,
    /// The device, in words, by its own account.
    pub device: String,
}

/// Why a peer isn't served. Each says what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// Another protocol version.
    #[error(
        "this coordinator speaks protocol version {ours} and you speak {yours}: update the older of the two (in a tab: reload the page)"
    )]
    Version {
        /// The coordinator's.
        ours: u16,
        /// The contributor's.
        yours: u16,
    },
    /// Another run.
    #[error(
        "this coordinator trains run {ours} and you asked for run {yours}: check the address or leave the run id out"
    )]
    Run {
        /// The coordinator's.
        ours: Hash,
        /// The one asked for.
        yours: Hash,
    },
    /// No room.
    #[error("the run is full ({0} contributors): try again later")]
    Full(u32),
    /// Too many refused frames.
    #[error(
        "the connection sent too many messages that had to be refused ({0}); reconnect with a program of this version"
    )]
    Misbehaved(String),
}

impl Refusal {
    /// Whether asking again later can help.
    pub fn is_final(&self) -> bool {
        !matches!(self, Refusal::Full(_))
    }
}

/// Why a commit or update does not count. Shown to the contributor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, thiserror::Error)]
pub enum Reason {
    /// Signature, run or form.
    #[error("the commit was not validly signed for this run")]
    Forged,
    /// For a round that isn't open yet.
    #[error("the commit is for another round than those that count")]
    WrongRound,
    /// Trained from other weights.
    #[error("the update was trained from other weights than the round's")]
    WrongBase,
    /// Older than the oldest that counts.
    #[error("the update came too late: a round takes its own and, for less, those of the {MAX_AGE} rounds before it")]
    Late,
    /// A second, different commit.
    #[error("there is a commit for this round already")]
    Twice,
    /// No or too many tokens.
    #[error("the token count is zero or impossible")]
    Tokens,
    /// The losses are not finite.
    #[error("the training loss is not a number")]
    Loss,
    /// The round is full.
    #[error("the round has as many contributors as it can take")]
    Full,
    /// The blob never came, or came wrong.
    #[error("the update could not be fetched")]
    Unavailable,
    /// The blob is not an update of this model.
    #[error("the update's bytes are not an update of this model")]
    Malformed,
    /// The update is zero, or too large to be measured, or much larger than others.
    #[error("the update's size is zero, not a number, or far from that of the round's others")]
    Norm,
    /// Nearly the same as an update that was promised before.
    #[error("the update is a copy of one that was promised earlier")]
    Copied,
    /// It makes the model no better.
    #[error("the update does not make the model better on text that nobody could know when it was promised")]
    Useless,
    /// Work of this identity was proved not to be what it said, or was not shown; or it vouched for such work.
    #[error(
        "a part of this contributor's work, or of work that it vouched for, was done again and something else came out: its work does not count any more"
    )]
    Struck,
}

impl Commit {
    /// Whether a commit for a round of this run with this base could be accepted, before its blob is seen.
    pub fn check(&self, run: &Hash, base: &Hash, max_bytes: u64) -> Result<(), Reason> {
        if self.run != *run {
            return Err(Reason::Forged);
        }
        if self.base != *base {
            return Err(Reason::WrongBase);
        }
        if self.tokens == 0 || self.tokens > MAX_TOKENS_PER_ROUND {
            return Err(Reason::Tokens);
        }
        if !self.loss_first.is_finite() || !self.loss_last.is_finite() {
            return Err(Reason::Loss);
        }
        if self.update.bytes > max_bytes || !self.trace.is_bounded() {
            return Err(Reason::Malformed);
        }
        Ok(())
    }
}
