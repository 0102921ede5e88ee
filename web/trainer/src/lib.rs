//! The trainer in a browser's dedicated worker.
//!
//! Enters: [`Job`]s as array buffers of postcard bytes, by message. Leaves: [`Report`]s the same way,
//! their buffers transferred. Refuses: messages that are no job, which are named in the console.

mod host;
mod storage;

use futures::StreamExt;
use futures::channel::mpsc;
use js_sys::{Array, Uint8Array};
use tributary_protocol::job::{Job, Report};
use tributary_trainer::run;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::spawn_local;
use web_sys::{DedicatedWorkerGlobalScope, MessageEvent};

/// Jobs that may wait. The driver has a handful under way: a shard or two, a cut, a fold.
const JOBS: usize = 64;

/// Reports that may wait for the next turn of the event loop.
const REPORTS: usize = 16;

/// Starts the trainer of this worker: from here on messages to it are jobs.
///
/// # Errors
///
/// Throws where it is not a dedicated worker that calls.
#[wasm_bindgen]
pub fn start() -> Result<(), JsValue> {
    let scope: DedicatedWorkerGlobalScope = js_sys::global().dyn_into()?;
    std::panic::set_hook(Box::new(|panic| {
        console_error_panic_hook::hook(panic);
        let what =
            "The trainer stopped on an error of its own. Reload the page to go on; your identity and credits stay.";
        // Nothing better can be done than to try.
        let _ = js_sys::global().dyn_into().map_err(JsValue::from).and_then(|scope: DedicatedWorkerGlobalScope| {
            post(&scope, &Report::Trouble { what: what.to_owned(), fatal: true })
        });
    }));
    let (mut jobs, jobs_in) = mpsc::channel(JOBS);
    let (reports_out, mut reports) = mpsc::channel(REPORTS);
    let on_message = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
        let bytes = Uint8Array::new(&event.data()).to_vec();
        match postcard::from_bytes::<Job>(&bytes) {
            Ok(job) => {
                if jobs.try_send(job).is_err() {
                    complain("a job came while too many waited, or after the trainer stopped; it is dropped");
                }
            }
            Err(error) => complain(&format!("a message to the trainer is no job: {error}")),
        }
    });
    scope.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
    on_message.forget();
    let to = scope.clone();
    spawn_local(async move {
        while let Some(report) = reports.next().await {
            if let Err(error) = post(&to, &report) {
                complain(&format!("a report could not be posted: {error:?}"));
            }
        }
    });
    spawn_local(run(host::Worker::new(scope)?, jobs_in, reports_out));
    Ok(())
}

fn post(scope: &DedicatedWorkerGlobalScope, report: &Report) -> Result<(), JsValue> {
    let bytes = postcard::to_stdvec(report).map_err(|error| JsValue::from_str(&error.to_string()))?;
    let buffer = Uint8Array::from(bytes.as_slice()).buffer();
    scope.post_message_with_transfer(&buffer, &Array::of1(&buffer))
}

fn complain(what: &str) {
    web_sys::console::error_1(&JsValue::from_str(what));
}
