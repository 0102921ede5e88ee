//! The driver of a contributor: one select loop that joins the round's machine, the swarm and the
//! trainer. The same in a tab and natively; what differs between them is a [`Platform`].
//!
//! Enters: the person's wishes, swarm events, trainer reports, time. Leaves: snapshots for people.
//! Refuses frames that are no messages, and hangs up on a coordinator that keeps sending them.

mod driver;
mod latest;
mod links;

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures::channel::mpsc;
use tributary_protocol::job::{Ask, DeviceChoice, Job, Packed, Report};
use tributary_protocol::message::PeerKind;
use tributary_protocol::{Hash, Identity, Millis};
use tributary_swarm::{BlobStore, Events, Handle, Multiaddr};

pub use latest::Snapshots;

/// What the host provides.
pub trait Platform {
    /// A wait.
    type Sleep: Future<Output = ()> + 'static;

    /// Milliseconds on a clock that only goes forward.
    fn now(&self) -> Millis;

    /// Waits for `ms` milliseconds.
    fn sleep(&self, ms: u64) -> Self::Sleep;

    /// A random number; needn't be secret.
    fn random(&self) -> u64;

    /// What was last to be remembered, if it is still there.
    fn remembered(&self) -> Option<Bytes>;

    /// Keeps a few hundred bytes over restarts, in place of what was kept before.
    fn remember(&self, bytes: Bytes);

    /// Takes a part of the model that [`Control::pack`] asked for. Whoever never asks needn't.
    fn packed(&self, _part: Packed) {}
}

/// Who contributes, and where to.
#[derive(Debug, Clone)]
pub struct Options {
    /// The contributor.
    pub identity: Identity,
    /// The coordinator's address, which ends in `/p2p/` and its id.
    pub coordinator: Multiaddr,
    /// Tab or native.
    pub kind: PeerKind,
    /// Program and version, for people.
    pub agent: String,
    /// The device to train on.
    pub device: DeviceChoice,
    /// The run to join; `None`: whichever the coordinator trains.
    pub run: Option<Hash>,
    /// Whether the node can link with other contributors.
    pub links: bool,
    /// Bytes a second that blobs may take of this machine's upload, all peers together; `None`: without a
    /// limit.
    pub upload_limit: Option<u64>,
}

/// The two ends of a trainer, whatever thread or worker it runs on.
#[derive(Debug)]
pub struct TrainerLink {
    /// Orders.
    pub jobs: mpsc::Sender<Job>,
    /// Answers. When this ends the trainer is gone, and the person is told.
    pub reports: mpsc::Receiver<Report>,
}

/// The person's hand on the contributor. Clones control the same one.
#[derive(Debug, Clone)]
pub struct Control(mpsc::Sender<Command>);

#[derive(Debug, Clone)]
enum Command {
    Start,
    Finish,
    Stop,
    UploadLimit(Option<u64>),
    /// A wish that changes nothing of what is agreed with others, so the machine needn't know.
    Order(Job),
    Quit,
}

/// Wishes that wait for the driver. A person can't press faster than it looks.
const COMMANDS: usize = 16;

impl Control {
    /// Connect and train.
    pub fn start(&mut self) {
        self.send(Command::Start);
    }

    /// Stop once this round's update is in.
    pub fn finish(&mut self) {
        self.send(Command::Finish);
    }

    /// Stop now.
    pub fn stop(&mut self) {
        self.send(Command::Stop);
    }

    /// From now on blobs may take so many bytes a second of this machine's upload; `None`: without a limit.
    pub fn upload_limit(&mut self, bytes_per_second: Option<u64>) {
        self.send(Command::UploadLimit(bytes_per_second));
    }

    /// From now on train so many per cent of the time.
    pub fn pace(&mut self, percent: u8) {
        self.send(Command::Order(Job::Pace { percent }));
    }

    /// Have the model write on from a text; snapshots show what it writes. Another request ends the one before.
    pub fn generate(&mut self, ask: Ask) {
        self.send(Command::Order(Job::Generate(ask)));
    }

    /// Have it write no more.
    pub fn hush(&mut self) {
        self.send(Command::Order(Job::Hush));
    }

    /// Pack the model as files, which [`Platform::packed`] gets.
    pub fn pack(&mut self) {
        self.send(Command::Order(Job::Pack));
    }

    /// Stop now and end the driver.
    pub fn quit(&mut self) {
        self.send(Command::Quit);
    }

    fn send(&mut self, command: Command) {
        // Full: the same wish is already waiting many times. Closed: there is nothing to control.
        let _ = self.0.try_send(command);
    }
}

/// An address that doesn't name the peer to find there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the address {0} does not end in /p2p/ and the coordinator's id")]
pub struct NoPeerId(pub Multiaddr);

impl NoPeerId {
    /// Always: there is nobody to connect to.
    pub fn is_fatal(&self) -> bool {
        true
    }
}

/// A contributor: its controls, what to show, and the driver, which the host must run. It begins
/// idle and ends after [`Control::quit`] or when every [`Control`] is gone.
pub fn contributor<P: Platform>(
    options: Options,
    platform: P,
    trainer: TrainerLink,
    handle: Handle,
    events: Events,
    store: Arc<dyn BlobStore>,
) -> Result<(Control, Snapshots, impl Future<Output = ()> + use<P>), NoPeerId> {
    let coordinator =
        tributary_swarm::id_of(&options.coordinator).ok_or_else(|| NoPeerId(options.coordinator.clone()))?;
    let (control, commands) = mpsc::channel(COMMANDS);
    let (show, snapshots) = latest::latest();
    let driver = driver::Driver::new(options, coordinator, platform, trainer.jobs, handle, store, show);
    Ok((Control(control), snapshots, driver.run(commands, trainer.reports, events)))
}
