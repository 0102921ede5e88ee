//! The driver's platform in a tab.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use js_sys::{Function, Promise, Reflect};
use tributary_peer::Platform;
use tributary_protocol::Millis;
use tributary_protocol::job::Packed;
use tsify::Tsify;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::Performance;

#[wasm_bindgen]
extern "C" {
    /// Resolves after so many milliseconds, in a background tab too, which `setTimeout` on a page
    /// does not.
    #[wasm_bindgen(extends = Function, typescript_type = "(ms: number) => Promise<void>")]
    pub type SleepFunction;

    /// Gets the parts of a packed model.
    #[wasm_bindgen(extends = Function, typescript_type = "(part: Packed) => void")]
    #[derive(Clone)]
    pub type PackedFunction;
}

/// Where parts of a packed model go, once somebody has asked for one.
pub(crate) type Packing = Rc<RefCell<Option<PackedFunction>>>;

/// Whether this browser connects pages with each other. Some are set up not to, so that no site learns
/// the machine's addresses.
pub(crate) fn can_link() -> bool {
    Reflect::has(&js_sys::global(), &"RTCPeerConnection".into()).unwrap_or_default()
}

/// Time by `performance.now()`, waiting by the page's function, randomness by the browser.
pub(crate) struct Tab {
    performance: Performance,
    sleep: SleepFunction,
    packing: Packing,
}

impl Tab {
    pub(crate) fn new(sleep: SleepFunction, packing: Packing) -> Result<Self, JsError> {
        let performance = web_sys::window().and_then(|window| window.performance());
        let performance = performance.ok_or_else(|| JsError::new("this browser has no performance.now()"))?;
        Ok(Self { performance, sleep, packing })
    }
}

impl Platform for Tab {
    type Sleep = LocalBoxFuture<'static, ()>;

    fn now(&self) -> Millis {
        self.performance.now() as Millis
    }

    fn sleep(&self, ms: u64) -> Self::Sleep {
        let promise = self.sleep.call1(&JsValue::UNDEFINED, &JsValue::from_f64(ms as f64));
        async move {
            match promise.map(JsCast::dyn_into::<Promise>) {
                // Resolves and never rejects.
                Ok(Ok(promise)) => drop(JsFuture::from(promise).await),
                // A page that can't make timers any more: don't spin in their stead.
                _ => std::future::pending().await,
            }
        }
        .boxed_local()
    }

    fn random(&self) -> u64 {
        // A browser that is out of randomness has lost its crypto too; this only spreads retries.
        getrandom::u64().unwrap_or_default()
    }

    fn remembered(&self) -> Option<Bytes> {
        remembered()
    }

    fn remember(&self, bytes: Bytes) {
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        // Denied or full: the next visit begins without.
        storage("setItem", &[REMEMBERED, &text]);
    }

    fn packed(&self, part: Packed) {
        // The page may ask for another from within the call.
        let to = self.packing.borrow().clone();
        if let (Some(to), Ok(part)) = (to, part.into_js()) {
            // What the page throws is the page's own affair, and on its console already.
            let _ = to.call1(&JsValue::UNDEFINED, &part);
        }
    }
}

/// The newest checkpoint of the ledger that this browser has seen, as the coordinator signed it.
pub(crate) fn remembered() -> Option<Bytes> {
    let text = storage("getItem", &[REMEMBERED])?.as_string()?;
    let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(byte).collect()
}

/// Under which name the newest checkpoint of the ledger is kept.
const REMEMBERED: &str = "tributary.checkpoint";

/// Calls a method of the page's `localStorage`. None if it is denied or throws.
fn storage(method: &str, arguments: &[&str]) -> Option<JsValue> {
    let storage = Reflect::get(&js_sys::global(), &"localStorage".into()).ok()?;
    let method: Function = Reflect::get(&storage, &method.into()).ok()?.dyn_into().ok()?;
    let arguments: js_sys::Array = arguments.iter().map(|argument| JsValue::from_str(argument)).collect();
    Reflect::apply(&method, &storage, &arguments).ok()
}
