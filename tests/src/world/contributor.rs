//! One contributor: the machine, its driver, its trainer and its disk.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use tributary_protocol::contributor::{Config, Contributor, Input, Output};
use tributary_protocol::job::{DeviceChoice, Report};
use tributary_protocol::limits::MAX_AGE;
use tributary_protocol::message::{Message, PeerKind};
use tributary_protocol::view::Snapshot;
use tributary_protocol::{BlobRef, Hash, Id, Identity, Millis};

use super::network::Wire;
use super::{Event, World};
use crate::trainer::own_coordinate;
use crate::{Morals, Random, SimTrainer};

/// A contributor.
#[derive(Debug)]
pub struct Node {
    pub(super) machine: Contributor,
    pub(super) identity: Identity,
    /// Steps of earlier lives.
    trained_before: u64,
    pub(super) trainer: SimTrainer,
    /// As many of the newest updates as can count.
    pub(super) offered: VecDeque<(Hash, Bytes)>,
    /// Milliseconds that the coordinator takes to fetch one, if it isn't as long as on any link.
    pub(super) upload_ms: Option<(Millis, Millis)>,
    /// When its link has no more blobs to carry, up and down, in microseconds.
    pub(super) link_free_at: (u64, u64),
    pub(super) alive: bool,
    pub(super) life: u32,
    pub(super) cut_off: bool,
    pub(super) connection: Option<u64>,
    pub(super) hung_up: Option<u64>,
    /// When the newest frame to the coordinator, and from it, arrives.
    pub(super) arrives: (Millis, Millis),
    /// When the trainer's newest report arrives; reports keep their order.
    reports_at: Millis,
    wakes_at: Option<Millis>,
    states: BTreeMap<u64, Hash>,
    dials: u32,
    link_dials: u32,
    /// What it fetched, for whoever is linked with it.
    fetched: BTreeMap<Hash, Bytes>,
    /// What it keeps of the ledger, on its disk.
    remembered: Option<Bytes>,
}

impl Node {
    /// Its id.
    pub fn id(&self) -> Id {
        self.identity.id()
    }

    /// Its keys.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The state hash that it computed for each round's base.
    pub fn states(&self) -> &BTreeMap<u64, Hash> {
        &self.states
    }

    /// What its person sees.
    pub fn snapshot(&self, now: Millis) -> Snapshot {
        self.machine.snapshot(now)
    }

    /// Steps it did in all its lives.
    pub fn trained(&self) -> u64 {
        self.trained_before + self.trainer.trained()
    }

    /// Steps it did since its last update.
    pub fn uncut(&self) -> u64 {
        self.trainer.uncut()
    }

    /// Times it dialled.
    pub fn dials(&self) -> u32 {
        self.dials
    }

    /// Times it dialled another contributor.
    pub fn link_dials(&self) -> u32 {
        self.link_dials
    }

    pub(super) fn describe(&self, now: Millis) -> String {
        let snapshot = self.machine.snapshot(now);
        format!("{:?} {:?} {:?} {:?}", snapshot.phase, snapshot.link, snapshot.round, snapshot.notice)
    }
}

impl World {
    /// Another contributor comes and trains.
    pub fn join(&mut self) -> usize {
        let index = self.nodes.len();
        let identity = Identity::from_secret(self.random.secret());
        self.index.insert(identity.id(), index);
        let (machine, trainer) = self.life(index, &identity);
        self.nodes.push(Node {
            machine,
            identity,
            trained_before: 0,
            trainer,
            offered: VecDeque::new(),
            upload_ms: None,
            link_free_at: (0, 0),
            alive: true,
            life: 0,
            cut_off: false,
            connection: None,
            hung_up: None,
            arrives: (0, 0),
            reports_at: 0,
            wakes_at: None,
            states: BTreeMap::new(),
            dials: 0,
            link_dials: 0,
            fetched: BTreeMap::new(),
            remembered: None,
        });
        self.node_input(index, Input::Start);
        index
    }

    fn life(&mut self, index: usize, identity: &Identity) -> (Contributor, SimTrainer) {
        let machine = Contributor::new(Config {
            identity: identity.clone(),
            coordinator: self.host.identity.id(),
            kind: PeerKind::Native,
            agent: "simulated".to_owned(),
            run: None,
            device: DeviceChoice::Cpu,
            links: true,
            jitter: self.random.bits(),
            remembered: self.nodes.get(index).and_then(|node| node.remembered.clone()),
        });
        let own = own_coordinate(index, self.run.spec.model.params());
        let random = Random::new(self.random.bits());
        let mut trainer = SimTrainer::new(self.config.pace, own, self.config.withholds, random);
        trainer.pauses = self.config.costs.as_ref().map(|costs| costs.pauses);
        trainer.morals = self.nodes.get(index).map(|node| node.trainer.morals).unwrap_or_default();
        (machine, trainer)
    }

    /// A contributor dies without a word: its weights and what it offered are gone.
    pub fn crash(&mut self, node: usize) {
        self.nodes[node].alive = false;
        self.nodes[node].life += 1;
        self.nodes[node].hung_up = None;
        self.nodes[node].offered.clear();
        self.nodes[node].fetched.clear();
        self.unlink_all(node);
        if let Some(connection) = self.nodes[node].connection.take() {
            self.close(node, connection, "gone");
        }
    }

