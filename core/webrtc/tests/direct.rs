//! `/webrtc-direct` from native peer to native peer, and everything that strangers may send to its port.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used, missing_docs)]

use std::future::poll_fn;
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::time::Duration;

use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::core::Endpoint;
use libp2p::core::muxing::StreamMuxerExt as _;
use libp2p::core::transport::{DialOpts, ListenerId, PortUse, Transport as _, TransportEvent};
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use tokio::time::timeout;
use tributary_webrtc::backend::native::{Native, Peer};
use tributary_webrtc::backend::{Backend as _, Peer as _, PeerConfig, PeerEvent};
use tributary_webrtc::direct::listen::{Certificate, Transport};
use tributary_webrtc::direct::{Address, Error, dial};
use tributary_webrtc::muxer::Muxer;

const PATIENCE: Duration = Duration::from_secs(30);

struct Server {
    id: PeerId,
    transport: Transport,
    address: Multiaddr,
}

impl Server {
    async fn start() -> Self {
        Self::with(Certificate::generate().unwrap(), "/ip4/127.0.0.1/udp/0/webrtc-direct").await
    }

    async fn with(certificate: Certificate, at: &str) -> Self {
        let identity = Keypair::generate_ed25519();
        let id = identity.public().to_peer_id();
        let mut transport = Transport::new(identity, certificate);
        transport.listen_on(ListenerId::next(), at.parse().unwrap()).unwrap();
        match next(&mut transport).await {
            TransportEvent::NewAddress { listen_addr, .. } => Self { id, transport, address: listen_addr },
            other => panic!("{other:?}"),
        }
    }

    fn socket(&self) -> SocketAddr {
        Address::read(&self.address).unwrap().socket
    }

