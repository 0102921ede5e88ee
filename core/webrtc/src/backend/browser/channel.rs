//! One `RTCDataChannel`.
//!
//! Enters: messages to send, and the browser's events. Leaves: messages that came, in order. One copy is
//! made of each on its way between the page and this module, none after. Refuses: text, which libp2p never
//! sends.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::task::AtomicWaker;
use js_sys::{ArrayBuffer, Function, Reflect, Uint8Array};
use send_wrapper::SendWrapper;
use wasm_bindgen::JsCast;
use wasm_bindgen::closure::Closure;
use web_sys::{MessageEvent, RtcDataChannel, RtcDataChannelInit, RtcDataChannelState, RtcDataChannelType};

use super::connection::Connection;
use super::rest::Opener;
use super::{Error, other};
use crate::backend::SEND_BUFFER;

/// A writer that waits goes on when this much is left. A quarter is refilled at a time: some 16 messages,
/// a millisecond of the page's thread, while the network has the other three quarters to work on.
const REFILL: u32 = (SEND_BUFFER / 4 * 3) as u32;

/// What a waiting message costs beside its bytes, so that empty ones are not free.
const MESSAGE: usize = 64;

/// One data channel of a browser.
pub struct Channel(SendWrapper<Inner>);

struct Inner {
    raw: RtcDataChannel,
    opener: Opener,
    connection: Rc<Connection>,
    inbox: Rc<Inbox>,
    /// The inbox's place in the connection's list.
    number: u32,
    _handlers: Handlers,
}

/// What the browser calls; it must be told to stop before they are dropped.
struct Handlers {
    message: Closure<dyn FnMut(MessageEvent)>,
    writable: Closure<dyn FnMut()>,
    closed: Closure<dyn FnMut()>,
}

/// What came, and who waits.
#[derive(Default)]
pub(super) struct Inbox {
    messages: RefCell<VecDeque<Bytes>>,
    reader: AtomicWaker,
    writer: AtomicWaker,
    ended: Cell<bool>,
}

impl Inbox {
    /// Nothing more will come or go.
    pub(super) fn end(&self) {
        self.ended.set(true);
        self.reader.wake();
        self.writer.wake();
    }
}

impl Channel {
    /// Makes a data channel on a peer connection.
    pub(super) fn open(connection: &Rc<Connection>, label: &str, id: Option<u16>) -> Result<Self, Error> {
        if connection.is_closed() {
            return Err(connection.reason());
        }
        let init = RtcDataChannelInit::new();
        if let Some(id) = id {
            init.set_negotiated(true);
            init.set_id(id);
        }
        // Called by its name, because the generated binding does not catch what it throws.
        let make: Function =
            Reflect::get(connection.raw(), &"createDataChannel".into()).map_err(other)?.unchecked_into();
        let raw = make.call2(connection.raw(), &label.into(), &init).map_err(other)?;
        let opener = if id.is_some() { Opener::Both } else { Opener::Us };
        Ok(Self::new(connection, raw.unchecked_into(), opener))
    }

    /// Wraps one at once, before the browser can deliver its first message.
    pub(super) fn new(connection: &Rc<Connection>, raw: RtcDataChannel, opener: Opener) -> Self {
        raw.set_binary_type(RtcDataChannelType::Arraybuffer);
        let inbox = Rc::new(Inbox::default());
        if connection.is_closed() {
            inbox.end();
        }
        let handlers = Handlers::new(connection, &inbox);
        handlers.attach(&raw);
        let number = connection.register(&inbox);
        let connection = connection.clone();
        Self(SendWrapper::new(Inner { raw, opener, connection, inbox, number, _handlers: handlers }))
    }
}

impl super::super::Channel for Channel {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        match self.0.raw.ready_state() {
            RtcDataChannelState::Open if (self.0.raw.buffered_amount() as usize) < SEND_BUFFER => Poll::Ready(Ok(())),
            RtcDataChannelState::Open | RtcDataChannelState::Connecting => self.0.wait(cx, REFILL),
            _ => Poll::Ready(Err(self.0.connection.reason())),
        }
    }

    fn send(&mut self, message: Bytes) -> Result<(), Error> {
        self.0.raw.send_with_u8_array(&message).map_err(|error| match self.0.raw.ready_state() {
            RtcDataChannelState::Open => other(error),
            _ => self.0.connection.reason(),
        })
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.0.raw.buffered_amount() == 0 {
            return Poll::Ready(Ok(()));
        }
        match self.0.raw.ready_state() {
            RtcDataChannelState::Open | RtcDataChannelState::Closing if !self.0.inbox.ended.get() => self.0.wait(cx, 0),
            _ => Poll::Ready(Err(self.0.connection.reason())),
        }
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        let inner = &*self.0;
        if let Some(message) = inner.inbox.messages.borrow_mut().pop_front() {
            inner.connection.refund(cost(&message));
            return Poll::Ready(Some(Ok(message)));
        }
        if inner.inbox.ended.get() {
            return Poll::Ready(match inner.connection.reason() {
                Error::Closed => None,
                blame => Some(Err(blame)),
            });
        }
        inner.inbox.reader.register(cx.waker());
        Poll::Pending
    }

    fn close(&mut self) {
        self.0.raw.close();
    }
}

impl Inner {
    /// Waits until no more than `left` bytes are unsent, or the channel opens or ends.
    fn wait<T>(&self, cx: &mut Context<'_>, left: u32) -> Poll<T> {
        self.raw.set_buffered_amount_low_threshold(left);
        self.inbox.writer.register(cx.waker());
        Poll::Pending
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        Handlers::detach(&self.raw);
        if !self.connection.is_closed() {
            self.connection.rest().add(self.raw.clone(), self.opener);
        }
        self.connection.forget(self.number);
        self.connection.refund(self.inbox.messages.take().iter().map(cost).sum());
    }
}

impl Handlers {
    fn new(connection: &Rc<Connection>, inbox: &Rc<Inbox>) -> Self {
        let (connection, for_message) = (connection.clone(), inbox.clone());
        let (for_writable, for_closed) = (inbox.clone(), inbox.clone());
        Self {
            message: Closure::new(move |event: MessageEvent| {
                let Ok(data) = event.data().dyn_into::<ArrayBuffer>() else {
                    return connection.fail(Error::Other("the other side sent text where bytes belong".into()));
                };
                let message = Bytes::from(Uint8Array::new(&data).to_vec());
                if connection.charge(cost(&message)) {
                    for_message.messages.borrow_mut().push_back(message);
                    for_message.reader.wake();
                }
            }),
            writable: Closure::new(move || for_writable.writer.wake()),
            closed: Closure::new(move || for_closed.end()),
        }
    }

    fn attach(&self, raw: &RtcDataChannel) {
        raw.set_onmessage(Some(self.message.as_ref().unchecked_ref()));
        raw.set_onopen(Some(self.writable.as_ref().unchecked_ref()));
        raw.set_onbufferedamountlow(Some(self.writable.as_ref().unchecked_ref()));
        raw.set_onclose(Some(self.closed.as_ref().unchecked_ref()));
    }

    fn detach(raw: &RtcDataChannel) {
        raw.set_onmessage(None);
        raw.set_onopen(None);
        raw.set_onbufferedamountlow(None);
        raw.set_onclose(None);
    }
}

fn cost(message: &Bytes) -> usize {
    message.len() + MESSAGE
}
