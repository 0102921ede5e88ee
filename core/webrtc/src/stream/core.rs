//! The state of a stream, and everything it says and hears on its channel.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};

use crate::backend::{self, Channel};
use crate::frame::{Decoder, Filling, Flag, Frame, MAX_FRAME, Malformed};

/// Messages without payload that one poll takes before it lets others run: a flood of empty ones must not
/// hold a page's only thread.
const TURN: usize = 32;

/// Our half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing {
    Open,
    /// The other side no longer reads.
    Stopped,
    /// FIN is sent.
    Finished,
    /// The other side has everything up to FIN.
    Acknowledged,
}

/// The other side's half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Open,
    /// FIN came and is not acknowledged yet.
    Ended,
    /// FIN came and is acknowledged.
    Acknowledged,
}

/// Whoever reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Here,
    /// What comes is discarded.
    Gone,
    /// And the other side knows.
    Told,
}

/// What ended both halves before their time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Fault {
    #[error("the other side reset the stream")]
    Reset,
    #[error("the other side closed the stream before its end")]
    Cut,
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    Backend(#[from] backend::Error),
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Backend(error) => error.into(),
            Fault::Malformed(_) => Self::new(io::ErrorKind::InvalidData, fault),
            Fault::Reset | Fault::Cut => Self::new(io::ErrorKind::ConnectionReset, fault),
        }
    }
}

/// A stream without its owner: the muxer holds it after the owner is gone, until both sides are done.
pub(crate) struct Core<C: Channel> {
    channel: C,
    decoder: Decoder,
    /// Came and was not read.
    payload: Bytes,
    /// Written and not sent.
    filling: Filling,
    writing: Writing,
    reading: Reading,
    owner: Owner,
    fault: Option<Fault>,
}

