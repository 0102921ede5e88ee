//! The contributor's side of the round, as a machine that does no input or output.
//!
//! Enters: time, the person's wishes, the coordinator's messages, fetched blobs and the trainer's
//! reports, and what became of links to other contributors. Leaves: what to dial, link with, send, fetch
//! and offer, and jobs for the trainer. Refuses messages
//! that the coordinator did not sign, rounds that don't follow from what it knows, and folds whose
//! result isn't the announced state.
//!
//! After every input [`Contributor::advance`] compares what there is with what there should be and
//! asks for the difference, so that a lost message, a failed fetch or an absent coordinator delays
//! a round but never needs a path of its own.

mod advance;
mod back_off;
mod fetches;
mod incoming;
mod links;
mod receipts;
mod show;
mod traffic;
mod witness;
mod work;
mod written;

use std::collections::VecDeque;

use bytes::Bytes;

pub use traffic::{PeerTraffic, Traffic};

use crate::job::{DeviceChoice, DeviceInfo, Job, Progress, Report};
use crate::limits::{MAX_AGE, MAX_GOSSIP};
use crate::message::{Commit, Hello, PeerKind, RoundManifest, ToContributor, ToCoordinator, bounded_text};
use crate::spec::RunSpec;
use crate::{BlobRef, Hash, Id, Identity, Millis, PROTOCOL_VERSION, Signed};
use back_off::BackOff;
use fetches::{Fetches, Purpose};
use links::Links;
use receipts::{Receipts, Terms};
use show::History;
use traffic::Meter;
use witness::Witness;
use written::Written;

/// Milliseconds that the coordinator has for its welcome. It answers at once, so after this the
/// connection is dead, whatever the transport believes.
const GREETING_MS: Millis = 30_000;

/// Who contributes, to what, and how.
#[derive(Debug, Clone)]
pub struct Config {
    /// The contributor.
    pub identity: Identity,
    /// The coordinator, whose signature manifests must bear.
    pub coordinator: Id,
    /// Tab or native.
    pub kind: PeerKind,
    /// Program and version, for people.
    pub agent: String,
    /// The run to join; `None`: whichever the coordinator trains.
    pub run: Option<Hash>,
    /// The device to train on.
    pub device: DeviceChoice,
    /// Whether it can link with other contributors.
    pub links: bool,
    /// Seeds the jitter of reconnecting.
    pub jitter: u64,
    /// What the newest [`Output::Remember`] of an earlier session had, if there was one.
    pub remembered: Option<Bytes>,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// The person wants to train.
    Start,
    /// The person wants to stop once this round's update is in.
    Finish,
    /// The person wants to stop now.
    Stop,
    /// The control stream to the coordinator is up.
    Connected,
    /// It is down, or dialling failed.
    Disconnected {
        /// Why, for a person.
        why: String,
    },
    /// The coordinator's message.
    Message(ToContributor),
    /// An [`Output::Fetch`] has ended.
    Fetched {
        /// The blob.
        hash: Hash,
        /// Its verified bytes, or why there are none.
        result: Result<Bytes, String>,
    },
    /// The trainer reports.
    Report(Report),
    /// A direct link to another contributor is up, whoever dialled.
    Linked {
        /// Whom to.
        peer: Id,
    },
    /// It is down, or an [`Output::Link`] came to nothing.
    Unlinked {
        /// Whom to.
        peer: Id,
        /// Why, for a person.
        why: String,
    },
    /// What has moved over the network; about once a second.
    Traffic(Traffic),
    /// What another contributor says by its [`Output::Gossip`].
    Gossip {
        /// Who says it.
        from: Id,
        /// What.
        bytes: Bytes,
    },
}

/// What to do.
#[derive(Debug, Clone)]
pub enum Output {
    /// Connect to the coordinator.
    Dial,
    /// Disconnect from it.
    Hangup,
    /// Send it a message.
    Send(ToCoordinator),
    /// Fetch a blob.
    Fetch(BlobRef),
    /// Have this blob ready for whoever asks, until [`MAX_AGE`] + 1 others have been offered: it can be asked for
    /// as long as it can count.
    Offer(BlobRef, Bytes),
    /// Keep this over restarts, in place of what was to be kept before.
    Remember(Bytes),
    /// Tell these linked contributors this: what to compare ledgers by. At most [`MAX_GOSSIP`] bytes.
    Gossip {
        /// Whom.
        to: Vec<Id>,
        /// What.
        bytes: Bytes,
    },
    /// An order for the trainer.
    Job(Job),
    /// Link with another contributor. Ends in [`Input::Linked`] or [`Input::Unlinked`].
    Link(Id),
    /// End the link with another contributor.
    Unlink(Id),
}

