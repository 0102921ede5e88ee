//! The muxer over the browser backend.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use futures::future::join;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use futures_timer::Delay;
use js_sys::Reflect;
use libp2p::core::muxing::StreamMuxerExt;
use tributary_webrtc::backend::browser::{Channel, Peer};
use tributary_webrtc::muxer::Muxer;
use tributary_webrtc::stream::Stream;
use wasm_bindgen::JsValue;
use wasm_bindgen_test::{console_log, wasm_bindgen_test};

use crate::pair::{Side, pair, soon};

/// A muxer that turns in a task of its own, as a swarm turns it, until all of it is dropped.
struct Connection(Rc<RefCell<Muxer<Peer>>>);

impl Connection {
    fn new(side: Side) -> Self {
        let muxer = Rc::new(RefCell::new(Muxer::new(side.peer, side.events)));
        let turned = Rc::downgrade(&muxer);
        wasm_bindgen_futures::spawn_local(poll_fn(move |cx| match turned.upgrade() {
            Some(muxer) => muxer.borrow_mut().poll_unpin(cx).map(drop),
            None => std::task::Poll::Ready(()),
        }));
        Self(muxer)
    }

    async fn open(&self) -> Stream<Channel> {
        soon("a stream", poll_fn(|cx| self.0.borrow_mut().poll_outbound_unpin(cx))).await.expect("not over")
    }

    async fn accept(&self) -> Stream<Channel> {
        soon("a stream", poll_fn(|cx| self.0.borrow_mut().poll_inbound_unpin(cx))).await.expect("not over")
    }
}

async fn connected() -> (Connection, Connection) {
    let ((near, _), (far, _)) = pair().await;
    (Connection::new(near), Connection::new(far))
}

/// Sends back what comes, until the other side closes its half.
async fn echo(mut stream: Stream<Channel>) {
    let mut buffer = vec![0; 32 * 1024];
    loop {
        match stream.read(&mut buffer).await.expect("whole") {
            0 => break,
            read => stream.write_all(&buffer[..read]).await.expect("it goes"),
        }
    }
    stream.close().await.expect("it closes");
}

/// The longest task of the page's one thread while `work` ran, in milliseconds; 0 if none took 50.
async fn longest_task<T>(work: impl Future<Output = T>) -> (T, f64) {
    let watch = "self.longest = 0; new PerformanceObserver(list => list.getEntries().forEach(task => {
        self.longest = Math.max(self.longest, task.duration)
    })).observe({ type: 'longtask' })";
    js_sys::Function::new_no_args(watch).call0(&JsValue::NULL).expect("a browser observes long tasks");
    let done = work.await;
    // It is told of a task after that is over.
    Delay::new(Duration::from_millis(100)).await;
    let longest = Reflect::get(&js_sys::global(), &"longest".into()).expect("set above");
    (done, longest.as_f64().expect("a number"))
}

#[wasm_bindgen_test]
async fn half_closed_streams_echo() {
    let (near, far) = connected().await;
    let mut asked = near.open().await;
    let question = async {
        asked.write_all(b"a question").await.expect("it goes");
        asked.close().await.expect("it closes");
        let mut answer = Vec::new();
        asked.read_to_end(&mut answer).await.expect("whole");
        answer
    };
    let answer = async { echo(far.accept().await).await };
    let (answer, ()) = soon("an answer", join(question, answer)).await;
    assert_eq!(answer, b"a question");
}

#[wasm_bindgen_test]
async fn fifty_megabytes_each_way() {
    const BYTES: usize = 50 * 1000 * 1000;
    /// A browser takes in what nobody reads up to a bound, so whoever sends much keeps to a window.
    const WINDOW: usize = 4 * 1000 * 1000;
    let (near, far) = connected().await;
    let back = Cell::new(0);
    let (mut reader, mut writer) = futures::AsyncReadExt::split(near.open().await);
    let send = async {
        let mut sent = 0;
        let mut chunk = vec![0; 64 * 1000];
        while sent < BYTES {
            chunk.fill((sent / 64_000 % 251) as u8);
            while sent > back.get() + WINDOW {
                Delay::new(Duration::from_millis(1)).await;
            }
            writer.write_all(&chunk).await.expect("it goes");
            sent += chunk.len();
        }
        writer.close().await.expect("it closes");
        sent
    };
    let receive = async {
        let (mut received, mut buffer) = (0, vec![0; 64 * 1024]);
        loop {
            let read = reader.read(&mut buffer).await.expect("whole");
            if read == 0 {
                return received;
            }
            for (at, byte) in buffer[..read].iter().enumerate().step_by(1000) {
                assert_eq!(usize::from(*byte), (received + at) / 64_000 % 251);
            }
            received += read;
            back.set(received);
        }
    };
    let begun = js_sys::Date::now();
    let all = async { join(join(send, receive), async { echo(far.accept().await).await }).await };
    let (((sent, received), ()), longest) = soon("all of it", longest_task(all)).await;
    assert_eq!(sent, received);
    console_log!("50 MB each way in {:.1} s, longest task {longest} ms", (js_sys::Date::now() - begun) / 1000.0);
}

#[wasm_bindgen_test]
async fn two_hundred_short_streams() {
    let (near, far) = connected().await;
    for number in 0..200_u32 {
        let mut asked = near.open().await;
        asked.write_all(&number.to_le_bytes()).await.expect("it goes");
        asked.flush().await.expect("it goes");
        let answered = far.accept().await;
        let question = async {
            asked.close().await.expect("it closes");
            let mut answer = Vec::new();
            asked.read_to_end(&mut answer).await.expect("whole");
            answer
        };
        let (answer, ()) = soon("an answer", join(question, echo(answered))).await;
        assert_eq!(answer, number.to_le_bytes());
    }
}
