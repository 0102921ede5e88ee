//! Swarms for the tests: nodes with relay client and `/webrtc`, and a relay, over libp2p's memory transport.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, MemoryTransport, OrTransport};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{self, ConnectionId, NetworkBehaviour, Stream, Swarm, SwarmEvent};
use libp2p::{Multiaddr, PeerId, StreamProtocol, Transport, noise, relay, yamux};
use tokio::sync::{Notify, mpsc, oneshot};
use tributary_webrtc::backend::Backend;
use tributary_webrtc::private::{self, Config, SIGNALLING, is_relayed};

/// The protocol that the tests speak once they are connected.
pub(super) const ECHO: StreamProtocol = StreamProtocol::new("/echo");

/// Fails a test that waits for something that does not come.
pub(super) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("it does not happen")
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    relay: relay::client::Behaviour,
    webrtc: Toggle<private::Behaviour>,
    streams: libp2p_stream::Behaviour,
}

/// What a node was told by its swarm.
#[derive(Debug)]
pub(super) enum Told {
    Up { connection: ConnectionId, peer: PeerId, direct: bool },
    Down { peer: PeerId, direct: bool },
    DialFailed { connection: ConnectionId, error: String },
    IncomingFailed { error: String },
    Refused { peer: PeerId, error: private::Error },
    Listening(Multiaddr),
}

enum Command {
    Dial(DialOpts),
    Listen(Multiaddr),
    CloseRelayed(PeerId),
    CountRelayed(PeerId, oneshot::Sender<usize>),
}

/// A swarm on a task of its own.
pub(super) struct Node {
    pub(super) id: PeerId,
    commands: mpsc::Sender<Command>,
    control: libp2p_stream::Control,
    incoming: tokio::sync::Mutex<libp2p_stream::IncomingStreams>,
    log: Arc<(Mutex<Vec<Told>>, Notify)>,
}

fn boxed<T>(lower: T, keypair: &Keypair) -> Boxed<(PeerId, StreamMuxerBox)>
where
    T: Transport + Send + Unpin + 'static,
    T::Output: futures::AsyncRead + futures::AsyncWrite + Send + Unpin,
    T::Error: Send + Sync,
    T::Dial: Send,
    T::ListenerUpgrade: Send,
{
    lower
        .upgrade(Version::V1)
        .authenticate(noise::Config::new(keypair).unwrap())
        .multiplex(yamux::Config::default())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
        .boxed()
}

fn config(idle: Duration) -> swarm::Config {
    let config = swarm::Config::with_executor(|task| {
        tokio::spawn(task);
    });
    config.with_idle_connection_timeout(idle)
}

impl Node {
    pub(super) fn start<B: Backend>(backend: &B, webrtc: Config) -> Self {
        Self::idle_after(backend, webrtc, Duration::from_secs(60))
    }

    pub(super) fn idle_after<B: Backend>(backend: &B, webrtc: Config, idle: Duration) -> Self {
        Self::spawn(backend, webrtc, true, idle)
    }

    /// A node that knows nothing of WebRTC.
    pub(super) fn plain<B: Backend>(backend: &B) -> Self {
        Self::spawn(backend, Config::default(), false, Duration::from_secs(60))
    }

    fn spawn<B: Backend>(backend: &B, webrtc: Config, able: bool, idle: Duration) -> Self {
        let keypair = Keypair::generate_ed25519();
        let id = keypair.public().to_peer_id();
        let (transport, webrtc) = private::new(webrtc, backend.clone());
        let (relayed, relay) = relay::client::new(id);
        let lower = boxed(OrTransport::new(relayed, MemoryTransport::new()), &keypair);
        let transport = transport.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
        let all = OrTransport::new(transport, lower).map(|either, _| either.into_inner()).boxed();
        let streams = libp2p_stream::Behaviour::new();
        let mut control = streams.new_control();
        let incoming = control.accept(ECHO).unwrap();
        let behaviour = Behaviour { relay, webrtc: able.then_some(webrtc).into(), streams };
        let swarm = Swarm::new(all, behaviour, id, config(idle));
        let (commands, queue) = mpsc::channel(16);
        let log = Arc::new((Mutex::default(), Notify::new()));
        tokio::spawn(run(swarm, queue, log.clone()));
        Self { id, commands, control, incoming: incoming.into(), log }
    }