/// What the person wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Stop,
    Train,
    /// Stop when this round is through, at the latest at this time.
    Finish {
        round: u64,
        until: Millis,
    },
}

#[derive(Debug)]
enum Link {
    Off,
    Dialling,
    /// The control stream is up; no welcome yet.
    Greeting {
        /// When to stop waiting for one.
        until: Millis,
    },
    Online,
    Away {
        retry_at: Millis,
        why: String,
    },
}

#[derive(Debug)]
enum Trainer {
    Off,
    Starting,
    Ready(DeviceInfo),
}

/// The base, as the trainer has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Base {
    None,
    /// Asked for; the trainer hasn't answered.
    Coming {
        round: u64,
        hash: Hash,
    },
    At {
        round: u64,
        hash: Hash,
    },
}

/// The newest round, as the coordinator announced it.
#[derive(Debug)]
struct Head {
    round: u64,
    base: BlobRef,
    open: Option<OpenRound>,
    /// The step that led here from the round before, if that was seen.
    step: Option<BlobRef>,
}

#[derive(Debug)]
struct OpenRound {
    manifest: RoundManifest,
    deadline: Millis,
    stage: Stage,
}

/// How far this contributor is in the open round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The trainer doesn't work on it yet.
    Announced,
    Training,
    /// The update was asked for.
    Cutting,
    /// The update is made, or there is none.
    Cut,
}

/// A round's promise, kept so that it can be repeated until there is a verdict or it is too old to count.
#[derive(Debug)]
struct Promise {
    round: u64,
    commit: Signed<Commit>,
}

/// The machine.
#[derive(Debug)]
pub struct Contributor {
    config: Config,
    wish: Wish,
    link: Link,
    back_off: BackOff,
    failed: Option<String>,
    spec: Option<RunSpec>,
    run: Option<Hash>,
    data_ref: Option<BlobRef>,
    trainer: Trainer,
    base: Base,
    head: Option<Head>,
    fetches: Fetches,
    witness: Witness,
    links: Links,
    meter: Meter,
    /// Oldest first, one a round: at most [`MAX_AGE`] + 1.
    promises: VecDeque<Promise>,
    status_at: Millis,
    progress: Option<Progress>,
    history: History,
    receipts: Receipts,
    written: Written,
    out: VecDeque<Output>,
}

impl Contributor {
    /// A contributor that waits for [`Input::Start`].
    pub fn new(config: Config) -> Self {
        Self {
            back_off: BackOff::new(config.jitter),
            history: History::default(),
            links: Links::new(config.identity.id(), config.coordinator, config.jitter),
            meter: Meter::default(),
            receipts: config
                .remembered
                .as_ref()
                .map_or_else(Receipts::default, |bytes| Receipts::recall(bytes, &config.coordinator)),
            config,
            wish: Wish::Stop,
            link: Link::Off,
            failed: None,
            spec: None,
            run: None,
            data_ref: None,
            trainer: Trainer::Off,
            base: Base::None,
            head: None,
            fetches: Fetches::default(),
            witness: Witness::default(),
            promises: VecDeque::new(),
            status_at: 0,
            progress: None,
            written: Written::default(),
            out: VecDeque::new(),
        }
    }

    /// Takes one input in. Outputs wait in [`Contributor::poll`].
    pub fn handle(&mut self, now: Millis, input: Input) {
        match input {
            Input::Tick => {}
            Input::Start => {
                self.failed = None;
                self.wish = Wish::Train;
                // Whoever asks again doesn't want to wait.
                if let Link::Away { retry_at, .. } = &mut self.link {
                    *retry_at = now;
                }
            }
            Input::Finish => self.finish(now),
            Input::Stop => self.stop(),
            Input::Connected => self.connected(now),
            Input::Disconnected { why } => self.disconnected(now, why),
            Input::Message(message) => self.message(now, message),
            Input::Fetched { hash, result } => self.fetched(now, hash, result),
            Input::Report(report) => self.report(report),
            Input::Linked { peer } if self.wish == Wish::Stop => self.out.push_back(Output::Unlink(peer)),
            Input::Linked { peer } => {
                self.links.linked(now, peer);
                self.gossip();
            }
            Input::Unlinked { peer, why } => self.links.unlinked(now, peer, why),
            Input::Gossip { from, bytes } => {
                let theirs = Some(bytes).filter(|bytes| bytes.len() <= MAX_GOSSIP);
                let theirs = theirs.and_then(|bytes| postcard::from_bytes(&bytes).ok());
                if let (Some(terms), Some(theirs)) = (self.terms(), theirs) {
                    self.receipts.compare(&terms, &from, &theirs);
                }
            }
            Input::Traffic(traffic) => {
                let round = self.head.as_ref().map(|head| head.round);
                self.meter.take(now, round, traffic);
            }
        }
        self.advance(now);
    }

