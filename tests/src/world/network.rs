//! Control streams: latency, and what else can happen to a frame.

use std::sync::Arc;

use tributary_protocol::Millis;
use tributary_protocol::contributor as contributor_machine;
use tributary_protocol::coordinator as coordinator_machine;
use tributary_protocol::message::{Message, ToContributor, ToCoordinator};

use super::{Event, World};

/// What a network does to frames and fetches. Rates are in a thousand.
#[derive(Debug, Clone, PartialEq)]
pub struct Net {
    /// Milliseconds one way, least and most.
    pub latency_ms: (Millis, Millis),
    /// Whether frames of a connection stay in order, as a stream keeps them.
    pub ordered: bool,
    /// Frames that vanish without a trace.
    pub lost: u32,
    /// Frames that arrive twice.
    pub doubled: u32,
    /// Frames with which their connection breaks.
    pub breaks: u32,
    /// Fetches that fail.
    pub failed_fetches: u32,
    /// Links between contributors that don't come up, and of the others those that break within a minute.
    pub failed_links: u32,
    /// Milliseconds of a fetch, least and most.
    pub fetch_ms: (Millis, Millis),
}

impl Net {
    /// A network without faults.
    pub fn calm() -> Self {
        Self {
            latency_ms: (10, 150),
            ordered: true,
            lost: 0,
            doubled: 0,
            breaks: 0,
            failed_fetches: 0,
            failed_links: 0,
            fetch_ms: (20, 400),
        }
    }

    /// What real streams do at their worst: they break, and fetches fail.
    pub fn rough() -> Self {
        Self { breaks: 10, failed_fetches: 100, failed_links: 300, latency_ms: (10, 800), ..Self::calm() }
    }

    /// Worse than any stream: frames are lost, doubled and overtake each other.
    pub fn lawless() -> Self {
        Self { ordered: false, lost: 30, doubled: 60, ..Self::rough() }
    }
}

/// A frame or a change of a connection on its way.
#[derive(Debug)]
pub(super) enum Wire {
    Dialled { node: usize, life: u32 },
    ToHost { from: usize, connection: u64, frame: Arc<[u8]> },
    ToNode { to: usize, connection: u64, message: Arc<ToContributor> },
    HostCloses { node: usize, connection: u64 },
    NodeCloses { node: usize, connection: u64, why: &'static str },
}

impl World {
    pub(super) fn wire(&mut self, wire: Wire) {
        match wire {
            Wire::Dialled { node, life } => self.dialled(node, life),
            Wire::ToHost { from, connection, frame } => {
                if self.host.connections.get(&from) != Some(&connection) {
                    return;
                }
                let from = self.nodes[from].id();
                self.host_input(match ToCoordinator::decode(&frame) {
                    Ok(message) => coordinator_machine::Input::Message { from, message },
                    Err(why) => coordinator_machine::Input::BadFrame { from, why },
                });
            }
            Wire::ToNode { to, connection, message } => {
                if self.nodes[to].connection == Some(connection) {
                    self.node_input(to, contributor_machine::Input::Message((*message).clone()));
                }
            }
            Wire::HostCloses { node, connection } => {
                if self.host.connections.get(&node) == Some(&connection) {
                    self.host.connections.remove(&node);
                    self.host_input(coordinator_machine::Input::Gone(self.nodes[node].id()));
                }
            }
            Wire::NodeCloses { node, connection, why } => {
                let closes = [self.nodes[node].connection, self.nodes[node].hung_up].contains(&Some(connection));
                if closes {
                    self.nodes[node].connection.take_if(|open| *open == connection);
                    self.nodes[node].hung_up.take_if(|open| *open == connection);
                    let why = why.to_owned();
                    self.node_input(node, contributor_machine::Input::Disconnected { why });
                }
            }
        }
    }

    fn dialled(&mut self, node: usize, life: u32) {
        if self.nodes[node].life != life || !self.nodes[node].alive {
            return;
        }
        if self.host.machine.is_none() || self.nodes[node].cut_off {
            let why = "the coordinator doesn't answer".to_owned();
            return self.node_input(node, contributor_machine::Input::Disconnected { why });
        }
        self.connections += 1;
        let connection = self.connections;
        // A transport tells of the old connection's end before it tells of the new one.
        if self.host.connections.insert(node, connection).is_some() {
            self.host_input(coordinator_machine::Input::Gone(self.nodes[node].id()));
        }
        self.nodes[node].connection = Some(connection);
        self.nodes[node].hung_up = None;
        self.nodes[node].arrives = (0, 0);
        self.node_input(node, contributor_machine::Input::Connected);
    }

    /// Sends a frame to the coordinator.
    pub fn send_to_host(&mut self, from: usize, frame: Vec<u8>) {
        let Some(connection) = self.nodes[from].connection else { return };
        let frame: Arc<[u8]> = frame.into();
        for _ in 0..self.copies(from, connection) {
            let at = self.arrival(from, true);
            self.at(at, Event::Wire(Wire::ToHost { from, connection, frame: frame.clone() }));
        }
    }

    pub(super) fn send_to_node(&mut self, to: usize, message: &Arc<ToContributor>) {
        let Some(&connection) = self.host.connections.get(&to) else { return };
        for _ in 0..self.copies(to, connection) {
            let at = self.arrival(to, false);
            self.at(at, Event::Wire(Wire::ToNode { to, connection, message: message.clone() }));
        }
    }

    /// Ends a connection; both sides hear of it after what was sent before.
    pub(super) fn close(&mut self, node: usize, connection: u64, why: &'static str) {
        let at = self.arrival(node, true);
        self.at(at, Event::Wire(Wire::HostCloses { node, connection }));
        let at = self.arrival(node, false);
        self.at(at, Event::Wire(Wire::NodeCloses { node, connection, why }));
    }

    /// How often a frame arrives: once, unless the network is at fault.
    fn copies(&mut self, node: usize, connection: u64) -> u32 {
        let net = self.config.net.clone();
        if self.random.happens(net.breaks) {
            self.close(node, connection, "the connection broke");
            return 0;
        }
        if self.random.happens(net.lost) {
            return 0;
        }
        1 + u32::from(self.random.happens(net.doubled))
    }

    /// When something sent now arrives; in order, if the network keeps order.
    fn arrival(&mut self, node: usize, to_host: bool) -> Millis {
        let latency = self.random.from_to(self.config.net.latency_ms);
        let last = if to_host { &mut self.nodes[node].arrives.0 } else { &mut self.nodes[node].arrives.1 };
        let at = self.now + latency;
        if !self.config.net.ordered {
            return at;
        }
        *last = at.max(*last);
        *last
    }
}
