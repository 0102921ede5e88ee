//! Counting bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Traffic;

/// Counts bytes, of a connection or of the node.
#[derive(Default)]
pub(crate) struct Meter {
    up: AtomicU64,
    down: AtomicU64,
    total: Option<Arc<Meter>>,
}

impl Meter {
    /// A meter of a part, which counts for the whole too.
    pub(crate) fn part_of(total: Arc<Self>) -> Self {
        Self { total: Some(total), ..Self::default() }
    }

    /// These bytes were sent.
    pub(crate) fn up(&self, bytes: usize) {
        self.up.fetch_add(bytes as u64, Ordering::Relaxed);
        if let Some(total) = &self.total {
            total.up(bytes);
        }
    }

    /// These bytes came.
    pub(crate) fn down(&self, bytes: usize) {
        self.down.fetch_add(bytes as u64, Ordering::Relaxed);
        if let Some(total) = &self.total {
            total.down(bytes);
        }
    }

    /// What was counted so far.
    pub(crate) fn read(&self) -> Traffic {
        Traffic { up: self.up.load(Ordering::Relaxed), down: self.down.load(Ordering::Relaxed) }
    }
}
