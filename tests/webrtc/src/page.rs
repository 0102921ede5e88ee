//! The peer for a page.

use wasm_bindgen::prelude::*;

use crate::net;
use crate::peer;

/// A peer whose commands and outcomes are JSON.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Peer(peer::Peer);

#[wasm_bindgen]
impl Peer {
    /// Starts one.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Result<Self, JsError> {
        console_error_panic_hook::set_once();
        net::start().map(Self).map_err(|error| JsError::new(&error))
    }

    /// Does one thing; one at a time.
    pub async fn run(&mut self, command: String) -> Result<String, JsError> {
        let command = serde_json::from_str(&command)?;
        self.0.run(command).await.map(|outcome| outcome.to_string()).map_err(|error| JsError::new(&error))
    }
}
