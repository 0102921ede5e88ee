//! The select loop.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::mem::{Discriminant, discriminant};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use futures::channel::mpsc;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt, select_biased};
use tributary_protocol::contributor::{Config, Contributor, Input, Output};
use tributary_protocol::job::{Job, Report};
use tributary_protocol::limits::{MAX_GOSSIP, MAX_REFUSALS};
use tributary_protocol::message::{Message, ToContributor};
use tributary_protocol::view::{Link, Phase};
use tributary_protocol::{BlobRef, Hash, Id, Millis};
use tributary_swarm::{BlobStore, Event, Events, Handle, Multiaddr};

use crate::latest::Show;
use crate::links;
use crate::{Command, Options, Platform};

/// Milliseconds between snapshots while nothing but numbers changes: smooth to the eye, cheap.
const SHOW_EVERY_MS: Millis = 250;

/// Milliseconds between looks at the traffic: rates that a person can read.
const TRAFFIC_EVERY_MS: Millis = 1_000;

pub(crate) struct Driver<P: Platform> {
    machine: Contributor,
    coordinator: Id,
    address: Multiaddr,
    platform: P,
    jobs: mpsc::Sender<Job>,
    /// Jobs that the trainer hasn't room for yet. The machine has at most a handful under way.
    waiting: VecDeque<Job>,
    handle: Handle,
    store: Arc<dyn BlobStore>,
    show: Show,
    shown: Option<Shown>,
    /// The newest round that was seen.
    round: u64,
    measured_at: Millis,
    bad_frames: u32,
}

/// What of the newest snapshot is to be shown at once when it changes.
struct Shown {
    at: Millis,
    phase: Phase,
    link: Discriminant<Link>,
    /// The answer, and whether it has ended.
    answer: Option<(u32, bool)>,
}

impl<P: Platform> Driver<P> {
    pub(crate) fn new(
        options: Options,
        coordinator: Id,
        platform: P,
        jobs: mpsc::Sender<Job>,
        handle: Handle,
        store: Arc<dyn BlobStore>,
        show: Show,
    ) -> Self {
        let machine = Contributor::new(Config {
            identity: options.identity,
            coordinator,
            kind: options.kind,
            agent: options.agent,
            run: options.run,
            device: options.device,
            links: options.links,
            jitter: platform.random(),
            remembered: platform.remembered(),
        });
        let address = options.coordinator;
        handle.set_upload_limit(options.upload_limit);
        Self {
            machine,
            coordinator,
            address,
            platform,
            jobs,
            waiting: VecDeque::new(),
            handle,
            store,
            show,
            shown: None,
            round: 0,
            measured_at: 0,
            bad_frames: 0,
        }
    }

