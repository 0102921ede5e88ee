//! The text that a wallet signs: one form of ERC-4361, "Sign-In with Ethereum".
//!
//! Enters: what a link is about, or a text. Leaves: the text, or what it is about, and the hash that wallets sign
//! (EIP-191). Refuses every text that [`LinkMessage`] does not give again byte for byte: other fields, another version,
//! other times than whole seconds in UTC, an address without its checksum (EIP-55), a URI of another domain.

use std::fmt;

use crate::{Digest, Key, Wallet, keccak256};

/// Bytes of a text: what is here has a few hundred, and a URL may be long.
pub const MAX_MESSAGE: usize = 2048;

/// Seconds from a message's making to its end: time to read it and to find the wallet.
pub const MESSAGE_SECONDS: u64 = 300;

/// Seconds of the year 9999, the last whose dates have one form.
const LAST_SECOND: u64 = 253_402_300_799;

/// The greatest chain id that every reader of such a text holds exactly: many hold it as a double.
const MOST_CHAIN: u64 = (1 << 53) - 1;

const WANTS: &str = " wants you to sign in with your Ethereum account:";
const STATEMENT: &str = "I let my Tributary earnings go to this account. This moves no funds and gives no approval.";
const RESOURCE: &str = "urn:libp2p:peer:";

/// Before an Ed25519 key in its libp2p peer id: identity multihash of 36 bytes, key type 1, 32 bytes of key.
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// A wallet's wish to be paid what a contributor earns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkMessage {
    /// The host, and port if need be, of the page that asks.
    pub domain: String,
    /// The page, which is on that host.
    pub uri: String,
    /// The wallet.
    pub wallet: Wallet,
    /// The chain that it is used on.
    pub chain: u64,
    /// Names this message: eight or more letters and digits.
    pub nonce: String,
    /// When it was made, in seconds since 1970.
    pub issued: u64,
    /// When it ends.
    pub expires: u64,
    /// Whose earnings.
    pub peer: Key,
}

/// Why a text is not a link's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signed text is not what a link's must be: {0}")]
pub struct MessageError(&'static str);

impl fmt::Display for LinkMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { domain, uri, chain, nonce, .. } = self;
        let (wallet, peer) = (checksummed(&self.wallet), peer_id(&self.peer));
        let (issued, expires) = (date(self.issued), date(self.expires));
        write!(
            f,
            "{domain}{WANTS}\n{wallet}\n\n{STATEMENT}\n\nURI: {uri}\nVersion: 1\nChain ID: {chain}\nNonce: {nonce}\n\
             Issued At: {issued}\nExpiration Time: {expires}\nResources:\n- {RESOURCE}{peer}"
        )
    }
}

impl LinkMessage {
    /// The message of a text.
    pub fn parse(text: &str) -> Result<Self, MessageError> {
        if text.len() > MAX_MESSAGE {
            return Err(MessageError("it is longer than 2048 bytes"));
        }
        let mut lines = text.split('\n');
        let mut after = |prefix: &str, what: &'static str| {
            lines.next().and_then(|line| line.strip_prefix(prefix)).ok_or(MessageError(what))
        };
        let domain = after("", "it is empty")?.strip_suffix(WANTS).ok_or(MessageError("its first line"))?.to_owned();
        let wallet = address(after("", "the address is missing")?).ok_or(MessageError("the address"))?;
        for expected in ["", STATEMENT, ""] {
            if !after(expected, "the statement")?.is_empty() {
                return Err(MessageError("the statement"));
            }
        }
        let uri = after("URI: ", "URI")?.to_owned();
        after("Version: 1", "Version")?;
        let chain = after("Chain ID: ", "Chain ID")?.parse().map_err(|_| MessageError("Chain ID"))?;
        let nonce = after("Nonce: ", "Nonce")?.to_owned();
        let issued = seconds(after("Issued At: ", "Issued At")?).ok_or(MessageError("Issued At"))?;
        let expires = seconds(after("Expiration Time: ", "Expiration Time")?).ok_or(MessageError("Expiration Time"))?;
        after("Resources:", "Resources")?;
        let peer = after("- ", "Resources")?.strip_prefix(RESOURCE).and_then(key_of_peer_id);
        let peer = peer.ok_or(MessageError("the resource is not a peer's"))?;
        let message = Self { domain, uri, wallet, chain, nonce, issued, expires, peer };
        message.check()?;
        // Whatever was read over stands in the text and not in this.
        if message.to_string() == text { Ok(message) } else { Err(MessageError("it is not in its one form")) }
    }

    /// What a form of lines cannot say.
    pub fn check(&self) -> Result<(), MessageError> {
        let (host, port) = self.domain.split_once(':').unwrap_or((&self.domain, "0"));
        let is_host = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c));
        if !is_host || !(1..=5).contains(&port.len()) || !port.bytes().all(|c| c.is_ascii_digit()) {
            return Err(MessageError("the domain is not a host"));
        }
        let path =
            ["https://", "http://"].iter().find_map(|scheme| self.uri.strip_prefix(scheme)?.strip_prefix(&self.domain));
        let path = path.filter(|path| path.is_empty() || path.starts_with('/'));
        if !is_path(path.ok_or(MessageError("the URI is not the domain's"))?) {
            return Err(MessageError("the URI has characters that no URI has"));
        }
        if self.chain > MOST_CHAIN {
            return Err(MessageError("the chain's id is too great"));
        }
        if self.nonce.len() < 8 || !self.nonce.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(MessageError("the nonce is not eight or more letters and digits"));
        }
        if self.expires > LAST_SECOND || self.expires <= self.issued || self.expires - self.issued > MESSAGE_SECONDS {
            return Err(MessageError("it does not end within five minutes"));
        }
        Ok(())
    }

    /// What the wallet that is paid until now signs, as plain text, to let another take its place at once.
    pub fn handover(&self) -> String {
        let (wallet, peer) = (checksummed(&self.wallet), peer_id(&self.peer));
        format!("I let the Tributary earnings of {peer} go to {wallet} from now on.\n\nNonce: {}", self.nonce)
    }
}

