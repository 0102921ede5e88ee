//! One blob from many sources at once, between real nodes.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::rogue::{BLOB, CONTROL, found, frame, hostile, open, range, read, request};
use common::{Manner, Peer, Watched, name, noise, peer, peer_with};
use futures::StreamExt;
use futures::future::join_all;
use tributary_protocol::limits::CHUNK;
use tributary_protocol::{BlobRef, Id};
use tributary_swarm::{BlobStore, FetchError, Limits, MemoryStore};

const TCP: &str = "/ip4/127.0.0.1/tcp/0";
const WS: &str = "/ip4/127.0.0.1/tcp/0/ws";

/// An origin that has the blob and watches what it serves.
async fn origin(bytes: &Bytes, listen: &str) -> (Peer, Arc<Watched>, BlobRef) {
    let (store, blob) = Watched::holding(bytes, Manner::Honest);
    (peer_with(100, &[listen], store.clone(), Limits::coordinator()).await, store, blob)
}

/// Peers 1 to `count`, each linked with the origin, if there is one, and with each other.
async fn linked(count: u8, origin: Option<&mut Peer>, listen: &str) -> Vec<Peer> {
    let mut peers = Vec::new();
    for seed in 1..=count {
        let mut new = peer(seed, &[listen]).await;
        for other in &mut peers {
            new.connect(other).await;
        }
        peers.push(new);
    }
    if let Some(origin) = origin {
        for peer in &mut peers {
            peer.connect(origin).await;
        }
    }
    peers
}

/// Peers that have the blob already, linked to `client`, which serve with this limit.
async fn sources(
    bytes: &Bytes,
    manners: &[Manner],
    client: &mut Peer,
    limit: Option<u64>,
) -> Vec<(Peer, Arc<Watched>)> {
    let mut all = Vec::new();
    for (seed, manner) in (50..).zip(manners) {
        let (store, _) = Watched::holding(bytes, *manner);
        let mut source = peer_with(seed, &[TCP], store.clone(), Limits::contributor()).await;
        source.handle.set_upload_limit(limit);
        client.connect(&mut source).await;
        all.push((source, store));
    }
    all
}

async fn all_fetch(peers: &[Peer], origin: Id, blob: BlobRef, bytes: &Bytes) {
    let fetched = join_all(peers.iter().map(|peer| peer.fetch(origin, blob))).await;
    assert!(fetched.into_iter().all(|fetched| fetched.unwrap() == bytes));
}

async fn the_origin_sends_two_copies_at_most(count: u8, len: usize, listen: &str) {
    let bytes = noise(len);
    let (mut origin, store, blob) = origin(&bytes, listen).await;
    let peers = linked(count, Some(&mut origin), listen).await;
    let start = Instant::now();
    all_fetch(&peers, origin.id, blob, &bytes).await;
    let copies = store.served() as f64 / f64::from(blob.chunks());
    println!("{count} peers: {copies:.2} copies from the origin in {:.1} s", start.elapsed().as_secs_f64());
    assert!(copies <= 2.0, "{copies}");
    let traffic = peers.iter().map(|peer| peer.handle.traffic());
    let (direct, from_origin) =
        traffic.fold((0, 0), |sum, it| (sum.0 + it.bulk_direct.down, sum.1 + it.bulk_origin.down));
    assert!(direct + from_origin > u64::from(count) * blob.bytes);
    assert!(from_origin < direct, "{from_origin} from the origin, {direct} from peers");
    assert!(origin.handle.traffic().bulk_origin.up >= store.served() as u64 * CHUNK as u64 / 2);
    let up: u64 = peers.iter().flat_map(|peer| peer.handle.links()).map(|link| link.bulk.up).sum();
    assert!(up > blob.bytes, "what peers got from each other they sent to each other");
}

#[tokio::test]
async fn eight_peers_take_two_copies_at_most_from_the_origin_over_tcp() {
    the_origin_sends_two_copies_at_most(8, 5_000_000, TCP).await;
}

