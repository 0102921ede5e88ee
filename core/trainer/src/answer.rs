//! A text that somebody asked for, written in turns with training.
//!
//! Enters: the order, turns, and how long training took in between. Leaves: reports of what was written. While there
//! is training a turn is due as long as writing has had no more than its share of the time, so that the price of a
//! text is known: with long steps it comes in bursts, and training goes on at four fifths of its speed.

use burn::tensor::Device;
use tributary_protocol::Hash;
use tributary_protocol::job::{Ask, End, Report};
use tributary_protocol::spec::ModelSpec;

use crate::error::TrainerError;
use crate::generate::{Generator, Turn};
use crate::worker::Host;

/// Milliseconds of training for each of writing, where there is both.
const TRAINING: i64 = 4;

/// Milliseconds between reports: text seems to flow, and a message carries more than a byte.
const REPORT_MS: u64 = 120;

pub(crate) struct Answer {
    id: u32,
    /// The weights that write.
    state: Hash,
    generator: Generator,
    /// Milliseconds of training, less [`TRAINING`] times those of writing beside it.
    credit: i64,
    /// Written and not reported.
    unsent: Vec<u8>,
    reported_ms: u64,
    /// When the first byte was begun, when the last was written, and how many they are.
    began_ms: Option<u64>,
    wrote_ms: u64,
    wrote: u32,
    ended: bool,
}

impl Answer {
    /// Nothing is read or written yet.
    pub(crate) fn new(
        now_ms: u64,
        ask: &Ask,
        model: &ModelSpec,
        weights: &[f32],
        state: Hash,
        device: Device,
    ) -> Result<Self, TrainerError> {
        Ok(Self {
            id: ask.id,
            state,
            generator: Generator::new(model, weights, device, ask)?,
            // The first turn comes before the next step.
            credit: 1,
            unsent: Vec::new(),
            reported_ms: now_ms,
            began_ms: None,
            wrote_ms: now_ms,
            wrote: 0,
            ended: false,
        })
    }

    /// Training had so many milliseconds.
    pub(crate) fn trained(&mut self, ms: u64) {
        self.credit = self.credit.saturating_add_unsigned(ms);
    }

    /// Whether it may take a turn while there is training.
    pub(crate) fn is_due(&self) -> bool {
        self.credit > 0
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Reads or writes a little; a report if one is due. `trains`: whether training waits meanwhile.
    pub(crate) async fn turn(&mut self, host: &impl Host, trains: bool) -> Option<Report> {
        let from = host.now_ms();
        let turn = self.generator.turn().await;
        let now = host.now_ms();
        if trains {
            self.credit -= TRAINING * now.saturating_sub(from) as i64;
        }
        match turn {
            Ok(Turn::Read) => None,
            Ok(Turn::Wrote(byte)) => {
                self.began_ms.get_or_insert(from);
                self.unsent.push(byte);
                (self.wrote_ms, self.wrote) = (now, self.wrote + 1);
                (now.saturating_sub(self.reported_ms) >= REPORT_MS).then(|| self.report(now, None))
            }
            Ok(Turn::Ended(end)) => Some(self.end(end)),
            Err(error) => Some(self.end(End::Failed { why: format!("{error}.") })),
        }
    }

    /// The last report.
    pub(crate) fn end(&mut self, end: End) -> Report {
        self.ended = true;
        self.report(self.wrote_ms, Some(end))
    }

    fn report(&mut self, now_ms: u64, end: Option<End>) -> Report {
        self.reported_ms = now_ms;
        let took_ms = self.wrote_ms.saturating_sub(self.began_ms.unwrap_or(self.wrote_ms)).max(1);
        Report::Generated {
            id: self.id,
            state: self.state,
            bytes: std::mem::take(&mut self.unsent).into(),
            tokens_per_s: self.wrote as f32 * 1000.0 / took_ms as f32,
            end,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::ready;

    use futures::FutureExt;
    use futures::executor::block_on;
    use futures::future::LocalBoxFuture;

    use super::*;

    /// A clock that goes on by ten milliseconds whenever somebody looks at it.
    struct Clock(Cell<u64>);

    impl Host for Clock {
        fn now_ms(&self) -> u64 {
            self.0.set(self.0.get() + 10);
            self.0.get()
        }

        fn breathe(&self) -> LocalBoxFuture<'static, ()> {
            ready(()).boxed_local()
        }

        fn keep(&self, _: &str, _: Vec<u8>) -> LocalBoxFuture<'static, ()> {
            self.breathe()
        }

        fn recall(&self, _: &str) -> LocalBoxFuture<'static, Option<Vec<u8>>> {
            ready(None).boxed_local()
        }
    }

    #[test]
    fn training_has_four_fifths_of_the_time_however_long_a_step_is() {
        let spec = crate::testing::spec();
        let weights = crate::initial_weights(&spec);
        for step_ms in [1, 15, 400] {
            let ask = Ask { id: 7, prompt: "a".to_owned(), tokens: 30, temperature: 0.0, seed: 0 };
            let host = Clock(Cell::new(0));
            let mut answer = Answer::new(0, &ask, &spec.model, &weights, Hash::default(), Device::flex()).unwrap();
            let (mut writing, mut training, mut written) = (0u64, 0, Vec::new());
            let mut take = |report| {
                let Some(Report::Generated { id: 7, bytes, end, .. }) = report else { return None };
                written.extend_from_slice(&bytes);
                end
            };
            let end = loop {
                if answer.is_due() {
                    let report = block_on(answer.turn(&host, true));
                    writing += 10;
                    if let Some(end) = take(report) {
                        break end;
                    }
                } else {
                    answer.trained(step_ms);
                    training += step_ms;
                }
            };
            assert!(answer.has_ended() && (end == End::Length && written.len() == 30 || end == End::Text), "{end:?}");
            // One turn is always ahead, and one step may be.
            let owed = (4 * writing).abs_diff(training);
            assert!(owed <= 40 + step_ms, "steps of {step_ms} ms: {writing} ms of writing, {training} of training");
        }
    }
}