    fn command(&self, command: Command) {
        assert!(self.commands.try_send(command).is_ok(), "the node runs");
    }

    /// Waits for the first event that fits, and takes it off the log.
    pub(super) async fn told(&self, fits: impl Fn(&Told) -> bool) -> Told {
        let (log, news) = &*self.log;
        loop {
            let mut next = std::pin::pin!(news.notified());
            next.as_mut().enable();
            {
                let mut log = log.lock().unwrap();
                if let Some(at) = log.iter().position(&fits) {
                    return log.remove(at);
                }
            }
            next.await;
        }
    }

    /// Can be reached over the relay, and takes direct connections.
    pub(super) async fn reserve(&self, relay: &Relay) {
        self.command(Command::Listen(Protocol::WebRTC.into()));
        self.reserve_only(relay).await;
    }

    /// Can be reached over the relay.
    pub(super) async fn reserve_only(&self, relay: &Relay) {
        self.command(Command::Listen(relay.address.clone().with(Protocol::P2pCircuit)));
        let relayed =
            |told: &Told| matches!(told, Told::Listening(at) if at.iter().any(|part| part == Protocol::P2pCircuit));
        within(self.told(relayed)).await;
    }

    pub(super) async fn listen(&self) -> Multiaddr {
        self.command(Command::Listen(Protocol::Memory(0).into()));
        let memory = |told: &Told| matches!(told, Told::Listening(at) if at.iter().any(|part| matches!(part, Protocol::Memory(_))) && !at.iter().any(|part| part == Protocol::P2pCircuit));
        match within(self.told(memory)).await {
            Told::Listening(address) => address.with(Protocol::P2p(self.id)),
            _ => unreachable!(),
        }
    }

    pub(super) fn dial(&self, address: Multiaddr) -> ConnectionId {
        let opts: DialOpts = address.into();
        let id = opts.connection_id();
        self.command(Command::Dial(opts));
        id
    }

    /// Dials and waits for the connection.
    pub(super) async fn connect(&self, address: Multiaddr) -> Result<(), String> {
        let id = self.dial(address);
        let done = |told: &Told| match told {
            Told::Up { connection, .. } | Told::DialFailed { connection, .. } => *connection == id,
            _ => false,
        };
        match self.told(done).await {
            Told::DialFailed { error, .. } => Err(error),
            _ => Ok(()),
        }
    }

    /// Connects directly to a peer that is known over the relay.
    pub(super) async fn link(&self, relay: &Relay, peer: PeerId) -> Result<(), String> {
        let circuit = relay.address.clone().with(Protocol::P2pCircuit);
        within(self.connect(circuit.with(Protocol::WebRTC).with(Protocol::P2p(peer)))).await
    }

    /// Waits for a direct connection with this very peer.
    pub(super) async fn direct(&self, peer: PeerId) {
        within(self.told(|told| matches!(told, Told::Up { direct: true, peer: up, .. } if *up == peer))).await;
    }

    pub(super) async fn close_relayed(&self, peer: PeerId) {
        self.command(Command::CloseRelayed(peer));
        let fits = |told: &Told| matches!(told, Told::Down { peer: down, direct: false } if *down == peer);
        within(self.told(fits)).await;
    }

    pub(super) async fn relayed(&self, peer: PeerId) -> usize {
        let (sender, count) = oneshot::channel();
        self.command(Command::CountRelayed(peer, sender));
        count.await.unwrap()
    }

    pub(super) async fn open(&self, peer: PeerId) -> Result<Stream, String> {
        let mut control = self.control.clone();
        within(control.open_stream(peer, ECHO)).await.map_err(|error| error.to_string())
    }

    /// A signalling stream, to say on it what one likes.
    pub(super) async fn signal(&self, peer: PeerId) -> Result<Stream, String> {
        let mut control = self.control.clone();
        within(control.open_stream(peer, SIGNALLING)).await.map_err(|error| error.to_string())
    }

    /// The next signalling stream of another's, on a node that has no WebRTC to take it.
    pub(super) fn take_signals(&self) -> impl Future<Output = Stream> + use<> {
        let mut signals = self.control.clone().accept(SIGNALLING).unwrap();
        async move { signals.next().await.unwrap().1 }
    }

