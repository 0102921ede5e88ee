//! Time, breath and storage for the trainer in a worker.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::LocalBoxFuture;
use js_sys::Promise;
use tributary_trainer::Host;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{DedicatedWorkerGlobalScope, MessageChannel};

use crate::storage;

/// This worker.
pub(crate) struct Worker {
    scope: DedicatedWorkerGlobalScope,
    channel: MessageChannel,
    waiting: Rc<RefCell<VecDeque<oneshot::Sender<()>>>>,
    /// Kept for as long as messages come.
    _on_message: Closure<dyn FnMut()>,
}

impl Worker {
    /// Breathing is a message to itself: it comes back when the event loop has had its turn. A
    /// timer would do too, but browsers stretch nested timers to 4 ms.
    pub(crate) fn new(scope: DedicatedWorkerGlobalScope) -> Result<Self, JsValue> {
        let channel = MessageChannel::new()?;
        let waiting: Rc<RefCell<VecDeque<oneshot::Sender<()>>>> = Rc::default();
        let wake = waiting.clone();
        let on_message = Closure::<dyn FnMut()>::new(move || {
            let next = wake.borrow_mut().pop_front();
            if let Some(next) = next {
                // Whoever breathed may have been dropped since.
                let _ = next.send(());
            }
        });
        channel.port1().set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        Ok(Self { scope, channel, waiting, _on_message: on_message })
    }
}

impl Host for Worker {
    fn now_ms(&self) -> u64 {
        self.scope.performance().map_or(0, |performance| performance.now() as u64)
    }

    fn breathe(&self) -> LocalBoxFuture<'static, ()> {
        let (done, wait) = oneshot::channel();
        self.waiting.borrow_mut().push_back(done);
        if self.channel.port2().post_message(&JsValue::NULL).is_err() {
            self.waiting.borrow_mut().pop_back();
        }
        wait.map(drop).boxed_local()
    }

    fn rest(&self, ms: u64) -> LocalBoxFuture<'static, ()> {
        let over = Promise::new(&mut |over, _| {
            // The worker asks for little at a time.
            let ms = i32::try_from(ms).unwrap_or(i32::MAX);
            if self.scope.set_timeout_with_callback_and_timeout_and_arguments_0(&over, ms).is_err() {
                // Without timers there is no rest.
                let _ = over.call0(&JsValue::UNDEFINED);
            }
        });
        async move { drop(JsFuture::from(over).await) }.boxed_local()
    }

    fn keep(&self, name: &str, bytes: Vec<u8>) -> LocalBoxFuture<'static, ()> {
        let (scope, name) = (self.scope.clone(), name.to_owned());
        // What isn't kept costs one larger update after a reload.
        async move { storage::write(&scope, &name, &bytes).await.unwrap_or(()) }.boxed_local()
    }

    fn recall(&self, name: &str) -> LocalBoxFuture<'static, Option<Vec<u8>>> {
        let (scope, name) = (self.scope.clone(), name.to_owned());
        async move { storage::read(&scope, &name).await.ok() }.boxed_local()
    }
}
