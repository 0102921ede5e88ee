//! The frame of a message: its bytes and its bounds.
//!
//! Enters: messages, and frames that came. Leaves: bytes, and messages whose every part is within its bound. Refuses
//! frames that are too long, that are no message of this version, or that say more than they may.

use serde::{Serialize, de::DeserializeOwned};

use super::{Hello, PeerKind, Refusal, ToContributor, ToCoordinator};
use crate::PROTOCOL_VERSION;
use crate::limits::{MAX_CONTROL_FRAME, MAX_LINKS, MAX_ROSTER, MAX_TEXT};

/// A message that fits a control frame or is refused.
pub trait Message: Serialize + DeserializeOwned {
    /// The first bound that the message breaks, in words.
    fn check(&self) -> Result<(), &'static str>;

    /// The frame's bytes.
    fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("a message has a finite serde form")
    }

    /// The message in a frame.
    fn decode(frame: &[u8]) -> Result<Self, BadFrame> {
        whole(frame)
    }
}

fn whole<M: Message>(frame: &[u8]) -> Result<M, BadFrame> {
    if frame.len() > MAX_CONTROL_FRAME {
        return Err(BadFrame::TooLong(frame.len()));
    }
    let (message, tail) = postcard::take_from_bytes::<M>(frame).map_err(|_| BadFrame::Malformed)?;
    if !tail.is_empty() {
        return Err(BadFrame::Malformed);
    }
    message.check().map_err(BadFrame::OutOfBounds)?;
    Ok(message)
}

/// A hello of another version, of which only the version can be read: the message's number, then the
/// first field. Its sender can be told what is the matter.
fn foreign_hello(frame: &[u8]) -> Option<ToCoordinator> {
    match postcard::take_from_bytes::<(u32, u16)>(frame) {
        Ok(((0, version), _)) if version != PROTOCOL_VERSION => {
            let (run, kind, agent) = (None, PeerKind::Native, String::new());
            Some(ToCoordinator::Hello(Hello { version, run, kind, agent, links: false, witness: false, seen: None }))
        }
        _ => None,
    }
}

impl Message for ToCoordinator {
    fn check(&self) -> Result<(), &'static str> {
        match self {
            ToCoordinator::Hello(hello) => text(&hello.agent),
            ToCoordinator::Status(status) => text(&status.device),
            ToCoordinator::Commit(_)
            | ToCoordinator::Disclosed { .. }
            | ToCoordinator::Witnessed { .. }
            | ToCoordinator::Seen(_)
            | ToCoordinator::Pass { .. } => Ok(()),
        }
    }

    fn decode(frame: &[u8]) -> Result<Self, BadFrame> {
        whole(frame).or_else(|why| foreign_hello(frame).filter(|_| why == BadFrame::Malformed).ok_or(why))
    }
}

impl Message for ToContributor {
    fn check(&self) -> Result<(), &'static str> {
        match self {
            ToContributor::Welcome(welcome) => {
                if welcome.evaluations.len() > crate::limits::VIEW_HISTORY {
                    return Err("too many evaluations");
                }
                Ok(())
            }
            ToContributor::Refused(Refusal::Misbehaved(what)) => text(what),
            ToContributor::Roster(roster) => {
                if roster.peers.len() > MAX_ROSTER {
                    return Err("too many peers in the roster");
                }
                roster.peers.iter().try_for_each(|peer| text(&peer.device))
            }
            ToContributor::Receipt(receipt) if !receipt.is_bounded() => Err("too long a proof"),
            ToContributor::Links(peers) if peers.len() > MAX_LINKS => Err("too many links"),
            _ => Ok(()),
        }
    }
}

fn text(text: &str) -> Result<(), &'static str> {
    if text.len() > MAX_TEXT { Err("a text is too long") } else { Ok(()) }
}

/// Cuts a text of ours to what a peer accepts.
pub fn bounded_text(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// Why a frame was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// Over the limit.
    #[error("a frame of {0} bytes is over the limit")]
    TooLong(usize),
    /// Truncated, with a tail, or no message at all.
    #[error("a frame is not a message of protocol version {PROTOCOL_VERSION}")]
    Malformed,
    /// A field is over its bound.
    #[error("a message is out of bounds: {0}")]
    OutOfBounds(&'static str),
}
