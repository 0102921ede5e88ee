//! Links to other contributors, as the swarm knows them.
//!
//! Enters: whom to link with. Leaves: the address that leads there, and what moved. Refuses, in words, a
//! coordinator's address over which nobody can be introduced.

use tributary_protocol::Id;
use tributary_protocol::contributor::{PeerTraffic, Traffic};
use tributary_swarm::{Handle, Multiaddr};

/// Dials another contributor.
pub(crate) fn dial(handle: &Handle, coordinator: &Multiaddr, peer: Id) -> Result<(), String> {
    let addr = introduced(coordinator, peer).ok_or("the coordinator's address can't be dialled through")?;
    handle.dial(addr).map_err(|error| error.to_string())
}

/// Where another contributor is: it keeps a place at the coordinator, which introduces the two, and from
/// there on they are connected directly.
fn introduced(coordinator: &Multiaddr, peer: Id) -> Option<Multiaddr> {
    format!("{coordinator}/p2p-circuit/webrtc/p2p/{peer}").parse().ok()
}

/// What has moved since the node began.
pub(crate) fn traffic(handle: &Handle, coordinator: &Id) -> Traffic {
    let total = handle.traffic();
    let links = handle.links().into_iter().filter(|link| link.peer != *coordinator);
    Traffic {
        up: total.up,
        down: total.down,
        bulk_direct: total.bulk_direct.down,
        bulk_coordinator: total.bulk_origin.down,
        peers: links
            .map(|link| PeerTraffic {
                peer: link.peer,
                up: link.control.up + link.bulk.up,
                down: link.control.down + link.bulk.down,
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_a_contributor_leads_over_the_coordinator_and_names_it_last() {
        let [coordinator, peer] = [1, 2].map(|n| tributary_protocol::Identity::from_secret([n; 32]).id());
        let check = |addr: &str| {
            let way = introduced(&format!("{addr}/p2p/{coordinator}").parse().expect("a multiaddr"), peer);
            let way = way.expect("a way");
            assert_eq!(way.to_string(), format!("{addr}/p2p/{coordinator}/p2p-circuit/webrtc/p2p/{peer}"));
            assert_eq!(tributary_swarm::id_of(&way), Some(peer));
        };
        check("/dns/example.org/tcp/443/wss");
        check("/ip4/127.0.0.1/udp/4001/quic-v1");
    }
}
