//! The Noise handshake over data channel 0, which proves both peers and binds the proof to their DTLS
//! certificates.
//!
//! Enters: a stream over that channel and both fingerprints. Leaves: who the other side is; the stream is
//! closed, for from then on DTLS alone encrypts. Refuses: a side whose certificates are not those that the
//! other side saw, which is how a man in the middle shows.

use std::time::Duration;

use futures::future::{Either, select};
use futures::{AsyncRead, AsyncWrite, AsyncWriteExt};
use futures_timer::Delay;
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade};
use libp2p::identity::Keypair;
use libp2p::{PeerId, noise};

use super::{Error, Fingerprint};

/// What the prologue begins with.
const PREFIX: &[u8] = b"libp2p-webrtc-noise:";

/// How long the stream may take to close once both peers are proven: several round trips on a slow network. Not
/// every implementation acknowledges the end of this stream, and the connection must not wait for it.
const FAREWELL: Duration = Duration::from_secs(2);

/// Who takes part, by certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Certificates {
    /// The dialler's.
    pub client: Fingerprint,
    /// The listener's.
    pub server: Fingerprint,
}

impl Certificates {
    /// What both sides hash into the handshake: the client's certificate, then the server's.
    fn prologue(self) -> Vec<u8> {
        [PREFIX, &self.client.to_multihash().to_bytes(), &self.server.to_multihash().to_bytes()].concat()
    }
}

/// The dialler's side. It responds: with DTLS 1.2 the server can send first.
pub async fn client<S>(identity: &Keypair, certificates: Certificates, stream: S) -> Result<PeerId, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (peer, stream) = config(identity, certificates)?.upgrade_inbound(stream, "").await.map_err(unproven)?;
    farewell(stream).await;
    Ok(peer)
}

/// The listener's side, which begins.
pub async fn server<S>(identity: &Keypair, certificates: Certificates, stream: S) -> Result<PeerId, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (peer, stream) = config(identity, certificates)?.upgrade_outbound(stream, "").await.map_err(unproven)?;
    farewell(stream).await;
    Ok(peer)
}

fn config(identity: &Keypair, certificates: Certificates) -> Result<noise::Config, Error> {
    let config = noise::Config::new(identity).map_err(unproven)?;
    Ok(config.with_prologue(certificates.prologue()))
}

fn unproven(error: noise::Error) -> Error {
    Error::Unproven(error.to_string())
}

/// Closes the stream so that the last message arrives: to drop it at once would reset it.
async fn farewell(mut stream: impl AsyncWrite + Unpin) {
    match select(stream.close(), Delay::new(FAREWELL)).await {
        // Whether the other side also closed does not matter: it has proven itself.
        Either::Left(_) | Either::Right(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use futures::future::{join, poll_fn};
    use libp2p::Transport as _;
    use libp2p::core::Endpoint;
    use libp2p::core::transport::memory::Channel;
    use libp2p::core::transport::{DialOpts, ListenerId, MemoryTransport, PortUse, TransportEvent};

    use super::*;

    async fn pair() -> (Channel<Vec<u8>>, Channel<Vec<u8>>) {
        let mut listener = MemoryTransport::new();
        listener.listen_on(ListenerId::next(), "/memory/0".parse().unwrap()).unwrap();
        let Some(address) = next(&mut listener).await.into_new_address() else { panic!("it listens") };
        let opts = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
        let dial = MemoryTransport::new().dial(address, opts).unwrap();
        let accept = async {
            let TransportEvent::Incoming { upgrade, .. } = next(&mut listener).await else { panic!("it was dialled") };
            upgrade.await.unwrap()
        };
        let (dialled, accepted) = join(dial, accept).await;
        (dialled.unwrap(), accepted)
    }

    async fn next(
        listener: &mut MemoryTransport,
    ) -> TransportEvent<
        <MemoryTransport as libp2p::Transport>::ListenerUpgrade,
        <MemoryTransport as libp2p::Transport>::Error,
    > {
        poll_fn(|cx| std::pin::Pin::new(&mut *listener).poll(cx)).await
    }

    /// What both sides conclude if each sees these certificates.
    fn check(seen: [Certificates; 2]) -> [Result<bool, Error>; 2] {
        let keys = [Keypair::generate_ed25519(), Keypair::generate_ed25519()];
        let (near, far) = block_on(async {
            let (near, far) = pair().await;
            join(client(&keys[0], seen[0], near), server(&keys[1], seen[1], far)).await
        });
        [near.map(|peer| peer == keys[1].public().to_peer_id()), far.map(|peer| peer == keys[0].public().to_peer_id())]
    }

    #[test]
    fn peers_prove_each_other() {
        let both = Certificates { client: Fingerprint::from_bytes([1; 32]), server: Fingerprint::from_bytes([2; 32]) };
        assert!(matches!(check([both, both]), [Ok(true), Ok(true)]));
    }

    #[test]
    fn a_man_in_the_middle_is_noticed() {
        let near = Certificates { client: Fingerprint::from_bytes([1; 32]), server: Fingerprint::from_bytes([3; 32]) };
        let far = Certificates { client: Fingerprint::from_bytes([3; 32]), server: Fingerprint::from_bytes([2; 32]) };
        assert!(matches!(check([near, far]), [Err(Error::Unproven(_)), Err(Error::Unproven(_))]));
        let swapped = Certificates { client: near.server, server: near.client };
        assert!(matches!(check([near, swapped]), [Err(Error::Unproven(_)), Err(Error::Unproven(_))]));
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    fn fingerprint(text: &str) -> Fingerprint {
        Fingerprint::from_bytes(hex(text).try_into().unwrap())
    }

    #[test]
    fn the_prologue_is_that_of_the_specification() {
        let client = "3e79af40d6059617a0d83b83a52ce73b0c1f37a72c6043ad2969e2351bdca870";
        let server = "30fc9f469c207419dfdd0aab5f27a86c973c94e40548db9375cca2e915973b99";
        let expected = format!("6c69627032702d7765627274632d6e6f6973653a1220{client}1220{server}");
        let certificates = Certificates { client: fingerprint(client), server: fingerprint(server) };
        assert_eq!(certificates.prologue(), hex(&expected));
    }
}
