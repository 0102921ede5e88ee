//! What the host holds: a handle to order, and the stream of what happened.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::channel::{mpsc, oneshot};
use futures::task::AtomicWaker;
use futures::{FutureExt, Stream, StreamExt};
use libp2p::Multiaddr;
use tributary_protocol::{BlobRef, Id};

use crate::blob::FetchError;
use crate::fetches::Job;
use crate::link::Link;
use crate::meter::{Flow, Meter, Totals, Traffic};
use crate::served::Served;
use crate::throttle::Throttle;

/// Orders that wait for the node's loop, which takes them at once: more than one order for each of
/// a thousand peers means that something runs wild.
const ORDERS: usize = 1024;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The node can be dialled here. Without the `/p2p/` part.
    Listening(Multiaddr),
    /// The control stream with this peer is up.
    Connected {
        /// Who.
        peer: Id,
        /// Where it is.
        addr: Multiaddr,
    },
    /// The control stream with this peer is gone; all its frames came before this.
    Disconnected {
        /// Who.
        peer: Id,
        /// Why, for people.
        why: String,
    },
    /// A dial came to nothing.
    DialFailed {
        /// What was dialled.
        addr: Multiaddr,
        /// Why, for people.
        why: String,
    },
    /// A peer sent this. Taking it returns credit to the peer.
    Frame {
        /// Who.
        peer: Id,
        /// What.
        frame: Vec<u8>,
    },
}

/// An event under way to the host, and what taking it gives back to whom.
pub(crate) struct Queued {
    pub(crate) event: Event,
    pub(crate) cost: Option<(Arc<Link>, usize)>,
}

impl Queued {
    pub(crate) fn plain(event: Event) -> Self {
        Self { event, cost: None }
    }
}

/// The stream of what happened. It must be read: a host that takes no frames stops its peers from
/// sending more. It ends when the node does.
pub struct Events(pub(crate) mpsc::Receiver<Queued>);

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.0.poll_next_unpin(cx).map(|next| {
            next.map(|Queued { event, cost }| {
                if let Some((link, bytes)) = cost {
                    link.took(bytes);
                }
                event
            })
        })
    }
}

/// Why a frame or an order was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The peer takes frames too slowly, or too many orders wait: try again later or do without.
    #[error("the queue is full; the other side does not keep up")]
    Full,
    /// There is no control stream with this peer.
    #[error("not connected to this peer")]
    NotConnected,
    /// The frame has more than `MAX_CONTROL_FRAME` bytes; send it as a blob.
    #[error("the frame is too large for a control stream")]
    TooLarge,
}

impl SendError {
    /// Whether sending the same again cannot help.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::TooLarge)
    }
}

/// Bytes moved over one link since it is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkTraffic {
    /// Who is at its other end.
    pub peer: Id,
    /// By the control stream.
    pub control: Flow,
    /// By blobs.
    pub bulk: Flow,
}

/// An order to the node's loop.
pub(crate) enum Order {
    Dial(Multiaddr),
    Disconnect(Id),
    Fetch(Job),
}

/// A link that is up, and what moved over it.
type Linked = (Arc<Link>, Arc<Meter>);

/// What handles and the node share.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) totals: Arc<Totals>,
    pub(crate) throttle: Arc<Throttle>,
    pub(crate) served: Arc<Served>,
    links: Mutex<HashMap<Id, Linked>>,
    orders: Mutex<VecDeque<Order>>,
    waker: AtomicWaker,
    /// There are no handles or there is no node any more.
    over: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn link(&self, peer: Id, link: Arc<Link>, meter: Arc<Meter>) {
        lock(&self.links).insert(peer, (link, meter));
    }

    pub(crate) fn unlink(&self, peer: &Id) {
        lock(&self.links).remove(peer);
    }

    fn order(&self, order: Order) -> Result<(), SendError> {
        let mut orders = lock(&self.orders);
        if self.over.load(Ordering::Acquire) {
            return Err(SendError::NotConnected);
        }
        if orders.len() >= ORDERS {
            return Err(SendError::Full);
        }
        orders.push_back(order);
        drop(orders);
        self.waker.wake();
        Ok(())
    }

    /// The next order; `None` when no handle is left to give one.
    pub(crate) fn poll_order(&self, cx: &mut Context<'_>) -> Poll<Option<Order>> {
        self.waker.register(cx.waker());
        match lock(&self.orders).pop_front() {
            Some(order) => Poll::Ready(Some(order)),
            None if self.over.load(Ordering::Acquire) => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    /// No more orders: those that wait are dropped, and whoever waits for them is told.
    pub(crate) fn finish(&self) {
        self.over.store(true, Ordering::Release);
        lock(&self.orders).clear();
        self.waker.wake();
    }
}

/// The last handle's drop ends the node.
struct Alive(Arc<Shared>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Release);
        self.0.waker.wake();
    }
}

