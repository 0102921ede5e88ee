//! A peer that speaks libp2p properly and our protocols as it likes, written against libp2p alone.
#![allow(clippy::unwrap_used, dead_code)]

use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{Stream, StreamProtocol, SwarmBuilder, noise as handshake, tcp, yamux};
use tributary_protocol::BlobRef;
use tributary_protocol::blob::chunk_list;

use super::Peer;

pub(crate) const CONTROL: StreamProtocol = StreamProtocol::new("/tributary/control/1");
pub(crate) const BLOB: StreamProtocol = StreamProtocol::new("/tributary/blob/2");

/// Dials the node; returns the means to open and accept streams on that connection.
pub(crate) async fn hostile(server: &Peer) -> libp2p_stream::Control {
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), handshake::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| libp2p_stream::Behaviour::new())
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
        .build();
    let control = swarm.behaviour().new_control();
    swarm.dial(server.listen[0].clone()).unwrap();
    loop {
        if let libp2p::swarm::SwarmEvent::ConnectionEstablished { .. } = swarm.select_next_some().await {
            break;
        }
    }
    tokio::spawn(async move {
        loop {
            swarm.next().await;
        }
    });
    control
}

pub(crate) async fn open(control: &mut libp2p_stream::Control, server: &Peer, protocol: StreamProtocol) -> Stream {
    let name = libp2p::PeerId::from_bytes(&server.id.to_peer_id_bytes()).unwrap();
    control.open_stream(name, protocol).await.unwrap()
}

pub(crate) fn encode(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &(body.len() as u32).to_le_bytes(), body].concat()
}

pub(crate) async fn frame(stream: &mut Stream, kind: u8, body: &[u8]) {
    stream.write_all(&encode(kind, body)).await.unwrap();
    stream.flush().await.unwrap();
}

/// The next frame, unless the stream ends.
pub(crate) async fn read(stream: &mut Stream) -> Option<(u8, Vec<u8>)> {
    let mut header = [0; 5];
    stream.read_exact(&mut header).await.ok()?;
    let mut body = vec![0; u32::from_le_bytes(header[1..].try_into().unwrap()) as usize];
    stream.read_exact(&mut body).await.ok()?;
    Some((header[0], body))
}

/// The body of a REQUEST.
pub(crate) fn request(blob: &BlobRef, how: u8) -> Vec<u8> {
    [&blob.hash.0[..], &blob.bytes.to_le_bytes(), &[how]].concat()
}

/// The body of a range.
pub(crate) fn range(first: u32, count: u32) -> Vec<u8> {
    [first.to_le_bytes(), count.to_le_bytes()].concat()
}

/// The body of a right FOUND with everything, as it was asked for.
pub(crate) fn found(bytes: &[u8], request: &[u8]) -> Vec<u8> {
    let chunks = BlobRef::of(bytes).chunks();
    let mut map = vec![0xff; chunks.div_ceil(8) as usize];
    if !chunks.is_multiple_of(8) {
        *map.last_mut().unwrap() = (1 << (chunks % 8)) - 1;
    }
    if request[40] & 1 != 0 {
        map.extend(chunk_list(bytes).iter().flat_map(|hash| hash.0));
    }
    map
}
