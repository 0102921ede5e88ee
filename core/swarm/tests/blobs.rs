//! Blobs between real nodes.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::{Manner, Watched, noise, peer, peer_with};
use tributary_protocol::BlobRef;
use tributary_protocol::limits::{CHUNK, MAX_BLOB};
use tributary_swarm::{BlobStore, FetchError, Limits, MemoryStore};

const TCP: &str = "/ip4/127.0.0.1/tcp/0";
const WS: &str = "/ip4/127.0.0.1/tcp/0/ws";

async fn ten_megabytes_arrive(listen: &str) {
    let bytes = noise(10_000_000);
    let (store, blob) = Watched::holding(&bytes, Manner::Honest);
    let mut server = peer_with(1, &[listen], store.clone(), Limits::coordinator()).await;
    let mine = Arc::new(MemoryStore::new(1 << 26));
    let mut client = peer_with(2, &[], mine.clone(), Limits::contributor()).await;
    client.connect(&mut server).await;
    assert_eq!(client.fetch(server.id, blob).await.unwrap(), bytes);
    assert_eq!(mine.len(&blob.hash), Some(10_000_000));
    assert_eq!(store.served(), blob.chunks() as usize);
    assert!(client.handle.traffic().down > 10_000_000);
    // The second time it comes from the own store.
    assert_eq!(client.fetch(server.id, blob).await.unwrap(), bytes);
    assert_eq!(store.served(), blob.chunks() as usize);
}

#[tokio::test]
async fn ten_megabytes_over_tcp() {
    ten_megabytes_arrive(TCP).await;
}

#[tokio::test]
async fn ten_megabytes_over_websocket() {
    ten_megabytes_arrive(WS).await;
}

#[tokio::test]
async fn all_sizes_arrive_both_ways() {
    let stores = [1, 2].map(|_| Arc::new(MemoryStore::new(1 << 26)));
    let mut server = peer_with(1, &[TCP], stores[0].clone(), Limits::coordinator()).await;
    let mut client = peer_with(2, &[], stores[1].clone(), Limits::contributor()).await;
    client.connect(&mut server).await;
    for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 16 * CHUNK, 17 * CHUNK, 33 * CHUNK + 7] {
        let down = noise(len);
        let up: Bytes = down.iter().map(|byte| !byte).collect();
        stores[0].put(&BlobRef::of(&down), down.clone()).unwrap();
        stores[1].put(&BlobRef::of(&up), up.clone()).unwrap();
        assert_eq!(client.fetch(server.id, BlobRef::of(&down)).await.unwrap(), down, "{len}");
        assert_eq!(server.fetch(client.id, BlobRef::of(&up)).await.unwrap(), up, "{len}");
    }
}

#[tokio::test]
async fn a_transfer_resumes_at_another_source_without_fetching_a_chunk_twice() {
    let bytes = noise(5_000_000);
    let (dying, blob) = Watched::holding(&bytes, Manner::DiesAt(40));
    let (whole, _) = Watched::holding(&bytes, Manner::Honest);
    let mut first = peer_with(1, &[TCP], dying.clone(), Limits::coordinator()).await;
    let mut second = peer_with(3, &[TCP], whole.clone(), Limits::coordinator()).await;
    let mut client = peer(2, &[]).await;
    client.connect(&mut first).await;
    assert!(matches!(client.fetch(first.id, blob).await, Err(FetchError::Gone(_))));
    assert_eq!(dying.served(), 40);
    client.connect(&mut second).await;
    assert_eq!(client.fetch(second.id, blob).await.unwrap(), bytes);
    assert_eq!(whole.served(), blob.chunks() as usize - 40);
}

