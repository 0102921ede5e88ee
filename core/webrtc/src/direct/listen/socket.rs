//! One UDP port for many connections: what crate `webrtc` takes for a socket of the connection's own.
//!
//! Enters: datagrams that the router found to be this connection's. Leaves: datagrams through the shared
//! port. Refuses: more than [`INBOX`] unread bytes; what comes then is lost, as on any socket.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Runtime as _, TokioRuntime, Transmit};

use crate::backend::native::Sockets;

/// Bytes that wait for a connection: a full SCTP window and its acknowledgements.
const INBOX: usize = 2 * 1024 * 1024;

/// The listener's socket. Tokio wakes one task only when it can send again; here it wakes all.
#[derive(Debug)]
pub(super) struct Port {
    socket: Arc<dyn AsyncUdpSocket>,
    senders: Arc<Senders>,
}

#[derive(Debug, Default)]
struct Senders(Mutex<Vec<Waker>>);

impl Wake for Senders {
    fn wake(self: Arc<Self>) {
        lock(&self.0).drain(..).for_each(Waker::wake);
    }
}

impl Port {
    pub(super) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        Ok(Self { socket: TokioRuntime.wrap_udp_socket(socket)?, senders: Arc::default() })
    }

    pub(super) fn local(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Bytes that one receive may hold.
    pub(super) fn batch(&self) -> usize {
        // Datagrams that the system joined, each at most an Ethernet frame long.
        self.socket.max_gro_segments().clamp(2, 64) * 1500
    }

    /// The next datagrams of one sender: how many bytes, how long each is, and whose.
    pub(super) async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, usize, SocketAddr)> {
        let mut meta = [RecvMeta::default()];
        std::future::poll_fn(|cx| self.socket.poll_recv(cx, &mut [IoSliceMut::new(buffer)], &mut meta)).await?;
        Ok((meta[0].len, meta[0].stride.max(1), meta[0].addr))
    }

    /// Sends one datagram if that can be done at once.
    pub(super) fn answer(&self, datagram: &[u8], destination: SocketAddr) {
        let transmit = Transmit { destination, ecn: None, contents: datagram, segment_size: None, src_ip: None };
        let waker = Waker::from(self.senders.clone());
        // Whoever asked will ask again.
        let _ = self.socket.poll_send(&mut Context::from_waker(&waker), &transmit);
    }

    fn poll_send(&self, cx: &Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        {
            let mut senders = lock(&self.senders.0);
            if !senders.iter().any(|waker| waker.will_wake(cx.waker())) {
                senders.push(cx.waker().clone());
            }
        }
        let all = Waker::from(self.senders.clone());
        let sent = self.socket.poll_send(&mut Context::from_waker(&all), transmit);
        if sent.is_ready() {
            lock(&self.senders.0).retain(|waker| !waker.will_wake(cx.waker()));
        }
        sent
    }
}

/// One connection's part of a port.
#[derive(Debug)]
pub(super) struct Part {
    port: Arc<Port>,
    inbox: Mutex<Inbox>,
}

#[derive(Debug, Default)]
struct Inbox {
    /// Datagrams, each run of equal length as one, and its sender.
    runs: VecDeque<(Vec<u8>, usize, SocketAddr)>,
    bytes: usize,
    reader: Option<Waker>,
    /// Whether the connection knows enough to understand what comes.
    open: bool,
}

impl Part {
    pub(super) fn new(port: Arc<Port>) -> Self {
        Self { port, inbox: Mutex::default() }
    }

    /// From now on the connection reads.
    pub(super) fn open(&self) {
        let mut inbox = lock(&self.inbox);
        inbox.open = true;
        if let Some(reader) = inbox.reader.take() {
            reader.wake();
        }
    }

    /// Hands over what came for this connection.
    pub(super) fn deliver(&self, run: &[u8], stride: usize, from: SocketAddr) {
        let mut inbox = lock(&self.inbox);
        if inbox.bytes + run.len() > INBOX {
            return;
        }
        inbox.bytes += run.len();
        inbox.runs.push_back((run.to_vec(), stride, from));
        if let Some(reader) = inbox.reader.take() {
            reader.wake();
        }
    }
}

/// As the connection sees it.
#[derive(Debug)]
struct Socket(Arc<Part>);

impl AsyncUdpSocket for Socket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.port.local()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        self.0.port.poll_send(cx, transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut inbox = lock(&self.0.inbox);
        let next = if inbox.open { inbox.runs.pop_front() } else { None };
        let Some((run, stride, from)) = next else {
            inbox.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        inbox.bytes -= run.len();
        let (Some(buffer), Some(meta)) = (buffers.first_mut(), meta.first_mut()) else {
            return Poll::Ready(Ok(0));
        };
        let length = run.len().min(buffer.len());
        buffer[..length].copy_from_slice(&run[..length]);
        *meta = RecvMeta::default();
        (meta.len, meta.stride, meta.addr) = (length, stride, from);
        Poll::Ready(Ok(1))
    }

    fn max_gso_segments(&self) -> usize {
        self.0.port.socket.max_gso_segments()
    }

    fn max_gro_segments(&self) -> usize {
        self.0.port.socket.max_gro_segments()
    }
}

/// The sockets of a connection that has `part` of a port.
///
/// The crate binds a socket before it asks what to make of it. That one is closed unused; its address only
/// names the local candidate, which nobody is told.
pub(super) fn sockets(part: Arc<Part>) -> Sockets {
    Sockets::new(move |_| Ok(Arc::new(Socket(part.clone()))))
}

/// Where the crate may bind the socket that it won't use: the family must be the other side's.
pub(super) fn unused(like: IpAddr) -> SocketAddr {
    let ip: IpAddr =
        if like.is_ipv4() { std::net::Ipv4Addr::LOCALHOST.into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
    SocketAddr::new(ip, 0)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