#[tokio::test]
async fn four_peers_take_two_copies_at_most_from_the_origin_over_websocket() {
    the_origin_sends_two_copies_at_most(4, 4_000_000, WS).await;
}

#[tokio::test]
async fn more_sources_are_faster() {
    let bytes = noise(1_250_000);
    let mut seconds = Vec::new();
    for count in [1, 2, 4] {
        let mut client = peer(2, &[]).await;
        let manners = vec![Manner::Honest; count];
        let sources = sources(&bytes, &manners, &mut client, Some(500_000)).await;
        let start = Instant::now();
        assert_eq!(client.fetch(name(100), BlobRef::of(&bytes)).await.unwrap(), bytes);
        seconds.push(start.elapsed().as_secs_f64());
        let served: usize = sources.iter().map(|(_, store)| store.served()).sum();
        assert!(served < BlobRef::of(&bytes).chunks() as usize + 20, "{served} chunks for one blob");
    }
    println!("1, 2 and 4 sources: {seconds:.2?} s");
    assert!(seconds[1] < seconds[0] && seconds[2] < 0.75 * seconds[0], "{seconds:?}");
}

#[tokio::test]
async fn the_upload_limit_holds() {
    let (free, bytes) = (noise(2_000_000), noise(2_000_001));
    let mut client = peer(2, &[]).await;
    let sources = sources(&bytes, &[Manner::Honest], &mut client, None).await;
    let (source, store) = &sources[0];
    store.put(&BlobRef::of(&free), free.clone()).unwrap();
    let time = async |blob| {
        let start = Instant::now();
        client.fetch(source.id, blob).await.unwrap();
        start.elapsed().as_secs_f64()
    };
    let unlimited = time(BlobRef::of(&free)).await;
    source.handle.set_upload_limit(Some(1_000_000));
    let limited = time(BlobRef::of(&bytes)).await;
    println!("2 MB in {unlimited:.2} s without a limit, in {limited:.2} s with 1 MB/s");
    // Two seconds, give or take a fifth, and what this machine needs without any limit.
    assert!(limited > 1.6 && limited < 2.4 + 2.0 * unlimited, "{limited} after {unlimited}");
}

#[tokio::test]
async fn a_limit_that_is_lifted_lets_go_at_once() {
    let bytes = noise(2_000_000);
    let mut client = peer(2, &[]).await;
    let sources = sources(&bytes, &[Manner::Honest], &mut client, Some(1)).await;
    let (source, store) = &sources[0];
    let fetch = tokio::spawn(client.handle.fetch(source.id, BlobRef::of(&bytes)));
    while store.served() < 1 {
        tokio::task::yield_now().await;
    }
    source.handle.set_upload_limit(None);
    assert_eq!(fetch.await.unwrap().unwrap(), bytes);
}

#[tokio::test]
async fn a_liar_among_good_sources_costs_no_more_than_its_own_chunks() {
    let bytes = noise(5_000_000);
    let blob = BlobRef::of(&bytes);
    let mut client = peer(2, &[]).await;
    let manners = [Manner::Honest, Manner::Lies, Manner::Honest];
    let sources = sources(&bytes, &manners, &mut client, Some(5_000_000)).await;
    assert_eq!(client.fetch(sources[0].0.id, blob).await.unwrap(), bytes);
    let liar = &sources[1].1;
    assert!((1..=8).contains(&liar.served()), "{} chunks of the liar were taken", liar.served());
    // It is remembered: for the next blob it is not asked.
    let before = liar.served();
    let next = noise(3_000_000);
    for (_, store) in &sources {
        store.put(&BlobRef::of(&next), next.clone()).unwrap();
    }
    assert_eq!(client.fetch(sources[0].0.id, BlobRef::of(&next)).await.unwrap(), next);
    assert_eq!(liar.served(), before);
}

