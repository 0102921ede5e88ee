//! The descriptions of `/webrtc-direct`: what is read of our own, and what each side writes for the other.
//!
//! Enters: the local description, or the USERNAME of a stranger's STUN request. Leaves: ICE credentials
//! and the text of the other side's description. Refuses: descriptions that are too long or incomplete and
//! every credential outside RFC 8839's grammar, before a byte of it stands in an SDP.

use std::net::SocketAddr;

use super::{Error, Fingerprint};

/// Bytes of a description that are looked at. A browser's own with its candidates has 1 to 4 KiB.
const MAX_SDP: usize = 64 * 1024;

/// Marks a server's ICE user fragment: version 1, where the client's password is its user fragment.
const V1: &str = "libp2p+webrtc+v1/";
/// Version 2, where the client's password follows.
const V2: &str = "libp2p+webrtc+v2/";

/// Bytes in one message of a data channel, as the specification demands of both sides.
const MAX_MESSAGE: usize = 16 * 1024;

/// Of our own description, what the other side must get to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// The ICE user fragment.
    pub ufrag: String,
    /// The ICE password.
    pub pwd: String,
    /// The DTLS certificate.
    pub fingerprint: Fingerprint,
}

impl Local {
    /// Reads a description; the first of each kind counts, since a connection with nothing but data
    /// channels has one section.
    pub fn read(sdp: &str) -> Result<Self, Error> {
        if sdp.len() > MAX_SDP {
            return Err(Error::Description("it is longer than 64 KiB"));
        }
        let ufrag = attribute(sdp, "a=ice-ufrag:").filter(|text| is_ufrag(text));
        let pwd = attribute(sdp, "a=ice-pwd:").filter(|text| is_pwd(text));
        let fingerprint = attribute(sdp, "a=fingerprint:").and_then(Fingerprint::from_sdp);
        Ok(Self {
            ufrag: ufrag.ok_or(Error::Description("it has no proper ICE user fragment"))?.to_owned(),
            pwd: pwd.ok_or(Error::Description("it has no proper ICE password"))?.to_owned(),
            fingerprint: fingerprint.ok_or(Error::Description("it has no SHA-256 fingerprint"))?,
        })
    }

    /// The user fragment and password that a server takes for us: they tell it our password.
    pub fn server_ufrag(&self) -> Result<String, Error> {
        let ufrag = format!("{V2}{}", self.pwd);
        if is_ufrag(&ufrag) { Ok(ufrag) } else { Err(Error::Description("our ICE password is too long to be sent")) }
    }
}

/// What the USERNAME of a client's first STUN request says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Username {
    /// The server's user fragment and password for this client.
    pub server: String,
    /// The client's user fragment.
    pub client: String,
    /// The client's password.
    pub client_pwd: String,
}

impl Username {
    /// Reads `server:client`; `None` if either half is no ICE user fragment, or the version is unknown.
    #[must_use]
    pub fn read(username: &str) -> Option<Self> {
        let (server, client) = username.split_once(':')?;
        if !is_ufrag(client) || !is_pwd(server) || server.len() > MAX_CREDENTIAL {
            return None;
        }
        let client_pwd = if server.starts_with(V1) { client } else { server.strip_prefix(V2)? };
        is_pwd(client_pwd).then(|| Self {
            server: server.to_owned(),
            client: client.to_owned(),
            client_pwd: client_pwd.to_owned(),
        })
    }
}

/// The answer of a server, as its client writes it: an ICE lite agent and DTLS server at `server`.
#[must_use]
pub fn answer(server: SocketAddr, fingerprint: Fingerprint, ufrag: &str) -> String {
    write(server, ufrag, ufrag, fingerprint, Role::Server)
}

/// The offer of a client, as its server writes it. The client's certificate is not known yet; the server
/// takes any and lets Noise check it.
#[must_use]
pub fn offer(client: SocketAddr, username: &Username) -> String {
    let unknown = Fingerprint::from_bytes([0; 32]);
    write(client, &username.client, &username.client_pwd, unknown, Role::Client)
}

enum Role {
    Client,
    Server,
}

fn write(at: SocketAddr, ufrag: &str, pwd: &str, fingerprint: Fingerprint, role: Role) -> String {
    let version = if at.is_ipv4() { "IP4" } else { "IP6" };
    let (ip, port) = (at.ip(), at.port());
    let (lite, setup) = match role {
        Role::Client => (None, "active"),
        Role::Server => (Some("a=ice-lite".to_owned()), "passive"),
    };
    let head = ["v=0".to_owned(), format!("o=- 0 0 IN {version} {ip}"), "s=-".to_owned(), "t=0 0".to_owned()];
    let media = [
        format!("m=application {port} UDP/DTLS/SCTP webrtc-datachannel"),
        format!("c=IN {version} {ip}"),
        "a=mid:0".to_owned(),
        "a=ice-options:ice2".to_owned(),
        format!("a=ice-ufrag:{ufrag}"),
        format!("a=ice-pwd:{pwd}"),
        format!("a=fingerprint:{}", fingerprint.to_sdp()),
        format!("a=setup:{setup}"),
        "a=sctp-port:5000".to_owned(),
        format!("a=max-message-size:{MAX_MESSAGE}"),
        // Priority of a host candidate, RFC 8445 section 5.1.2.1; with one candidate any would do.
        format!("a=candidate:1 1 UDP 2130706431 {ip} {port} typ host"),
        "a=end-of-candidates".to_owned(),
    ];
    head.into_iter().chain(lite).chain(media).map(|line| line + "\r\n").collect()
}

