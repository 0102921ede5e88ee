//! Who links with whom: a graph over the present contributors that both ends of every link know
//! without a word between them.
//!
//! Enters: the run and the contributors that can link. Leaves: everyone's neighbours. Up to
//! [`MAX_LINKS`] + 1 contributors link everyone with everyone. A larger swarm stands on a few rings,
//! each in an order of its own drawn by hash, and everyone links with the two next to it on every
//! ring. One ring connects everybody; several random ones have a diameter that grows with the logarithm
//! of the swarm (unions of random Hamiltonian cycles are expanders); and who comes or goes changes
//! only the links next to it.

use std::collections::{BTreeMap, BTreeSet};

use crate::limits::MAX_LINKS;
use crate::{Hash, Id};

/// Rings: a contributor has two neighbours on each.
const RINGS: usize = MAX_LINKS / 2;

/// The neighbours of every contributor, in the order of the ids: at most [`MAX_LINKS`], never
/// itself, and always mutual. `seed` fixes the order of the rings. Whoever chose an id so that it
/// stands beside another would gain nothing: what comes over a link is verified, and the coordinator
/// is there for what doesn't come.
pub fn neighbours(seed: &Hash, contributors: impl IntoIterator<Item = Id>) -> BTreeMap<Id, BTreeSet<Id>> {
    let ids: BTreeSet<Id> = contributors.into_iter().collect();
    if ids.len() <= MAX_LINKS + 1 {
        let others = |id: &Id| ids.iter().filter(|other| *other != id).copied().collect();
        return ids.iter().map(|id| (*id, others(id))).collect();
    }
    let places: Vec<_> = ids.iter().map(|id| (places(seed, id), *id)).collect();
    let mut graph: BTreeMap<Id, BTreeSet<Id>> = BTreeMap::new();
    for ring in 0..RINGS {
        let mut order: Vec<_> = places.iter().map(|(places, id)| (places[ring], *id)).collect();
        order.sort_unstable();
        let next = order.iter().cycle().skip(1);
        for ((_, left), (_, right)) in order.iter().zip(next) {
            graph.entry(*left).or_default().insert(*right);
            graph.entry(*right).or_default().insert(*left);
        }
    }
    graph
}

/// Where a contributor stands on each ring.
fn places(seed: &Hash, id: &Id) -> [u64; RINGS] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"tributary links v1\0").update(&seed.0).update(&id.0);
    let mut reader = hasher.finalize_xof();
    [(); RINGS].map(|()| {
        let mut word = [0; 8];
        reader.fill(&mut word);
        u64::from_le_bytes(word)
    })
}

/// Whether `me` dials when the two are to link; otherwise the other does.
pub fn dials(me: &Id, other: &Id) -> bool {
    me < other
}
