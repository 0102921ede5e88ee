//! A peer: takes commands, runs a swarm, serves the test protocols.
//!
//! Enters: [`Command`]s. Leaves: their outcomes as JSON. Refuses: what went wrong, in words.

use std::sync::{Arc, Mutex, PoisonError};

use futures::channel::{mpsc, oneshot};
use futures::future::{BoxFuture, FutureExt};
use futures::{SinkExt, StreamExt};
use libp2p::core::transport::Boxed;
use libp2p::identity::Keypair;
use libp2p::swarm::NetworkBehaviour;
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, identify, ping, relay, swarm};
use libp2p_stream::IncomingStreams;
use serde_json::{Value, json};
use tributary_webrtc::private;

use crate::net::Connected;
use crate::node::{self, Order};
use crate::protocols;

/// Orders on their way to the swarm; commands come one at a time, so that more would be a mistake.
const ORDERS: usize = 8;
/// Streams of one protocol that are served at a time: as many as a test opens one after the other.
const SERVED: usize = 256;

/// A peer's id as text.
#[derive(Debug, Clone, Copy, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct Name(PeerId);

impl TryFrom<String> for Name {
    type Error = <PeerId as std::str::FromStr>::Err;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

/// What a peer can be told to do.
#[derive(Debug, serde::Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum Command {
    /// Say its id.
    Id,
    /// Be reachable over a relay; the address to dial.
    Listen {
        /// The relay's address.
        relay: Multiaddr,
    },
    /// Be reachable at a UDP port of its own; the address to dial.
    ListenDirectly,
    /// Connect; the id of who answered.
    Dial {
        /// Where.
        to: Multiaddr,
    },
    /// Say of each connection to a peer whether it is `direct` or `relayed`.
    Paths {
        /// To whom.
        peer: Name,
    },
    /// Close relayed connections to a peer.
    Shed {
        /// To whom.
        peer: Name,
    },
    /// Have a text echoed.
    Echo {
        /// By whom.
        peer: Name,
        /// What.
        text: String,
    },
    /// Hear a peer out, then say a text, or reset the stream if there is none.
    LastWord {
        /// Whom.
        peer: Name,
        /// What to say.
        text: Option<String>,
    },
    /// Have a stream reset.
    BeReset {
        /// By whom.
        peer: Name,
    },
    /// Have short texts echoed, each on a stream of its own, one after the other.
    Short {
        /// By whom.
        peer: Name,
        /// How many.
        count: usize,
    },
    /// Say, once, what others said on streams whose other side was closed.
    Heard,
    /// Make the blob that is served, and room for one as large.
    Prepare {
        /// Its length.
        bytes: usize,
    },
    /// Fetch a blob into the room that was prepared.
    Fetch {
        /// From whom.
        peer: Name,
    },
    /// Say the BLAKE3 hash of what was fetched.
    Hash,
}

/// What runs on every connection.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub(crate) relay: relay::client::Behaviour,
    pub(crate) signalling: private::Behaviour,
    pub(crate) streams: libp2p_stream::Behaviour,
    pub(crate) identify: identify::Behaviour,
    pub(crate) ping: ping::Behaviour,
}

/// What commands and served streams share.
#[derive(Debug, Default)]
struct Shared {
    heard: Mutex<Vec<String>>,
    blob: Mutex<Arc<Vec<u8>>>,
    room: Mutex<Vec<u8>>,
}

