//! The browser backend.

use std::collections::HashSet;
use std::future::poll_fn;

use bytes::Bytes;
use futures::future::join;
use futures::{FutureExt, StreamExt};
use js_sys::Array;
use tributary_webrtc::backend::browser::Browser;
use tributary_webrtc::backend::{
    Backend, Candidate, Channel as _, EVENTS, Error, Peer as _, PeerConfig, PeerEvent, RECEIVE_BUFFER, SEND_BUFFER,
    State,
};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_test::{console_log, wasm_bindgen_test};
use web_sys::RtcDataChannel;

use crate::pair::{MESSAGE, Side, incoming, open, pair, receive, send, soon};

/// Depends on every byte and its place; quick in an unoptimised build.
fn digest(sum: u64, message: &[u8]) -> u64 {
    let (words, rest) = message.as_chunks::<8>();
    assert!(rest.is_empty());
    words.iter().fold(sum, |sum, word| sum.rotate_left(5).wrapping_add(u64::from_le_bytes(*word)).wrapping_mul(31))
}

#[wasm_bindgen_test]
async fn channels_echo() {
    let ((near, mut channel), (mut far, mut other)) = pair().await;
    send(&mut channel, Bytes::from_static(b"by its id")).await.expect("it goes");
    assert_eq!(receive(&mut other).await, Some(Ok(Bytes::from_static(b"by its id"))));

    let mut asked = near.peer.channel("", None).await.expect("a channel");
    send(&mut asked, Bytes::from_static(b"by its opening")).await.expect("it goes");
    let mut answered = incoming(&mut far.events).await;
    let question = receive(&mut answered).await.expect("a message").expect("whole");
    send(&mut answered, question).await.expect("it goes");
    assert_eq!(receive(&mut asked).await, Some(Ok(Bytes::from_static(b"by its opening"))));

    answered.close();
    assert_eq!(receive(&mut asked).await, None);
    assert_eq!(poll_fn(|cx| asked.poll_ready(cx)).await, Err(Error::Closed));
}

#[wasm_bindgen_test]
async fn fifty_megabytes_arrive_whole() {
    const MESSAGES: u64 = 50 * 1000 * 1000 / MESSAGE as u64;
    let ((_near, mut channel), (_far, mut other)) = pair().await;
    let begun = js_sys::Date::now();
    let sender = async {
        let mut sum = 0;
        let mut most = 0;
        for number in 0..MESSAGES {
            let message: Vec<u8> = (0..MESSAGE as u64 / 8).flat_map(|at| (number << 32 | at).to_le_bytes()).collect();
            sum = digest(sum, &message);
            send(&mut channel, message.into()).await.expect("it goes");
            most = most.max(number);
        }
        poll_fn(|cx| channel.poll_flush(cx)).await.expect("it leaves");
        channel.close();
        sum
    };
    let receiver = async {
        let (mut sum, mut bytes) = (0, 0);
        while let Some(message) = receive(&mut other).await {
            let message = message.expect("whole");
            sum = digest(sum, &message);
            bytes += message.len();
        }
        (sum, bytes)
    };
    let (sent, (received, bytes)) = soon("all of it", join(sender, receiver)).await;
    assert_eq!(bytes, MESSAGES as usize * MESSAGE);
    assert_eq!(sent, received);
    let seconds = (js_sys::Date::now() - begun) / 1000.0;
    console_log!("50 MB in {seconds:.1} s");
}

#[wasm_bindgen_test]
async fn a_writer_waits_for_the_network() {
    let ((_near, mut channel), (_far, mut other)) = pair().await;
    let message = Bytes::from(vec![0; MESSAGE]);
    let mut sent = 0;
    while poll_fn(|cx| channel.poll_ready(cx)).now_or_never().is_some() {
        channel.send(message.clone()).expect("it goes");
        sent += MESSAGE;
        assert!(sent <= SEND_BUFFER + MESSAGE, "nobody said stop");
    }
    let reader = async {
        let mut bytes = 0;
        while bytes < sent {
            bytes += receive(&mut other).await.expect("not closed").expect("whole").len();
        }
    };
    let writer = poll_fn(|cx| channel.poll_ready(cx));
    let (_, again) = soon("goes on", join(reader, writer)).await;
    assert_eq!(again, Ok(()));
    assert_eq!(soon("all left", poll_fn(|cx| channel.poll_flush(cx))).await, Ok(()));
}

/// The channels that the page opens from now on.
fn opened() -> Array {
    let watch = "const opened = [], open = RTCPeerConnection.prototype.createDataChannel;
    RTCPeerConnection.prototype.createDataChannel = function (...how) {
        const channel = open.apply(this, how);
        opened.push(channel);
        return channel;
    };
    return opened";
    js_sys::Function::new_no_args(watch).call0(&JsValue::NULL).expect("a page may").unchecked_into()
}

