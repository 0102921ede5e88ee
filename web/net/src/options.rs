//! What the page says to make a contributor, and the check of it.

use serde::{Deserialize, Serialize};
use tributary_peer::Options;
use tributary_protocol::job::DeviceChoice;
use tributary_protocol::message::PeerKind;
use tributary_protocol::{Hash, Identity, PROTOCOL_VERSION};
use tsify::Tsify;

use crate::address::{Page, Unreachable, choose};

/// The coordinator's `/run.json`.
#[derive(Debug, Clone, Serialize, Deserialize, Tsify)]
pub struct RunFile {
    /// The run's id, hex.
    pub run: String,
    /// Its name.
    pub name: String,
    /// The coordinator's peer id.
    pub peer: String,
    /// Its multiaddresses.
    pub addrs: Vec<String>,
    /// The protocol version it speaks.
    pub version: u16,
    /// Parameters of its model; absent from a coordinator that speaks an older version.
    pub params: Option<u64>,
    /// Seconds of a round.
    pub round_seconds: Option<u32>,
    /// Credits of a round.
    pub pool: Option<u64>,
}

/// What makes a contributor.
#[derive(Debug, Clone, Serialize, Deserialize, Tsify)]
pub struct PeerOptions {
    /// Whom to join.
    pub run: RunFile,
    /// The identity: 32 bytes.
    #[tsify(type = "Uint8Array")]
    pub secret: Vec<u8>,
    /// What to train on.
    pub device: DeviceChoice,
    /// Program and version, for people.
    pub agent: String,
    /// Bytes a second that may go up from here to others; absent: without a limit.
    pub upload_limit: Option<u32>,
}

/// Options that no contributor can be made of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OptionsError {
    /// Another protocol version.
    #[error(
        "This page speaks protocol version {PROTOCOL_VERSION} and its coordinator {0}, so they can't train together. \
         Reload the page; if that does not help, tell whoever runs this site."
    )]
    Version(u16),
    /// The secret has another length.
    #[error("The stored identity has {0} bytes instead of 32. Clear this site's data, then reload the page.")]
    Secret(usize),
    /// The run's id is none.
    #[error("The coordinator's run id can't be read ({0}). Tell whoever runs this site.")]
    Run(String),
    /// No usable address.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
}

impl PeerOptions {
    /// The driver's options, on this page; `links`: whether its browser can link with others.
    pub(crate) fn into_peer(self, page: &Page, links: bool) -> Result<Options, OptionsError> {
        if self.run.version != PROTOCOL_VERSION {
            return Err(OptionsError::Version(self.run.version));
        }
        let secret = self.secret.try_into().map_err(|secret: Vec<u8>| OptionsError::Secret(secret.len()))?;
        let run: Hash = self.run.run.parse().map_err(|error| OptionsError::Run(format!("{error}")))?;
        Ok(Options {
            identity: Identity::from_secret(secret),
            coordinator: choose(&self.run.addrs, &self.run.peer, page)?,
            kind: PeerKind::Tab,
            agent: self.agent,
            device: self.device,
            run: Some(run),
            links,
            upload_limit: self.upload_limit.map(u64::from),
        })
    }
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn options() -> PeerOptions {
        let peer = Identity::from_secret([1; 32]).id().to_string();
        let run = RunFile {
            run: Hash::default().to_string(),
            name: "test".into(),
            addrs: vec![format!("/ip4/127.0.0.1/tcp/4003/ws/p2p/{peer}")],
            peer,
            version: PROTOCOL_VERSION,
            params: Some(1),
            round_seconds: Some(1),
            pool: Some(1),
        };
        let (device, agent) = (DeviceChoice::Auto, "test".into());
        PeerOptions { run, secret: vec![2; 32], device, agent, upload_limit: Some(1_000_000) }
    }

    #[test]
    fn wrong_options_are_refused_in_words() {
        let page = Page { secure: false, host: "localhost".into() };
        assert_eq!(options().into_peer(&page, true).unwrap().run, Some(Hash::default()));
        let mut other = options();
        other.run.version = PROTOCOL_VERSION + 1;
        assert_eq!(other.into_peer(&page, true).unwrap_err(), OptionsError::Version(PROTOCOL_VERSION + 1));
        let mut short = options();
        short.secret.pop();
        assert_eq!(short.into_peer(&page, true).unwrap_err(), OptionsError::Secret(31));
        let mut odd = options();
        odd.run.run = "zz".into();
        assert!(matches!(odd.into_peer(&page, true), Err(OptionsError::Run(_))));
    }
}