/// A peer. It lives as long as the future that comes with it is polled.
pub struct Peer {
    id: PeerId,
    streams: libp2p_stream::Control,
    orders: mpsc::Sender<Order>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Peer {
    /// A peer with this transport, and what it does all the time.
    pub(crate) fn new(
        keypair: &Keypair,
        transport: Boxed<Connected>,
        relay: relay::client::Behaviour,
        signalling: private::Behaviour,
        config: swarm::Config,
    ) -> (Self, BoxFuture<'static, ()>) {
        let id = PeerId::from(keypair.public());
        let behaviour = Behaviour {
            relay,
            signalling,
            streams: libp2p_stream::Behaviour::new(),
            identify: identify::Behaviour::new(identify::Config::new("/tributary-test/1".to_owned(), keypair.public())),
            ping: ping::Behaviour::default(),
        };
        let mut streams = behaviour.streams.new_control();
        let shared = Arc::new(Shared::default());
        let served = serve(&mut streams, &shared);
        let (orders, taken) = mpsc::channel(ORDERS);
        let swarm = node::run(Swarm::new(transport, behaviour, id, config), taken);
        let runs = async move {
            futures::join!(swarm, served);
        };
        (Self { id, streams, orders, shared }, runs.boxed())
    }

    /// Does what it is told; why it couldn't, in words.
    pub async fn run(&mut self, command: Command) -> Result<Value, String> {
        match command {
            Command::Id => Ok(json!(self.id.to_string())),
            Command::Listen { relay } => self.order(|done| Order::Listen(relay, done)).await?.map(|addr| json!(addr)),
            Command::ListenDirectly => self.order(Order::ListenDirectly).await?.map(|addr| json!(addr)),
            Command::Dial { to } => self.order(|done| Order::Dial(to, done)).await?.map(|id| json!(id.to_string())),
            Command::Paths { peer: Name(peer) } => {
                self.order(|done| Order::Paths(peer, done)).await.map(|paths| json!(paths))
            }
            Command::Shed { peer: Name(peer) } => {
                self.order(|done| Order::Shed(peer, done)).await.map(|()| Value::Null)
            }
            Command::Echo { peer: Name(peer), text } => self.echo(peer, &text).await,
            Command::LastWord { peer: Name(peer), text } => {
                let stream = self.open(peer, protocols::LAST_WORD).await?;
                outcome(protocols::last_word(stream, text.as_deref()).await)
            }
            Command::BeReset { peer: Name(peer) } => {
                outcome(protocols::be_reset(self.open(peer, protocols::RESET).await?).await)
            }
            Command::Short { peer: Name(peer), count } => {
                for i in 0..count {
                    self.echo(peer, &format!("stream {i}")).await.map_err(|error| format!("stream {i}: {error}"))?;
                }
                Ok(Value::Null)
            }
            Command::Heard => Ok(json!(std::mem::take(&mut *lock(&self.shared.heard)))),
            Command::Prepare { bytes } if bytes > protocols::MOST_BLOB => Err(format!("{bytes} bytes are too many")),
            Command::Prepare { bytes } => {
                *lock(&self.shared.blob) = Arc::new(protocols::blob(bytes));
                // Written to, so that it is really there before memory is measured.
                *lock(&self.shared.room) = vec![1; bytes];
                Ok(Value::Null)
            }
            Command::Fetch { peer: Name(peer) } => {
                let stream = self.open(peer, protocols::BLOB).await?;
                let mut room = std::mem::take(&mut *lock(&self.shared.room));
                let fetched = protocols::fetch(stream, &mut room).await;
                *lock(&self.shared.room) = room;
                outcome(fetched)
            }
            Command::Hash => Ok(json!(blake3::hash(&lock(&self.shared.room)).to_hex().to_string())),
        }
    }

    async fn echo(&mut self, peer: PeerId, text: &str) -> Result<Value, String> {
        outcome(protocols::echo(self.open(peer, protocols::ECHO).await?, text).await)
    }

    async fn open(&mut self, peer: PeerId, protocol: StreamProtocol) -> Result<libp2p::Stream, String> {
        self.streams.open_stream(peer, protocol).await.map_err(|error| error.to_string())
    }

    async fn order<T>(&mut self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Result<T, String> {
        let (done, outcome) = oneshot::channel();
        let gone = "the swarm has ended";
        self.orders.send(order(done)).await.map_err(|_| gone)?;
        Ok(outcome.await.map_err(|_| gone)?)
    }
}

fn outcome<T: serde::Serialize>(result: std::io::Result<T>) -> Result<Value, String> {
    result.map(|value| json!(value)).map_err(|error| error.to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves every protocol.
fn serve(streams: &mut libp2p_stream::Control, shared: &Arc<Shared>) -> impl Future<Output = ()> + use<> {
    let mut accept = |protocol| streams.accept(protocol).expect("each protocol is registered once");
    let [echo, last_word, reset, blob] =
        [protocols::ECHO, protocols::LAST_WORD, protocols::RESET, protocols::BLOB].map(&mut accept);
    let (shared, sharing) = (shared.clone(), shared.clone());
    // What becomes of a stream shows at its client.
    let echo = each(echo, |stream| async { drop(protocols::serve_echo(stream).await) });
    let reset = each(reset, |stream| async { drop(protocols::serve_reset(stream).await) });
    let last_word = each(last_word, move |stream| {
        let shared = shared.clone();
        async move {
            let said = protocols::serve_last_word(stream).await;
            lock(&shared.heard).push(said);
        }
    });
    let blob = each(blob, move |stream| {
        let blob = lock(&sharing.blob).clone();
        async move { drop(protocols::serve_blob(stream, &blob).await) }
    });
    async move {
        futures::join!(echo, last_word, reset, blob);
    }
}

fn each<F: Future<Output = ()>>(
    incoming: IncomingStreams,
    mut serve: impl FnMut(libp2p::Stream) -> F,
) -> impl Future<Output = ()> {
    incoming.for_each_concurrent(SERVED, move |(_, stream)| serve(stream))
}
