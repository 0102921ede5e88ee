//! Linking with the page's help: it has the wallet, this program has the identity.
//!
//! Enters: what a page's wallet signed, under a code that only this program's person was shown. Leaves: the link. Refuses
//! a text about another contributor and a wallet that the person says is another's.

use std::io::{self, BufRead, IsTerminal, Write};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde_json::{Value, json};
use tributary_ledger::{LinkMessage, LinkProof, WalletProof, checksummed};
use tributary_protocol::Identity;

use super::api::Api;
use crate::output::Output;

/// Between two questions whether the wallet has signed.
const EVERY: Duration = Duration::from_secs(2);

/// Asks for a code, waits for the page, signs and sends.
pub(super) fn link(me: &Identity, api: &Api) -> anyhow::Result<()> {
    let output = Output::new();
    let given = api.post("/api/link/code", &json!({"peer": me.id()}))?;
    let (code, seconds) =
        given["code"].as_str().zip(given["seconds"].as_u64()).context("the coordinator gave no code")?;
    let url = format!("{}/#link={code}", api.url);
    output.event(
        || json!({"event": "link", "me": me.id(), "code": code, "url": url, "seconds": seconds}),
        || {
            let until = seconds / 60;
            format!("{}Open {url}\nwhere your wallet is, here or on a phone, and sign there within {until} minutes.\nCode: {code}", picture(&url))
        },
    );
    let until = Instant::now() + Duration::from_secs(seconds);
    let answer = loop {
        let answer = api.get(&format!("/api/link/code/{code}"))?;
        if answer["text"].is_string() {
            break answer;
        }
        if Instant::now() > until {
            bail!("nobody signed within {seconds} seconds; run the same command again for a new code");
        }
        thread::sleep(EVERY);
    };
    let (message, proof) = proof(me, &answer)?;
    let wallet = checksummed(&message.wallet);
    output.event(|| json!({"event": "signed", "wallet": wallet}), || format!("{wallet} signed."));
    ensure!(is_right(output)?, "nothing was linked; run the same command again and sign with the right wallet");
    super::send(me, api, proof)
}

/// What the page handed on, with this contributor's signature.
fn proof(me: &Identity, answer: &Value) -> anyhow::Result<(LinkMessage, LinkProof)> {
    let text = answer["text"].as_str().unwrap_or_default();
    let message =
        LinkMessage::parse(text).context("what the page handed on is no link; update the program and the page")?;
    ensure!(
        message.peer == me.id().0,
        "the page handed on a text about another contributor, so nothing was signed; run the same command again, and open its link and no other"
    );
    let signature = super::bytes(answer["signature"].as_str().unwrap_or_default(), "what the page handed on")?;
    let wallet = if answer["contract"] == true {
        WalletProof::Contract { signature, block: 0 }
    } else {
        WalletProof::Key(signature)
    };
    let handover = answer["handover"].as_str().map(|text| super::bytes(text, "the handover")).transpose()?;
    Ok((message, LinkProof { peer: me.sign_link(text), wallet, handover, message: text.to_owned() }))
}

/// Whether the person knows the wallet; a script that reads events decides for itself whether to go on.
fn is_right(output: Output) -> anyhow::Result<bool> {
    if output.is_json() || !io::stdin().is_terminal() {
        return Ok(true);
    }
    print!("Is this your wallet? Earnings will go there. [y/N] ");
    io::stdout().flush()?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(["y", "yes"].contains(&line.trim().to_lowercase().as_str()))
}

/// The URL for a phone's camera, light on dark as terminals are; nothing if it is too long for one.
fn picture(url: &str) -> String {
    let picture = QrCode::new(url)
        .map(|code| code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build() + "\n");
    picture.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(peer: [u8; 32]) -> Value {
        let message = LinkMessage {
            domain: "train.example".to_owned(),
            uri: "https://train.example/".to_owned(),
            wallet: [7; 20],
            chain: 1,
            nonce: "12345678".to_owned(),
            issued: 5,
            expires: 305,
            peer,
        };
        let signature = format!("0x{}01", "11".repeat(64));
        json!({"text": message.to_string(), "signature": signature, "contract": false, "handover": null})
    }

    #[test]
    fn only_a_text_about_oneself_is_signed() {
        let me = Identity::from_secret([1; 32]);
        let (message, proof) = proof(&me, &answer(me.id().0)).unwrap();
        assert_eq!(message.wallet, [7; 20]);
        assert!(matches!(&proof.wallet, WalletProof::Key(signature) if signature.len() == 65 && signature[64] == 28));
        let other = Identity::from_secret([2; 32]).id().0;
        let error = super::proof(&me, &answer(other)).unwrap_err().to_string();
        assert!(error.contains("another contributor"), "{error}");
        assert!(super::proof(&me, &json!({"text": "x"})).unwrap_err().to_string().contains("no link"));
    }

    #[test]
    fn the_picture_is_as_wide_as_a_terminal() {
        let lines = picture("https://train.example:8080/#link=ABCD-EFGH");
        assert!(lines.lines().count() < 24 && lines.lines().all(|line| line.chars().count() < 80), "{lines}");
        assert_eq!(picture(&"x".repeat(10_000)), "");
    }
}