#[tokio::test]
async fn a_source_that_stalls_does_not_hold_up_the_blob() {
    let bytes = noise(3_000_000);
    let (mut origin, store, blob) = origin(&bytes, TCP).await;
    let mut client = peer(2, &[TCP]).await;
    client.connect(&mut origin).await;
    let mut control = hostile(&client).await;
    let mut streams = control.accept(BLOB).unwrap();
    let _control = open(&mut control, &client, CONTROL).await;
    client.connected().await;
    let stalls = async {
        let (_, mut stream) = streams.next().await.unwrap();
        let (_, asked) = read(&mut stream).await.unwrap();
        frame(&mut stream, 1, &found(&bytes, &asked)).await;
        let mut wanted = 0;
        while let Some((kind, _)) = read(&mut stream).await {
            wanted += usize::from(kind == 4);
        }
        wanted
    };
    let (got, wanted) = futures::join!(client.fetch(origin.id, blob), stalls);
    assert_eq!(got.unwrap(), bytes);
    assert!(wanted > 0, "it was asked");
    assert_eq!(store.served(), blob.chunks() as usize);
}

#[tokio::test]
async fn a_source_killed_in_the_midst_costs_what_was_under_way() {
    let bytes = noise(4_000_000);
    let blob = BlobRef::of(&bytes);
    let mut client = peer(2, &[]).await;
    let mut sources = sources(&bytes, &[Manner::Honest; 3], &mut client, Some(2_000_000)).await;
    let origin = sources[2].0.id;
    let fetch = tokio::spawn(client.handle.fetch(origin, blob));
    while sources[0].1.served() < 5 {
        tokio::task::yield_now().await;
    }
    let (killed, store) = sources.remove(0);
    killed.task.abort();
    drop(killed);
    assert_eq!(fetch.await.unwrap().unwrap(), bytes);
    let rest: usize = sources.iter().map(|(_, store)| store.served()).sum();
    // What it had sent and what was read for sending when it died.
    assert!(rest + store.served() <= blob.chunks() as usize + 20, "{rest} and {}", store.served());
}

#[tokio::test]
async fn a_late_joiner_gets_it_from_peers_while_the_origin_is_gone() {
    let bytes = noise(3_000_000);
    let (mut origin, store, blob) = origin(&bytes, TCP).await;
    let mut peers = linked(3, Some(&mut origin), TCP).await;
    all_fetch(&peers, origin.id, blob, &bytes).await;
    let served = store.served();
    let gone = origin.id;
    origin.task.abort();
    drop(origin);
    let mut late = peer(20, &[]).await;
    for peer in &mut peers {
        assert_eq!(peer.disconnected().await.0, gone);
        late.connect(peer).await;
    }
    assert_eq!(late.fetch(gone, blob).await.unwrap(), bytes);
    assert_eq!(store.served(), served);
    assert!(late.handle.links().iter().all(|link| link.bulk.down > 0), "from all of them: {:?}", late.handle.links());
    let absent = BlobRef::of(b"nobody has this");
    assert!(matches!(late.fetch(gone, absent).await, Err(FetchError::Gone(_))), "which is noticed");
}

#[tokio::test]
async fn a_late_joiner_leaves_the_origin_alone() {
    let bytes = noise(3_000_000);
    let (mut origin, store, blob) = origin(&bytes, TCP).await;
    let mut peers = linked(3, Some(&mut origin), TCP).await;
    all_fetch(&peers, origin.id, blob, &bytes).await;
    let before = store.served();
    let mut late = peer(20, &[]).await;
    late.connect(&mut origin).await;
    for peer in &mut peers {
        late.connect(peer).await;
    }
    assert_eq!(late.fetch(origin.id, blob).await.unwrap(), bytes);
    let more = store.served() - before;
    assert!(more <= blob.chunks() as usize / 4, "{more} chunks from the origin");
}

#[tokio::test]
async fn without_links_it_comes_from_the_origin() {
    let bytes = noise(3_000_000);
    let (mut origin, store, blob) = origin(&bytes, TCP).await;
    let mut client = peer(2, &[]).await;
    client.connect(&mut origin).await;
    assert_eq!(client.fetch(origin.id, blob).await.unwrap(), bytes);
    assert_eq!(store.served(), blob.chunks() as usize);
    assert_eq!(client.handle.traffic().bulk_direct.down, 0);
}

