//! What a person is shown: one value that the page, the terminal and the tests all read.
//!
//! Everything is already decided here; a reader only lays it out. Lists are bounded by
//! [`VIEW_HISTORY`](crate::limits::VIEW_HISTORY) and
//! [`MAX_ROSTER`](crate::limits::MAX_ROSTER).

use serde::{Deserialize, Serialize};

use crate::job::{DeviceInfo, End};
use crate::message::PeerKind;

/// A contributor's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Snapshot {
    /// This contributor's peer id.
    pub me: String,
    /// What it does now.
    pub phase: Phase,
    /// Whether the coordinator is there.
    pub link: Link,
    /// The run, once known.
    pub run: Option<RunView>,
    /// The device, once open.
    pub device: Option<DeviceInfo>,
    /// The current round, once known.
    pub round: Option<RoundView>,
    /// Tokens trained in this session.
    pub tokens: u64,
    /// Tokens a second.
    pub tokens_per_s: f32,
    /// Newest training loss, nats a token.
    pub loss: Option<f32>,
    /// Credits earned in all, as the settled rounds' manifests give them.
    pub credits: u64,
    /// What is held of them, and what shows that.
    pub earnings: EarningsView,
    /// Others' work that it checks.
    pub witness: WitnessView,
    /// Held-out and own loss by round, oldest first.
    pub losses: Vec<LossPoint>,
    /// This contributor's rounds, newest first.
    pub rounds: Vec<RoundRow>,
    /// Who is here.
    pub peers: Vec<PeerRow>,
    /// How many are here in all.
    pub peers_total: u32,
    /// The direct links to other contributors.
    pub links: LinksView,
    /// Bytes sent a second.
    pub up_per_s: u64,
    /// Bytes received a second.
    pub down_per_s: u64,
    /// Bytes sent since the round began.
    pub bytes_round_up: u64,
    /// Bytes received since the round began.
    pub bytes_round_down: u64,
    /// Bytes of blobs (models, steps, texts) received from other contributors in this session.
    pub bulk_direct: u64,
    /// Bytes of blobs received from the coordinator in this session.
    pub bulk_coordinator: u64,
    /// What the model wrote when it was last asked to.
    pub answer: Option<AnswerView>,
    /// The newest message to the person, if one stands.
    pub notice: Option<String>,
}

/// What the model wrote on request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct AnswerView {
    /// The request, by the name that it was given.
    pub id: u32,
    /// The hash of the weights that write, hex.
    pub state: String,
    /// What is written so far, at most [`MAX_WRITTEN`](crate::limits::MAX_WRITTEN) bytes of it.
    pub text: String,
    /// Tokens a second.
    pub tokens_per_s: f32,
    /// Why it is at its end, if it is.
    pub end: Option<End>,
}

/// Others' work that a contributor runs again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct WitnessView {
    /// Segments in this session.
    pub segments: u64,
    /// Their tokens.
    pub tokens: u64,
    /// The one under way, if there is one.
    pub now: Option<Witnessing>,
}

/// Work that is being run again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct Witnessing {
    /// Whose it is.
    pub who: String,
    /// The round that it was done for.
    pub round: u64,
}

/// What a contributor does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Phase {
    /// Not started, or stopped.
    Idle,
    /// Reaching the coordinator for the first time.
    Connecting,
    /// Fetching the manifest, the weights, or opening the device.
    Preparing {
        /// What, in words.
        what: String,
    },
    /// Everything is there; no round is open.
    Waiting,
    /// Training.
    Training,
    /// Will stop when this round's update is in.
    Finishing,
    /// Stopped for a reason that won't pass by itself.
    Failed {
        /// What happened and what to do.
        why: String,
    },
}

/// Whether the coordinator is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Link {
    /// Not wanted.
    Off,
    /// Connected and welcome.
    Online,
    /// Dialling.
    Dialling,
    /// Away; training goes on if there is a base.
    Away {
        /// Milliseconds to the next attempt.
        retry_in_ms: u64,
        /// What went wrong.
        why: String,
    },
}

