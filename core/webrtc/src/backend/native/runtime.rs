//! Tokio for crate `webrtc`, with sockets as we want them.

use std::future::{Future, ready};
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, RecvMeta, Runtime, TokioRuntime,
    Transmit,
};

use super::peer::lock;

/// What the crate gets for a UDP socket that it has bound.
type Wrap = dyn Fn(UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> + Send + Sync;

/// Tokio, but UDP sockets are what a function makes of them. TCP and names are not for connections here.
pub(crate) struct Sockets(Box<Wrap>);

impl Sockets {
    /// Sockets made by `wrap`.
    pub(crate) fn new(wrap: impl Fn(UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> + Send + Sync + 'static) -> Self {
        Self(Box::new(wrap))
    }

    /// Sockets of the system that hand out one datagram at a time until `up`.
    pub(crate) fn one_by_one(up: Arc<AtomicBool>) -> Self {
        Self::new(move |socket| {
            let socket = TokioRuntime.wrap_udp_socket(socket)?;
            Ok(Arc::new(OneByOne { socket, up: up.clone(), rest: Mutex::default() }))
        })
    }
}

impl std::fmt::Debug for Sockets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sockets")
    }
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl Runtime for Sockets {
    fn spawn(&self, future: Boxed<'static, ()>) -> Box<dyn JoinHandle> {
        TokioRuntime.spawn(future)
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        (self.0)(socket)
    }

    fn wrap_tcp_listener(&self, listener: std::net::TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        TokioRuntime.wrap_tcp_listener(listener)
    }

    fn connect_tcp<'a>(&'a self, _: SocketAddr) -> Boxed<'a, io::Result<Arc<dyn AsyncTcpStream>>> {
        Box::pin(ready(Err(io::ErrorKind::Unsupported.into())))
    }

    fn resolve_host<'a>(&'a self, host: &'a str) -> Boxed<'a, io::Result<Vec<SocketAddr>>> {
        TokioRuntime.resolve_host(host)
    }

    fn sleep(&self, duration: Duration) -> Boxed<'static, ()> {
        TokioRuntime.sleep(duration)
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        TokioRuntime.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        TokioRuntime.block_on(future);
    }

    fn yield_now(&self) -> Boxed<'static, ()> {
        TokioRuntime.yield_now()
    }

    fn name(&self) -> &'static str {
        "tokio, with sockets of ours"
    }
}

/// A socket that hands out one datagram, then nothing, then the next, until the connection is up.
///
/// The crate opens negotiated channels only after it has seen to all the datagrams it found, and loses what
/// comes on such a channel together with the end of the SCTP handshake: the first word of `/webrtc-direct`.
#[derive(Debug)]
struct OneByOne {
    socket: Arc<dyn AsyncUdpSocket>,
    up: Arc<AtomicBool>,
    rest: Mutex<Rest>,
}

/// What is left of datagrams that the system handed out together.
#[derive(Debug, Default)]
struct Rest {
    bytes: Vec<u8>,
    stride: usize,
    from: Option<SocketAddr>,
    pause: bool,
}

impl Rest {
    /// Puts the next datagram into `buffer`.
    fn take(&mut self, buffer: &mut [u8], meta: &mut RecvMeta) -> Option<()> {
        let from = self.from.filter(|_| !self.bytes.is_empty())?;
        let length = self.stride.min(self.bytes.len()).min(buffer.len());
        buffer[..length].copy_from_slice(&self.bytes[..length]);
        self.bytes.drain(..self.stride.min(self.bytes.len()));
        *meta = RecvMeta::default();
        (meta.len, meta.stride, meta.addr) = (length, length.max(1), from);
        Some(())
    }
}

impl AsyncUdpSocket for OneByOne {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        self.socket.poll_send(cx, transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let up = self.up.load(Ordering::Relaxed);
        let (Some(buffer), Some(first)) = (buffers.first_mut(), meta.first_mut()) else {
            return Poll::Ready(Ok(0));
        };
        let mut rest = lock(&self.rest);
        if std::mem::take(&mut rest.pause) && !up {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        rest.pause = !up;
        if rest.take(buffer, first).is_some() {
            return Poll::Ready(Ok(1));
        }
        if up {
            drop(rest);
            return self.socket.poll_recv(cx, buffers, meta);
        }
        let received = self.socket.poll_recv(cx, &mut buffers[..1], &mut meta[..1]);
        if let (Poll::Ready(Ok(1..)), RecvMeta { len, stride, addr, .. }) = (&received, meta[0]) {
            let stride = stride.clamp(1, len.max(1));
            rest.bytes.clear();
            rest.bytes.extend(&buffers[0][stride.min(len)..len]);
            (rest.stride, rest.from) = (stride, Some(addr));
            meta[0].len = stride.min(len);
        } else {
            rest.pause = false;
        }
        received
    }

    fn max_gso_segments(&self) -> usize {
        self.socket.max_gso_segments()
    }

    fn max_gro_segments(&self) -> usize {
        self.socket.max_gro_segments()
    }
}