#[wasm_bindgen_test]
async fn an_id_is_not_given_to_the_next_channel() {
    let ((near, _channel), (mut far, _other)) = pair().await;
    let opened = opened();
    for number in 0..300_u32 {
        let mut asked = near.peer.channel("", None).await.expect("a channel");
        send(&mut asked, number.to_le_bytes().to_vec().into()).await.expect("it goes");
        let mut answered = incoming(&mut far.events).await;
        let message = receive(&mut answered).await.expect("a message").expect("whole");
        send(&mut answered, message).await.expect("it goes");
        // Dropped, not closed: what was sent still arrives.
        drop(answered);
        assert_eq!(receive(&mut asked).await, Some(Ok(number.to_le_bytes().to_vec().into())));
    }
    let ids: Vec<u16> = opened
        .iter()
        .map(|channel| channel.unchecked_into::<RtcDataChannel>().id())
        .map(|id| id.expect("it opened"))
        .collect();
    for (at, id) in ids.iter().enumerate() {
        assert!(!ids[at.saturating_sub(127)..at].contains(id), "{id} came again soon: {ids:?}");
    }
    assert!(ids.iter().collect::<HashSet<_>>().len() < ids.len(), "none was ever closed: {ids:?}");
}

#[wasm_bindgen_test]
async fn what_nobody_reads_is_bounded() {
    let ((_near, mut channel), (_far, mut other)) = pair().await;
    let message = Bytes::from(vec![1; MESSAGE]);
    let sent = soon("the end", async {
        let mut sent = 0;
        while send(&mut channel, message.clone()).await.is_ok() {
            sent += MESSAGE;
            assert!(sent < 3 * RECEIVE_BUFFER, "nobody stops it");
        }
        sent
    })
    .await;
    assert!(sent >= RECEIVE_BUFFER / 2, "{sent}");
    let mut bytes = 0;
    let end = loop {
        match receive(&mut other).await {
            Some(Ok(message)) => bytes += message.len(),
            end => break end,
        }
    };
    assert!(bytes <= RECEIVE_BUFFER, "{bytes}");
    assert!(matches!(end, Some(Err(Error::Flood(_)))), "{end:?}");
}

#[wasm_bindgen_test]
async fn channels_that_nobody_takes_are_bounded() {
    let ((near, mut channel), (far, mut other)) = pair().await;
    let mut opened = Vec::new();
    for _ in 0..EVENTS + 8 {
        opened.extend(near.peer.channel("", None).await.ok());
    }
    assert!(matches!(receive(&mut other).await, Some(Err(Error::Flood(_)))));
    // The end of the events says so too, after at most as many as may wait.
    assert!(far.events.count().await <= EVENTS + 2);
    assert_eq!(receive(&mut channel).await, None);
}

#[wasm_bindgen_test]
async fn the_other_sides_end_is_noticed() {
    let ((near, mut channel), (far, mut other)) = pair().await;
    drop(near.peer);
    assert_eq!(receive(&mut channel).await, None);
    assert!(matches!(
        near.events.map(Some).collect::<Vec<_>>().await.pop(),
        Some(Some(PeerEvent::State(State::Closed)))
    ));
    let begun = js_sys::Date::now();
    assert_eq!(receive(&mut other).await, None);
    let last = soon("the events' end", far.events.collect::<Vec<_>>()).await.pop();
    assert!(matches!(last, Some(PeerEvent::State(State::Closed))), "{:?}", last.map(drop));
    // Not by ICE, which takes half a minute to be sure.
    assert!(js_sys::Date::now() - begun < 4_000.0);
}

#[wasm_bindgen_test]
async fn what_cannot_be_used_is_refused_in_words() {
    let Side { peer, .. } = open().await;
    for bad in ["", "v=0", "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\nm=audio 1 RTP 1\r\n"] {
        let refused = peer.answer(bad.into()).await;
        assert!(matches!(&refused, Err(Error::Description(why)) if !why.is_empty()), "{bad}: {refused:?}");
    }
    let candidate = "candidate:1 1 UDP 1 192.0.2.1 9 typ host".into();
    let early = peer.add_candidate(Candidate { candidate, ..Candidate::default() }).await;
    assert!(matches!(early, Err(Error::Description(_))), "{early:?}");
    let taken = (peer.channel("", Some(0)).await.is_ok(), peer.channel("", Some(0)).await.err());
    assert!(matches!(taken, (true, Some(Error::Other(_)))), "{:?}", taken.1);
    peer.close();
    peer.close();
    assert_eq!(peer.channel("", None).await.err(), Some(Error::Closed));
    let nowhere = PeerConfig { stun: vec!["no such server".into()] };
    assert!(matches!(Browser.open(nowhere).await.err(), Some(Error::Other(_))));
}

#[wasm_bindgen_test]
async fn candidates_end_with_an_empty_one() {
    let mut near = open().await;
    let _channel = near.peer.channel("", Some(0)).await.expect("a channel");
    near.peer.offer().await.expect("an offer");
    let mut found = Vec::new();
    while found.last().is_none_or(|last: &Candidate| !last.candidate.is_empty()) {
        if let PeerEvent::Candidate(candidate) = soon("a candidate", near.events.next()).await.expect("not closed") {
            found.push(candidate);
        }
    }
    assert!(found.len() > 1, "{found:?}");
    assert!(found[0].candidate.starts_with("candidate:") && found[0].username_fragment.is_some(), "{found:?}");
}
