//! The contributor's side of the round, as a machine that does no input or output.
//!
//! Enters: time, the person's wishes, the coordinator's messages, fetched blobs and the trainer's
//! reports. Leaves: what to dial, send, fetch and offer, and jobs for the trainer. Refuses messages
//! that the coordinator did not sign, rounds that don't follow from what it knows, and folds whose
//! result isn't the announced state.
//!
//! After every input [`Contributor::advance`] compares what there is with what there should be and
//! asks for the difference, so that a lost message, a failed fetch or an absent coordinator delays
//! a round but never needs a path of its own.

mod advance;
mod back_off;
mod fetches;
mod show;

use std::collections::VecDeque;

use bytes::Bytes;

use crate::job::{DeviceChoice, DeviceInfo, Job, Progress, Report};
use crate::limits::MAX_SHARD;
use crate::message::{
    Commit, FoldManifest, Hello, Open, PeerKind, Refusal, Roster, RoundManifest, ToContributor, ToCoordinator, Welcome,
    bounded_text,
};
use crate::spec::RunSpec;
use crate::view::Verdict;
use crate::{BlobRef, Hash, Id, Identity, Millis, PROTOCOL_VERSION, Signed};
use back_off::BackOff;
use fetches::{Fetches, Purpose};
use show::History;

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
    /// Seeds the jitter of reconnecting.
    pub jitter: u64,
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
    /// Have this blob ready for whoever asks; until another is offered.
    Offer(BlobRef, Bytes),
    /// An order for the trainer.
    Job(Job),
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
    Greeting,
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
    Failed(String),
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

/// This round's promise, kept until the round has folded so that it can be repeated.
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
    promise: Option<Promise>,
    status_at: Millis,
    progress: Option<Progress>,
    history: History,
    out: VecDeque<Output>,
}

impl Contributor {
    /// A contributor that waits for [`Input::Start`].
    pub fn new(config: Config) -> Self {
        Self {
            back_off: BackOff::new(config.jitter),
            history: History::default(),
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
            promise: None,
            status_at: 0,
            progress: None,
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
            }
            Input::Finish => self.finish(now),
            Input::Stop => self.stop(),
            Input::Connected => self.connected(),
            Input::Disconnected { why } => self.disconnected(now, why),
            Input::Message(message) => self.message(now, message),
            Input::Fetched { hash, result } => self.fetched(now, hash, result),
            Input::Report(report) => self.report(report),
        }
        self.advance(now);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    fn finish(&mut self, now: Millis) {
        /// How long after the deadline the round may take to fold before one stops waiting: the
        /// longest usual grace and a fold.
        const PATIENCE: Millis = 120_000;
        let Wish::Train = self.wish else { return };
        match self.head.as_ref().and_then(|head| head.open.as_ref()) {
            Some(open) if open.stage != Stage::Announced => {
                let until = open.deadline.max(now) + PATIENCE;
                self.wish = Wish::Finish { round: open.manifest.round, until };
            }
            _ => self.stop(),
        }
    }

    fn stop(&mut self) {
        self.wish = Wish::Stop;
        if let Trainer::Ready(_) = self.trainer {
            self.out.push_back(Output::Job(Job::Pause));
        }
        self.hang_up();
        if let Some(open) = self.head.as_mut().and_then(|head| head.open.as_mut()) {
            open.stage = Stage::Announced;
        }
        self.progress = None;
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
        self.fetches.suspend();
    }

    fn connected(&mut self) {
        if let Link::Off = self.link {
            self.out.push_back(Output::Hangup);
            return;
        }
        self.link = Link::Greeting;
        let hello = Hello {
            version: PROTOCOL_VERSION,
            run: self.run.or(self.config.run),
            kind: self.config.kind,
            agent: bounded_text(&self.config.agent),
        };
        self.out.push_back(Output::Send(ToCoordinator::Hello(hello)));
    }

    fn disconnected(&mut self, now: Millis, why: String) {
        if let Link::Off = self.link {
            return;
        }
        self.fetches.suspend();
        self.link = Link::Away { retry_at: now + self.back_off.next(), why };
    }