/// The direct links to other contributors.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct LinksView {
    /// How many of the wanted ones are up.
    pub up: u32,
    /// How many the coordinator named.
    pub wanted: u32,
    /// Why the newest failure failed, while any is missing.
    pub why: Option<String>,
}

/// The way to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(rename_all = "lowercase")]
pub enum PathView {
    /// A direct link.
    Direct,
    /// A link is being made, and the two are introduced over the coordinator's relay, which carries no
    /// blobs.
    Relayed,
    /// No link; what it makes comes by way of the coordinator.
    Coordinator,
    /// None: it is this contributor, or the coordinator is away too.
    None,
}

/// The run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct RunView {
    /// Its name.
    pub name: String,
    /// Its id, hex.
    pub id: String,
    /// Parameters of the model.
    pub params: u64,
    /// Seconds of a round.
    pub round_seconds: u32,
    /// Credits a round.
    pub pool: u64,
}

/// The current round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct RoundView {
    /// Its number.
    pub round: u64,
    /// Milliseconds left, if it is open; `None` while updates are gathered and folded.
    pub left_ms: Option<u64>,
    /// Tokens trained in it.
    pub tokens: u64,
}

/// What a contributor holds, and what shows that.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct EarningsView {
    /// Of rounds in which work may still be checked.
    pub provisional: u64,
    /// Of rounds whose checks have ended; can still be forfeited.
    pub verified: u64,
    /// Safe.
    pub r#final: u64,
    /// Lost.
    pub forfeited: u64,
    /// What this contributor found out about the ledger by itself.
    pub proof: ProofView,
    /// Pay whose proof it has checked, newest first.
    pub receipts: Vec<ReceiptRow>,
}

/// What a contributor found out about the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum ProofView {
    /// Nothing was shown yet.
    #[default]
    None,
    /// Every receipt was signed, in the ledger, in line with all that were shown before, and what the rule gives.
    Good {
        /// The newest round in it.
        round: u64,
        /// Its entries.
        size: u64,
    },
    /// The ledger can't be trusted.
    Bad {
        /// What was found; for a person.
        why: String,
    },
}

/// Pay whose proof was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct ReceiptRow {
    /// The round that paid.
    pub round: u64,
    /// Credits.
    pub amount: u64,
    /// The work, in tokens times quality.
    pub work: u64,
    /// Everybody's.
    pub all: u64,
}

/// Losses at one round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct LossPoint {
    /// The round.
    pub round: u64,
    /// Held-out bits per byte of that round's base.
    pub heldout: Option<f32>,
    /// Own training loss at the round's end, bits per byte.
    pub own: Option<f32>,
}

/// One of this contributor's rounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct RoundRow {
    /// The round.
    pub round: u64,
    /// Tokens in its update.
    pub tokens: u64,
    /// What became of it.
    pub verdict: Verdict,
    /// The state hash after the round, hex, once this contributor computed it.
    pub state: Option<String>,
}

/// What became of an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Verdict {
    /// Sent, not judged yet.
    Sent,
    /// Accepted; the round has not folded yet.
    Accepted,
    /// Folded and credited.
    Credited {
        /// Credits.
        credits: u64,
    },
    /// Not counted.
    Refused {
        /// Why.
        why: String,
    },
    /// Not sent.
    Withheld {
        /// Why.
        why: String,
    },
    /// This contributor was here but sent nothing.
    Watched,
}

/// One peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "tsify", derive(tsify::Tsify))]
pub struct PeerRow {
    /// Its peer id.
    pub id: String,
    /// `tab` or `native`.
    pub kind: PeerKind,
    /// Whether it is this contributor.
    pub me: bool,
    /// Tokens in the current round, by its own account.
    pub tokens: u64,
    /// Tokens a second, by its own account.
    pub tokens_per_s: f32,
    /// The device, in words.
    pub device: String,
    /// The way to it.
    pub path: PathView,
    /// Bytes sent to it a second.
    pub up_per_s: u64,
    /// Bytes received from it a second.
    pub down_per_s: u64,
}