    pub(super) async fn accept(&self) -> Stream {
        self.incoming.lock().await.next().await.unwrap().1
    }

    /// Sends back what the next stream brings.
    pub(super) async fn echo(&self) {
        let mut stream = self.accept().await;
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.unwrap();
        stream.write_all(&heard).await.unwrap();
        stream.close().await.unwrap();
    }
}

async fn run(mut swarm: Swarm<Behaviour>, mut commands: mpsc::Receiver<Command>, log: Arc<(Mutex<Vec<Told>>, Notify)>) {
    let mut relayed: HashMap<ConnectionId, PeerId> = HashMap::new();
    loop {
        let told = tokio::select! {
            command = commands.recv() => {
                match command {
                    Some(Command::Dial(opts)) => {
                        let connection = opts.connection_id();
                        match swarm.dial(opts) {
                            Ok(()) => continue,
                            Err(error) => Told::DialFailed { connection, error: error.to_string() },
                        }
                    }
                    Some(Command::Listen(address)) => {
                        swarm.listen_on(address).unwrap();
                        continue;
                    }
                    Some(Command::CloseRelayed(peer)) => {
                        for id in relayed.iter().filter(|(_, of)| **of == peer).map(|(id, _)| *id) {
                            swarm.close_connection(id);
                        }
                        continue;
                    }
                    Some(Command::CountRelayed(peer, sender)) => {
                        let _ = sender.send(relayed.values().filter(|of| **of == peer).count());
                        continue;
                    }
                    None => return,
                }
            }
            event = swarm.select_next_some() => match event {
                SwarmEvent::ConnectionEstablished { peer_id: peer, connection_id: connection, endpoint, .. } => {
                    let direct = !is_relayed(&endpoint);
                    if !direct {
                        relayed.insert(connection, peer);
                    }
                    Told::Up { connection, peer, direct }
                }
                SwarmEvent::ConnectionClosed { peer_id: peer, connection_id, endpoint, .. } => {
                    relayed.remove(&connection_id);
                    Told::Down { peer, direct: !is_relayed(&endpoint) }
                }
                SwarmEvent::OutgoingConnectionError { connection_id: connection, error, .. } => {
                    Told::DialFailed { connection, error: error.to_string() }
                }
                SwarmEvent::IncomingConnectionError { error, .. } => {
                    use std::error::Error as _;
                    let mut words = error.to_string();
                    let mut source = error.source();
                    while let Some(error) = source {
                        words = format!("{words}: {error}");
                        source = error.source();
                    }
                    Told::IncomingFailed { error: words }
                }
                SwarmEvent::NewListenAddr { address, .. } => Told::Listening(address),
                SwarmEvent::Behaviour(BehaviourEvent::Webrtc(private::Event::Refused { peer, error })) => {
                    Told::Refused { peer, error }
                }
                _ => continue,
            },
        };
        log.0.lock().unwrap().push(told);
        log.1.notify_waiters();
    }
}

/// A relay, and its address with its id.
pub(super) struct Relay {
    pub(super) address: Multiaddr,
    task: tokio::task::JoinHandle<()>,
}

impl Relay {
    pub(super) async fn start() -> Self {
        let keypair = Keypair::generate_ed25519();
        let id = keypair.public().to_peer_id();
        let limits = relay::Config {
            max_circuits: 1000,
            max_circuits_per_peer: 1000,
            reservation_rate_limiters: Vec::new(),
            circuit_src_rate_limiters: Vec::new(),
            ..relay::Config::default()
        };
        let behaviour = relay::Behaviour::new(id, limits);
        let mut swarm =
            Swarm::new(boxed(MemoryTransport::new(), &keypair), behaviour, id, config(Duration::from_secs(60)));
        swarm.listen_on(Protocol::Memory(0).into()).unwrap();
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address;
            }
        };
        swarm.add_external_address(address.clone());
        let task = tokio::spawn(async move {
            loop {
                swarm.select_next_some().await;
            }
        });
        Self { address: address.with(Protocol::P2p(id)), task }
    }

    /// A peer's address over this relay.
    pub(super) fn circuit(&self, peer: PeerId) -> Multiaddr {
        self.address.clone().with(Protocol::P2pCircuit).with(Protocol::P2p(peer))
    }

    /// Ends it with all its connections.
    pub(super) fn kill(&self) {
        self.task.abort();
    }
}
