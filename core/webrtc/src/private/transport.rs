//! Dials and listens on `/webrtc`, with the behaviour's streams.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::channel::{mpsc, oneshot};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use libp2p::core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::address::{self, Address};
use super::behaviour::{Dial, Incoming};
use super::slots::Slots;
use super::{Config, Error, handshake};
use crate::backend::{Backend, PeerConfig};
use crate::muxer::Muxer;

/// The half of `/webrtc` that a swarm dials with. It takes `…/p2p-circuit/webrtc/…` addresses to dial and
/// `/webrtc` to listen on, and leaves all others to the transports after it.
pub struct Transport<B: Backend> {
    config: Config,
    backend: B,
    slots: Slots,
    dials: mpsc::Sender<Dial>,
    accepted: mpsc::Receiver<Incoming>,
    listener: Option<ListenerId>,
    /// What to say of the listener: an address, its end. One of each at most.
    events: VecDeque<Happened<B>>,
}

type Connected<B> = (PeerId, Muxer<<B as Backend>::Peer>);
type Upgrade<B> = BoxFuture<'static, Result<Connected<B>, Error>>;
type Happened<B> = TransportEvent<Upgrade<B>, Error>;

impl<B: Backend> Transport<B> {
    pub(super) fn new(
        config: Config,
        backend: B,
        slots: Slots,
        dials: mpsc::Sender<Dial>,
        accepted: mpsc::Receiver<Incoming>,
    ) -> Self {
        Self { config, backend, slots, dials, accepted, listener: None, events: VecDeque::new() }
    }

    fn peer_config(&self) -> PeerConfig {
        PeerConfig { stun: self.config.stun.get() }
    }

    fn answer(&self, Incoming { peer, stream, slot, .. }: Incoming) -> Upgrade<B> {
        let (backend, config, timeout) = (self.backend.clone(), self.peer_config(), self.config.timeout);
        async move {
            let _slot = slot;
            let muxer = handshake::within(timeout, handshake::answer(&backend, config, stream)).await?;
            Ok((peer, muxer))
        }
        .boxed()
    }
}

impl<B: Backend> libp2p::Transport for Transport<B> {
    type Output = Connected<B>;
    type Error = Error;
    type ListenerUpgrade = Upgrade<B>;
    type Dial = Upgrade<B>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<Error>> {
        if address != Multiaddr::from(Protocol::WebRTC) {
            return Err(TransportError::MultiaddrNotSupported(address));
        }
        if self.listener.is_some() {
            return Err(TransportError::Other(Error::Listener("listens already")));
        }
        self.listener = Some(id);
        self.slots.listen(true);
        self.events.push_back(TransportEvent::NewAddress { listener_id: id, listen_addr: address });
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        if self.listener != Some(id) {
            return false;
        }
        self.listener = None;
        self.slots.listen(false);
        self.events.push_back(TransportEvent::ListenerClosed { listener_id: id, reason: Ok(()) });
        true
    }

    fn dial(&mut self, address: Multiaddr, _: DialOpts) -> Result<Upgrade<B>, TransportError<Error>> {
        let Some(read) = Address::read(&address) else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        let Address { relay, peer, circuit } = read.map_err(TransportError::Other)?;
        let slot = self.slots.take(peer, Some(relay)).map_err(TransportError::Other)?;
        let (reply, stream) = oneshot::channel();
        self.dials.try_send(Dial { peer, circuit, reply }).map_err(|full| {
            TransportError::Other(if full.is_full() { Error::Busy("at once") } else { Error::Stopped })
        })?;
        let (backend, config, timeout) = (self.backend.clone(), self.peer_config(), self.config.timeout);
        let connecting = async move {
            let gone = |_| Error::Broken("it was closed at once".to_owned());
            let stream = stream.await.map_err(gone)??;
            handshake::offer(&backend, config, stream).await
        };
        Ok(async move {
            let _slot = slot;
            let muxer = handshake::within(timeout, connecting).await?;
            Ok((peer, muxer))
        }
        .boxed())
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Happened<B>> {
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(event);
        }
        while let Poll::Ready(Some(incoming)) = self.accepted.poll_next_unpin(cx) {
            // Without a listener it came while the listener went; dropping it resets the stream.
            if let Some(listener_id) = self.listener {
                let local_addr = address::local(incoming.relay);
                let send_back_addr = local_addr.clone().with(Protocol::P2p(incoming.peer));
                let upgrade = self.answer(incoming);
                return Poll::Ready(TransportEvent::Incoming { listener_id, upgrade, local_addr, send_back_addr });
            }
        }
        Poll::Pending
    }
}
