//! As much of STUN (RFC 8489) as a server port needs that others' ICE agents call.
//!
//! Enters: a datagram. Leaves: what a Binding request says, and the answer to one that only asks for its own
//! address. Refuses: everything else, without a word.

use std::net::{IpAddr, SocketAddr};

const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const MAGIC: [u8; 4] = 0x2112_A442_u32.to_be_bytes();
const HEADER: usize = 20;
const USERNAME: u16 = 0x0006;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;

/// The longest USERNAME, RFC 8489 section 14.3.
const MAX_USERNAME: usize = 508;

/// Attributes of one request; an ICE agent sends six.
const MAX_ATTRIBUTES: usize = 16;

/// A Binding request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// Names the request; the answer repeats it.
    transaction: [u8; 12],
    /// Whose ICE agent is called, and by whom. None: only the address is asked for.
    pub username: Option<&'a str>,
}

impl<'a> Request<'a> {
    /// Reads a datagram; `None` unless it is a Binding request to the last byte.
    #[must_use]
    pub fn read(datagram: &'a [u8]) -> Option<Self> {
        let (header, mut rest) = datagram.split_at_checked(HEADER)?;
        let well_formed = u16_at(header, 0)? == BINDING_REQUEST
            && usize::from(u16_at(header, 2)?) == rest.len()
            && header[4..8] == MAGIC;
        if !well_formed {
            return None;
        }
        let mut username = None;
        for _ in 0..MAX_ATTRIBUTES {
            if rest.is_empty() {
                let transaction = header[8..].try_into().ok()?;
                return Some(Self { transaction, username });
            }
            let (kind, length) = (u16_at(rest, 0)?, usize::from(u16_at(rest, 2)?));
            let value = rest.get(4..4 + length)?;
            if kind == USERNAME && username.is_none() {
                username = Some(std::str::from_utf8(value).ok().filter(|name| name.len() <= MAX_USERNAME)?);
            }
            // Attributes begin at multiples of four bytes.
            rest = rest.get(4 + length.next_multiple_of(4)..)?;
        }
        None
    }

    /// The answer: where the request came from. 32 bytes, or 44 for IPv6.
    #[must_use]
    pub fn answer(&self, from: SocketAddr) -> Vec<u8> {
        let mask: Vec<u8> = MAGIC.iter().chain(&self.transaction).copied().collect();
        let ip = match from.ip() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let family: u8 = if from.is_ipv4() { 1 } else { 2 };
        let mut answer = Vec::with_capacity(HEADER + 24);
        answer.extend(BINDING_SUCCESS.to_be_bytes());
        answer.extend((8 + ip.len() as u16).to_be_bytes());
        answer.extend(&mask);
        answer.extend(XOR_MAPPED_ADDRESS.to_be_bytes());
        answer.extend((4 + ip.len() as u16).to_be_bytes());
        answer.extend([0, family]);
        answer.extend(from.port().to_be_bytes().iter().zip(&mask).map(|(byte, mask)| byte ^ mask));
        answer.extend(ip.iter().zip(&mask).map(|(byte, mask)| byte ^ mask));
        answer
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rtc::stun::attributes::{ATTR_SOFTWARE, ATTR_USERNAME};
    use rtc::stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Getter as _, Message, TransactionId};
    use rtc::stun::textattrs::TextAttribute;
    use rtc::stun::xoraddr::XorMappedAddress;

    use super::*;

    fn request(username: Option<&str>) -> Vec<u8> {
        let mut message = Message::new();
        let software = TextAttribute::new(ATTR_SOFTWARE, "odd".to_owned());
        message.build(&[Box::new(TransactionId([7; 12])), Box::new(BINDING_REQUEST), Box::new(software)]).unwrap();
        if let Some(username) = username {
            message.add(ATTR_USERNAME, username.as_bytes());
        }
        message.raw
    }

    #[test]
    fn another_implementation_reads_the_answer() {
        for from in ["192.0.2.1:4433", "[2001:db8::7]:9"] {
            let from: SocketAddr = from.parse().unwrap();
            let datagram = request(None);
            let answer = Request::read(&datagram).unwrap().answer(from);
            let mut read = Message::new();
            read.unmarshal_binary(&answer).unwrap();
            assert_eq!((read.typ, read.transaction_id.0), (BINDING_SUCCESS, [7; 12]));
            let mut mapped = XorMappedAddress::default();
            mapped.get_from(&read).unwrap();
            assert_eq!(SocketAddr::new(mapped.ip, mapped.port), from);
        }
    }

    #[test]
    fn what_another_implementation_writes_is_read() {
        assert_eq!(Request::read(&request(None)).unwrap().username, None);
        assert_eq!(Request::read(&request(Some("a:bc"))).unwrap().username, Some("a:bc"));
    }

    #[test]
    fn what_is_refused() {
        let good = request(Some("a:bc"));
        let mut other_kind = good.clone();
        other_kind[0] = 1;
        let mut no_cookie = good.clone();
        no_cookie[4] = 0;
        let mut odd_name = good.clone();
        *odd_name.last_mut().unwrap() = 0;
        let name = odd_name.len() - 4;
        odd_name[name] = 0xff;
        let mut many = request(None);
        many.extend([0x80, 0x22, 0, 0].repeat(MAX_ATTRIBUTES));
        let length = (many.len() - HEADER) as u16;
        many[2..4].copy_from_slice(&length.to_be_bytes());
        for bad in [&[][..], &good[..19], &good[..good.len() - 1], &other_kind, &no_cookie, &odd_name, &many] {
            assert_eq!(Request::read(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_datagram_is_read_or_refused(body: Vec<u8>) {
            let mut datagram = request(None);
            datagram.truncate(HEADER);
            datagram[2..4].copy_from_slice(&(body.len() as u16).to_be_bytes());
            datagram.extend(&body);
            if let Some(Request { username: Some(name), .. }) = Request::read(&datagram) {
                prop_assert!(name.len() <= MAX_USERNAME);
            }
            prop_assert_eq!(Request::read(&body), None);
        }
    }
}
