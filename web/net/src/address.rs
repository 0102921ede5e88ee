//! Which of the coordinator's addresses this page can reach.
//!
//! A page reaches WebSockets, and one that came over https encrypted ones only; or else the coordinator's
//! WebRTC port, which needs no certificate that a browser knows, but an address in numbers. A coordinator
//! that listens on every interface, or on this machine's own, doesn't know by which name it was
//! reached; the page does, because it came from there.

use std::net::IpAddr;

use tributary_swarm::Multiaddr;
use wasm_bindgen::JsError;

/// Where the page came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    /// Over https.
    pub(crate) secure: bool,
    /// `location.hostname`.
    pub(crate) host: String,
}

impl Page {
    /// This page.
    pub(crate) fn here() -> Result<Self, JsError> {
        let location = web_sys::window().ok_or_else(|| JsError::new("the peer runs on a page only"))?.location();
        let [protocol, host] = [location.protocol(), location.hostname()]
            .map(|part| part.map_err(|_| JsError::new("the browser keeps this page's address from it")));
        Ok(Self { secure: protocol? == "https:", host: host? })
    }
}

/// No address that a page can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreachable {
    /// Plain WebSockets only, on an encrypted page.
    #[error(
        "This page came over https and the coordinator offers no encrypted WebSocket, which the browser insists on, \
         and no WebRTC. Tell whoever runs this site that it must announce a /wss or a /webrtc-direct address."
    )]
    Plain,
    /// No WebSocket at all.
    #[error(
        "The coordinator offers no WebSocket and no WebRTC, which is all that a page can reach. Tell whoever runs \
         this site that it must listen on a /ws or a /webrtc-direct address."
    )]
    None,
}

/// The address to dial: a WebSocket before WebRTC, one on the page's own host before others, otherwise
/// the first that can be reached. Ends in the coordinator's id.
pub(crate) fn choose(addrs: &[String], peer: &str, page: &Page) -> Result<Multiaddr, Unreachable> {
    let listed = addrs.iter().filter_map(|addr| Listed::parse(addr, peer, page)).collect::<Vec<_>>();
    let reachable = listed.iter().filter(|listed| listed.encrypted || !page.secure);
    let best = reachable.min_by_key(|listed| (listed.direct, !listed.here));
    match best {
        Some(listed) => Ok(listed.addr.clone()),
        None if listed.is_empty() => Err(Unreachable::None),
        None => Err(Unreachable::Plain),
    }
}

struct Listed {
    addr: Multiaddr,
    encrypted: bool,
    /// WebRTC, not a WebSocket.
    direct: bool,
    /// On the host that the page came from.
    here: bool,
}

impl Listed {
    fn parse(addr: &str, peer: &str, page: &Page) -> Option<Self> {
        let mut parts: Vec<&str> = addr.split('/').collect();
        let has = |name: &str| parts.contains(&name);
        let direct = has("webrtc-direct");
        let encrypted = has("wss") || has("tls") || direct;
        let named = has("p2p");
        if !has("ws") && !has("wss") && !direct {
            return None;
        }
        let [_, kind @ ("ip4" | "ip6" | "dns" | "dns4" | "dns6"), host, ..] = parts[..] else { return None };
        let page_host = page.host.trim_start_matches('[').trim_end_matches(']');
        let is_own =
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified());
        // A certificate is for a name, so an encrypted address without one can only be the page's.
        let here = is_own || host == page_host;
        if direct && is_own && kind_of(page_host) == "dns" && page_host != "localhost" {
            // By that name the port would be found, but WebRTC takes numbers only.
            return None;
        }
        let page_host = if direct && page_host == "localhost" { "127.0.0.1" } else { page_host };
        (parts[1], parts[2]) = if is_own { (kind_of(page_host), page_host) } else { (kind, host) };
        let mut text = parts.join("/");
        if !named {
            text = format!("{text}/p2p/{peer}");
        }
        Some(Self { addr: text.parse().ok()?, encrypted, direct, here })
    }
}