fn attribute<'a>(sdp: &'a str, name: &str) -> Option<&'a str> {
    sdp.lines().find_map(|line| line.strip_prefix(name)).map(str::trim_end)
}

/// The longest ICE user fragment or password, RFC 8839 section 5.4.
const MAX_CREDENTIAL: usize = 256;

fn is_ufrag(text: &str) -> bool {
    (4..=MAX_CREDENTIAL).contains(&text.len()) && text.bytes().all(is_ice_char)
}

fn is_pwd(text: &str) -> bool {
    (22..=MAX_CREDENTIAL).contains(&text.len()) && text.bytes().all(is_ice_char)
}

fn is_ice_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PWD: &str = "asd88fgpdd777uzjYhagZg";

    fn local() -> Local {
        Local { ufrag: "8hhY".into(), pwd: PWD.into(), fingerprint: Fingerprint::from_bytes([9; 32]) }
    }

    fn description(ufrag: &str, pwd: &str) -> String {
        write(SocketAddr::from(([192, 0, 2, 1], 9)), ufrag, pwd, local().fingerprint, Role::Client)
    }

    #[test]
    fn a_client_tells_its_password_and_nothing_else() {
        let ufrag = local().server_ufrag().unwrap();
        assert_eq!(ufrag, format!("libp2p+webrtc+v2/{PWD}"));
        let username = Username::read(&format!("{ufrag}:8hhY")).unwrap();
        assert_eq!(username, Username { server: ufrag, client: "8hhY".into(), client_pwd: PWD.into() });
    }

    #[test]
    fn version_1_has_one_text_for_both() {
        let text = "libp2p+webrtc+v1/0123456789abcdef";
        let username = Username::read(&format!("{text}:{text}")).unwrap();
        assert_eq!(username.client_pwd, text);
    }

    #[test]
    fn usernames_that_are_refused() {
        let long = "a".repeat(250);
        for bad in [
            String::new(),
            ":".into(),
            format!("libp2p+webrtc+v2/{PWD}"),
            format!("libp2p+webrtc+v2/{PWD}:abc"),
            format!("libp2p+webrtc+v2/{PWD}:ab c"),
            format!("libp2p+webrtc+v2/{PWD}\r\na=x:8hhY"),
            format!("libp2p+webrtc+v2/{PWD}:8hhY:8hhY"),
            "libp2p+webrtc+v2/short:8hhY".into(),
            format!("libp2p+webrtc+v3/{PWD}:8hhY"),
            format!("libp2p+webrtc+v2/{long}:8hhY"),
            format!("{PWD}:8hhY"),
            format!("libp2p+webrtc+v1/{PWD}:8hhY"),
        ] {
            assert_eq!(Username::read(&bad), None, "{bad}");
        }
    }

    #[test]
    fn descriptions_that_are_refused() {
        let good = description("8hhY", PWD);
        assert_eq!(Local::read(&good).unwrap(), local());
        for bad in [
            String::new(),
            description("8hh", PWD),
            description("8hhY", "short"),
            description("8hh%", PWD),
            good.replace("sha-256", "sha-1"),
            format!("{good}{}", "x".repeat(MAX_SDP)),
        ] {
            assert!(Local::read(&bad).is_err(), "{bad}");
        }
        let long = Local { pwd: "a".repeat(256), ..local() };
        assert!(long.server_ufrag().is_err());
    }

    #[test]
    fn the_answer_is_one_of_an_ice_lite_dtls_server() {
        let text = answer("[2001:db8::1]:4433".parse().unwrap(), local().fingerprint, "libp2p+webrtc+v2/x");
        for line in [
            "a=ice-lite",
            "m=application 4433 UDP/DTLS/SCTP webrtc-datachannel",
            "c=IN IP6 2001:db8::1",
            "a=ice-ufrag:libp2p+webrtc+v2/x",
            "a=ice-pwd:libp2p+webrtc+v2/x",
            "a=setup:passive",
            "a=max-message-size:16384",
            "a=candidate:1 1 UDP 2130706431 2001:db8::1 4433 typ host",
        ] {
            assert!(text.split("\r\n").any(|found| found == line), "{line} in {text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(ufrag in "[A-Za-z0-9+/]{4,40}", pwd in "[A-Za-z0-9+/]{22,80}") {
            let read = Local::read(&description(&ufrag, &pwd)).unwrap();
            prop_assert_eq!((&read.ufrag, &read.pwd), (&ufrag, &pwd));
            let username = Username::read(&format!("{}:{}", read.server_ufrag().unwrap(), ufrag)).unwrap();
            let inferred = Local::read(&offer(SocketAddr::from(([192, 0, 2, 1], 9)), &username)).unwrap();
            prop_assert_eq!((inferred.ufrag, inferred.pwd), (ufrag, pwd));
        }

        #[test]
        fn no_stranger_writes_a_line(username in "(libp2p\\+webrtc\\+v[12]/)?.{0,60}:.{0,40}") {
            if let Some(username) = Username::read(&username) {
                let text = offer(SocketAddr::from(([192, 0, 2, 1], 9)), &username);
                prop_assert_eq!(text.matches("\r\n").count(), 16);
                prop_assert_eq!(text.matches('\n').count(), 16);
            }
        }

        #[test]
        fn any_description_is_refused_or_read(text in "(a=(ice-ufrag|ice-pwd|fingerprint):.{0,30}\r?\n){0,6}") {
            if let Ok(read) = Local::read(&text) {
                prop_assert!(is_ufrag(&read.ufrag) && is_pwd(&read.pwd));
            }
        }
    }
}
