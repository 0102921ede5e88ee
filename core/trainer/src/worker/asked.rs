//! What a person asks the model for beside training: a text, or the model itself.
//!
//! Both take the base, which all contributors share, and not what is trained from it here. Refuses, in words, while
//! there is none.

use std::panic::AssertUnwindSafe;

use bytes::Bytes;
use futures::FutureExt;
use tributary_protocol::Hash;
use tributary_protocol::job::{Ask, End, Packed, Report};

use super::{Gone, Host, Worker, attempt, words};
use crate::answer::Answer;
use crate::export;
use crate::session::Session;

/// What a person is told before there is a base.
const NO_BASE: &str = "the model isn't here yet; it comes when training begins. Try again then.";

impl<H: Host> Worker<H> {
    /// Begins to write, with the base as it is now.
    pub(super) async fn answer(&mut self, ask: &Ask) -> Result<(), Gone> {
        self.hush(End::Stopped).await?;
        let now = self.host.now_ms();
        let begun = match self.session.as_ref().and_then(Session::shared) {
            Some((spec, base, state, device)) => {
                let begun = attempt(|| Answer::new(now, ask, &spec.model, base, state, device));
                begun.and_then(|begun| begun.map_err(|error| format!("{error}.")))
            }
            None => Err(NO_BASE.to_owned()),
        };
        match begun {
            Ok(answer) => {
                self.answer = Some(answer);
                Ok(())
            }
            Err(why) => self.report(refused(ask, why)).await,
        }
    }

    /// Writes a little.
    pub(super) async fn write(&mut self) -> Result<(), Gone> {
        let trains = self.trains();
        let Some(answer) = &mut self.answer else { return Ok(()) };
        let report = AssertUnwindSafe(answer.turn(&self.host, trains)).catch_unwind().await;
        // If it is the device that failed, the next step notices.
        let report = report.unwrap_or_else(|panic| Some(answer.end(End::Failed { why: words(panic) })));
        if answer.has_ended() {
            self.answer = None;
        }
        match report {
            Some(report) => self.report(report).await,
            None => Ok(()),
        }
    }

    /// Writes no more.
    pub(super) async fn hush(&mut self, why: End) -> Result<(), Gone> {
        match self.answer.take() {
            Some(mut answer) => self.report(answer.end(why)).await,
            None => Ok(()),
        }
    }

    /// Packs the base as files.
    pub(super) async fn pack(&mut self) -> Result<(), Gone> {
        let packed = match self.session.as_ref().and_then(Session::shared) {
            Some((spec, base, state, _)) => {
                export::pack(&spec.model, spec.tokenizer, base, state).map_err(|error| format!("{error}."))
            }
            None => Err(NO_BASE.to_owned()),
        };
        match packed {
            Ok(parts) => {
                for part in parts {
                    self.report(Report::Packed(part)).await?;
                }
                Ok(())
            }
            Err(why) => self.report(Report::Packed(Packed::Failed { why })).await,
        }
    }
}

/// What is reported of an order that nothing comes of.
fn refused(ask: &Ask, why: String) -> Report {
    let end = Some(End::Failed { why });
    Report::Generated { id: ask.id, state: Hash::default(), bytes: Bytes::new(), tokens_per_s: 0.0, end }
}
