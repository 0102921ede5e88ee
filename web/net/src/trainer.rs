//! The trainer's link over `postMessage`: jobs go to the worker and reports come back, each as
//! postcard bytes in an `ArrayBuffer` that is handed over, not copied.
//!
//! Refuses what is no report, or over its bound. A worker that fails, or answers nonsense, ends the
//! trainer with a sentence for the person.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use futures::StreamExt;
use futures::channel::mpsc;
use js_sys::{Array, ArrayBuffer, Uint8Array};
use tributary_peer::TrainerLink;
use tributary_protocol::job::{Job, Report};
use tributary_protocol::limits::MAX_BLOB;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::spawn_local;
use web_sys::{ErrorEvent, MessageEvent, Worker};

/// Jobs under way to the worker. The driver keeps its own queue; here they are copied to JavaScript,
/// so few.
const JOBS: usize = 2;

/// Reports that wait for the driver, which takes them at once: the trainer sends four progress
/// reports a second and otherwise answers jobs, so these are many seconds of silence.
const REPORTS: usize = 64;

/// Bytes of one report: an update, which is a blob, with its numbers.
const MAX_REPORT: u32 = MAX_BLOB as u32 + 1024;

/// The page's side of the worker. Dropping it stops listening; it doesn't end the worker.
pub(crate) struct WorkerTrainer {
    worker: Worker,
    _on_message: Closure<dyn FnMut(MessageEvent)>,
    _on_error: Closure<dyn FnMut(ErrorEvent)>,
    _on_message_error: Closure<dyn FnMut(MessageEvent)>,
}

impl WorkerTrainer {
    /// Listens to a worker whose trainer waits for jobs.
    pub(crate) fn new(worker: Worker) -> (Self, TrainerLink) {
        let (jobs, orders) = mpsc::channel(JOBS);
        let (sender, reports) = mpsc::channel(REPORTS);
        let reporter = Rc::new(Reporter::new(sender));
        spawn_local(send(orders, worker.clone(), reporter.clone()));

        let on_message = Closure::<dyn FnMut(MessageEvent)>::new({
            let reporter = reporter.clone();
            move |event: MessageEvent| match decode(&event.data()) {
                Ok(report) => reporter.report(report),
                Err(why) => reporter.fail(&format!("its message was refused: {why}")),
            }
        });
        let on_error = Closure::<dyn FnMut(ErrorEvent)>::new({
            let reporter = reporter.clone();
            move |event: ErrorEvent| reporter.fail(&event.message())
        });
        let on_message_error = Closure::<dyn FnMut(MessageEvent)>::new(move |_: MessageEvent| {
            reporter.fail("the browser could not pass its message on");
        });
        worker.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        worker.set_onerror(Some(on_error.as_ref().unchecked_ref()));
        worker.set_onmessageerror(Some(on_message_error.as_ref().unchecked_ref()));
        let this = Self { worker, _on_message: on_message, _on_error: on_error, _on_message_error: on_message_error };
        (this, TrainerLink { jobs, reports })
    }
}

impl Drop for WorkerTrainer {
    fn drop(&mut self) {
        self.worker.set_onmessage(None);
        self.worker.set_onerror(None);
        self.worker.set_onmessageerror(None);
    }
}

/// Hands jobs over until the driver ends.
async fn send(mut jobs: mpsc::Receiver<Job>, worker: Worker, reporter: Rc<Reporter>) {
    while let Some(job) = jobs.next().await {
        let bytes = postcard::to_stdvec(&job).expect("a job has a finite serde form");
        drop(job);
        let buffer = Uint8Array::from(bytes.as_slice()).buffer();
        if worker.post_message_with_transfer(&buffer, &Array::of1(&buffer)).is_err() {
            reporter.fail("the browser could not hand it a job; the memory may be full");
        }
    }
}

fn decode(data: &JsValue) -> Result<Report, String> {
    let buffer = data.dyn_ref::<ArrayBuffer>().ok_or("it is no bytes")?;
    let len = buffer.byte_length();
    if len > MAX_REPORT {
        return Err(format!("it has {len} bytes, at most {MAX_REPORT} are allowed"));
    }
    decode_bytes(&Uint8Array::new(buffer).to_vec())
}

fn decode_bytes(bytes: &[u8]) -> Result<Report, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((report, [])) => Ok(report),
        Ok((_, tail)) => Err(format!("it has {} bytes too many", tail.len())),
        Err(error) => Err(error.to_string()),
    }
}

/// The way to the driver, which nothing takes after the first failure. It stays open all the same: its end
/// would be a second failure, with less to say.
struct Reporter {
    sender: RefCell<mpsc::Sender<Report>>,
    failed: Cell<bool>,
}

impl Reporter {
    fn new(sender: mpsc::Sender<Report>) -> Self {
        Self { sender: RefCell::new(sender), failed: Cell::new(false) }
    }

    fn report(&self, report: Report) {
        if self.failed.get() {
            return;
        }
        let is_progress = matches!(report, Report::Progress(_));
        let full = self.sender.borrow_mut().try_send(report).is_err_and(|error| error.is_full());
        // A newer progress report says the same and more; anything else is missed.
        if full && !is_progress {
            self.fail("it sends more than this page can take in");
        }
    }

    fn fail(&self, why: &str) {
        if self.failed.replace(true) {
            return;
        }
        let why = if why.is_empty() { "the browser gives no reason" } else { why };
        let what = format!(
            "The trainer of this tab has failed ({why}), so this round's work is lost. Press Start to begin again; \
             if it fails again, reload the page."
        );
        // A clone has a place of its own in the channel, so this fits even when it is full.
        let _ = self.sender.borrow().clone().try_send(Report::Trouble { what, fatal: true });
    }
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn drain(mut reports: mpsc::Receiver<Report>) -> Vec<Report> {
        std::iter::from_fn(|| reports.try_recv().ok()).collect()
    }

    fn progress(steps: u64) -> Report {
        Report::Progress(tributary_protocol::job::Progress { round: 1, steps, tokens: 1, loss: 1.0, tokens_per_s: 1.0 })
    }

    #[test]
    fn what_is_no_report_is_refused() {
        let report = progress(7);
        let mut bytes = postcard::to_stdvec(&report).unwrap();
        assert_eq!(decode_bytes(&bytes), Ok(report));
        bytes.push(0);
        assert_eq!(decode_bytes(&bytes), Err("it has 1 bytes too many".into()));
        assert!(decode_bytes(&bytes[..3]).is_err() && decode_bytes(&[]).is_err() && decode_bytes(&[255]).is_err());
    }

    #[test]
    fn a_flood_drops_progress_and_a_failure_comes_once() {
        let (sender, reports) = mpsc::channel(1);
        let reporter = Reporter::new(sender);
        (0..100).for_each(|steps| reporter.report(progress(steps)));
        reporter.report(Report::Withheld { round: 1, why: "no room for this".into() });
        reporter.fail("later");
        reporter.report(progress(100));
        let got = drain(reports);
        assert_eq!(got[..2], [progress(0), progress(1)]);
        assert!(matches!(&got[2..], [Report::Trouble { what, fatal: true }] if what.contains("more than this page")));
    }
}
