//! Links' texts in two other implementations of ERC-4361, viem and a parser made of the specification's own grammar
//! (`core/contracts/siwe.mjs`): what counts here both read alike, and what the specification forbids counts nowhere here.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use common::Anvil;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tributary_ledger::abi::hex;
use tributary_ledger::{LinkMessage, Wallet, address_of, checksummed, personal_hash, recover};

/// What is changed in a text, and how: `{…}` stands for a part of the text, or for a damaged form of the address.
type Change = (&'static str, &'static str, &'static str);

/// What the specification forbids. Both others refuse it.
const FORBIDDEN: [Change; 56] = [
    ("no domain", "{domain} wants", " wants"),
    ("no address", "{address}\n", "\n"),
    ("no URI", "URI: {uri}\n", ""),
    ("no version", "Version: 1\n", ""),
    ("no chain", "Chain ID: 31337\n", ""),
    ("no nonce", "Nonce: {nonce}\n", ""),
    ("no time of issue", "Issued At: {issued}\n", ""),
    ("an empty URI", "URI: {uri}", "URI: "),
    ("an empty version", "Version: 1", "Version: "),
    ("an empty chain", "Chain ID: 31337", "Chain ID: "),
    ("an empty nonce", "Nonce: {nonce}", "Nonce: "),
    ("an empty time", "Issued At: {issued}", "Issued At: "),
    ("URI and version in each other's place", "URI: {uri}\nVersion: 1", "Version: 1\nURI: {uri}"),
    ("version and chain in each other's place", "Version: 1\nChain ID: 31337", "Chain ID: 31337\nVersion: 1"),
    ("chain and nonce in each other's place", "Chain ID: 31337\nNonce: {nonce}", "Nonce: {nonce}\nChain ID: 31337"),
    (
        "nonce and issue in each other's place",
        "Nonce: {nonce}\nIssued At: {issued}",
        "Issued At: {issued}\nNonce: {nonce}",
    ),
    (
        "issue and end in each other's place",
        "Issued At: {issued}\nExpiration Time: {expires}",
        "Expiration Time: {expires}\nIssued At: {issued}",
    ),
    ("the statement after the fields", "{statement}\n\nURI: {uri}", "URI: {uri}\n\n{statement}"),
    ("a field twice", "Nonce: {nonce}\n", "Nonce: {nonce}\nNonce: {nonce}\n"),
    ("a field that there is not", "Nonce: {nonce}\n", "Nonce: {nonce}\nAmount: 5\n"),
    ("a line before all", "{domain} wants", "\n{domain} wants"),
    ("no empty line after the address", "{address}\n\n", "{address}\n"),
    ("an empty line between fields", "Version: 1\n", "Version: 1\n\n"),
    ("ends of lines as on Windows", "\n", "\r\n"),
    ("one end of a line as on Windows", "Version: 1\n", "Version: 1\r\n"),
    ("ends of lines as on old machines", "\n", "\r"),
    ("letters beyond ASCII in the domain", "{domain}", "tr\u{430}in.example:8080"),
    ("letters beyond ASCII in the nonce", "{nonce}", "nonce179500000\u{660}"),
    ("a mark of byte order", "{domain} wants", "\u{feff}{domain} wants"),
    ("a zero byte", "Version: 1", "Version: 1\0"),
    ("a tab", "Version: 1", "Version:\t1"),
    ("a space before all", "{domain} wants", " {domain} wants"),
    ("two spaces", "wants you", "wants  you"),
    ("other words", "sign in with your Ethereum account", "sign in with your Bitcoin account"),
    ("other letters", "Ethereum account", "ethereum account"),
    ("other letters in a name", "Nonce: ", "nonce: "),
    ("two ports", "{domain}", "{domain}:80"),
    ("a port of letters", "{domain}", "train.example:http"),
    ("a space in the domain", "{domain}", "train .example:8080"),
    ("a domain that is a path", "{domain} wants", "train.example:8080/a wants"),
    ("an address that is short", "{address}", "{address:short}"),
    ("an address that is long", "{address}", "{address}0"),
    ("an address without its prefix", "{address}", "{address:bare}"),
    ("letters that are no digits", "{address}", "{address:letters}"),
    ("another version", "Version: 1", "Version: 2"),
    ("a version with more digits", "Version: 1", "Version: 1.0"),
    ("a version with a zero", "Version: 1", "Version: 01"),
    ("a chain of letters", "Chain ID: 31337", "Chain ID: main"),
    ("a chain in hex", "Chain ID: 31337", "Chain ID: 0x7a69"),
    ("a chain with a sign", "Chain ID: 31337", "Chain ID: +31337"),
    ("a chain below zero", "Chain ID: 31337", "Chain ID: -1"),
    ("a chain with a comma", "Chain ID: 31337", "Chain ID: 31,337"),
    ("a nonce of seven", "{nonce}", "nonce17"),
    ("a hyphen in the nonce", "{nonce}", "nonce-1795000000"),
    ("an end as people write it", "Expiration Time: {expires}", "Expiration Time: Wed Nov 18 2026 11:11:40 GMT"),
    ("a beginning as people write it", "Resources:", "Not Before: Wed Nov 18 2026 11:11:40 GMT\nResources:"),
];

/// What the specification forbids and viem reads over: it looks for the fields and not at what stands between them, and
/// takes most values as they are.
const READ_OVER: [Change; 39] = [
    (
        "the end after the resources",
        "\nExpiration Time: {expires}\nResources:\n- {peer}",
        "\nResources:\n- {peer}\nExpiration Time: {expires}",
    ),
    ("an empty line before the statement", "\n\n{statement}", "\n\n\n{statement}"),
    ("an empty line after the statement", "{statement}\n\n", "{statement}\n\n\n"),
    ("no empty line after the statement", "{statement}\n\n", "{statement}\n"),
    ("a statement of two lines", "account. This", "account.\nThis"),
    ("an empty line after the resources", "{peer}", "{peer}\n"),
    ("words after the resources", "{peer}", "{peer}\nand all my money"),
    ("letters beyond ASCII in the statement", "I let my", "I l\u{e9}t my"),
    ("letters beyond ASCII in the URI", "URI: {uri}", "URI: {uri}\u{e9}"),
    ("a space that nobody sees", "I let my", "I let\u{200b} my"),
    ("another end of line", "funds and", "funds\u{2028}and"),
    ("a space after all", "{peer}", "{peer} "),
    ("a checksum that does not hold", "{address}", "{address:wrong}"),
    ("a URI that is none", "URI: {uri}", "URI: not a uri"),
    ("a URI without a scheme", "URI: {uri}", "URI: ://{domain}/"),
    ("a path for a URI", "URI: {uri}", "URI: /a/path"),
    ("a space in the URI", "URI: {uri}", "URI: {uri}a b"),
    ("brackets in the URI", "URI: {uri}", "URI: {uri}<a>"),
    ("a quote in the URI", "URI: {uri}", "URI: {uri}\""),
    ("half a percent sign", "URI: {uri}", "URI: {uri}%2"),
    ("two fragments", "URI: {uri}", "URI: {uri}#a#b"),
    ("a day without a time", "Issued At: {issued}", "Issued At: 2026-11-18"),
    ("a time without a zone", "Issued At: {issued}", "Issued At: 2026-11-18T11:06:40"),
    ("a time as people write it", "Issued At: {issued}", "Issued At: Wed Nov 18 2026 11:06:40 GMT"),
    ("a time as a number", "Issued At: {issued}", "Issued At: 1795000000"),
    ("a space in the time", "Issued At: {issued}", "Issued At: 2026-11-18 11:06:40Z"),
    ("a day that there is not", "Issued At: {issued}", "Issued At: 2026-11-31T11:06:40Z"),
    ("a leap day that there is not", "Issued At: {issued}", "Issued At: 2026-02-29T11:06:40Z"),
    ("a month that there is not", "Issued At: {issued}", "Issued At: 2026-13-18T11:06:40Z"),
    ("an hour that there is not", "Issued At: {issued}", "Issued At: 2026-11-18T25:06:40Z"),
    ("a minute that there is not", "Issued At: {issued}", "Issued At: 2026-11-18T11:60:40Z"),
    ("a year of two digits", "Issued At: {issued}", "Issued At: 26-11-18T11:06:40Z"),
    ("an end on no day", "Expiration Time: {expires}", "Expiration Time: 2026-11-31T11:11:40Z"),
    ("a request's name with a space", "Resources:", "Request ID: a b\nResources:"),
    ("a resource that is none", "- {peer}", "- not a uri"),
    ("no dash", "- {peer}", "{peer}"),
    ("no space after the dash", "- {peer}", "-{peer}"),
    ("two resources in a line", "{peer}", "{peer} - {peer}"),
    ("a second resource that is none", "{peer}", "{peer}\n- not a uri"),
];

/// What the grammar allows, and a site that asked for the text refuses, as viem does in its place.
const NOT_ASKED_FOR: [Change; 5] = [
    ("another domain", "{domain} wants", "other.example:8080 wants"),
    ("an end that is over", "Expiration Time: {expires}", "Expiration Time: 2026-11-18T11:06:40Z"),
    ("an end before the beginning", "Expiration Time: {expires}", "Expiration Time: 2020-11-18T11:06:40Z"),
    ("a beginning that is to come", "Resources:", "Not Before: 2026-11-18T11:07:40Z\nResources:"),
    ("the user before the domain", "{domain} wants", "me@{domain} wants"),
];

/// What the specification allows and is refused here all the same, since a link's text has one form.
const MORE_THAN_LINKS_NEED: [Change; 23] = [
    ("an address without capitals", "{address}", "{address:lower}"),
    ("no statement", "{statement}\n", ""),
    ("another statement", "I let my", "I give all my"),
    ("the scheme before the domain", "{domain} wants", "https://{domain} wants"),
    ("a URI of another host", "URI: {uri}", "URI: https://evil.example/"),
    ("a URI that only begins so", "URI: {uri}", "URI: https://{domain}1/"),
    ("a URI that is no page's", "URI: {uri}", "URI: ftp://{domain}/"),
    ("zeros before the chain", "Chain ID: 31337", "Chain ID: 031337"),
    ("a chain beyond all numbers", "Chain ID: 31337", "Chain ID: 99999999999999999999"),
    ("a chain that others round", "Chain ID: 31337", "Chain ID: 9007199254740993"),
    ("parts of seconds", "Issued At: {issued}", "Issued At: 2026-11-18T11:06:40.000Z"),
    ("another zone", "Issued At: {issued}", "Issued At: 2026-11-18T12:06:40+01:00"),
    ("small letters in a time", "Issued At: {issued}", "Issued At: 2026-11-18t11:06:40z"),
    ("a leap second", "Issued At: {issued}", "Issued At: 2016-12-31T23:59:60Z"),
    ("no end", "Expiration Time: {expires}\n", ""),
    ("an end later than in five minutes", "Expiration Time: {expires}", "Expiration Time: 2026-11-18T11:11:41Z"),
    ("a beginning", "Resources:", "Not Before: 2026-11-18T11:06:40Z\nResources:"),
    ("a request's name", "Resources:", "Request ID: 7\nResources:"),
    ("no resources", "\nResources:\n- {peer}", ""),
    ("an empty list of resources", "\n- {peer}", ""),
    ("two resources", "{peer}", "{peer}\n- {peer}"),
    ("a resource that is no peer", "{peer}", "https://peers.example/"),
    ("a peer that there is not", "12D3", "12D4"),
];

/// Texts of random parts.
const TEXTS: usize = 4_000;

fn signer() -> k256::ecdsa::SigningKey {
    k256::ecdsa::SigningKey::from_slice(&[11; 32]).unwrap()
}

fn wallet() -> Wallet {
    address_of(signer().verifying_key())
}

fn signs(text: &str) -> Vec<u8> {
    let (signature, parity) = signer().sign_prehash_recoverable(&personal_hash(text)).unwrap();
    [&signature.to_bytes()[..], &[27 + parity.to_byte()]].concat()
}

/// What all changes are made in.
fn message() -> LinkMessage {
    let (domain, nonce) = ("train.example:8080".to_owned(), "nonce1795000000".to_owned());
    let (uri, issued) = (format!("https://{domain}/"), 1_795_000_000);
    LinkMessage { domain, uri, wallet: wallet(), chain: 31_337, nonce, issued, expires: issued + 300, peer: [5; 32] }
}

/// A text and what a site that asked for this message would hold it against, a second later.
fn asked(text: &str, about: &LinkMessage) -> Value {
    let (domain, nonce, address) = (&about.domain, &about.nonce, checksummed(&about.wallet));
    json!({"text": text, "domain": domain, "nonce": nonce, "address": address, "time": about.issued})
}

/// What both others read of each.
fn read(anvil: &Anvil, asked: &[Value]) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../core/contracts/siwe.mjs");
    let mut node = Command::new("node");
    node.arg(script).arg(format!("http://127.0.0.1:{}", anvil.port)).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut node = node.spawn().unwrap();
    // It reads all before it writes.
    node.stdin.take().unwrap().write_all(json!(asked).to_string().as_bytes()).unwrap();
    let read: Vec<Value> = serde_json::from_slice(&node.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(read.len(), asked.len());
    read
}

/// What both must say that a message says.
fn said(message: &LinkMessage) -> Value {
    let text = message.to_string();
    json!({
        "domain": message.domain, "address": checksummed(&message.wallet), "uri": message.uri, "version": "1",
        "statement": text.lines().nth(3), "nonce": message.nonce, "chain": message.chain,
        "issued": message.issued, "expires": message.expires, "resources": [text.rsplit("- ").next()],
    })
}

/// Makes changes and holds them against what the others say of them.
fn check(anvil: &Anvil, changes: &[Change], viem: bool, parser: bool) {
    let good = message();
    let text = good.to_string();
    let address = checksummed(&good.wallet);
    let letter = address.rfind(|c: char| c.is_ascii_uppercase()).unwrap();
    let wrong = format!("{}{}", &address[..letter], address[letter..].to_lowercase());
    let lines: Vec<&str> = text.lines().collect();
    let time = |line: usize| lines[line].split_once(": ").unwrap().1;
    let parts = [
        ("domain", &*good.domain),
        ("address", &address),
        ("address:wrong", &wrong),
        ("address:short", &address[..41]),
        ("address:bare", &address[2..]),
        ("address:letters", &format!("{}gg", &address[..40])),
        ("address:lower", &address.to_lowercase()),
        ("statement", lines[3]),
        ("uri", &good.uri),
        ("nonce", &good.nonce),
        ("issued", time(9)),
        ("expires", time(10)),
        ("peer", &lines[12][2..]),
    ];
    let fill = |pattern: &str| {
        parts.iter().fold(pattern.to_owned(), |text, (name, part)| text.replace(&format!("{{{name}}}"), part))
    };
    let changed: Vec<String> = changes.iter().map(|(_, from, to)| text.replace(&fill(from), &fill(to))).collect();
    let asked: Vec<Value> = changed.iter().map(|text| asked(text, &good)).collect();
    for (((what, ..), changed), read) in changes.iter().zip(&changed).zip(read(anvil, &asked)) {
        assert_ne!(*changed, text, "{what} changes nothing");
        assert!(LinkMessage::parse(changed).is_err(), "{what} counts here: {changed}");
        let taken = (!read["viem"].is_null(), !read["parser"].is_null());
        assert_eq!(taken, (viem, parser), "{what}: viem and the parser take it or don't: {changed}");
    }
}

#[test]
fn what_the_specification_forbids_counts_nowhere() {
    let Some(anvil) = Anvil::start() else { return };
    check(&anvil, &FORBIDDEN, false, false);
    check(&anvil, &READ_OVER, true, false);
    check(&anvil, &NOT_ASKED_FOR, false, true);
    check(&anvil, &MORE_THAN_LINKS_NEED, true, true);
}

/// Messages whose parts are mostly good, and not always: nothing here has asked whether they may be.
fn messages() -> impl Strategy<Value = LinkMessage> {
    let letters = |letters: &'static str, len: std::ops::RangeInclusive<usize>| {
        let letter = prop::sample::select(letters.chars().collect::<Vec<_>>());
        prop::collection::vec(letter, len).prop_map(String::from_iter)
    };
    let domain = prop_oneof![
        10 => prop::sample::select(vec!["localhost:8080", "train.example", "192.0.2.7:1", "xn--bcher-kva.example:65535"])
            .prop_map(str::to_owned),
        1 => letters("aZ09.:-_[]@", 1..=12),
    ];
    let path = prop_oneof![
        8 => letters("aZ09-._~!$&'()*+,;=:@/?", 0..=40).prop_map(|path| format!("/{path}")),
        1 => letters("a/?#%20<>\"{}|\\^` é", 0..=8).prop_map(|path| format!("/{path}")),
        1 => Just(String::new()),
    ];
    let chain = prop_oneof![6 => 0..=u64::from(u32::MAX), 3 => 0..1u64 << 53, 1 => any::<u64>()];
    let nonce = prop_oneof![12 => letters("abcdefXYZ0189", 8..=60), 1 => letters("a0-_. ", 0..=12)];
    let scheme = prop::sample::select(vec!["https", "https", "https", "http", "http", "ftp"]);
    // Up to the last second of the year 9999.
    let times = (0..253_402_300_800u64, prop_oneof![12 => 1..=300u64, 1 => 0..=2_000u64]);
    (domain, path, chain, nonce, scheme, times, any::<[u8; 20]>(), any::<[u8; 32]>()).prop_map(
        |(domain, path, chain, nonce, scheme, (issued, lasts), wallet, peer)| {
            let uri = format!("{scheme}://{domain}{path}");
            LinkMessage { domain, uri, wallet, chain, nonce, issued, expires: issued + lasts, peer }
        },
    )
}

