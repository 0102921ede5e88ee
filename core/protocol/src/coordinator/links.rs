//! Tells contributors whom to link with, whenever somebody comes or goes.

use super::Coordinator;
use crate::message::ToContributor;
use crate::{Id, Millis, links};

/// Milliseconds between the first change of who is here and the new links: people come in bunches,
/// and nobody misses a link for that long.
const SETTLE_MS: Millis = 1_000;

/// Whether everyone knows its links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Linking {
    #[default]
    Settled,
    /// Somebody came or went, just now.
    Changed,
    /// Everyone is told at this time.
    DueAt(Millis),
}

impl Linking {
    /// Somebody came or went.
    pub(super) fn change(&mut self) {
        if let Linking::Settled = self {
            *self = Linking::Changed;
        }
    }

    pub(super) fn wake_at(self) -> Option<Millis> {
        if let Linking::DueAt(at) = self { Some(at) } else { None }
    }
}

impl Coordinator {
    /// A contributor is not served any more.
    pub(super) fn forget(&mut self, peer: &Id) {
        if self.peers.remove(peer).is_some() {
            self.linking.change();
        }
    }

    /// Tells whoever has other links than it was told, once the change has settled.
    pub(super) fn send_links(&mut self, now: Millis) {
        match self.linking {
            Linking::Changed => self.linking = Linking::DueAt(now + SETTLE_MS),
            Linking::DueAt(at) if now >= at => {
                self.linking = Linking::Settled;
                let able = self.peers.iter().filter(|(_, peer)| peer.links);
                for (id, neighbours) in links::neighbours(&self.run, able.map(|(id, _)| *id)) {
                    let Some(peer) = self.peers.get_mut(&id) else { continue };
                    if peer.told.as_ref() != Some(&neighbours) {
                        let message = ToContributor::Links(neighbours.iter().copied().collect());
                        peer.told = Some(neighbours);
                        self.send(id, message);
                    }
                }
            }
            _ => {}
        }
    }
}
