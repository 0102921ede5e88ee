//! `/webrtc-direct`: to a peer with a reachable UDP port, without signalling and without a TLS certificate.
//!
//! The address carries the hash of the server's DTLS certificate. From it the dialler writes the server's
//! answer itself; the server learns the dialler's ICE credentials from its first STUN packet. DTLS then
//! proves the server's certificate, and Noise, bound to both certificates, proves who both sides are.
//!
//! Enters: an [`Address`]. Leaves: an authenticated peer with a muxer. Refuses: certificates that are not
//! SHA-256, credentials outside the grammar of ICE, peers other than the one that was dialled.
//!
//! Source: libp2p/specs, webrtc/webrtc-direct.md, "Browser to public Server v2".

pub mod dial;
pub mod fingerprint;
#[cfg(not(target_arch = "wasm32"))]
pub mod listen;
pub mod noise;
pub mod sdp;

use std::net::{IpAddr, SocketAddr};

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

pub use fingerprint::Fingerprint;

/// What a `/webrtc-direct` address says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// Where the server listens for UDP.
    pub socket: SocketAddr,
    /// Its certificate; an address to listen on has none.
    pub certificate: Option<Fingerprint>,
    /// Who it should be.
    pub peer: Option<PeerId>,
}

impl Address {
    /// Reads `/ip4|ip6/…/udp/…/webrtc-direct[/certhash/…][/p2p/…]`; `None` for any other address, so that
    /// another transport can take it.
    #[must_use]
    pub fn read(address: &Multiaddr) -> Option<Self> {
        let mut parts = address.iter().peekable();
        let ip: IpAddr = match parts.next()? {
            Protocol::Ip4(ip) => ip.into(),
            Protocol::Ip6(ip) => ip.into(),
            _ => return None,
        };
        let Protocol::Udp(port) = parts.next()? else { return None };
        let Protocol::WebRTCDirect = parts.next()? else { return None };
        let mut certificate = None;
        if let Some(Protocol::Certhash(hash)) = parts.peek() {
            certificate = Some(Fingerprint::from_multihash(hash)?);
            parts.next();
        }
        let mut peer = None;
        if let Some(Protocol::P2p(id)) = parts.peek() {
            peer = Some(*id);
            parts.next();
        }
        parts.next().is_none().then_some(Self { socket: SocketAddr::new(ip, port), certificate, peer })
    }

    /// The address as others see it.
    #[must_use]
    pub fn write(&self) -> Multiaddr {
        let mut address = Multiaddr::from(self.socket.ip());
        address.push(Protocol::Udp(self.socket.port()));
        address.push(Protocol::WebRTCDirect);
        if let Some(certificate) = &self.certificate {
            address.push(Protocol::Certhash(certificate.to_multihash()));
        }
        if let Some(peer) = self.peer {
            address.push(Protocol::P2p(peer));
        }
        address
    }
}

/// Why a `/webrtc-direct` connection did not come about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The WebRTC implementation says no.
    #[error(transparent)]
    Backend(#[from] crate::backend::Error),
    /// A description, credential or fingerprint is missing or outside its grammar.
    #[error("the connection's description cannot be used: {0}")]
    Description(&'static str),
    /// The other side did not prove who it is.
    #[error("the other side did not prove who it is: {0}")]
    Unproven(String),
    /// Someone else answered.
    #[error("{found} answered where {expected} was dialled; its address is out of date or not its own")]
    WrongPeer {
        /// Who was dialled.
        expected: Box<PeerId>,
        /// Who answered.
        found: Box<PeerId>,
    },
    /// ICE or DTLS found no way.
    #[error("no way was found to the other side's UDP port; a firewall may be closed, or it is not running")]
    Unreachable,
    /// The port cannot be listened on.
    #[error("the UDP port cannot be listened on: {0}. Choose another, or end the program that has it")]
    Port(#[from] std::io::Error),
    /// It took too long.
    #[error("the other side did not answer in time")]
    TimedOut,
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "uEiDDq4_xNyDorZBH3TlGazyJdOWSwvo4PUo5YHFMrvDE8g";

    fn check(text: &str, expected: bool) {
        let address: Multiaddr = text.parse().unwrap();
        let found = Address::read(&address);
        assert_eq!(found.is_some(), expected, "{text}");
        if let Some(found) = found {
            assert_eq!(found.write(), address);
        }
    }

    #[test]
    fn addresses() {
        let peer = PeerId::random();
        check("/ip4/192.0.2.1/udp/9/webrtc-direct", true);
        check(&format!("/ip4/192.0.2.1/udp/9/webrtc-direct/certhash/{HASH}"), true);
        check(&format!("/ip6/2001:db8::1/udp/9/webrtc-direct/certhash/{HASH}/p2p/{peer}"), true);
        check(&format!("/ip4/192.0.2.1/udp/9/webrtc-direct/p2p/{peer}"), true);
        check("/ip4/192.0.2.1/tcp/9", false);
        check("/ip4/192.0.2.1/udp/9/quic-v1", false);
        check(&format!("/dns4/example.org/udp/9/webrtc-direct/certhash/{HASH}"), false);
        check(&format!("/ip4/192.0.2.1/udp/9/webrtc-direct/certhash/{HASH}/p2p/{peer}/p2p-circuit"), false);
        check(&format!("/ip4/192.0.2.1/udp/9/webrtc-direct/certhash/{HASH}/certhash/{HASH}"), false);
        // A hash of another kind than SHA-256.
        check("/ip4/192.0.2.1/udp/9/webrtc-direct/certhash/uERRn4TmmC5xsmlxB5_T4-BHGYLp28g", false);
    }
}
