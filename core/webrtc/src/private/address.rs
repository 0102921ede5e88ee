//! Addresses of `/webrtc`, and which connections run over a relay.

use libp2p::core::ConnectedPoint;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::Error;

/// The relay of a connection. It has no name where it came to us and not we to it.
pub(super) type Relay = Option<PeerId>;

/// Whom to dial, and over which relay.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) relay: PeerId,
    pub(super) peer: PeerId,
    /// The peer's address over the relay, `…/p2p-circuit/p2p/<peer>`.
    pub(super) circuit: Multiaddr,
}

impl Address {
    /// Reads `<relay>/p2p/<relay>/p2p-circuit/webrtc/p2p/<peer>`; `None` for addresses that are another
    /// transport's.
    pub(super) fn read(address: &Multiaddr) -> Option<Result<Self, Error>> {
        let parts: Vec<Protocol<'_>> = address.iter().collect();
        let at = parts.iter().position(|part| *part == Protocol::P2pCircuit)?;
        let (relay, rest) = parts.split_at(at);
        let [_, Protocol::WebRTC, rest @ ..] = rest else { return None };
        let peer = match rest {
            [Protocol::P2p(peer)] => *peer,
            [] => return Some(Err(Error::Address("peer"))),
            _ => return None,
        };
        let Some(Protocol::P2p(id)) = relay.last() else { return Some(Err(Error::Address("relay"))) };
        let mut circuit: Multiaddr = relay.iter().cloned().collect();
        circuit.push(Protocol::P2pCircuit);
        circuit.push(Protocol::P2p(peer));
        Some(Ok(Self { relay: *id, peer, circuit }))
    }
}

/// The relay that the connection at this address runs over; `None` for a direct one.
pub(super) fn relay(address: &Multiaddr) -> Option<Relay> {
    let mut last = None;
    let mut parts = address.iter();
    while let Some(part) = parts.next() {
        match part {
            // A `/webrtc` connection only began over the relay.
            Protocol::P2pCircuit => return (parts.next() != Some(Protocol::WebRTC)).then_some(last),
            Protocol::P2p(peer) => last = Some(peer),
            _ => {}
        }
    }
    None
}

/// Whether a connection's bytes go through a relay. A `/webrtc` connection's do not, although its address
/// names one.
#[must_use]
pub fn is_relayed(endpoint: &ConnectedPoint) -> bool {
    let address = match endpoint {
        ConnectedPoint::Dialer { address, .. } => address,
        ConnectedPoint::Listener { local_addr, .. } => local_addr,
    };
    relay(address).is_some()
}

/// Where a connection that came over a relay is ours, for [`is_relayed`] to know it.
pub(super) fn local(relay: Relay) -> Multiaddr {
    let named: Multiaddr = relay.map(Protocol::P2p).into_iter().collect();
    named.with(Protocol::P2pCircuit).with(Protocol::WebRTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, want: Option<Result<&str, Error>>) {
        let got = Address::read(&address.parse().unwrap());
        let want = want.map(|want| want.map(|circuit| circuit.parse::<Multiaddr>().unwrap()));
        assert_eq!(got.map(|got| got.map(|address| address.circuit)), want, "{address}");
    }

    #[test]
    fn exactly_the_webrtc_addresses_are_taken() {
        let (r, p) = (PeerId::random(), PeerId::random());
        let at = format!("/ip4/1.2.3.4/tcp/5/ws/p2p/{r}/p2p-circuit");
        check(&format!("{at}/webrtc/p2p/{p}"), Some(Ok(&format!("{at}/p2p/{p}"))));
        check(&format!("/p2p/{r}/p2p-circuit/webrtc/p2p/{p}"), Some(Ok(&format!("/p2p/{r}/p2p-circuit/p2p/{p}"))));
        check(&format!("{at}/webrtc"), Some(Err(Error::Address("peer"))));
        check(&format!("/ip4/1.2.3.4/tcp/5/p2p-circuit/webrtc/p2p/{p}"), Some(Err(Error::Address("relay"))));
        check(&format!("{at}/p2p/{p}"), None);
        check(&format!("{at}/webrtc/p2p/{p}/p2p-circuit/p2p/{r}"), None);
        check("/ip4/1.2.3.4/udp/5/webrtc-direct", None);
        check(&format!("/webrtc/p2p/{p}"), None);
    }

    #[test]
    fn a_direct_connection_is_not_relayed_whatever_its_address_names() {
        let id = PeerId::random();
        for (address, want) in [
            (format!("/ip4/1.2.3.4/tcp/5/p2p/{id}/p2p-circuit/p2p/{id}"), Some(Some(id))),
            ("/ip4/1.2.3.4/tcp/5/p2p-circuit".to_owned(), Some(None)),
            (format!("/ip4/1.2.3.4/tcp/5/p2p/{id}/p2p-circuit/webrtc/p2p/{id}"), None),
            (format!("/ip4/1.2.3.4/tcp/5/p2p/{id}"), None),
            (local(Some(id)).to_string(), None),
            (local(None).to_string(), None),
        ] {
            assert_eq!(relay(&address.parse().unwrap()), want, "{address}");
        }
    }
}