impl<C: Channel> Core<C> {
    pub(super) fn new(channel: C) -> Self {
        Self {
            channel,
            decoder: Decoder::default(),
            payload: Bytes::new(),
            filling: Filling::default(),
            writing: Writing::Open,
            reading: Reading::Open,
            owner: Owner::Here,
            fault: None,
        }
    }

    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.hear(cx);
        if !self.payload.is_empty() {
            let len = buf.len().min(self.payload.len());
            self.payload.copy_to_slice(&mut buf[..len]);
            return Poll::Ready(Ok(len));
        }
        match (self.reading, &self.fault) {
            (Reading::Ended | Reading::Acknowledged, _) => Poll::Ready(Ok(0)),
            (Reading::Open, Some(fault)) => Poll::Ready(Err(fault.clone().into())),
            (Reading::Open, None) => Poll::Pending,
        }
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.hear(cx);
        self.writable()?;
        if self.filling.is_full() {
            ready!(self.poll_send_filling(cx))?;
        }
        let len = self.filling.fill(buf);
        if self.filling.is_full() {
            // Off with it, if the channel has room; else the next write waits.
            let _ = self.poll_send_filling(cx)?;
        }
        Poll::Ready(Ok(len))
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.hear(cx);
        if self.filling.is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.writable()?;
        self.poll_send_filling(cx)
    }

    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.hear(cx);
        if self.writing == Writing::Acknowledged {
            return Poll::Ready(Ok(()));
        }
        if let Some(fault) = &self.fault {
            return Poll::Ready(Err(fault.clone().into()));
        }
        match self.writing {
            Writing::Open if !self.filling.is_empty() => ready!(self.poll_send_filling(cx))?,
            // Nobody reads it.
            Writing::Stopped => self.filling = Filling::default(),
            _ => {}
        }
        if matches!(self.writing, Writing::Open | Writing::Stopped) {
            ready!(self.poll_send(cx, Flag::Fin))?;
            self.writing = Writing::Finished;
        }
        // Whether it arrives is seen to once the owner is gone: an owner that waited here for the other side
        // to read, and that the other side waits for in turn, would wait for ever.
        Poll::Ready(Ok(()))
    }

    /// Ends the stream in the owner's absence: resets what was not closed, and waits until what was closed
    /// has arrived. Ready once nobody needs the channel.
    pub(crate) fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.owner == Owner::Here {
            self.owner = Owner::Gone;
            self.payload = Bytes::new();
        }
        self.hear(cx);
        let done = match (&self.fault, self.writing) {
            (Some(Fault::Reset | Fault::Cut | Fault::Backend(_)), _) => Poll::Ready(Ok(())),
            // A reset is one flag and needs no answer.
            (Some(Fault::Malformed(_)), _) | (None, Writing::Open | Writing::Stopped) => {
                self.poll_send(cx, Flag::Reset)
            }
            (None, Writing::Finished | Writing::Acknowledged) => self.poll_finish(cx),
        };
        // A channel that cannot send has no one to wait for.
        done.map(drop)
    }

    /// Waits for the other side's word that it has everything, and lets it know that nobody reads.
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reading == Reading::Open && self.owner == Owner::Gone {
            ready!(self.poll_send(cx, Flag::StopSending))?;
            self.owner = Owner::Told;
        }
        if self.writing == Writing::Acknowledged && self.reading != Reading::Ended {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }

    fn writable(&self) -> io::Result<()> {
        let why = match (&self.fault, self.writing) {
            (Some(fault), _) => return Err(fault.clone().into()),
            (None, Writing::Open) => return Ok(()),
            (None, Writing::Stopped) => "the other side stopped reading the stream",
            (None, Writing::Finished | Writing::Acknowledged) => "the stream is closed for writing",
        };
        Err(io::Error::new(io::ErrorKind::BrokenPipe, why))
    }

    fn poll_send_filling(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.channel.poll_ready(cx))?;
        self.channel.send(self.filling.take())?;
        Poll::Ready(Ok(()))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, flag: Flag) -> Poll<io::Result<()>> {
        ready!(self.channel.poll_ready(cx))?;
        self.channel.send(flag.encode())?;
        Poll::Ready(Ok(()))
    }

    /// Takes what the other side says, up to the next payload, and acknowledges its end.
    fn hear(&mut self, cx: &mut Context<'_>) {
        if let Err(fault) = self.listen(cx) {
            self.fault.get_or_insert(fault);
        }
        if self.reading == Reading::Ended
            && self.fault.is_none()
            && let Poll::Ready(Ok(())) = self.poll_send(cx, Flag::FinAck)
        {
            self.reading = Reading::Acknowledged;
        }
    }

    fn listen(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let mut messages = 0;
        while self.payload.is_empty() && self.fault.is_none() {
            if let Some(frame) = self.decoder.next_frame()? {
                self.take(frame)?;
                continue;
            }
            if messages == TURN {
                cx.waker().wake_by_ref();
                break;
            }
            messages += 1;
            match self.channel.poll_receive(cx) {
                Poll::Ready(Some(message)) => {
                    let message = message?;
                    if message.len() > MAX_FRAME {
                        return Err(Malformed::TooLong.into());
                    }
                    self.decoder.push(message);
                }
                Poll::Ready(None) => return Err(Fault::Cut),
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    fn take(&mut self, frame: Frame) -> Result<(), Fault> {
        // After its end the other side has nothing to say, and after ours nobody listens.
        if self.reading == Reading::Open && self.owner == Owner::Here {
            self.payload = frame.payload;
        }
        match frame.flag {
            Some(Flag::Fin) if self.reading == Reading::Open => self.reading = Reading::Ended,
            Some(Flag::StopSending) if self.writing == Writing::Open => self.writing = Writing::Stopped,
            Some(Flag::FinAck) if self.writing == Writing::Finished => self.writing = Writing::Acknowledged,
            Some(Flag::Reset) => return Err(Fault::Reset),
            Some(Flag::Fin | Flag::StopSending | Flag::FinAck) | None => {}
        }
        Ok(())
    }
}