#[tokio::test]
async fn a_server_that_dies_is_gone_and_a_restarted_one_resumes() {
    let bytes = noise(20_000_000);
    let (store, blob) = Watched::holding(&bytes, Manner::Honest);
    let mut server = peer_with(1, &[TCP], store.clone(), Limits::coordinator()).await;
    let mut client = peer(2, &[]).await;
    client.connect(&mut server).await;
    let fetch = tokio::spawn(client.handle.fetch(server.id, blob));
    while store.served() < 20 {
        tokio::task::yield_now().await;
    }
    server.task.abort();
    drop(server);
    assert!(matches!(fetch.await.unwrap(), Err(FetchError::Gone(_))));
    assert_eq!(client.disconnected().await.0, common::name(1));
    let mut server = peer_with(1, &[TCP], store.clone(), Limits::coordinator()).await;
    client.connect(&mut server).await;
    assert_eq!(client.fetch(server.id, blob).await.unwrap(), bytes);
    let again = store.served() - blob.chunks() as usize;
    // Read by the server but not yet received when it died: at most the window.
    assert!(again <= 65, "{again} chunks were served twice");
}

#[tokio::test]
async fn wrong_bytes_are_refused_and_the_right_ones_kept() {
    let bytes = noise(3_000_000);
    let (lying, blob) = Watched::holding(&bytes, Manner::LiesAt(10));
    let (honest, _) = Watched::holding(&bytes, Manner::Honest);
    let mut liar = peer_with(1, &[TCP], lying, Limits::coordinator()).await;
    let mut other = peer_with(3, &[TCP], honest.clone(), Limits::coordinator()).await;
    let mut client = peer(2, &[]).await;
    client.connect(&mut liar).await;
    let error = client.fetch(liar.id, blob).await.unwrap_err();
    assert_eq!(error, FetchError::WrongBytes);
    assert!(error.is_fatal());
    client.connect(&mut other).await;
    assert_eq!(client.fetch(other.id, blob).await.unwrap(), bytes);
    assert_eq!(honest.served(), blob.chunks() as usize - 10);
}

#[tokio::test]
async fn what_cannot_be_fetched_says_why() {
    let bytes = noise(100_000);
    let (store, blob) = Watched::holding(&bytes, Manner::Honest);
    let mut server = peer_with(1, &[TCP], store, Limits::coordinator()).await;
    let mut client = peer_with(2, &[], Arc::new(MemoryStore::new(50_000)), Limits::contributor()).await;
    assert!(matches!(client.fetch(server.id, blob).await, Err(FetchError::Gone(_))));
    client.connect(&mut server).await;
    let absent = BlobRef::of(b"nobody has this");
    assert_eq!(client.fetch(server.id, absent).await, Err(FetchError::NotFound));
    let other_size = BlobRef { bytes: blob.bytes + 1, ..blob };
    assert_eq!(client.fetch(server.id, other_size).await, Err(FetchError::NotFound));
    let huge = BlobRef { bytes: MAX_BLOB + 1, ..blob };
    assert_eq!(client.fetch(server.id, huge).await, Err(FetchError::TooLarge));
    assert!(matches!(client.fetch(server.id, blob).await, Err(FetchError::Store(_))), "the own store is too small");
    drop(server);
}

#[tokio::test]
async fn many_fetches_at_once_all_end() {
    let blobs: Vec<_> = (0..40).map(|i| noise(200_000 + i)).collect();
    let store = MemoryStore::new(1 << 26);
    for bytes in &blobs {
        store.put(&BlobRef::of(bytes), bytes.clone()).unwrap();
    }
    let mut server = peer_with(1, &[TCP], Arc::new(store), Limits::coordinator()).await;
    let mut client = peer(2, &[]).await;
    client.connect(&mut server).await;
    // Each blob twice: the second finds what the first brought.
    let fetches = blobs.iter().chain(&blobs).map(|bytes| client.fetch(server.id, BlobRef::of(bytes)));
    let fetched = futures::future::join_all(fetches).await;
    for (bytes, fetched) in blobs.iter().chain(&blobs).zip(fetched) {
        assert_eq!(fetched.unwrap(), bytes);
    }
}
