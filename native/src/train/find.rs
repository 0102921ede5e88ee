//! From what a person types to the coordinator's address.
//!
//! Enters: `http(s)://HOST[:PORT]`, or a multiaddr that ends in /p2p/ID. Leaves: one multiaddr, and the run
//! if the page told it. Refuses: a page that is no coordinator's, and another protocol version.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;
use tributary_protocol::{Hash, Id, PROTOCOL_VERSION};
use tributary_swarm::Multiaddr;

/// Bytes of `/run.json`: some addresses and names take one or two thousand.
const MAX_RUN_JSON: u64 = 64 * 1024;

/// How long the page may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// Where to go.
#[derive(Debug, PartialEq)]
pub(super) struct Found {
    /// Ends in /p2p/ID.
    pub(super) addr: Multiaddr,
    /// The run that the page named.
    pub(super) run: Option<Hash>,
    /// The run's name, for people.
    pub(super) name: Option<String>,
    /// The coordinator's STUN server, if the page named one.
    pub(super) stun: Option<String>,
}

#[derive(Debug, Deserialize)]
struct RunJson {
    run: Hash,
    name: String,
    peer: Id,
    addrs: Vec<String>,
}

/// Finds the coordinator. Blocking.
pub(super) fn find(coordinator: &str) -> anyhow::Result<Found> {
    if coordinator.starts_with('/') {
        let addr: Multiaddr = coordinator.parse().map_err(|_| {
            anyhow::anyhow!("{coordinator} is not a multiaddr; copy the whole line that the coordinator prints")
        })?;
        if !coordinator.contains("/p2p/") {
            bail!("{coordinator} does not say whom to find there; it must end in /p2p/ and the coordinator's id");
        }
        return Ok(Found { addr, run: None, name: None, stun: None });
    }
    let url = if coordinator.contains("://") { coordinator.to_owned() } else { format!("http://{coordinator}") };
    let host = host_of(&url)
        .with_context(|| format!("{coordinator} is neither an address of a page (http://HOST:8080) nor a multiaddr"))?;
    let json = get(&format!("{}/run.json", url.trim_end_matches('/')))?;
    let version: Version = serde_json::from_slice(&json)
        .map_err(|_| anyhow::anyhow!("the page at {url} is not a coordinator's; check the address"))?;
    if version.version != PROTOCOL_VERSION {
        bail!(
            "the coordinator speaks protocol version {} and this program {PROTOCOL_VERSION}; update the older of the two",
            version.version
        );
    }
    let run: RunJson = serde_json::from_slice(&json)
        .map_err(|e| anyhow::anyhow!("the coordinator at {url} describes itself in a way this program does not read ({e}); update the older of the two"))?;
    let addr = choose(&run.addrs, &run.peer, host)
        .with_context(|| format!("the coordinator at {url} names no address that this program can use"))?;
    let stun = tributary_swarm::stun_of(&addr, &run.addrs);
    Ok(Found { addr, run: Some(run.run), name: Some(run.name), stun })
}

/// What every version's `/run.json` has.
#[derive(Deserialize)]
struct Version {
    version: u16,
}

fn get(url: &str) -> anyhow::Result<Vec<u8>> {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).max_redirects(3).build().into();
    let failed = |error: ureq::Error| match error {
        ureq::Error::StatusCode(status) => {
            anyhow::anyhow!("{url} answers with status {status}; check that this is a coordinator's address")
        }
        error => anyhow::anyhow!("cannot reach {url} ({error}); check the address and that the coordinator runs"),
    };
    let mut answer = agent.get(url).call().map_err(failed)?;
    answer.body_mut().with_config().limit(MAX_RUN_JSON).read_to_vec().map_err(failed)
}

/// The host in a URL, without port, user and brackets.
fn host_of(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let authority = authority.rsplit('@').next()?;
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next()?,
        None => authority.split(':').next()?,
    };
    (!host.is_empty()).then_some(host)
}

/// The best of a coordinator's addresses for someone who reached its page at `host`: an address at that
/// host, or a name that it announces, else one of its ports at that host; over TCP, which every network
/// lets through, before QUIC, before WebSocket, before WebRTC.
fn choose(addrs: &[String], peer: &Id, host: &str) -> Option<Multiaddr> {
    let here = match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => format!("/ip4/{ip}/"),
        Ok(IpAddr::V6(ip)) => format!("/ip6/{ip}/"),
        Err(_) if host == "localhost" => "/ip4/127.0.0.1/".to_owned(),
        Err(_) => format!("/dns/{host}/"),
    };
    let rank = |addr: &str| {
        let place = u8::from(!addr.starts_with(&here) && !addr.starts_with("/dns"));
        let way = if addr.contains("/webrtc-direct") {
            3
        } else if addr.contains("/ws") || addr.contains("/tls") {
            2
        } else if addr.contains("/quic-v1") {
            1
        } else {
            0
        };
        (place, way)
    };
    let ours = format!("/p2p/{peer}");
    let best = addrs.iter().filter(|addr| addr.ends_with(&ours)).min_by_key(|addr| rank(addr))?;
    if rank(best).0 == 0 {
        return best.parse().ok();
    }
    // "/ip4/10.0.0.5/tcp/…": what follows the second part stays.
    let port = best.splitn(4, '/').nth(3)?;
    format!("{here}{port}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_read_from_any_url() {
        for (url, host) in [
            ("http://127.0.0.1:8080", Some("127.0.0.1")),
            ("https://me@river.example/path?q", Some("river.example")),
            ("http://[::1]:80/", Some("::1")),
            ("http://:80", None),
            ("ftp://river.example", None),
        ] {
            assert_eq!(host_of(url), host, "{url}");
        }
    }

    #[test]
    fn the_address_is_where_the_page_was_and_tcp_first() {
        let peer = Id([3; 32]);
        let check = |addrs: &[&str], host: &str, expected: &str| {
            let addrs: Vec<_> = addrs.iter().map(|addr| format!("{addr}/p2p/{peer}")).collect();
            let got = choose(&addrs, &peer, host).map(|addr| addr.to_string());
            assert_eq!(got, Some(format!("{expected}/p2p/{peer}")), "{host}");
        };
        let local =
            ["/ip4/127.0.0.1/tcp/3/ws", "/ip4/127.0.0.1/udp/2/quic-v1", "/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.5/tcp/1"];
        check(&local, "127.0.0.1", "/ip4/127.0.0.1/tcp/1");
        check(&local, "localhost", "/ip4/127.0.0.1/tcp/1");
        check(&["/ip4/127.0.0.1/udp/1/webrtc-direct", local[0]], "localhost", local[0]);
        check(&local, "10.0.0.5", "/ip4/10.0.0.5/tcp/1");
        check(&local[..2], "127.0.0.1", "/ip4/127.0.0.1/udp/2/quic-v1");
        check(&local, "river.example", "/dns/river.example/tcp/1");
        check(&["/ip4/10.0.0.5/tcp/1", "/dns4/r.example/tcp/443/wss"], "river.example", "/dns4/r.example/tcp/443/wss");
        assert_eq!(choose(&["/ip4/127.0.0.1/tcp/1".to_owned()], &peer, "127.0.0.1"), None);
    }

    #[test]
    fn a_multiaddr_must_name_the_peer() {
        let peer = Id([3; 32]);
        assert!(find(&format!("/ip4/127.0.0.1/tcp/1/p2p/{peer}")).is_ok());
        assert!(find("/ip4/127.0.0.1/tcp/1").unwrap_err().to_string().contains("/p2p/"));
        assert!(find("/nonsense").unwrap_err().to_string().contains("not a multiaddr"));
    }
}
