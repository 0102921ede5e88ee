//! The listener's side of one handshake: ICE, DTLS, then Noise.

use std::sync::Arc;
use std::time::Duration;

use libp2p::PeerId;
use libp2p::identity::Keypair;
use rtc::crypto::{HashAlgorithm, default_provider};

use super::super::dial::connected;
use super::super::noise::Certificates;
use super::super::sdp::{self, Username};
use super::super::{Error, Fingerprint, noise};
use super::certificate::Certificate;
use super::socket::{Part, sockets, unused};
use crate::backend::native::{Native, Peer, Setup};
use crate::backend::{self, Peer as _};
use crate::muxer::Muxer;
use crate::stream::Stream;

/// From a stranger's first packet to a proven peer.
const HANDSHAKE: Duration = Duration::from_secs(15);

/// Who listens.
#[derive(Clone)]
pub(super) struct Host {
    pub(super) identity: Keypair,
    pub(super) certificate: Certificate,
}

/// Whoever calls with `username` from `from`, proven and with a muxer.
pub(super) async fn accept(
    host: Host,
    part: Arc<Part>,
    username: Username,
    from: std::net::SocketAddr,
) -> Result<(PeerId, Muxer<Peer>), Error> {
    tokio::time::timeout(HANDSHAKE, handshake(host, part, username, from)).await.map_err(|_| Error::TimedOut)?
}

async fn handshake(
    host: Host,
    part: Arc<Part>,
    username: Username,
    from: std::net::SocketAddr,
) -> Result<(PeerId, Muxer<Peer>), Error> {
    let server = host.certificate.fingerprint();
    let setup =
        Setup::shared(Arc::new(sockets(part.clone())), unused(from.ip()), host.certificate.inner, &username.server);
    let (peer, mut events) = Native::open_with(setup).await?;
    let channel = peer.channel("", Some(0)).await?;
    peer.answer(sdp::offer(from, &username)).await?;
    part.open();
    let early = connected::<Native>(&mut events).await?;
    let client = sha256(&peer.remote_certificate().await?)?;
    let certificates = Certificates { client, server };
    let found = noise::server(&host.identity, certificates, Stream::new(channel)).await?;
    Ok((found, Muxer::new(peer, events).with_waiting(early)))
}

fn sha256(certificate: &[u8]) -> Result<Fingerprint, Error> {
    let hash = default_provider()
        .and_then(|provider| provider.crypto().hash(HashAlgorithm::Sha256, certificate))
        .map_err(|error| backend::Error::Other(error.to_string()))?;
    let bytes =
        hash.as_slice().try_into().map_err(|_| Error::Description("the hash of its certificate has no 32 bytes"))?;
    Ok(Fingerprint::from_bytes(bytes))
}
