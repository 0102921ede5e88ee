//! The page's wasm module: a contributor whose trainer is a worker.
//!
//! Enters: the coordinator's `/run.json`, the identity's secret, a worker whose trainer waits for
//! jobs, and the person's wishes. Leaves: a `Snapshot` at every change, the packed model for whoever asks for it, and
//! backups of identities; for wallets, what they sign and what is due to them ([`wallet`]). Refuses, in words, a run file of
//! another protocol version and one without an address that a page can reach.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod address;
pub mod backup;
mod options;
mod platform;
mod trainer;
pub mod wallet;

#[cfg(test)]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

use std::sync::Arc;

use futures::StreamExt;
use js_sys::Function;
use tributary_peer::Control;
use tributary_protocol::job::Ask;
use tributary_swarm::{Config, MemoryStore};
use tsify::{Ts, Tsify};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::spawn_local;
use web_sys::Worker;

use crate::options::PeerOptions;
use crate::platform::{PackedFunction, Packing, SleepFunction, Tab};
use crate::trainer::WorkerTrainer;

/// Bytes of blobs that a tab keeps to give to others: one snapshot and some updates of the largest
/// preset, and little beside what a tab uses for training it.
const STORE_BYTES: u64 = 256 * 1024 * 1024;

#[wasm_bindgen]
extern "C" {
    /// Gets each snapshot.
    #[wasm_bindgen(extends = Function, typescript_type = "(snapshot: Snapshot) => void")]
    pub type SnapshotFunction;
}

/// A contributor. Dropping it (`free()`) stops it and closes its connections; the worker stays the
/// page's to terminate.
#[wasm_bindgen]
pub struct Peer {
    control: Control,
    packing: Packing,
    _trainer: WorkerTrainer,
}

#[wasm_bindgen]
impl Peer {
    /// An idle contributor.
    ///
    /// # Errors
    /// One sentence for the person, if the options are not usable.
    #[wasm_bindgen(constructor)]
    pub fn new(
        options: Ts<PeerOptions>,
        worker: Worker,
        sleep: SleepFunction,
        on_snapshot: SnapshotFunction,
    ) -> Result<Peer, JsError> {
        console_error_panic_hook::set_once();
        let options = options.to_rust()?;
        let addrs = options.run.addrs.clone();
        let options = options.into_peer(&address::Page::here()?, platform::can_link())?;
        let (trainer, link) = WorkerTrainer::new(worker);
        let store = Arc::new(MemoryStore::new(STORE_BYTES));
        let config = Config {
            stun: tributary_swarm::stun_of(&options.coordinator, &addrs).into_iter().collect(),
            links: options.links,
            ..Config::contributor(options.identity.secret(), &options.agent)
        };
        let (handle, events, node) = tributary_swarm::node(config, store.clone())?;
        let packing = Packing::default();
        let tab = Tab::new(sleep, packing.clone())?;
        let (control, mut snapshots, driver) = tributary_peer::contributor(options, tab, link, handle, events, store)?;
        spawn_local(node);
        spawn_local(driver);
        spawn_local(async move {
            while let Some(snapshot) = snapshots.next().await {
                // Only a number over 2^53 has no form in JavaScript, and none of these gets there.
                let Ok(snapshot) = snapshot.into_js() else { continue };
                // What the page throws is the page's own affair, and on its console already.
                let _ = on_snapshot.call1(&JsValue::UNDEFINED, &snapshot);
            }
        });
        Ok(Peer { control, packing, _trainer: trainer })
    }

    /// Connects and trains.
    pub fn start(&mut self) {
        self.control.start();
    }

    /// Stops once this round's update is in.
    pub fn finish(&mut self) {
        self.control.finish();
    }

    /// Stops now.
    pub fn stop(&mut self) {
        self.control.stop();
    }

    /// From now on it trains so many per cent of the time.
    pub fn pace(&mut self, percent: u8) {
        self.control.pace(percent);
    }

    /// Has the model write on from a text; snapshots have what it writes. Another request ends the one before.
    ///
    /// # Errors
    /// If this is no request.
    pub fn generate(&mut self, ask: Ts<Ask>) -> Result<(), JsError> {
        self.control.generate(ask.to_rust()?);
        Ok(())
    }

    /// Has it write no more.
    pub fn hush(&mut self) {
        self.control.hush();
    }

    /// Packs the model as one archive of files, whose parts the function gets; another call takes its place.
    pub fn pack(&mut self, on_part: PackedFunction) {
        self.packing.replace(Some(on_part));
        self.control.pack();
    }

    /// From now on at most so many bytes a second go up to others; absent: without a limit.
    #[wasm_bindgen(js_name = uploadLimit)]
    pub fn upload_limit(&mut self, bytes_per_second: Option<u32>) {
        self.control.upload_limit(bytes_per_second.map(u64::from));
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.control.quit();
    }
}
