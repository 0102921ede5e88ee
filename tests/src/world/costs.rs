//! What blobs and work of a real model take, in a world whose own model is tiny.
//!
//! Enters: sizes and times that were measured elsewhere, and the speed of links. Leaves: when a blob has arrived
//! and for how long a job holds up training, so that a world says how much of its time a real swarm trains.

use tributary_protocol::{BlobRef, Millis, update};

use super::World;
use crate::Pauses;

/// Microseconds in a millisecond.
const MICROS: u64 = 1000;

/// What a real model costs. Latency is the network's ([`super::Net`]).
#[derive(Debug, Clone, PartialEq)]
pub struct Costs {
    /// Bits a second of every contributor's own link, each way. The coordinator's is never the narrow one.
    pub bits_per_s: u64,
    /// Bytes of the weights.
    pub weights: u64,
    /// Bytes of a usual update.
    pub update: u64,
    /// Bytes of a contributor's first update.
    pub first: u64,
    /// Bytes of a step.
    pub step: u64,
    /// Bytes of the data that each round begins with.
    pub data: u64,
    /// What holds up each trainer.
    pub pauses: Pauses,
    /// Milliseconds of the coordinator's fold.
    pub fold_ms: Millis,
}

/// Which way a blob goes.
#[derive(Debug, Clone, Copy)]
enum Way {
    Up,
    Down,
}

impl World {
    /// The part of the time since it could first train in which each contributor trained, as far as it got to it.
    pub fn utilisation(&self) -> Vec<f64> {
        self.nodes.iter().filter_map(|node| node.trainer.utilisation(self.now)).collect()
    }

    /// Milliseconds until a contributor has the blob that it asks for now.
    pub(super) fn download_ms(&mut self, node: usize, blob: BlobRef) -> Millis {
        let Some(costs) = &self.config.costs else { return self.random.from_to(self.config.net.fetch_ms) };
        let (params, shard) = (self.run.spec.model.params(), BlobRef::of(&self.run.shard));
        let bytes = match blob {
            _ if blob == self.run.spec.data => blob.bytes,
            _ if blob == shard => costs.data,
            // Snapshots are bare f32.
            _ if blob.bytes == params * 4 => costs.weights,
            _ => costs.step,
        };
        self.transfer_ms(node, bytes, costs.bits_per_s, Way::Down)
    }

    /// Milliseconds until the coordinator has the update that it asks a contributor for now.
    pub(super) fn upload_ms(&mut self, node: usize, blob: BlobRef) -> Millis {
        let Some(costs) = &self.config.costs else {
            return self.random.from_to(self.nodes[node].upload_ms.unwrap_or(self.config.net.fetch_ms));
        };
        let spec = &self.run.spec;
        let is_first = |bytes: &[u8]| update::decode(&[spec.first], bytes, spec.model.params()).is_ok();
        let first = self.nodes[node].offered.iter().any(|(hash, bytes)| *hash == blob.hash && is_first(bytes));
        let bytes = if first { costs.first } else { costs.update };
        self.transfer_ms(node, bytes, costs.bits_per_s, Way::Up)
    }

    /// A blob is asked for, found, and its chunks are asked for, each over the whole way; then it takes its turn on
    /// the contributor's link, and the way back.
    fn transfer_ms(&mut self, node: usize, bytes: u64, bits_per_s: u64, way: Way) -> Millis {
        let mut latency = || self.random.from_to(self.config.net.latency_ms);
        let (there, back) = (latency() + latency() + latency(), latency());
        let free_at = match way {
            Way::Up => &mut self.nodes[node].link_free_at.0,
            Way::Down => &mut self.nodes[node].link_free_at.1,
        };
        let begins = (*free_at).max((self.now + there) * MICROS);
        *free_at = begins + (bytes * 8 * 1000 * MICROS).div_ceil(bits_per_s);
        free_at.div_ceil(MICROS) + back - self.now
    }
}