#[tokio::test]
async fn peers_that_have_nothing_starve_nobody() {
    let bytes = noise(3_000_000);
    let (mut origin, store, blob) = origin(&bytes, TCP).await;
    let peers = linked(3, Some(&mut origin), TCP).await;
    // The first gets it and leaves; what was offered to it is not offered again.
    assert_eq!(peers[0].fetch(origin.id, blob).await.unwrap(), bytes);
    peers[0].task.abort();
    assert_eq!(peers[1].fetch(origin.id, blob).await.unwrap(), bytes);
    assert_eq!(store.served(), 2 * blob.chunks() as usize);
}

#[tokio::test]
async fn a_blob_travels_through_peers_that_are_still_getting_it() {
    let bytes = noise(3_000_000);
    let (mut origin, store, blob) = origin(&bytes, TCP).await;
    origin.handle.set_upload_limit(Some(3_000_000));
    let (mut first, mut second, mut third) = (peer(1, &[TCP]).await, peer(2, &[TCP]).await, peer(3, &[]).await);
    third.connect(&mut second).await;
    second.connect(&mut first).await;
    first.connect(&mut origin).await;
    let start = Instant::now();
    let fetch = |peer: &Peer| {
        let fetch = peer.handle.fetch(origin.id, blob);
        async move { (fetch.await.unwrap(), start.elapsed()) }
    };
    // The last asks first: it is answered once there is something.
    let ends = futures::join!(fetch(&third), fetch(&second), fetch(&first));
    for (got, _) in [&ends.0, &ends.1, &ends.2] {
        assert_eq!(got, &bytes);
    }
    assert_eq!(store.served(), blob.chunks() as usize, "one copy for three");
    let behind = ends.0.1.saturating_sub(ends.2.1);
    assert!(behind < ends.2.1 / 2, "{behind:?} behind after {:?}", ends.2.1);
}

#[tokio::test]
async fn a_peer_that_never_reads_holds_up_nobody() {
    let bytes = noise(6_000_000);
    let (mut origin, _, blob) = origin(&bytes, TCP).await;
    let mut control = hostile(&origin).await;
    let _control = open(&mut control, &origin, CONTROL).await;
    origin.connected().await;
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut stream = open(&mut control, &origin, BLOB).await;
        frame(&mut stream, 0, &request(&blob, 1)).await;
        frame(&mut stream, 4, &range(0, 64)).await;
        held.push(stream);
    }
    let peers = linked(2, Some(&mut origin), TCP).await;
    let took = Instant::now();
    all_fetch(&peers, origin.id, blob, &bytes).await;
    assert!(took.elapsed() < Duration::from_secs(20), "not only once it was given up");
}

#[tokio::test]
async fn what_a_fetch_that_was_dropped_got_is_served_and_not_fetched_again() {
    let bytes = noise(3_000_000);
    let (mut origin, store, blob) = origin(&bytes, TCP).await;
    origin.handle.set_upload_limit(Some(2_000_000));
    let mut first = peer(1, &[TCP]).await;
    first.connect(&mut origin).await;
    let fetch = first.handle.fetch(origin.id, blob);
    let dropped = tokio::spawn(fetch);
    while store.served() < 20 {
        tokio::task::yield_now().await;
    }
    dropped.abort();
    assert!(dropped.await.is_err());
    let mut second = peer_with(2, &[], Arc::new(MemoryStore::new(1 << 26)), Limits::contributor()).await;
    second.connect(&mut first).await;
    second.connect(&mut origin).await;
    let got = second.fetch(origin.id, blob).await.unwrap();
    assert_eq!(got, bytes);
    assert!(second.handle.traffic().bulk_direct.down > 10 * CHUNK as u64, "the first one's part came from it");
    assert_eq!(first.fetch(origin.id, blob).await.unwrap(), bytes);
    assert!(store.served() <= blob.chunks() as usize + 30, "{}", store.served());
}
