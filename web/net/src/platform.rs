//! The driver's platform in a tab.

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use js_sys::{Function, Promise, Reflect};
use tributary_peer::Platform;
use tributary_protocol::Millis;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::Performance;

#[wasm_bindgen]
extern "C" {
    /// Resolves after so many milliseconds, in a background tab too, which `setTimeout` on a page
    /// does not.
    #[wasm_bindgen(extends = Function, typescript_type = "(ms: number) => Promise<void>")]
    pub type SleepFunction;
}

/// Whether this browser connects pages with each other. Some are set up not to, so that no site learns
/// the machine's addresses.
pub(crate) fn can_link() -> bool {
    Reflect::has(&js_sys::global(), &"RTCPeerConnection".into()).unwrap_or_default()
}

/// Time by `performance.now()`, waiting by the page's function, randomness by the browser.
pub(crate) struct Tab {
    performance: Performance,
    sleep: SleepFunction,
}

impl Tab {
    pub(crate) fn new(sleep: SleepFunction) -> Result<Self, JsError> {
        let performance = web_sys::window().and_then(|window| window.performance());
        let performance = performance.ok_or_else(|| JsError::new("this browser has no performance.now()"))?;
        Ok(Self { performance, sleep })
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
}
