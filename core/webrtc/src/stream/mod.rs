//! A data channel as a libp2p substream.
//!
//! Enters: bytes to write, and the messages of a [`Channel`]. Leaves: the other side's bytes in order, then
//! its end. Refuses: malformed frames, messages over [`MAX_FRAME`](crate::frame::MAX_FRAME), and writing
//! after the other side said that it stops reading.
//!
//! Small writes are gathered into one frame until it is full or flushed. Flushing and closing hand what
//! there is to the channel and do not wait for the network, so that flushing often costs little. At most
//! one message is taken from the channel ahead of the reader, so what came and was not read lies with the
//! backend, which counts it.

mod core;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::channel::mpsc;
use futures::task::{ArcWake, AtomicWaker, noop_waker_ref, waker_ref};
use futures::{AsyncRead, AsyncWrite};

pub(crate) use self::core::Core;
use crate::backend::Channel;

/// A substream over one data channel.
///
/// Closing it closes our half; the other half goes on until the other side closes it. Dropping it unclosed
/// resets both. Dropping it closed lets its last bytes arrive, if its muxer is still there.
pub struct Stream<C: Channel> {
    /// There until the stream is dropped.
    core: Option<Core<C>>,
    wakers: Arc<Wakers>,
    /// Who sees to the channel once the stream is dropped.
    keeper: Option<mpsc::Sender<Core<C>>>,
}

/// Both halves poll the same channel, which knows one task only, and may be polled from two.
#[derive(Default)]
struct Wakers {
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl ArcWake for Wakers {
    fn wake_by_ref(wakers: &Arc<Self>) {
        wakers.reader.wake();
        wakers.writer.wake();
    }
}

impl<C: Channel> Stream<C> {
    /// A substream over a channel of its own, one that no muxer knows.
    #[must_use]
    pub fn new(channel: C) -> Self {
        Self::over(channel, None)
    }

    /// A substream that returns what is left of it to its muxer when it is dropped.
    pub(crate) fn kept(channel: C, keeper: mpsc::Sender<Core<C>>) -> Self {
        Self::over(channel, Some(keeper))
    }

    fn over(channel: C, keeper: Option<mpsc::Sender<Core<C>>>) -> Self {
        Self { core: Some(Core::new(channel)), wakers: Arc::default(), keeper }
    }

    fn poll<T>(
        &mut self,
        waker: impl FnOnce(&Wakers) -> &AtomicWaker,
        cx: &Context<'_>,
        poll: impl FnOnce(&mut Core<C>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        waker(&self.wakers).register(cx.waker());
        let both = waker_ref(&self.wakers);
        let mut cx = Context::from_waker(&both);
        match &mut self.core {
            Some(core) => poll(core, &mut cx),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl<C: Channel> AsyncRead for Stream<C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll(|wakers| &wakers.reader, cx, |core, cx| core.poll_read(cx, buf))
    }
}

impl<C: Channel> AsyncWrite for Stream<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(|wakers| &wakers.writer, cx, |core, cx| core.poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|wakers| &wakers.writer, cx, Core::poll_flush)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|wakers| &wakers.writer, cx, Core::poll_close)
    }
}

impl<C: Channel> Drop for Stream<C> {
    fn drop(&mut self) {
        let Some(core) = self.core.take() else { return };
        let left = match &mut self.keeper {
            Some(keeper) => keeper.try_send(core).err().map(mpsc::TrySendError::into_inner),
            None => Some(core),
        };
        if let Some(mut core) = left {
            // Nobody is there to wait for the other side: say what can be said now.
            let _ = core.poll_part(&mut Context::from_waker(noop_waker_ref()));
        }
    }
}

impl<C: Channel> std::fmt::Debug for Stream<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}