/// What a multiaddress calls this kind of host.
fn kind_of(host: &str) -> &'static str {
    match host.parse() {
        Ok(IpAddr::V4(_)) => "ip4",
        Ok(IpAddr::V6(_)) => "ip6",
        Err(_) => "dns",
    }
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    const PEER: &str = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";

    fn check(addrs: &[&str], secure: bool, host: &str, expected: Result<&str, Unreachable>) {
        let addrs: Vec<String> = addrs.iter().map(|addr| format!("{addr}/p2p/{PEER}")).collect();
        let page = Page { secure, host: host.into() };
        let expected = expected.map(|addr| format!("{addr}/p2p/{PEER}").parse().unwrap());
        assert_eq!(choose(&addrs, PEER, &page), expected, "{addrs:?} on {page:?}");
    }

    #[test]
    fn the_page_knows_the_host() {
        let demo = ["/ip4/127.0.0.1/tcp/4001", "/ip4/127.0.0.1/udp/4001/quic-v1", "/ip4/127.0.0.1/tcp/4003/ws"];
        check(&demo, false, "127.0.0.1", Ok("/ip4/127.0.0.1/tcp/4003/ws"));
        check(&demo, false, "localhost", Ok("/dns/localhost/tcp/4003/ws"));
        check(&demo, false, "192.0.2.7", Ok("/ip4/192.0.2.7/tcp/4003/ws"));
        check(&["/ip4/0.0.0.0/tcp/4003/ws"], false, "[2001:db8::1]", Ok("/ip6/2001:db8::1/tcp/4003/ws"));
        check(&["/ip4/192.0.2.9/tcp/4003/ws"], false, "example.org", Ok("/ip4/192.0.2.9/tcp/4003/ws"));
    }

    #[test]
    fn an_encrypted_page_takes_encrypted_addresses_only() {
        let both = ["/ip4/0.0.0.0/tcp/4003/ws", "/dns/example.org/tcp/443/wss"];
        check(&both, true, "example.org", Ok("/dns/example.org/tcp/443/wss"));
        check(&["/dns/example.org/tcp/443/tls/ws"], true, "example.org", Ok("/dns/example.org/tcp/443/tls/ws"));
        check(&both[..1], true, "example.org", Err(Unreachable::Plain));
    }

    #[test]
    fn webrtc_is_for_pages_that_no_websocket_reaches() {
        let both = ["/ip4/192.0.2.9/udp/4002/webrtc-direct", "/ip4/192.0.2.9/tcp/4003/ws"];
        check(&both, false, "192.0.2.9", Ok(both[1]));
        check(&both, true, "example.org", Ok(both[0]));
        check(&["/ip4/127.0.0.1/udp/4002/webrtc-direct"], true, "192.0.2.9", Ok(both[0]));
        check(&["/ip4/127.0.0.1/udp/1/webrtc-direct"], false, "localhost", Ok("/ip4/127.0.0.1/udp/1/webrtc-direct"));
        check(&["/ip4/127.0.0.1/udp/1/webrtc-direct"], false, "example.org", Err(Unreachable::None));
    }

    #[test]
    fn the_pages_own_host_comes_first() {
        let two = ["/ip4/192.0.2.9/tcp/4003/ws", "/ip4/127.0.0.1/tcp/4003/ws"];
        check(&two, false, "localhost", Ok("/dns/localhost/tcp/4003/ws"));
    }

    #[test]
    fn what_no_page_can_reach_is_refused() {
        check(&["/ip4/127.0.0.1/tcp/4001"], false, "localhost", Err(Unreachable::None));
        check(&["nonsense/ws", "/ip4/x/tcp/1/ws", "/ws", ""], false, "localhost", Err(Unreachable::None));
    }

    #[test]
    fn an_address_without_a_name_gets_it() {
        let page = Page { secure: false, host: "localhost".into() };
        let addr = choose(&["/ip4/127.0.0.1/tcp/1/ws".into()], PEER, &page).unwrap();
        assert_eq!(addr.to_string(), format!("/dns/localhost/tcp/1/ws/p2p/{PEER}"));
    }
}