    pub(crate) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        reports: mpsc::Receiver<Report>,
        events: Events,
    ) {
        // Fused: after the trainer's end there are no more reports, and the loop goes on.
        let mut reports = reports.fuse();
        let mut events = events.fuse();
        let mut fetches = FuturesUnordered::new();
        let mut timer: Option<(Millis, Pin<Box<P::Sleep>>)> = None;
        loop {
            for blob in self.act() {
                fetches.push(fetch(self.handle.clone(), self.store.clone(), self.coordinator, blob));
            }
            self.measure_if_due();
            self.show_if_due();
            self.set_timer(&mut timer);
            let mut next_fetch = if fetches.is_empty() { None } else { Some(&mut fetches) };
            select_biased! {
                command = commands.next() => match command {
                    Some(Command::Start) => self.input(Input::Start),
                    Some(Command::Finish) => self.input(Input::Finish),
                    Some(Command::Stop) => self.input(Input::Stop),
                    Some(Command::UploadLimit(limit)) => self.handle.set_upload_limit(limit),
                    Some(Command::Order(job)) => self.order(job),
                    Some(Command::Quit) | None => {
                        self.input(Input::Stop);
                        self.act();
                        return;
                    }
                },
                event = events.next() => match event {
                    Some(event) => self.event(event),
                    None => return,
                },
                report = reports.next() => match report.unwrap_or_else(trainer_is_gone) {
                    Report::Packed(part) => self.platform.packed(part),
                    report => self.input(Input::Report(report)),
                },
                (hash, result) = poll_fn(|cx| match &mut next_fetch {
                    Some(fetches) => fetches.poll_next_unpin(cx).map(|done| done.expect("there is a fetch")),
                    None => Poll::Pending,
                }).fuse() => self.input(Input::Fetched { hash, result }),
                () = send_waiting(&mut self.jobs, &mut self.waiting).fuse() => {}
                () = wait(&mut timer).fuse() => {
                    timer = None;
                    self.input(Input::Tick);
                }
            }
        }
    }

    fn input(&mut self, input: Input) {
        self.machine.handle(self.platform.now(), input);
    }

    /// Gives the trainer an order of the person's, in place of one of its kind that still waits.
    fn order(&mut self, job: Job) {
        let kind = discriminant(&job);
        self.waiting.retain(|waiting| discriminant(waiting) != kind);
        self.waiting.push_back(job);
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Connected { peer, .. } if peer == self.coordinator => {
                self.bad_frames = 0;
                self.input(Input::Connected);
            }
            Event::Disconnected { peer, why } if peer == self.coordinator => self.input(Input::Disconnected { why }),
            Event::DialFailed { addr, why } => match tributary_swarm::id_of(&addr) {
                Some(peer) if peer != self.coordinator => self.input(Input::Unlinked { peer, why }),
                _ => self.input(Input::Disconnected { why }),
            },
            Event::Frame { peer, frame } if peer == self.coordinator => match ToContributor::decode(&frame) {
                Ok(message) => self.input(Input::Message(message)),
                Err(why) => {
                    tracing::warn!(%why, "refused a frame of the coordinator's");
                    self.bad_frames += 1;
                    if self.bad_frames == MAX_REFUSALS {
                        self.handle.disconnect(peer);
                    }
                }
            },
            // Contributors only compare checkpoints.
            Event::Frame { peer, frame } if frame.len() <= MAX_GOSSIP => {
                self.input(Input::Gossip { from: peer, bytes: frame.into() });
            }
            Event::Frame { peer, .. } => self.handle.disconnect(peer),
            Event::Connected { peer, .. } => self.input(Input::Linked { peer }),
            Event::Disconnected { peer, why } => self.input(Input::Unlinked { peer, why }),
            Event::Listening(_) => {}
        }
    }

    /// Does what the machine wants done; returns the blobs to fetch.
    fn act(&mut self) -> Vec<BlobRef> {
        let mut wanted = Vec::new();
        while let Some(output) = self.machine.poll() {
            match output {
                Output::Dial => {
                    if let Err(error) = self.handle.dial(self.address.clone()) {
                        self.input(Input::Disconnected { why: error.to_string() });
                    }
                }
                Output::Hangup => self.handle.disconnect(self.coordinator),
                Output::Send(message) => {
                    if let Err(error) = self.handle.send(self.coordinator, message.encode()) {
                        // A coordinator that doesn't read is as good as away: meet it afresh.
                        tracing::debug!(%error, "hanging up");
                        self.handle.disconnect(self.coordinator);
                    }
                }
                Output::Fetch(blob) => wanted.push(blob),
                Output::Offer(blob, bytes) => {
                    if let Err(error) = self.store.put(&blob, bytes) {
                        tracing::warn!(%error, "the update can't be offered");
                    }
                }
                Output::Remember(bytes) => self.platform.remember(bytes),
                // Whoever is gone or lags gets the next one.
                Output::Gossip { to, bytes } => to.into_iter().for_each(|peer| {
                    let _ = self.handle.send(peer, bytes.clone());
                }),
                Output::Job(job) => self.waiting.push_back(job),
                Output::Link(peer) => {
                    if let Err(why) = links::dial(&self.handle, &self.address, peer) {
                        self.input(Input::Unlinked { peer, why });
                    }
                }
                Output::Unlink(peer) => self.handle.disconnect(peer),
            }
        }
        wanted
    }

    fn measure_if_due(&mut self) {
        let now = self.platform.now();
        if now >= self.measured_at + TRAFFIC_EVERY_MS {
            self.measured_at = now;
            self.input(Input::Traffic(links::traffic(&self.handle, &self.coordinator)));
        }
    }

    fn show_if_due(&mut self) {
        let now = self.platform.now();
        let snapshot = self.machine.snapshot(now);
        if let Some(round) = snapshot.round.map(|round| round.round).filter(|round| *round != self.round) {
            self.round = round;
            self.store.round_over();
        }
        let link = discriminant(&snapshot.link);
        // A text that has begun or ended is shown at once: afterwards there may be nothing that wakes this up.
        let answer = snapshot.answer.as_ref().map(|answer| (answer.id, answer.end.is_some()));
        let due = self.shown.as_ref().is_none_or(|shown| {
            let changed = shown.phase != snapshot.phase || (shown.link, shown.answer) != (link, answer);
            changed || now >= shown.at + SHOW_EVERY_MS
        });
        if due {
            self.shown = Some(Shown { at: now, phase: snapshot.phase.clone(), link, answer });
            self.show.show(snapshot);
        }
    }

    /// Keeps a timer that is early enough; an idle contributor has none.
    fn set_timer(&self, timer: &mut Option<(Millis, Pin<Box<P::Sleep>>)>) {
        let show = self.shown.as_ref().filter(|shown| shown.phase != Phase::Idle).map(|shown| shown.at + SHOW_EVERY_MS);
        let Some(wake_at) = [self.machine.wake_at(), show].into_iter().flatten().min() else { return };
        if timer.as_ref().is_none_or(|(at, _)| wake_at < *at) {
            let ms = wake_at.saturating_sub(self.platform.now());
            *timer = Some((wake_at, Box::pin(self.platform.sleep(ms))));
        }
    }
}

async fn wait<S: Future<Output = ()>>(timer: &mut Option<(Millis, Pin<Box<S>>)>) {
    match timer {
        Some((_, sleep)) => sleep.as_mut().await,
        None => std::future::pending().await,
    }
}

/// Hands the trainer the next job once it has room.
async fn send_waiting(jobs: &mut mpsc::Sender<Job>, waiting: &mut VecDeque<Job>) {
    if waiting.is_empty() {
        return std::future::pending().await;
    }
    // A trainer that is gone is noticed by the end of its reports.
    if poll_fn(|cx| jobs.poll_ready(cx)).await.is_ok()
        && let Some(job) = waiting.pop_front()
    {
        let _ = jobs.start_send(job);
    } else {
        waiting.clear();
    }
}

/// A blob from the store, or else from linked contributors and, last, the coordinator. It stays in the
/// store, for those who ask this contributor.
async fn fetch(handle: Handle, store: Arc<dyn BlobStore>, from: Id, blob: BlobRef) -> (Hash, Result<Bytes, String>) {
    if store.len(&blob.hash) == Some(blob.bytes)
        && let Ok(Some(bytes)) = store.read(&blob.hash, 0..blob.bytes)
    {
        return (blob.hash, Ok(bytes));
    }
    (blob.hash, handle.fetch(from, blob).await.map_err(|error| error.to_string()))
}

fn trainer_is_gone() -> Report {
    let what = "The trainer has ended unexpectedly, so this device can't train. Start again; if it ends again, try \
                another device setting and tell whoever runs the coordinator.";
    Report::Trouble { what: what.to_owned(), fatal: true }
}