/// Their texts, half of them with a letter changed, added or left out.
fn texts() -> impl Strategy<Value = (LinkMessage, String)> {
    let letters = "aZ09 :-.\n\r\t%\u{e9}\u{2028}";
    let letter = prop::sample::select(letters.chars().collect::<Vec<_>>());
    (messages(), 0..6u8, any::<prop::sample::Index>(), letter).prop_map(|(message, how, at, letter)| {
        let mut text: Vec<char> = message.to_string().chars().collect();
        let at = at.index(text.len());
        match how {
            0..3 => {}
            3 => text[at] = letter,
            4 => text.insert(at, letter),
            _ => drop(text.remove(at)),
        }
        (message, String::from_iter(text))
    })
}

#[test]
fn what_counts_here_both_others_read_alike() {
    let Some(anvil) = Anvil::start() else { return };
    // The same texts each time.
    let mut chance = TestRunner::deterministic();
    let texts: Vec<_> = (0..TEXTS).map(|_| texts().new_tree(&mut chance).unwrap().current()).collect();
    let ours: Vec<_> = texts.iter().map(|(_, text)| LinkMessage::parse(text)).collect();
    let about = |at: usize| ours[at].as_ref().unwrap_or(&texts[at].0);
    let asked: Vec<Value> = (0..TEXTS).map(|at| asked(&texts[at].1, about(at))).collect();
    let (mut counted, mut refused_by_all) = (0, 0);
    for ((ours, (_, text)), read) in ours.iter().zip(&texts).zip(read(&anvil, &asked)) {
        match ours {
            Ok(message) => {
                counted += 1;
                assert_eq!(*text, message.to_string());
                assert_eq!((&read["viem"], &read["parser"]), (&said(message), &said(message)), "{text}");
            }
            Err(_) => refused_by_all += usize::from(read["viem"].is_null() && read["parser"].is_null()),
        }
    }
    println!("of {TEXTS} texts {counted} count, and {refused_by_all} are refused by all three");
    assert!(counted > TEXTS / 4 && refused_by_all > TEXTS / 4, "{counted} count, {refused_by_all} are refused by all");
}

