//! What a peer connection, its channels and the browser's callbacks share.
//!
//! Enters: the browser's events. Leaves: [`PeerEvent`]s in a bounded queue, and one account of what the
//! other side sent and nobody read. Refuses: more of either than its bound, by closing everything.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use futures::channel::mpsc;
use js_sys::{Function, Reflect};
use wasm_bindgen::JsValue;
use web_sys::{RtcDataChannel, RtcPeerConnection, RtcPeerConnectionIceEvent, RtcPeerConnectionState};

use super::channel::{Channel, Inbox};
use super::rest::{Opener, Rest};
use super::{Candidate, Error, USERNAME_FRAGMENT};
use crate::backend::{PeerEvent, RECEIVE_BUFFER, State};

/// A peer connection's shared part.
pub(super) struct Connection {
    raw: RtcPeerConnection,
    /// `None` once it is closed.
    events: RefCell<Option<mpsc::Sender<PeerEvent<Channel>>>>,
    /// The one that was reported last.
    state: Cell<State>,
    /// Why it was closed, if the other side is to blame.
    blame: RefCell<Option<Error>>,
    /// What came and was not read, in all channels.
    unread: Cell<usize>,
    /// The channels that there are, to end them; they take themselves off.
    inboxes: RefCell<HashMap<u32, Weak<Inbox>>>,
    next_inbox: Cell<u32>,
    /// Channels that nobody holds any more.
    rest: Rest,
}

impl Connection {
    pub(super) fn new(raw: RtcPeerConnection, events: mpsc::Sender<PeerEvent<Channel>>) -> Self {
        Self {
            raw,
            events: RefCell::new(Some(events)),
            state: Cell::new(State::Connecting),
            blame: RefCell::default(),
            unread: Cell::default(),
            inboxes: RefCell::default(),
            next_inbox: Cell::default(),
            rest: Rest::default(),
        }
    }

    pub(super) fn raw(&self) -> &RtcPeerConnection {
        &self.raw
    }

    pub(super) fn rest(&self) -> &Rest {
        &self.rest
    }

    pub(super) fn is_closed(&self) -> bool {
        self.events.borrow().is_none()
    }

    /// Why nothing can be sent or received any more.
    pub(super) fn reason(&self) -> Error {
        self.blame.borrow().clone().unwrap_or(Error::Closed)
    }

    /// Closes everything, because of what the other side did.
    pub(super) fn fail(&self, blame: Error) {
        if !self.is_closed() {
            tracing::debug!(%blame, "a WebRTC connection is closed");
            *self.blame.borrow_mut() = Some(blame.clone());
            if let Some(events) = self.events.borrow_mut().as_mut() {
                // If the queue is full the channels say why.
                let _ = events.try_send(PeerEvent::Broken(blame));
            }
            self.close();
        }
    }

    /// Closes everything, once.
    pub(super) fn close(&self) {
        let Some(mut events) = self.events.take() else { return };
        self.raw.close();
        self.rest.clear();
        // If the queue is full its end says the same.
        let _ = events.try_send(PeerEvent::State(State::Closed));
        let inboxes: Vec<_> = self.inboxes.borrow().values().filter_map(Weak::upgrade).collect();
        for inbox in inboxes {
            inbox.end();
        }
    }

    /// Puts a channel's inbox on the list; the number takes it off.
    pub(super) fn register(&self, inbox: &Rc<Inbox>) -> u32 {
        let number = self.next_inbox.get();
        self.next_inbox.set(number.wrapping_add(1));
        self.inboxes.borrow_mut().insert(number, Rc::downgrade(inbox));
        number
    }

    /// Takes a channel's inbox off the list.
    pub(super) fn forget(&self, number: u32) {
        self.inboxes.borrow_mut().remove(&number);
    }

    /// Books bytes that came. False: they are too many, and the connection is closed.
    pub(super) fn charge(&self, bytes: usize) -> bool {
        let unread = self.unread.get() + bytes;
        if unread > RECEIVE_BUFFER {
            self.fail(Error::Flood("more than 16 MiB that nobody asked for"));
            return false;
        }
        self.unread.set(unread);
        true
    }

    /// Books bytes that were read or thrown away.
    pub(super) fn refund(&self, bytes: usize) {
        self.unread.set(self.unread.get().saturating_sub(bytes));
    }

    pub(super) fn on_candidate(&self, event: &RtcPeerConnectionIceEvent) {
        let candidate = match event.candidate() {
            // One without text ends a section, and there is one section: what follows, none at all, says so too.
            Some(found) if found.candidate().is_empty() => return,
            Some(found) => Candidate {
                candidate: found.candidate(),
                sdp_mid: found.sdp_mid(),
                sdp_m_line_index: found.sdp_m_line_index(),
                username_fragment: Reflect::get(&found, &USERNAME_FRAGMENT.into())
                    .ok()
                    .and_then(|text| text.as_string()),
            },
            None => Candidate::default(),
        };
        self.emit(PeerEvent::Candidate(candidate));
    }

    /// After a change of the connection's state or of the association's under its channels.
    pub(super) fn on_state(&self) {
        self.watch_association(self.raw.onconnectionstatechange().as_ref());
        let state = match self.raw.connection_state() {
            RtcPeerConnectionState::Closed => return self.close(),
            // The other side closed: ICE alone would need half a minute to see it.
            _ if self.association_is_closed() => return self.close(),
            RtcPeerConnectionState::Connected => State::Connected,
            RtcPeerConnectionState::Disconnected => State::Disconnected,
            RtcPeerConnectionState::Failed => State::Failed,
            _ => State::Connecting,
        };
        if self.state.replace(state) != state {
            self.emit(PeerEvent::State(state));
        }
    }

    /// Sets who is called when the association changes; there is one once there are descriptions.
    pub(super) fn watch_association(&self, callback: Option<&Function>) {
        if let Some(association) = self.association() {
            let callback = callback.map_or(JsValue::NULL, JsValue::from);
            // A browser without this event is only slower to notice.
            let _ = Reflect::set(&association, &"onstatechange".into(), &callback);
        }
    }

    fn association_is_closed(&self) -> bool {
        let state = self.association().and_then(|association| Reflect::get(&association, &"state".into()).ok());
        state.and_then(|state| state.as_string()).as_deref() == Some("closed")
    }

    /// The `RTCSctpTransport`, which `web-sys` does not know.
    fn association(&self) -> Option<JsValue> {
        Reflect::get(&self.raw, &"sctp".into()).ok().filter(JsValue::is_object)
    }

    pub(super) fn on_channel(self: &Rc<Self>, raw: RtcDataChannel) {
        self.emit(PeerEvent::Channel(Channel::new(self, raw, Opener::Them)));
    }

    fn emit(&self, event: PeerEvent<Channel>) {
        let refused = self.events.borrow_mut().as_mut().and_then(|events| events.try_send(event).err());
        if refused.is_some_and(|refused| refused.is_full()) {
            self.fail(Error::Flood("more channels at a time than anyone takes"));
        }
    }
}