/// Gives the node its orders. Cheap to clone; the node ends when the last clone is dropped.
#[derive(Clone)]
pub struct Handle(Arc<Alive>);

impl Handle {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(Arc::new(Alive(shared)))
    }

    fn shared(&self) -> &Shared {
        &self.0.0
    }

    /// Dials an address, best one that ends in `/p2p/ID`. Ends in `Connected` or `DialFailed`.
    ///
    /// # Errors
    /// `Full` if too many orders wait, `NotConnected` if the node has ended; then no event follows.
    pub fn dial(&self, addr: Multiaddr) -> Result<(), SendError> {
        self.shared().order(Order::Dial(addr))
    }

    /// Queues a frame for a peer. Frames arrive in the order they were sent, or the peer is
    /// disconnected.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send(&self, peer: Id, frame: impl Into<Bytes>) -> Result<(), SendError> {
        let link = lock(&self.shared().links).get(&peer).map(|(link, _)| link.clone());
        link.ok_or(SendError::NotConnected)?.push(frame.into())
    }

    /// Sends what waits for this peer, then closes the connection. Ends in `Disconnected`; does
    /// nothing if the peer is not connected.
    pub fn disconnect(&self, peer: Id) {
        // Only a node that is over or swamped does not take this; then there is nothing to close, or
        // the connection ends with the next thing that fails on it.
        let _ = self.shared().order(Order::Disconnect(peer));
    }

    /// Fetches a blob, or takes it from the own store if it is there. `origin` is who surely has it;
    /// every linked peer is asked too, those that have it or are getting it send it, and the origin sends
    /// what they have not. Every chunk is verified as it comes; chunks of an earlier attempt that
    /// failed are not fetched again. The whole goes into the store and is returned. Dropping the future
    /// ends the transfer.
    ///
    /// The error is what the origin's part ended with, if nobody else could go on.
    pub fn fetch(
        &self,
        origin: Id,
        blob: BlobRef,
    ) -> impl Future<Output = Result<Bytes, FetchError>> + Send + 'static + use<> {
        let (reply, answer) = oneshot::channel();
        let ordered = if blob.is_bounded() {
            self.shared().order(Order::Fetch(Job { peer: origin, blob, reply })).map_err(|error| match error {
                SendError::Full => FetchError::Busy,
                _ => FetchError::Gone("the node has ended".to_owned()),
            })
        } else {
            Err(FetchError::TooLarge)
        };
        async move {
            ordered?;
            answer.map(|answer| answer.unwrap_or_else(|_| Err(FetchError::Gone("the node has ended".to_owned())))).await
        }
    }

    /// What was moved so far.
    pub fn traffic(&self) -> Traffic {
        self.shared().totals.read()
    }

    /// What was moved over each link that is up now, by peer.
    pub fn links(&self) -> Vec<LinkTraffic> {
        let links = lock(&self.shared().links);
        let mut all: Vec<_> = links
            .iter()
            .map(|(peer, (_, meter))| {
                let (control, bulk) = meter.read();
                LinkTraffic { peer: *peer, control, bulk }
            })
            .collect();
        all.sort_unstable_by_key(|link| link.peer);
        all
    }

    /// Bytes of each blob that were served, of the last few blobs.
    pub fn served(&self) -> Vec<(BlobRef, u64)> {
        self.shared().served.read()
    }

    /// Serves blobs with at most this many bytes a second, all peers together; `None`: without a limit.
    /// Control frames are not counted.
    pub fn set_upload_limit(&self, bytes_per_second: Option<u64>) {
        self.shared().throttle.set(bytes_per_second);
    }
}