/// viem's whole way from a text and a signature to yes or no; that there is no contract at the address it asks the node.
#[test]
fn signatures_are_good_in_viem_where_they_are_here() {
    let Some(anvil) = Anvil::start() else { return };
    let good = message();
    let text = good.to_string();
    let other = text.replace("31337", "31338");
    let signature = signs(&text);
    let flipped =
        |at: usize| signature.iter().enumerate().map(|(n, byte)| byte ^ u8::from(n == at)).collect::<Vec<u8>>();
    let late = LinkMessage { issued: good.expires, ..good.clone() };
    let elsewhere = LinkMessage { domain: "other.example".to_owned(), ..good.clone() };
    let cases = [
        (&good, &text, signature.clone(), true),
        (&good, &other, signs(&other), true),
        (&good, &other, signature.clone(), false),
        (&good, &text, flipped(5), false),
        (&good, &text, flipped(40), false),
        (&good, &text, flipped(64), false),
        (&late, &text, signature.clone(), false),
        (&elsewhere, &text, signature.clone(), false),
    ];
    let with = |(about, text, signature, _): &(&LinkMessage, &String, Vec<u8>, bool)| {
        let mut asked = asked(text, about);
        asked["signature"] = json!(hex(signature));
        asked
    };
    let read = read(&anvil, &cases.iter().map(with).collect::<Vec<_>>());
    for ((about, text, signature, expected), read) in cases.iter().zip(read) {
        assert_eq!(read["signed"], json!(expected), "{text} {signature:02x?}");
        // Time and place are the coordinator's to look at, whose tests do.
        if **about == good {
            assert_eq!(recover(&personal_hash(text), signature) == Some(wallet()), *expected, "{text}");
        }
    }
}