    /// A contributor that died comes back under its name.
    pub fn revive(&mut self, node: usize) {
        let identity = self.nodes[node].identity.clone();
        let (machine, trainer) = self.life(node, &identity);
        let node_ref = &mut self.nodes[node];
        node_ref.trained_before += std::mem::replace(&mut node_ref.trainer, trainer).trained();
        (node_ref.machine, node_ref.alive, node_ref.wakes_at) = (machine, true, None);
        self.node_input(node, Input::Start);
    }

    /// Cuts a contributor off from the coordinator, or lets it through again.
    pub fn cut_off(&mut self, node: usize, cut_off: bool) {
        self.nodes[node].cut_off = cut_off;
        if let (true, Some(connection)) = (cut_off, self.nodes[node].connection) {
            self.close(node, connection, "the network is down");
        }
    }

    /// Makes a contributor's steps so much larger than they should be.
    pub fn exaggerate(&mut self, node: usize, loudness: f32) {
        self.nodes[node].trainer.loudness = loudness;
    }

    /// Makes a contributor one of these morals, and it stays so.
    pub fn tempt(&mut self, node: usize, morals: Morals) {
        self.nodes[node].trainer.morals = morals;
    }

    /// Makes a contributor's updates take so long to the coordinator, least and most.
    pub fn upload_takes(&mut self, node: usize, ms: (Millis, Millis)) {
        self.nodes[node].upload_ms = Some(ms);
    }

    /// What the person or a test does to a contributor.
    pub fn node_input(&mut self, node: usize, input: Input) {
        if !self.nodes[node].alive {
            return;
        }
        self.nodes[node].machine.handle(self.now, input);
        while let Some(output) = self.nodes[node].machine.poll() {
            self.node_does(node, output);
        }
        let wake_at = self.nodes[node].machine.wake_at();
        if let Some(at) = wake_at
            && self.nodes[node].wakes_at.is_none_or(|known| at < known)
        {
            self.nodes[node].wakes_at = Some(at);
            let life = self.nodes[node].life;
            self.at(at, Event::NodeWakes { node, life });
        }
    }

    fn node_does(&mut self, node: usize, output: Output) {
        let life = self.nodes[node].life;
        match output {
            Output::Dial => {
                self.nodes[node].dials += 1;
                let ms = 2 * self.random.from_to(self.config.net.latency_ms);
                self.later(ms, Event::Wire(Wire::Dialled { node, life }));
            }
            Output::Hangup => {
                if let Some(connection) = self.nodes[node].connection.take() {
                    self.nodes[node].hung_up = Some(connection);
                    self.close(node, connection, "hung up");
                }
            }
            Output::Send(message) => self.send_to_host(node, message.encode()),
            Output::Fetch(blob) => {
                let ms = self.download_ms(node, blob);
                self.later(ms, Event::NodeFetched { node, life, blob });
            }
            Output::Offer(blob, bytes) => {
                let offered = &mut self.nodes[node].offered;
                offered.push_back((blob.hash, bytes));
                if offered.len() > 2 * (usize::from(MAX_AGE) + 1) {
                    offered.pop_front();
                }
            }
            Output::Job(job) => {
                for report in self.nodes[node].trainer.job(self.now, job) {
                    // Long enough that other inputs come between an order and its answer.
                    let ms = self.random.from_to((1, 60));
                    let done = self.now.max(self.nodes[node].trainer.busy_until());
                    let at = (done + ms).max(self.nodes[node].reports_at);
                    self.nodes[node].reports_at = at;
                    self.at(at, Event::NodeReports { node, life, report });
                }
            }
            Output::Remember(bytes) => self.nodes[node].remembered = Some(bytes),
            Output::Gossip { to, bytes } => {
                let linked: Vec<_> = self.linked(node).filter(|peer| to.contains(&self.nodes[*peer].id())).collect();
                for peer in linked {
                    let (from, bytes) = (self.nodes[node].id(), bytes.clone());
                    self.node_input(peer, Input::Gossip { from, bytes });
                }
            }
            Output::Link(peer) => {
                self.nodes[node].link_dials += 1;
                self.link(node, self.index[&peer]);
            }
            Output::Unlink(peer) => self.unlink(node, self.index[&peer]),
        }
    }

    pub(super) fn node_wakes(&mut self, node: usize, life: u32) {
        if self.nodes[node].life == life {
            self.nodes[node].wakes_at = None;
            self.node_input(node, Input::Tick);
        }
    }

    pub(super) fn node_reports(&mut self, node: usize, life: u32, report: Report) {
        if self.nodes[node].life != life {
            return;
        }
        if let Report::Based { round, hash } = report {
            let known = *self.nodes[node].states.entry(round).or_insert(hash);
            assert_eq!(known, hash, "two states for round {round}");
        }
        self.node_input(node, Input::Report(report));
    }

    pub(super) fn node_fetched(&mut self, node: usize, life: u32, blob: BlobRef) {
        if self.nodes[node].life != life {
            return;
        }
        let fails = self.random.happens(self.config.net.failed_fetches);
        let online = self.nodes[node].connection.is_some() && self.host.machine.is_some();
        let host = self.host.blobs.get(&blob.hash).filter(|_| online);
        let linked = || self.linked(node).find_map(|peer| self.nodes[peer].fetched.get(&blob.hash));
        let found = host.or_else(linked).filter(|_| !fails).cloned();
        if let Some(bytes) = &found {
            self.nodes[node].fetched.insert(blob.hash, bytes.clone());
        }
        let result = found.ok_or_else(|| "the source is away".to_owned());
        self.node_input(node, Input::Fetched { hash: blob.hash, result });
    }
}