    /// The next peer that proved who it is.
    async fn accept(&mut self) -> (PeerId, Muxer<Peer>) {
        loop {
            match timeout(PATIENCE, next(&mut self.transport)).await.expect("a peer in time") {
                TransportEvent::Incoming { upgrade, .. } => return upgrade.await.unwrap(),
                // Of one more interface.
                TransportEvent::NewAddress { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

async fn next(transport: &mut Transport) -> TransportEvent<<Transport as libp2p::Transport>::ListenerUpgrade, Error> {
    poll_fn(|cx| Pin::new(&mut *transport).poll(cx)).await
}

async fn dial(identity: Keypair, address: Multiaddr) -> Result<(PeerId, Muxer<Peer>), Error> {
    let mut transport = dial::Transport::new(Native, identity);
    let opts = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
    timeout(PATIENCE, transport.dial(address, opts).unwrap()).await.expect("an answer in time")
}

/// One more peer, and a word each way over the new connection.
async fn gets_in(server: &mut Server) {
    let identity = Keypair::generate_ed25519();
    let client = identity.public().to_peer_id();
    let address = server.address.clone().with(Protocol::P2p(server.id));
    let ((found, mut accepted), dialled) = tokio::join!(server.accept(), dial(identity, address));
    let (id, mut ours) = dialled.unwrap();
    assert_eq!((found, id), (client, server.id));
    let there = async {
        let mut stream = poll_fn(|cx| ours.poll_outbound_unpin(cx)).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        stream.close().await.unwrap();
        let mut answer = Vec::new();
        let turn = poll_fn(|cx| ours.poll_unpin(cx).map(drop));
        tokio::select! {
            read = stream.read_to_end(&mut answer) => drop(read.unwrap()),
            () = turn => panic!("the connection ended"),
        }
        assert_eq!(answer, b"hello, you");
    };
    let here = async {
        let mut stream = tokio::select! {
            stream = poll_fn(|cx| accepted_stream(&mut accepted, cx)) => stream,
        };
        let mut question = Vec::new();
        stream.read_to_end(&mut question).await.unwrap();
        question.extend(b", you");
        stream.write_all(&question).await.unwrap();
        stream.close().await.unwrap();
        accepted
    };
    timeout(PATIENCE, async { tokio::join!(there, here) }).await.expect("words in time");
}

fn accepted_stream(
    muxer: &mut Muxer<Peer>,
    cx: &mut std::task::Context<'_>,
) -> std::task::Poll<tributary_webrtc::stream::Stream<tributary_webrtc::backend::native::Channel>> {
    assert!(muxer.poll_unpin(cx).is_pending(), "the connection ended");
    muxer.poll_inbound_unpin(cx).map(Result::unwrap)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dialler_and_a_listener_prove_who_they_are() {
    let mut server = Server::start().await;
    gets_in(&mut server).await;
    gets_in(&mut server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_diallers_at_once() {
    let mut server = Server::start().await;
    let address = server.address.clone();
    let diallers: Vec<_> = (0..10).map(|_| tokio::spawn(dial(Keypair::generate_ed25519(), address.clone()))).collect();
    let mut accepted = Vec::new();
    for _ in 0..10 {
        accepted.push(server.accept().await);
    }
    for dialler in diallers {
        assert_eq!(dialler.await.unwrap().unwrap().0, server.id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_outlives_a_restart() {
    let pem = Certificate::generate().unwrap().to_pem().unwrap();
    let first = Server::with(Certificate::from_pem(&pem).unwrap(), "/ip4/127.0.0.1/udp/0/webrtc-direct").await;
    let (socket, address) = (first.socket(), first.address.clone());
    drop(first);
    // The port is free once the listener's task has ended.
    while UdpSocket::bind(socket).is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let at = Address { socket, certificate: None, peer: None }.write().to_string();
    let mut second = Server::with(Certificate::from_pem(&pem).unwrap(), &at).await;
    assert_eq!(second.address, address);
    gets_in(&mut second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_who_was_dialled_is_refused() {
    let server = Server::start().await;
    let other = Keypair::generate_ed25519();
    let address = server.address.clone().with(Protocol::P2p(other.public().to_peer_id()));
    let error = dial(Keypair::generate_ed25519(), address).await.map(drop).unwrap_err();
    assert!(matches!(error, Error::WrongPeer { ref found, .. } if **found == server.id), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_certificate_is_refused() {
    let server = Server::start().await;
    let certificate = Some(Certificate::generate().unwrap().fingerprint());
    let address = Address { socket: server.socket(), certificate, peer: None }.write();
    let error = dial(Keypair::generate_ed25519(), address).await.map(drop).unwrap_err();
    assert!(!matches!(error, Error::WrongPeer { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unspecified_address_is_every_interface() {
    let server = Server::with(Certificate::generate().unwrap(), "/ip4/0.0.0.0/udp/0/webrtc-direct").await;
    let address = server.address.to_string();
    assert!(!address.starts_with("/ip4/0.0.0.0"), "{address}");
}

/// The host and server reflexive candidates of a peer that asks `server` for its address.
async fn candidates(server: SocketAddr) -> Vec<String> {
    let (peer, mut events) = Native.open(PeerConfig { stun: vec![format!("stun:{server}")] }).await.unwrap();
    let _channel = peer.channel("init", None).await.unwrap();
    peer.offer().await.unwrap();
    let mut found = Vec::new();
    while let Some(event) = timeout(PATIENCE, events.next()).await.expect("candidates in time") {
        match event {
            PeerEvent::Candidate(candidate) if candidate.candidate.is_empty() => return found,
            PeerEvent::Candidate(candidate) => found.push(candidate.candidate),
            _ => {}
        }
    }
    panic!("the candidates never ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_port_is_a_stun_server_too() {
    let mut server = Server::with(Certificate::generate().unwrap(), "/ip4/0.0.0.0/udp/0/webrtc-direct").await;
    let at = SocketAddr::from(([127, 0, 0, 1], server.socket().port()));
    // This client's socket stands in for one behind a NAT: what it is told is compared with what is so.
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send_to(&binding(None), at).unwrap();
    let mut answer = [0; 100];
    let (length, from) = client.recv_from(&mut answer).unwrap();
    let port = u16::from_be_bytes([answer[26], answer[27]]) ^ 0x2112;
    assert_eq!((length, from, port), (32, at, client.local_addr().unwrap().port()));
    println!("{:#?}", candidates(at).await);
    server.address = Address { socket: at, ..Address::read(&server.address).unwrap() }.write();
    gets_in(&mut server).await;
}

/// A Binding request, with the USERNAME of an ICE agent or as a plain question.
fn binding(username: Option<&str>) -> Vec<u8> {
    let mut request = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    request.extend([9; 12]);
    if let Some(username) = username {
        request.extend([0, 6, 0, username.len() as u8]);
        request.extend(username.bytes());
        request.resize(request.len().next_multiple_of(4), 0);
    }
    let length = request.len() as u16 - 20;
    request[2..4].copy_from_slice(&length.to_be_bytes());
    request
}

/// What comes back within a moment.
fn answers(socket: &UdpSocket) -> usize {
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut buffer = [0; 2000];
    std::iter::from_fn(|| socket.recv(&mut buffer).ok()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_gets_no_answer_and_keeps_nobody_out() {
    let mut server = Server::start().await;
    let stranger = UdpSocket::bind("127.0.0.2:0").unwrap();
    stranger.connect(server.socket()).unwrap();
    let mut state = 1_u32;
    for n in 0..5000_usize {
        let bytes: Vec<u8> = (0..n % 300)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        stranger.send(&bytes).unwrap();
        let mut cut = binding(Some("libp2p+webrtc+v2/0123456789012345678901:abcd"));
        cut.truncate(n % cut.len());
        stranger.send(&cut).unwrap();
    }
    for bad in ["", ":", "a:b", "libp2p+webrtc+v2/short:abcd", "libp2p+webrtc+v2/01234567890123456\r\na=x:abcd"] {
        stranger.send(&binding(Some(bad))).unwrap();
    }
    assert_eq!(answers(&stranger), 0);
    gets_in(&mut server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_half_open_handshakes_keep_nobody_out() {
    let mut server = Server::start().await;
    let at = server.socket();
    // Thirty sources, each with another name for every packet.
    let strangers: Vec<UdpSocket> = (2..32).map(|n| UdpSocket::bind(format!("127.0.0.{n}:0")).unwrap()).collect();
    let mut sent = 0;
    for n in 0..200 {
        for (place, stranger) in strangers.iter().enumerate() {
            let request = binding(Some(&format!("libp2p+webrtc+v2/{place:022}{n:08}:abcd{n:08}")));
            sent += request.len();
            stranger.send_to(&request, at).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    gets_in(&mut server).await;
    let back: usize = strangers.iter().take(3).map(answers).sum();
    assert!(back < sent, "{back} bytes came back for {sent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_from_one_source_keeps_another_in() {
    let mut server = Server::start().await;
    let at = server.socket();
    let flood = std::thread::spawn(move || {
        for n in 0..20_000 {
            // A new port now and then, as a NAT would have it.
            let stranger = UdpSocket::bind("127.0.0.9:0").unwrap();
            for m in 0..4 {
                let name = format!("libp2p+webrtc+v2/{n:022}{m}:abcd{n:08}");
                stranger.send_to(&binding(Some(&name)), at).unwrap();
                stranger.send_to(&binding(None), at).unwrap();
            }
            // Some 30,000 a second: beyond what the system's own buffer holds, no listener has a say.
            std::thread::sleep(Duration::from_micros(200));
        }
    });
    gets_in(&mut server).await;
    flood.join().unwrap();
    gets_in(&mut server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_for_an_address_are_limited() {
    let server = Server::start().await;
    let stranger = UdpSocket::bind("127.0.0.2:0").unwrap();
    stranger.connect(server.socket()).unwrap();
    for _ in 0..1000 {
        stranger.send(&binding(None)).unwrap();
    }
    let answered = answers(&stranger) / 32;
    assert!((1..=100).contains(&answered), "{answered} of 1000 were answered");
}
