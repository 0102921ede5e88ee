//! How many connections are being made: a slot for each, given back when it is dropped.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libp2p::PeerId;

use super::address::Relay;
use super::{Error, Limits};

/// What transport and behaviour both know.
#[derive(Clone)]
pub(super) struct Slots(Arc<Mutex<Taken>>);

struct Taken {
    limits: Limits,
    /// Whether anyone takes what comes.
    listening: bool,
    total: usize,
    relays: HashMap<Relay, usize>,
    peers: HashMap<PeerId, usize>,
}

impl Slots {
    pub(super) fn new(limits: Limits) -> Self {
        let taken = Taken { limits, listening: false, total: 0, relays: HashMap::new(), peers: HashMap::new() };
        Self(Arc::new(Mutex::new(taken)))
    }

    pub(super) fn listen(&self, listening: bool) {
        self.lock().listening = listening;
    }

    /// A slot for a connection that a peer wants to make with us.
    pub(super) fn accept(&self, peer: PeerId, relay: Relay) -> Result<Slot, Error> {
        if !self.lock().listening {
            return Err(Error::Listener("does not listen"));
        }
        self.take(peer, relay)
    }

    /// A slot for a connection with `peer` over `relay`.
    pub(super) fn take(&self, peer: PeerId, relay: Relay) -> Result<Slot, Error> {
        let mut taken = self.lock();
        if taken.peers.get(&peer).is_some_and(|count| *count >= taken.limits.peer) {
            return Err(Error::Busy("with this peer"));
        }
        if taken.relays.get(&relay).is_some_and(|count| *count >= taken.limits.relay) {
            return Err(Error::Busy("over this relay"));
        }
        if taken.total >= taken.limits.total {
            return Err(Error::Busy("at once"));
        }
        taken.total += 1;
        *taken.relays.entry(relay).or_default() += 1;
        *taken.peers.entry(peer).or_default() += 1;
        Ok(Slot { slots: self.clone(), peer, relay })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to make one connection.
pub(super) struct Slot {
    slots: Slots,
    peer: PeerId,
    relay: Relay,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.lock();
        taken.total -= 1;
        give_back(&mut taken.relays, self.relay);
        give_back(&mut taken.peers, self.peer);
    }
}

/// Counts one less, and forgets what it counted last, so that the map is no larger than what is taken.
fn give_back<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bound_is_named_and_given_back() {
        let slots = Slots::new(Limits { total: 4, relay: 3, peer: 2 });
        let (near, far) = (Some(PeerId::random()), None);
        let peers: Vec<PeerId> = (0..5).map(|_| PeerId::random()).collect();
        assert_eq!(slots.accept(peers[0], near).err(), Some(Error::Listener("does not listen")));
        slots.listen(true);
        let mut held = vec![slots.accept(peers[0], near).unwrap(), slots.take(peers[0], near).unwrap()];
        assert_eq!(slots.take(peers[0], far).err(), Some(Error::Busy("with this peer")));
        held.push(slots.take(peers[1], near).unwrap());
        assert_eq!(slots.take(peers[2], near).err(), Some(Error::Busy("over this relay")));
        held.push(slots.take(peers[2], far).unwrap());
        assert_eq!(slots.take(peers[3], far).err(), Some(Error::Busy("at once")));
        held.clear();
        let taken = slots.lock();
        assert_eq!((taken.total, taken.relays.len(), taken.peers.len()), (0, 0, 0));
    }
}