    fn message(&mut self, now: Millis, message: ToContributor) {
        match message {
            ToContributor::Welcome(welcome) => self.welcome(now, *welcome),
            ToContributor::Refused(refusal) => self.refused(now, refusal),
            ToContributor::Open(open) => self.open(now, open),
            ToContributor::Verdict { round, refused } => {
                let verdict = refused.map_or(Verdict::Accepted, |why| Verdict::Refused { why: why.to_string() });
                self.history.verdict(round, verdict);
            }
            ToContributor::Folded(fold) => self.folded(&fold),
            ToContributor::Evaluated(evaluation) => self.history.evaluated(&evaluation),
            ToContributor::Roster(roster) => self.roster(roster),
        }
    }

    fn welcome(&mut self, now: Millis, welcome: Welcome) {
        if !matches!(self.link, Link::Greeting) {
            return;
        }
        let run = welcome.spec.id();
        if let Some(known) = self.run.or(self.config.run)
            && known != run
        {
            let refusal = Refusal::Run { ours: run, yours: known };
            return self.fail(refusal.to_string());
        }
        if let Err(error) = welcome.spec.check() {
            return self.fail(format!("The coordinator's run can't be trained here: {error}."));
        }
        if welcome.base.bytes != welcome.spec.model.params() * 4 {
            return self.fail("The coordinator's weights don't fit its model. Tell whoever runs it.".to_owned());
        }
        self.link = Link::Online;
        self.back_off.reset();
        self.data_ref = Some(welcome.spec.data);
        self.run = Some(run);
        self.spec = Some(welcome.spec);
        self.history.credits = welcome.credits;
        welcome.evaluations.iter().for_each(|evaluation| self.history.evaluated(evaluation));
        self.move_head(welcome.round, welcome.base, None);
        if let Some(open) = welcome.open {
            self.open(now, open);
        }
        // The promise may not have got through; the coordinator takes the same one twice.
        if let Some(promise) = self.promise.as_ref().filter(|promise| promise.round == welcome.round) {
            self.out.push_back(Output::Send(ToCoordinator::Commit(promise.commit.clone())));
        }
    }

    fn refused(&mut self, now: Millis, refusal: Refusal) {
        if refusal.is_final() {
            return self.fail(format!("Not joined: {refusal}."));
        }
        self.out.push_back(Output::Hangup);
        self.disconnected(now, refusal.to_string());
    }

    fn open(&mut self, now: Millis, open: Open) {
        let Ok(manifest) = open.manifest.open(&self.config.coordinator) else {
            return self.history.notice("A round that the coordinator didn't sign was refused.");
        };
        if Some(manifest.run) != self.run {
            return;
        }
        let Some(head) = &mut self.head else { return };
        if manifest.round != head.round || manifest.base != head.base.hash {
            return;
        }
        // The same round announced twice goes on; the same number with another seed begins again.
        if head.open.as_ref().is_some_and(|known| known.manifest == manifest) {
            return;
        }
        if self.promise.as_ref().is_some_and(|promise| promise.round == manifest.round) {
            self.promise = None;
        }
        let deadline = now.saturating_add(open.remaining_ms.min(86_400_000));
        head.open = Some(OpenRound { manifest, deadline, stage: Stage::Announced });
    }

    fn folded(&mut self, fold: &Signed<FoldManifest>) {
        let Ok(manifest) = fold.open(&self.config.coordinator) else {
            return self.history.notice("A fold that the coordinator didn't sign was refused.");
        };
        let Some(head) = &self.head else { return };
        let follows = manifest.round == head.round && manifest.base == head.base.hash;
        let weights = head.base.bytes;
        if Some(manifest.run) != self.run || !follows || !manifest.is_bounded() || manifest.next.bytes != weights {
            return;
        }
        self.history.settled(&manifest, &self.config.identity.id());
        self.promise = None;
        self.move_head(manifest.round + 1, manifest.next, Some(manifest.step));
    }

    fn move_head(&mut self, round: u64, base: BlobRef, step: Option<BlobRef>) {
        if let Some(head) = &self.head {
            if (head.round, head.base) == (round, base) {
                return;
            }
            self.fetches.cancel(|purpose| matches!(purpose, Purpose::Snapshot | Purpose::Step { .. }));
            if self.promise.as_ref().is_some_and(|promise| promise.round < round) {
                self.promise = None;
            }
        }
        self.head = Some(Head { round, base, open: None, step });
    }

    fn roster(&mut self, roster: Roster) {
        self.history.roster = roster;
    }

