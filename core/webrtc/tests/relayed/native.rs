//! `/webrtc` between real swarms over a real relay, with the native WebRTC over loopback.

use std::time::{Duration, Instant};

use crate::swarms::{Node, Relay, within};
use futures::future::join;
use futures::{AsyncReadExt, AsyncWriteExt};
use tributary_webrtc::backend::native::Native;
use tributary_webrtc::private::Config;

#[tokio::test(flavor = "multi_thread")]
async fn native_peers_link_and_move_bytes_without_their_relay() {
    let relay = Relay::start().await;
    let (a, b) = (Node::start(&Native, Config::default()), Node::start(&Native, Config::default()));
    b.reserve(&relay).await;
    a.link(&relay, b.id).await.unwrap();
    b.direct(a.id).await;
    a.close_relayed(b.id).await;
    relay.kill();
    for round in 0..200_u32 {
        let asking = async {
            let mut stream = a.open(b.id).await.unwrap();
            stream.write_all(&round.to_be_bytes()).await.unwrap();
            stream.close().await.unwrap();
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).await.unwrap();
            heard
        };
        assert_eq!(within(join(asking, b.echo())).await.0, round.to_be_bytes());
    }
    let block: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
    let since = Instant::now();
    let sending = async {
        let mut stream = a.open(b.id).await.unwrap();
        for _ in 0..20 {
            stream.write_all(&block).await.unwrap();
        }
        stream.close().await.unwrap();
    };
    let receiving = async {
        let mut stream = b.accept().await;
        let mut heard = vec![0; block.len()];
        for _ in 0..20 {
            stream.read_exact(&mut heard).await.unwrap();
            assert!(heard == block);
        }
        assert_eq!(stream.read(&mut heard).await.unwrap(), 0);
    };
    tokio::time::timeout(Duration::from_secs(60), join(sending, receiving)).await.unwrap();
    println!("20 MB in {:?}", since.elapsed());
}