/// Whether a path, a query and a fragment have only what RFC 3986 lets them have.
fn is_path(text: &str) -> bool {
    let (before, fragment) = text.split_once('#').unwrap_or((text, ""));
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/?".contains(c);
    // What stands between percent signs: two digits first, but before the first.
    [before, fragment].iter().all(|part| {
        part.split('%').enumerate().all(|(at, rest)| {
            let digits = at == 0 || rest.get(..2).is_some_and(|two| two.chars().all(|c| c.is_ascii_hexdigit()));
            digits && rest.chars().all(allowed)
        })
    })
}

/// The hash that a wallet signs for a text: EIP-191, version 0x45.
pub fn personal_hash(text: &str) -> Digest {
    keccak256(format!("\x19Ethereum Signed Message:\n{}{text}", text.len()).as_bytes())
}

/// An address with capitals for a checksum: EIP-55.
pub fn checksummed(wallet: &Wallet) -> String {
    let hex: String = wallet.iter().map(|byte| format!("{byte:02x}")).collect();
    let hash = keccak256(hex.as_bytes());
    let capital = |at: usize| (hash[at / 2] >> (if at.is_multiple_of(2) { 4 } else { 0 })) & 15 >= 8;
    let letters = hex.chars().enumerate().map(|(at, c)| if capital(at) { c.to_ascii_uppercase() } else { c });
    "0x".chars().chain(letters).collect()
}

/// The address of a text with its checksum.
pub fn address(text: &str) -> Option<Wallet> {
    let hex = text.strip_prefix("0x").filter(|hex| hex.len() == 40 && hex.is_ascii())?;
    let mut wallet = [0; 20];
    for (at, byte) in wallet.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(wallet).filter(|wallet| checksummed(wallet) == text)
}

fn peer_id(key: &Key) -> String {
    bs58::encode([&PEER_ID_PREFIX[..], key].concat()).into_string()
}

fn key_of_peer_id(text: &str) -> Option<Key> {
    // The longest base58 form of 38 bytes has 52 characters; decoding is quadratic, so bound it.
    let bytes = Some(text).filter(|text| text.len() <= 64).and_then(|text| bs58::decode(text).into_vec().ok())?;
    bytes.strip_prefix(&PEER_ID_PREFIX)?.try_into().ok()
}

/// Days of 400 years, after which the calendar repeats.
const ERA_DAYS: u64 = 146_097;

/// A time as RFC 3339 has it, in UTC.
fn date(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Years from 1 March, so that a leap day is a year's last; 719,468 days lie between 1 March 0000 and 1970.
    let shifted = days + 719_468;
    let (era, day) = (shifted / ERA_DAYS, shifted % ERA_DAYS);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", 400 * era + year + next)
}

/// The seconds of a time as [`date`] writes it.
fn seconds(text: &str) -> Option<u64> {
    let part = |at: usize, len: usize| text.get(at..at + len)?.parse::<u64>().ok();
    let (year, month, day) = (part(0, 4)?, part(5, 2)?, part(8, 2)?);
    let (hour, minute, second) = (part(11, 2)?, part(14, 2)?, part(17, 2)?);
    if year < 1970 || !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year / 400, year % 400);
    let days =
        era * ERA_DAYS + 365 * of_era + of_era / 4 - of_era / 100 + (153 * month + 2) / 5 + day.checked_sub(1)?;
    let seconds = days.checked_sub(719_468)? * 86_400 + hour * 3_600 + minute * 60 + second;
    // A day that the month doesn't have, and signs that stand elsewhere.
    Some(seconds).filter(|seconds| date(*seconds) == text)
}
