//! When channels that nobody holds any more are closed.
//!
//! A browser gives a stream's id out again, lowest first, as soon as both halves of the stream are reset. That it
//! has reset its half too is then still on its way to the other side, and may be lost; an opening that comes before
//! it finds its id taken over there, and is dropped without a word. So channels that are dropped rest, unclosed, and
//! their ids stay taken; once they are many the older half is closed together, and none is opened until the other
//! side must have heard of it.
//!
//! Enters: channels that are dropped. Leaves: leave to open one. Refuses nothing: it waits, and not for ever.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

use futures_timer::Delay;
use web_sys::{RtcDataChannel, RtcDataChannelState};

use super::super::{OURS, THEIRS};

/// How long new channels wait once the last of those that were closed is: for a lost packet to be sent again.
const SETTLE: f64 = 1_000.0;

/// How long at most, in a connection where nothing moves.
const PATIENCE: f64 = 5_000.0;

/// How often to look.
const LOOK: Duration = Duration::from_millis(50);

/// Who opened a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opener {
    Us,
    Them,
    /// Negotiated: its id is never given to another.
    Both,
}

/// The channels of a connection that nobody holds, the oldest first.
#[derive(Default)]
pub(super) struct Rest {
    ours: RefCell<VecDeque<RtcDataChannel>>,
    theirs: RefCell<VecDeque<RtcDataChannel>>,
    negotiated: RefCell<Vec<RtcDataChannel>>,
    /// Those that are being closed, and when there was one last.
    closing: RefCell<Vec<RtcDataChannel>>,
    closed: Cell<f64>,
}

impl Rest {
    /// Nobody holds a channel any more, and the browser no longer calls anyone about it.
    pub(super) fn add(&self, channel: RtcDataChannel, opener: Opener) {
        let (list, most) = match opener {
            Opener::Us => (&self.ours, OURS),
            Opener::Them => (&self.theirs, THEIRS),
            Opener::Both => return self.negotiated.borrow_mut().push(channel),
        };
        let mut list = list.borrow_mut();
        list.push_back(channel);
        if list.len() < most {
            return;
        }
        // Some the other side has closed meanwhile.
        list.retain(|channel| channel.ready_state() != RtcDataChannelState::Closed);
        let many = list.len().saturating_sub(most / 2);
        for channel in list.drain(..many) {
            channel.close();
            self.closing.borrow_mut().push(channel);
        }
    }

    /// Ready when an id that was closed can be given to a channel.
    pub(super) async fn settled(&self) {
        let patience = js_sys::Date::now() + PATIENCE;
        loop {
            let now = js_sys::Date::now();
            if self.closes() {
                self.closed.set(now);
            }
            if now >= self.closed.get() + SETTLE || now >= patience {
                return;
            }
            Delay::new(LOOK).await;
        }
    }

    /// Whether some are being closed still.
    fn closes(&self) -> bool {
        let mut closing = self.closing.borrow_mut();
        closing.retain(|channel| channel.ready_state() != RtcDataChannelState::Closed);
        !closing.is_empty()
    }

    /// Forgets all: the connection is closed.
    pub(super) fn clear(&self) {
        self.ours.take();
        self.theirs.take();
        self.negotiated.take();
        self.closing.take();
    }
}
