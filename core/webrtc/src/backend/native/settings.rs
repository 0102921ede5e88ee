//! With which addresses, certificates and times a peer connection works.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rtc::ice::mdns::MulticastDnsMode;
use rtc::peer_connection::configuration::setting_engine::SctpMaxMessageSize;
use rtc::peer_connection::transport::RTCDtlsRole;
use webrtc::peer_connection::{RTCCertificate, RTCIceServer, SettingEngineBuilder};
use webrtc::runtime::Runtime;

use super::super::PeerConfig;
use super::runtime::Sockets;

/// The most that one message may hold: a frame of libp2p's, prefix included.
const MESSAGE: u32 = 16 * 1024;

/// Silence after which a connection counts as disconnected, which may pass.
const DISCONNECTED: Duration = Duration::from_secs(5);

/// What it then takes until it has failed: a change of network gets half a minute in all.
const FAILED: Duration = Duration::from_secs(25);

/// How often an idle path is checked: twice within [`DISCONNECTED`].
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// How often a path that is not up yet is tried, RFC 8445 section 14.2, and for how long: ten seconds.
const TRY: (Duration, u16) = (Duration::from_millis(50), 200);

/// What a peer connection is made of.
pub(crate) struct Setup {
    /// Everything that has a default.
    pub(crate) settings: SettingEngineBuilder,
    /// Addresses to bind; an unspecified one stands for every interface's.
    pub(crate) addresses: Vec<SocketAddr>,
    /// STUN servers.
    pub(crate) servers: Vec<RTCIceServer>,
    /// Ours, or one made for this connection.
    pub(crate) certificate: Option<RTCCertificate>,
    /// Where sockets come from.
    pub(crate) runtime: Arc<dyn Runtime>,
    /// To be set once the connection is up and a channel open.
    pub(crate) up: Arc<AtomicBool>,
}

impl Setup {
    /// A connection with sockets of its own on every interface, loopback included: a tab and a native peer
    /// of one machine meet there when it is off the net. With `names`, candidates behind multicast DNS names
    /// are looked up.
    pub(crate) fn own(config: &PeerConfig, names: bool) -> Self {
        let names = if names { MulticastDnsMode::QueryOnly } else { MulticastDnsMode::Disabled };
        let mut addresses = vec![any(Ipv4Addr::UNSPECIFIED), any(Ipv4Addr::LOCALHOST)];
        if has_ipv6() {
            addresses.push(any(Ipv6Addr::UNSPECIFIED));
        }
        let up = Arc::new(AtomicBool::new(false));
        Self {
            settings: common().with_multicast_dns_mode(names),
            addresses,
            servers: config
                .stun
                .iter()
                .map(|url| RTCIceServer { urls: vec![url.clone()], ..Default::default() })
                .collect(),
            certificate: None,
            runtime: Arc::new(Sockets::one_by_one(up.clone())),
            up,
        }
    }

    /// A connection on a port that it shares with others, for a client that knows what we are called: ICE lite
    /// and DTLS server, with `name` for user fragment and password. The client's certificate is not known
    /// before Noise has proved it, so any is taken here.
    pub(crate) fn shared(port: Arc<dyn Runtime>, address: SocketAddr, certificate: RTCCertificate, name: &str) -> Self {
        let settings = common()
            .with_lite(true)
            .with_ice_credentials(name.to_owned(), name.to_owned())
            .with_answering_dtls_role(RTCDtlsRole::Server)
            .with_disable_certificate_fingerprint_verification(true)
            .with_multicast_dns_mode(MulticastDnsMode::Disabled);
        Self {
            settings,
            addresses: vec![address],
            servers: Vec::new(),
            certificate: Some(certificate),
            runtime: port,
            up: Arc::default(),
        }
    }
}

/// What holds for every connection.
fn common() -> SettingEngineBuilder {
    SettingEngineBuilder::new()
        .with_ice_timeouts(Some(DISCONNECTED), Some(FAILED), Some(KEEP_ALIVE))
        .with_ice_connection_attempts(Some(TRY.0), Some(TRY.1))
        .with_include_loopback_candidate(true)
        // The crate would free the id of an unconfirmed channel, which is of no use.
        .with_dcep_handshake_timeout(None)
        .with_sctp_max_message_size(SctpMaxMessageSize::Bounded(MESSAGE))
}

fn any(ip: impl Into<std::net::IpAddr>) -> SocketAddr {
    SocketAddr::new(ip.into(), 0)
}

/// Whether there is a way out over IPv6. Connecting a UDP socket sends nothing; the address is one that
/// RFC 3849 keeps for documentation.
fn has_ipv6() -> bool {
    UdpSocket::bind(any(Ipv6Addr::UNSPECIFIED))
        .and_then(|socket| socket.connect((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9)))
        .is_ok()
}