    /// What receipts are checked by, once the run is known.
    fn terms(&self) -> Option<Terms> {
        let (coordinator, me) = (self.config.coordinator, self.config.identity.id());
        let rule = crate::coordinator::rule(self.spec.as_ref()?);
        Some(Terms { coordinator, run: self.run?, rule, me })
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// Tells the others which ledger this contributor was shown.
    /// All of them at every change: there are a handful of links, and it is two hundred bytes.
    fn gossip(&mut self) {
        let to: Vec<_> = self.links.up().collect();
        if let Some(newest) = self.receipts.newest().filter(|_| !to.is_empty()) {
            let bytes = postcard::to_stdvec(newest).expect("a checkpoint has a finite serde form");
            self.out.push_back(Output::Gossip { to, bytes: bytes.into() });
        }
    }

    fn finish(&mut self, now: Millis) {
        /// How long after the deadline the round may take to fold before one stops waiting: the
        /// longest usual grace and a fold.
        const PATIENCE: Millis = 120_000;
        let Wish::Train = self.wish else { return };
        let open = self.head.as_ref().and_then(|head| head.open.as_ref());
        let Some(open) = open.filter(|open| open.stage != Stage::Announced) else { return self.stop() };
        let (mut round, mut until) = (open.manifest.round, open.deadline.max(now) + PATIENCE);
        if self.history.is_over(round) {
            // Nothing of this round awaits anything, as when one joined in its last second: what was done since is the
            // next one's.
            let rule = self.spec.as_ref().map(|spec| spec.round.seconds + spec.round.grace);
            (round, until) = (round + 1, until + 1000 * Millis::from(rule.unwrap_or(0)));
        }
        self.wish = Wish::Finish { round, until };
    }

    fn stop(&mut self) {
        self.wish = Wish::Stop;
        if let Trainer::Ready(_) = self.trainer {
            self.out.push_back(Output::Job(Job::Pause));
        }
        self.hang_up();
        self.out.extend(self.links.close().into_iter().map(Output::Unlink));
        if let Some(open) = self.head.as_mut().and_then(|head| head.open.as_mut()) {
            open.stage = Stage::Announced;
        }
        self.progress = None;
        self.witness.stop();
    }

    /// Stops for a reason that won't pass by itself.
    fn fail(&mut self, why: String) {
        self.failed = Some(why);
        self.stop();
    }

    fn hang_up(&mut self) {
        if !matches!(self.link, Link::Off) {
            self.out.push_back(Output::Hangup);
        }
        self.link = Link::Off;
        self.suspend();
    }

    fn connected(&mut self, now: Millis) {
        if let Link::Off = self.link {
            self.out.push_back(Output::Hangup);
            return;
        }
        self.link = Link::Greeting { until: now + GREETING_MS };
        let hello = Hello {
            version: PROTOCOL_VERSION,
            run: self.run.or(self.config.run),
            kind: self.config.kind,
            agent: bounded_text(&self.config.agent),
            links: self.config.links,
            witness: self.is_witness(),
            seen: self.receipts.seen(),
        };
        self.out.push_back(Output::Send(ToCoordinator::Hello(hello)));
    }

    fn disconnected(&mut self, now: Millis, why: String) {
        if let Link::Off | Link::Away { .. } = self.link {
            return;
        }
        // With a link up, what is under way goes on without the coordinator.
        if !self.links.any_up() {
            self.suspend();
        }
        self.link = Link::Away { retry_at: now + self.back_off.next(), why };
    }

    /// There is nobody to fetch from.
    fn suspend(&mut self) {
        self.fetches.suspend();
        self.witness.fetches.suspend();
    }
}

/// Whether an update of one round still counts in another.
fn counts(origin: u64, round: u64) -> bool {
    origin + u64::from(MAX_AGE) >= round
}

fn hash_of(head: &Head) -> Hash {
    head.base.hash
}