    fn fetched(&mut self, now: Millis, hash: Hash, result: Result<Bytes, String>) {
        let Some((blob, purpose, result)) = self.fetches.done(now, hash, result) else { return };
        let bytes = match result {
            Ok(bytes) => bytes,
            Err(why) => return self.history.notice(&format!("Fetching {purpose} failed ({why}); trying again.")),
        };
        match purpose {
            Purpose::Data => {
                let (Some(spec), Trainer::Off) = (&self.spec, &self.trainer) else { return };
                let (spec, me) = (Box::new(spec.clone()), self.config.identity.id());
                let start = Job::Start { spec, data: bytes, me, device: self.config.device };
                self.trainer = Trainer::Starting;
                self.out.push_back(Output::Job(start));
            }
            Purpose::Shard => self.out.push_back(Output::Job(Job::Shard { hash: blob.hash, bytes })),
            Purpose::Snapshot => {
                let Some(head) = self.head.as_ref().filter(|head| head.base == blob) else { return };
                self.base = Base::Coming { round: head.round, hash: hash_of(head) };
                self.out.push_back(Output::Job(Job::Base { round: head.round, hash, weights: bytes }));
            }
            Purpose::Step { round } => {
                let Some(head) = self.head.as_ref().filter(|head| head.round == round + 1) else { return };
                let next = hash_of(head);
                self.base = Base::Coming { round: round + 1, hash: next };
                self.out.push_back(Output::Job(Job::Fold { round, step: bytes, next }));
            }
        }
    }

    fn report(&mut self, report: Report) {
        match report {
            Report::Ready(device) => self.trainer = Trainer::Ready(device),
            Report::Based { round, hash } => {
                self.base = Base::At { round, hash };
                self.history.based(round, hash);
            }
            Report::Mismatch { round, got } => {
                let got = got.map_or_else(|| "nothing usable".to_owned(), |hash| hash.short());
                self.history.notice(&format!(
                    "Round {round}'s step led to {got} instead of the announced state; fetching the whole state."
                ));
                self.base = Base::None;
                if let Some(head) = &mut self.head {
                    head.step = None;
                }
            }
            Report::Need(blob) if blob.bytes <= MAX_SHARD => self.fetches.want(blob, Purpose::Shard),
            Report::Need(_) => {
                self.history.notice("The data manifest names a shard that is too large; it is left out.")
            }
            Report::Progress(progress) => {
                self.history.progress(&progress);
                self.progress = Some(progress);
            }
            Report::Update { round, base, update, tokens, loss_first, loss_last } => {
                self.updated(round, base, update, tokens, [loss_first, loss_last]);
            }
            Report::Withheld { round, why } => {
                self.history.cut(round, 0, None, Verdict::Withheld { why });
                if self.cut_is_in(round) && matches!(self.link, Link::Online) {
                    self.out.push_back(Output::Send(ToCoordinator::Pass { round }));
                }
            }
            Report::Trouble { what, fatal: true } => {
                self.trainer = Trainer::Failed(what.clone());
                self.base = Base::None;
                self.fail(what);
            }
            Report::Trouble { what, fatal: false } => self.history.notice(&what),
        }
    }

    fn updated(&mut self, round: u64, base: Hash, update: Bytes, tokens: u64, losses: [f32; 2]) {
        let Some(run) = self.run else { return };
        if !self.cut_is_in(round) {
            return;
        }
        let blob = BlobRef::of(&update);
        let [loss_first, loss_last] = losses;
        let commit = Commit { run, round, base, update: blob, tokens, loss_first, loss_last };
        let commit = Signed::new(&self.config.identity, &commit);
        self.history.cut(round, tokens, Some(loss_last), Verdict::Sent);
        self.out.push_back(Output::Offer(blob, update));
        if let Link::Online = self.link {
            self.out.push_back(Output::Send(ToCoordinator::Commit(commit.clone())));
        }
        self.promise = Some(Promise { round, commit });
    }

    /// Marks the open round as cut, if it is this one.
    fn cut_is_in(&mut self, round: u64) -> bool {
        match self.head.as_mut().and_then(|head| head.open.as_mut()) {
            Some(open) if open.manifest.round == round && open.stage == Stage::Cutting => {
                open.stage = Stage::Cut;
                true
            }
            _ => false,
        }
    }
}

fn hash_of(head: &Head) -> Hash {
    head.base.hash
}
