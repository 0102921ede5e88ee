//! Counting bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes each way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flow {
    /// Bytes sent.
    pub up: u64,
    /// Bytes received.
    pub down: u64,
}

/// Bytes moved by control streams and blobs since the node began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Bytes sent.
    pub up: u64,
    /// Bytes received.
    pub down: u64,
    /// Of those, blobs from and to linked peers.
    pub bulk_direct: Flow,
    /// Of those, blobs from the origin that the host named, and to peers for whom this node is that.
    pub bulk_origin: Flow,
}

/// What a blob stream's other side is to this transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The origin is at one end of it.
    Origin,
    /// It is between two that both are not.
    Direct,
}

#[derive(Default)]
struct Counter {
    up: AtomicU64,
    down: AtomicU64,
}

impl Counter {
    fn up(&self, bytes: usize) {
        self.up.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn down(&self, bytes: usize) {
        self.down.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn read(&self) -> Flow {
        Flow { up: self.up.load(Ordering::Relaxed), down: self.down.load(Ordering::Relaxed) }
    }
}

/// Counts a node's bytes.
#[derive(Default)]
pub(crate) struct Totals {
    control: Counter,
    direct: Counter,
    origin: Counter,
}

impl Totals {
    fn bulk(&self, way: Way) -> &Counter {
        match way {
            Way::Origin => &self.origin,
            Way::Direct => &self.direct,
        }
    }

    /// What was counted so far.
    pub(crate) fn read(&self) -> Traffic {
        let (control, bulk_direct, bulk_origin) = (self.control.read(), self.direct.read(), self.origin.read());
        let up = control.up + bulk_direct.up + bulk_origin.up;
        let down = control.down + bulk_direct.down + bulk_origin.down;
        Traffic { up, down, bulk_direct, bulk_origin }
    }
}

/// Counts a connection's bytes, for the node too.
pub(crate) struct Meter {
    control: Counter,
    bulk: Counter,
    totals: Arc<Totals>,
}

impl Meter {
    /// A meter that counts for these totals.
    pub(crate) fn of(totals: Arc<Totals>) -> Self {
        Self { control: Counter::default(), bulk: Counter::default(), totals }
    }

    /// These bytes of the control stream were sent.
    pub(crate) fn up(&self, bytes: usize) {
        self.control.up(bytes);
        self.totals.control.up(bytes);
    }

    /// These bytes of the control stream came.
    pub(crate) fn down(&self, bytes: usize) {
        self.control.down(bytes);
        self.totals.control.down(bytes);
    }

    /// These bytes of a blob stream were sent.
    pub(crate) fn bulk_up(&self, way: Way, bytes: usize) {
        self.bulk.up(bytes);
        self.totals.bulk(way).up(bytes);
    }

    /// These bytes of a blob stream came.
    pub(crate) fn bulk_down(&self, way: Way, bytes: usize) {
        self.bulk.down(bytes);
        self.totals.bulk(way).down(bytes);
    }

    /// Bytes of the control stream and of blobs so far.
    pub(crate) fn read(&self) -> (Flow, Flow) {
        (self.control.read(), self.bulk.read())
    }

    /// All bytes that came so far.
    pub(crate) fn heard(&self) -> u64 {
        self.control.read().down + self.bulk.read().down
    }
}
