//! When channels that both sides are done with are closed.
//!
//! The crate gives a stream's id out again as soon as it has closed its own half, lowest first. What then
//! still comes for the old channel hits the new one: the other side's reset, the crate's answer to that, which
//! is a reset again, and each of them once more if a packet was lost. A reset that overtakes a lost packet is
//! never answered, and the id is of no use any more. And data on a channel closed here is an error over which
//! the crate drops what else came in the datagram. So channels that are done rest, unclosed, and their ids stay
//! taken; once they are old or many the oldest are closed together, while nothing is on its way and none is
//! opened. If the end of an old one takes along a new one all the same, `channel` opens that anew.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, RwLock, RwLockReadGuard};
use webrtc::data_channel::{DataChannel, RTCDataChannelId};
use webrtc::peer_connection::{PeerConnection, StatsSelector};

use super::super::{OURS, THEIRS};
use super::channel::Opener;
use super::peer::lock;

/// How long a channel that we opened rests, and one of the other side's.
const AGE: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(45));

/// How many channels the other side may leave unconfirmed.
const ABANDONED: usize = OURS / 2;

/// How long what is on its way may take to arrive before channels are closed all the same.
const CALM: Duration = Duration::from_secs(5);

/// How often to ask whether it has.
const ASK: Duration = Duration::from_millis(5);

/// The least and the most that new channels wait after some were closed, and how many round trips between. On a
/// machine whose processors are all busy the other side may take a tenth of a second to get round to it.
const SETTLE: (Duration, Duration) = (Duration::from_millis(400), Duration::from_secs(2));
const SETTLE_ROUND_TRIPS: f64 = 8.0;

type Resting = VecDeque<(Instant, Arc<dyn DataChannel>)>;

/// The channels of a connection, as far as closing them is concerned.
#[derive(Default)]
pub(super) struct Rest {
    /// Held by whoever opens a channel or sends; alone by whoever closes some.
    gate: RwLock<()>,
    /// All that live.
    live: Mutex<Vec<Weak<dyn DataChannel>>>,
    /// Those that are done and since when, the oldest first: ours and theirs.
    ours: Mutex<Resting>,
    theirs: Mutex<Resting>,
    /// Channels that the other side never confirmed. Their ids are of no use and stay taken.
    abandoned: Mutex<Vec<Arc<dyn DataChannel>>>,
    /// There are many.
    many: Notify,
}

impl Rest {
    /// Leave to open a channel or to send a message that has room.
    pub(super) async fn pass(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().await
    }

    /// A channel lives, and may have bytes on their way.
    pub(super) fn watch(&self, channel: &Arc<dyn DataChannel>) {
        let mut live = lock(&self.live);
        live.retain(|channel| channel.strong_count() > 0);
        live.push(Arc::downgrade(channel));
    }

    /// This side is done with a channel. A negotiated one is never closed: its id is known to both sides, and
    /// not to be given to another.
    pub(super) fn add(&self, channel: Arc<dyn DataChannel>, opener: Opener) {
        let (list, most) = match opener {
            Opener::Us => (&self.ours, OURS),
            Opener::Them => (&self.theirs, THEIRS),
            Opener::Both => return,
        };
        let mut list = lock(list);
        list.push_back((Instant::now(), channel));
        if list.len() >= most {
            self.many.notify_one();
        }
    }

    /// The other side confirms a channel too late or not at all. False if it has done so too often.
    pub(super) fn abandon(&self, channel: Arc<dyn DataChannel>) -> bool {
        let mut abandoned = lock(&self.abandoned);
        abandoned.push(channel);
        abandoned.len() <= ABANDONED
    }

    /// The other side has closed a channel.
    pub(super) fn remove(&self, id: RTCDataChannelId) {
        for list in [&self.ours, &self.theirs] {
            lock(list).retain(|(_, channel)| channel.id() != id);
        }
    }

    /// Ready when there are many.
    pub(super) async fn many(&self) {
        self.many.notified().await;
    }

    /// Forgets all: the connection is closed.
    pub(super) fn clear(&self) {
        lock(&self.abandoned).clear();
        for list in [&self.ours, &self.theirs] {
            lock(list).clear();
        }
    }

    /// Whether some should be closed.
    pub(super) fn due(&self) -> bool {
        [(&self.ours, OURS, AGE.0), (&self.theirs, THEIRS, AGE.1)].into_iter().any(|(list, most, age)| {
            let list = lock(list);
            list.len() >= most || list.front().is_some_and(|(since, _)| since.elapsed() >= age)
        })
    }

    /// Closes those that are old, and the older half if there are many.
    pub(super) async fn close(&self, connection: &dyn PeerConnection) {
        let settle = settle(connection).await;
        let _alone = self.gate.write().await;
        if tokio::time::timeout(CALM, self.calm()).await.is_err() {
            tracing::debug!("closing channels although the other side has not taken all that was sent");
        }
        for (list, most, age) in [(&self.ours, OURS, AGE.0), (&self.theirs, THEIRS, AGE.1)] {
            let oldest: Vec<_> = {
                let mut list = lock(list);
                let old = list.partition_point(|(since, _)| since.elapsed() >= age);
                let many = if list.len() < most { 0 } else { list.len() - most / 2 };
                list.drain(..old.max(many)).collect()
            };
            for (_, channel) in oldest {
                if let Err(error) = channel.close().await {
                    tracing::trace!(%error, "the other side closed it first");
                }
            }
        }
        tokio::time::sleep(settle).await;
    }

    /// Waits until the other side has all that was sent on any channel.
    async fn calm(&self) {
        let live: Vec<_> = lock(&self.live).iter().filter_map(Weak::upgrade).collect();
        for channel in live {
            while channel.outstanding_bytes().await.unwrap_or(0) > 0 {
                tokio::time::sleep(ASK).await;
            }
        }
    }
}

/// How long the other side needs to have reset its half of what we close now.
async fn settle(connection: &dyn PeerConnection) -> Duration {
    let stats = connection.get_stats(Instant::now(), StatsSelector::None).await;
    let trip = stats.candidate_pairs().map(|pair| pair.current_round_trip_time).fold(0.0, f64::max);
    Duration::from_secs_f64(trip * SETTLE_ROUND_TRIPS).clamp(SETTLE.0, SETTLE.1)
}
