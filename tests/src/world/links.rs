//! Links between contributors: they come up over the coordinator's relay, or not, and then need it no
//! more.

use tributary_protocol::contributor::Input;

use super::{Event, World};

/// Milliseconds within which a link breaks that is going to break.
const BREAKS_WITHIN: (u64, u64) = (1, 60_000);

/// Two contributors, the earlier one first.
pub(super) type Pair = (usize, usize);

fn pair(a: usize, b: usize) -> Pair {
    (a.min(b), a.max(b))
}

/// What becomes of a link.
#[derive(Debug)]
pub(super) enum Step {
    /// A dial ends; both are still in these lives, or it comes to nothing.
    Dialled { from: usize, to: usize, lives: [u32; 2] },
    /// This one ends, if it is still up.
    Ends { pair: Pair, link: u64 },
}

impl World {
    pub(super) fn link(&mut self, from: usize, to: usize) {
        let ms = 4 * self.random.from_to(self.config.net.latency_ms);
        let lives = [self.nodes[from].life, self.nodes[to].life];
        self.later(ms, Event::Link(Step::Dialled { from, to, lives }));
    }

    pub(super) fn unlink(&mut self, from: usize, to: usize) {
        let pair = pair(from, to);
        if let Some(&link) = self.links.get(&pair) {
            let ms = self.random.from_to(self.config.net.latency_ms);
            self.later(ms, Event::Link(Step::Ends { pair, link }));
        }
    }

    /// Ends every link of a contributor.
    pub(super) fn unlink_all(&mut self, node: usize) {
        for peer in self.linked(node).collect::<Vec<_>>() {
            self.unlink(node, peer);
        }
    }

    /// With whom a contributor is linked.
    pub(super) fn linked(&self, node: usize) -> impl Iterator<Item = usize> {
        self.links.keys().filter_map(move |&(a, b)| match (a == node, b == node) {
            (true, _) => Some(b),
            (_, true) => Some(a),
            _ => None,
        })
    }

    pub(super) fn link_step(&mut self, step: Step) {
        match step {
            Step::Dialled { from, to, lives } => self.link_dialled(from, to, lives),
            Step::Ends { pair, link } => {
                if self.links.get(&pair) == Some(&link) {
                    self.links.remove(&pair);
                    self.tell_unlinked(pair.0, pair.1, "the link ended");
                    self.tell_unlinked(pair.1, pair.0, "the link ended");
                }
            }
        }
    }

    fn link_dialled(&mut self, from: usize, to: usize, lives: [u32; 2]) {
        if self.nodes[from].life != lives[0] {
            return;
        }
        let relayed = |node: usize| self.nodes[node].alive && self.nodes[node].connection.is_some();
        let there = relayed(from) && relayed(to) && self.nodes[to].life == lives[1];
        let fails = self.random.happens(self.config.net.failed_links);
        if !there || fails || self.links.contains_key(&pair(from, to)) {
            return self.tell_unlinked(from, to, "no way was found between the two networks");
        }
        self.connections += 1;
        let (pair, link) = (pair(from, to), self.connections);
        self.links.insert(pair, link);
        if self.random.happens(self.config.net.failed_links) {
            let ms = self.random.from_to(BREAKS_WITHIN);
            self.later(ms, Event::Link(Step::Ends { pair, link }));
        }
        for (node, peer) in [(from, to), (to, from)] {
            let peer = self.nodes[peer].id();
            self.node_input(node, Input::Linked { peer });
        }
    }

    fn tell_unlinked(&mut self, node: usize, peer: usize, why: &str) {
        let peer = self.nodes[peer].id();
        self.node_input(node, Input::Unlinked { peer, why: why.to_owned() });
    }
}
