//! Two peer connections in one page.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, join, select};
use futures::{FutureExt, StreamExt};
use futures_timer::Delay;
use tributary_webrtc::backend::browser::{Browser, Channel, Peer};
use tributary_webrtc::backend::{Backend, Channel as _, Error, Events, Peer as _, PeerConfig, PeerEvent, State};

/// One message of the libp2p specification.
pub(crate) const MESSAGE: usize = 16 * 1024;

pub(crate) struct Side {
    pub(crate) peer: Peer,
    pub(crate) events: Events<Browser>,
}

/// Fails the test rather than the whole run when something never comes.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match select(future.boxed_local(), Delay::new(Duration::from_secs(60))).await {
        Either::Left((done, _)) => done,
        Either::Right(_) => panic!("after a minute: {what}"),
    }
}

pub(crate) async fn open() -> Side {
    let (peer, events) = Browser.open(PeerConfig::default()).await.expect("a page has WebRTC");
    Side { peer, events }
}

/// Two connected peers, and the channel that each has under the negotiated id 0.
pub(crate) async fn pair() -> ((Side, Channel), (Side, Channel)) {
    let (mut near, mut far) = (open().await, open().await);
    let channel = near.peer.channel("", Some(0)).await.expect("a channel");
    let other = far.peer.channel("", Some(0)).await.expect("a channel");
    let offer = near.peer.offer().await.expect("an offer");
    let answer = far.peer.answer(offer).await.expect("an answer");
    near.peer.accept(answer).await.expect("it is accepted");
    let up = join(trickle(&mut near.events, &far.peer), trickle(&mut far.events, &near.peer));
    soon("connected", up).await;
    ((near, channel), (far, other))
}

/// Carries candidates over until the side is connected.
async fn trickle(events: &mut Events<Browser>, other: &Peer) {
    loop {
        match events.next().await.expect("not closed") {
            PeerEvent::Candidate(candidate) => other.add_candidate(candidate).await.expect("a good candidate"),
            PeerEvent::State(State::Connected) => return,
            PeerEvent::State(_) => {}
            PeerEvent::Broken(why) => panic!("{why}"),
            PeerEvent::Channel(_) => panic!("nobody opened one"),
        }
    }
}

pub(crate) async fn incoming(events: &mut Events<Browser>) -> Channel {
    loop {
        if let PeerEvent::Channel(channel) = soon("a channel", events.next()).await.expect("not closed") {
            return channel;
        }
    }
}

pub(crate) async fn send(channel: &mut Channel, message: Bytes) -> Result<(), Error> {
    poll_fn(|cx| channel.poll_ready(cx)).await?;
    channel.send(message)
}

pub(crate) async fn receive(channel: &mut Channel) -> Option<Result<Bytes, Error>> {
    soon("a message", poll_fn(|cx| channel.poll_receive(cx))).await
}
