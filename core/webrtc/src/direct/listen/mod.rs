//! Listening on `/webrtc-direct`, versions 1 and 2, with one UDP port for all connections.
//!
//! Enters: an address to listen on and a certificate. Leaves: proven peers with a muxer each, and the address
//! with the certificate's hash. The same port answers STUN, so that those who use it need no third party.
//! Refuses: handshakes beyond the bounds of `router`.
//!
//! The order to read in: `router` (whose datagram is this), `socket` (one port for many connections), `accept`
//! (one handshake), `stun`, `guard`, `certificate`.

mod accept;
mod certificate;
mod guard;
mod router;
mod socket;
pub mod stun;

use std::collections::VecDeque;
use std::future::{Ready, ready};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::channel::mpsc;
use futures::future::{BoxFuture, Pending};
use futures::{FutureExt as _, StreamExt as _};
use libp2p::core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId};

use self::accept::Host;
pub use self::certificate::{Certificate, Unusable};
use self::router::{Proven, Router};
use self::socket::Port;
use super::{Address, Error};
use crate::backend::native::Peer;
use crate::muxer::Muxer;

/// Proven peers that wait to be taken by the swarm.
const WAITING: usize = 64;

/// Listens on `/webrtc-direct`; to dial is another transport's work. Needs a tokio runtime.
pub struct Transport {
    host: Host,
    listeners: Vec<Listener>,
    events: VecDeque<Event>,
    waker: Option<Waker>,
}

type Event = TransportEvent<Ready<Result<(PeerId, Muxer<Peer>), Error>>, Error>;

struct Listener {
    id: ListenerId,
    socket: SocketAddr,
    proven: mpsc::Receiver<Proven>,
    /// Reads the port; ends with the error that closed it.
    router: BoxFuture<'static, std::io::Error>,
    _task: Task,
}

/// The router's task; it ends with the listener.
struct Task(tokio::task::AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Transport {
    /// Listens as `identity`, known by `certificate`.
    #[must_use]
    pub fn new(identity: Keypair, certificate: Certificate) -> Self {
        Self { host: Host { identity, certificate }, listeners: Vec::new(), events: VecDeque::new(), waker: None }
    }

    fn listen(&mut self, id: ListenerId, at: SocketAddr) -> std::io::Result<()> {
        let tasks = tokio::runtime::Handle::try_current().map_err(std::io::Error::other)?;
        let socket = UdpSocket::bind(at)?;
        let socket_address = socket.local_addr()?;
        let port = Arc::new(Port::new(socket)?);
        let (sender, proven) = mpsc::channel(WAITING);
        let task = tasks.spawn(Router::new(self.host.clone(), port, sender).run());
        let abort = Task(task.abort_handle());
        let router = task.map(|ended| ended.unwrap_or_else(std::io::Error::other)).boxed();
        self.listeners.push(Listener { id, socket: socket_address, proven, router, _task: abort });
        for ip in reachable(socket_address) {
            let listen_addr = self.address(SocketAddr::new(ip, socket_address.port()));
            self.events.push_back(TransportEvent::NewAddress { listener_id: id, listen_addr });
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        Ok(())
    }

    fn address(&self, socket: SocketAddr) -> Multiaddr {
        let certificate = Some(self.host.certificate.fingerprint());
        Address { socket, certificate, peer: None }.write()
    }

    fn closed(&mut self, place: usize, reason: Result<(), Error>) {
        let listener = self.listeners.swap_remove(place);
        self.events.push_back(TransportEvent::ListenerClosed { listener_id: listener.id, reason });
    }
}

impl libp2p::Transport for Transport {
    type Output = (PeerId, Muxer<Peer>);
    type Error = Error;
    type ListenerUpgrade = Ready<Result<Self::Output, Error>>;
    type Dial = Pending<Result<Self::Output, Error>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<Error>> {
        match Address::read(&address) {
            Some(Address { socket, certificate: None, peer: None }) => {
                self.listen(id, socket).map_err(|error| TransportError::Other(error.into()))
            }
            _ => Err(TransportError::MultiaddrNotSupported(address)),
        }
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        let place = self.listeners.iter().position(|listener| listener.id == id);
        if let Some(place) = place {
            self.closed(place, Ok(()));
        }
        place.is_some()
    }

    fn dial(&mut self, address: Multiaddr, _: DialOpts) -> Result<Self::Dial, TransportError<Error>> {
        Err(TransportError::MultiaddrNotSupported(address))
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Event> {
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(event);
        }
        for place in 0..self.listeners.len() {
            let listener = &mut self.listeners[place];
            let (listener_id, socket) = (listener.id, listener.socket);
            if let Poll::Ready(Some((from, peer, muxer))) = listener.proven.poll_next_unpin(cx) {
                return Poll::Ready(TransportEvent::Incoming {
                    listener_id,
                    upgrade: ready(Ok((peer, muxer))),
                    local_addr: self.address(socket),
                    send_back_addr: Address { socket: from, certificate: None, peer: None }.write(),
                });
            }
            if let Poll::Ready(error) = self.listeners[place].router.poll_unpin(cx) {
                self.closed(place, Err(error.into()));
                return self.poll(cx);
            }
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Where others reach a socket: its own address, or those of all interfaces.
fn reachable(socket: SocketAddr) -> Vec<std::net::IpAddr> {
    if !socket.ip().is_unspecified() {
        return vec![socket.ip()];
    }
    let interfaces = rtc::shared::ifaces::ifaces().unwrap_or_default();
    let mut found: Vec<_> = interfaces
        .into_iter()
        .filter_map(|interface| Some(interface.addr?.ip()))
        .filter(|ip| ip.is_ipv4() == socket.is_ipv4() && !is_link_local(*ip))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Whether an address means something on one network only, which an address for others cannot say.
fn is_link_local(ip: std::net::IpAddr) -> bool {
    match ip {
        std::net::IpAddr::V4(ip) => ip.is_link_local(),
        std::net::IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}
