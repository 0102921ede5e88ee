//! A coordinator's web server, as the program asks it.
//!
//! Enters: its address, a path, and what is sent. Leaves: JSON. Refuses, in the coordinator's own words where it gives any,
//! an address that is none and an answer that is no coordinator's.

use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

/// How long an answer may take: longer than the coordinator gives the chain's node.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes of an answer.
const MOST: u64 = 64 * 1024;

/// The server.
#[derive(Debug)]
pub(super) struct Api {
    /// Without a slash at its end.
    pub(super) url: String,
    /// Host, and port if need be, as texts for wallets name it.
    pub(super) domain: String,
    agent: ureq::Agent,
}

impl Api {
    /// The server at an address that a person typed.
    pub(super) fn new(coordinator: &str) -> anyhow::Result<Self> {
        if coordinator.starts_with('/') {
            bail!(
                "{coordinator} is where peers connect; a wallet is linked at the page's address, such as http://HOST:8080"
            );
        }
        let url = if coordinator.contains("://") { coordinator.to_owned() } else { format!("http://{coordinator}") };
        let rest = ["https://", "http://"].iter().find_map(|scheme| url.strip_prefix(scheme));
        let domain = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).filter(|domain| !domain.is_empty());
        let domain =
            domain.with_context(|| format!("{coordinator} is no page's address; write it like http://HOST:8080"))?;
        let scheme = url.split("://").next().unwrap_or("http");
        let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false).build();
        let (url, domain) = (format!("{scheme}://{domain}"), domain.to_owned());
        Ok(Self { url, domain, agent: ureq::Agent::new_with_config(config) })
    }

    /// GET.
    pub(super) fn get(&self, path: &str) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.url);
        self.read(&url, self.agent.get(&url).call())
    }

    /// POST.
    pub(super) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.url);
        self.read(&url, self.agent.post(&url).header("content-type", "application/json").send(&body.to_string()))
    }

    fn read(&self, url: &str, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> anyhow::Result<Value> {
        let failed = |error| {
            anyhow::anyhow!(
                "cannot reach {url} ({error}); check the address and that the coordinator runs, then try again"
            )
        };
        let mut answer = answer.map_err(failed)?;
        let text = answer.body_mut().with_config().limit(MOST).read_to_string().map_err(failed)?;
        let json: Option<Value> = serde_json::from_str(&text).ok();
        match json {
            Some(json) if answer.status().is_success() => Ok(json),
            Some(Value::Object(refused)) if refused.get("why").is_some_and(Value::is_string) => {
                bail!("{}", refused["why"].as_str().unwrap_or_default())
            }
            _ => bail!(
                "{url} answers with status {} and not as a coordinator of this version does; check the address, or update the older of the two",
                answer.status().as_u16()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_as_it_is_typed() {
        for (typed, url, domain) in [
            ("train.example", "http://train.example", "train.example"),
            ("127.0.0.1:8080", "http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("https://train.example/#link=A", "https://train.example", "train.example"),
        ] {
            let api = Api::new(typed).unwrap();
            assert_eq!((&*api.url, &*api.domain), (url, domain));
        }
        for (typed, words) in [("/ip4/1.2.3.4/tcp/1/p2p/x", "the page's address"), ("http://", "no page's address")] {
            assert!(Api::new(typed).unwrap_err().to_string().contains(words));
        }
    }
}
