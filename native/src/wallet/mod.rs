//! `tributary wallet`: which wallet a contributor's earnings go to.
//!
//! Enters: a contributor's identity, and a wallet's signature: from the page, which has the wallet sign and hands it on
//! under a code; from a file that any tool signed; or none. Leaves: a link that the coordinator has written down. Refuses
//! what a page hands on about another contributor, and what the person says is not their wallet.

mod api;
mod page;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tributary_ledger::abi::{hex, unhex};
use tributary_ledger::{
    LinkMessage, LinkProof, MESSAGE_SECONDS, Wallet, WalletProof, address, checksummed, personal_hash, recover,
};
use tributary_protocol::Identity;

use crate::output::Output;
use crate::{chain, config, files, identity};
use api::Api;

/// The text that waits for its signature, in the state folder.
const MESSAGE: &str = "wallet-link.txt";

/// The chain that a text names where the coordinator pays on none: Ethereum's own.
const USUAL_CHAIN: u64 = 1;

#[derive(Debug, Args)]
pub(crate) struct WalletArgs {
    /// Folder of the contributor's identity, as for `train` [default: the user's data folder]
    #[arg(long, global = true, value_name = "DIR", env = "TRIBUTARY_TRAIN_STATE", hide_env_values = true)]
    state: Option<PathBuf>,
    #[command(subcommand)]
    command: WalletCommand,
}

#[derive(Debug, Subcommand)]
enum WalletCommand {
    /// Have this contributor's earnings go to a wallet
    ///
    /// Without flags: shows a code and a link to the coordinator's page. Open it where your wallet is,
    /// here or on a phone, and sign; this program then signs too, and sends both. Signing moves no
    /// funds and gives no approval.
    ///
    /// With another tool, in two steps, within five minutes:
    ///   1. tributary wallet link http://HOST:8080 --wallet 0x… --message
    ///      prints a text. Sign exactly that as a message (personal_sign, EIP-191) with this wallet.
    ///   2. tributary wallet link http://HOST:8080 --signature 0x…
    ///
    /// The first wallet gets everything that was earned. Another one takes its place at once if the
    /// first one signs that too (--handover), and else after 72 hours.
    #[command(verbatim_doc_comment)]
    Link(LinkArgs),
    /// Say where this contributor's earnings go
    Status {
        /// The coordinator's page [default: that of `train` in the settings]
        #[arg(value_name = "URL", env = "TRIBUTARY_COORDINATOR", hide_env_values = true)]
        coordinator: Option<String>,
    },
}

#[derive(Debug, Args)]
struct LinkArgs {
    /// The coordinator's page [default: that of `train` in the settings]
    #[arg(value_name = "URL", env = "TRIBUTARY_COORDINATOR", hide_env_values = true)]
    coordinator: Option<String>,
    /// Print the text that --wallet has to sign
    #[arg(long, requires = "wallet")]
    message: bool,
    /// The wallet that signs the text of --message
    #[arg(long, value_name = "ADDRESS", requires = "message")]
    wallet: Option<String>,
    /// The wallet's signature of the text that --message printed last
    #[arg(long, value_name = "HEX", conflicts_with = "message")]
    signature: Option<String>,
    /// With --signature: the signature of the second text, by the wallet that is paid until now
    #[arg(long, value_name = "HEX", requires = "signature")]
    handover: Option<String>,
    /// Link this address without its signature; what is earned is lost if it has a typing error or is not yours
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["message", "signature"])]
    payout: Option<String>,
}

/// Does what is asked.
pub(crate) fn run(args: WalletArgs, config: Option<&Path>) -> anyhow::Result<()> {
    let state = config::train_state(args.state, config)?;
    let me = identity::commands::existing(&state)?;
    let api = |named| anyhow::Ok(Api::new(&config::coordinator(named, config)?)?);
    match args.command {
        WalletCommand::Status { coordinator } => status(&me, &api(coordinator)?),
        WalletCommand::Link(args) => {
            let api = api(args.coordinator.clone())?;
            if let Some(wallet) = &args.payout {
                payout(&me, &api, chain::wallet(wallet, "--payout")?)
            } else if let Some(wallet) = &args.wallet {
                message(&me, &api, &state, chain::wallet(wallet, "--wallet")?)
            } else if let Some(signature) = &args.signature {
                signed(&me, &api, &state, signature, args.handover.as_deref())
            } else {
                page::link(&me, &api)
            }
        }
    }
}

fn status(me: &Identity, api: &Api) -> anyhow::Result<()> {
    let me = me.id();
    let account = api.get(&format!("/api/account/{me}"))?;
    Output::new().event(
        || {
            let mut event = account.clone();
            event["event"] = "wallet".into();
            event
        },
        || {
            let line = |name: &str, text: &dyn Fn(&str, &str, &Value) -> String| {
                let of = &account[name];
                Some(text(of["address"].as_str()?, how(of["by"].as_str()?), &of["from"]))
            };
            let lines = [
                line("wallet", &|address, how, _| format!("What {me} earns goes to {address} ({how}).")),
                line("pending", &|address, how, from| format!("From round {from} on it goes to {address} ({how}).")),
                line("queued", &|address, how, _| {
                    format!("{address} ({how}) is written down with the next settled round.")
                }),
            ];
            let lines: Vec<_> = lines.into_iter().flatten().collect();
            if lines.is_empty() {
                return format!(
                    "{me} has linked no wallet; what it earns waits. Next: tributary wallet link {}",
                    api.url
                );
            }
            lines.join("\n")
        },
    );
    Ok(())
}

/// How a wallet consented, in words.
fn how(by: &str) -> &str {
    match by {
        "key" => "its key signed",
        "contract" => "its contract agreed",
        _ => "unproven",
    }
}

/// A text for this wallet, with a nonce of the coordinator's.
fn ask_text(me: &Identity, api: &Api, wallet: Wallet) -> anyhow::Result<LinkMessage> {
    let given = api.post("/api/link/nonce", &json!({}))?;
    let chain = chain_of(api)?.unwrap_or(USUAL_CHAIN);
    let (nonce, issued) =
        given["nonce"].as_str().zip(given["issued"].as_u64()).context("the coordinator gave no nonce")?;
    let (domain, uri) = (api.domain.clone(), format!("{}/", api.url));
    let (nonce, expires, peer) = (nonce.to_owned(), issued + MESSAGE_SECONDS, me.id().0);
    let message = LinkMessage { domain, uri, wallet, chain, nonce, issued, expires, peer };
    message.check()?;
    Ok(message)
}

/// The chain on which the coordinator pays, if it does on any.
fn chain_of(api: &Api) -> anyhow::Result<Option<u64>> {
    let chain = api.get("/api/chain")?;
    chain["chain"].as_str().map(|id| id.parse().context("the coordinator names no chain")).transpose()
}

fn message(me: &Identity, api: &Api, state: &Path, wallet: Wallet) -> anyhow::Result<()> {
    let message = ask_text(me, api, wallet)?;
    let text = message.to_string();
    let path = state.join(MESSAGE);
    files::write(&path, text.as_bytes()).map_err(|e| files::trouble("write", &path, &e))?;
    let account = api.get(&format!("/api/account/{}", me.id()))?;
    let paid = account["wallet"]["address"].as_str().and_then(address).filter(|paid| *paid != wallet);
    let handover = paid.map(|_| message.handover());
    Output::new().event(
        || json!({"event": "message", "text": text, "handover": handover, "paid": paid.map(|paid| checksummed(&paid))}),
        || {
            let mut said = format!(
                "Within five minutes, sign exactly the text between the lines as a message (personal_sign) with {}:\n---\n{text}\n---\n\
                 Then: tributary wallet link {} --signature 0x…",
                checksummed(&wallet),
                api.url
            );
            if let Some((paid, handover)) = paid.zip(handover.as_ref()) {
                said += &format!(
                    "\n\nTo have it take the place of {} at once, and not in 72 hours, sign this with that one too and add --handover 0x…:\n---\n{handover}\n---",
                    checksummed(&paid)
                );
            }
            said
        },
    );
    Ok(())
}

/// What another tool signed.
fn signed(me: &Identity, api: &Api, state: &Path, signature: &str, handover: Option<&str>) -> anyhow::Result<()> {
    let path = state.join(MESSAGE);
    let text = fs::read_to_string(&path).map_err(|_| {
        anyhow::anyhow!("there is no text that this could be a signature of: print one first (--wallet 0x… --message)")
    })?;
    let message =
        LinkMessage::parse(&text).with_context(|| format!("{} is damaged; print a new text", path.display()))?;
    let signature = bytes(signature, "--signature")?;
    let by_key = recover(&personal_hash(&text), &signature) == Some(message.wallet);
    // What no key made can be a contract's, if there is a chain to ask it on.
    let wallet = if by_key || (signature.len() == 65 && chain_of(api)?.is_none()) {
        WalletProof::Key(signature)
    } else {
        WalletProof::Contract { signature, block: 0 }
    };
    let handover = handover.map(|handover| bytes(handover, "--handover")).transpose()?;
    send(me, api, LinkProof { peer: me.sign_link(&text), wallet, handover, message: text })?;
    let _ = fs::remove_file(&path);
    Ok(())
}

/// An address without its wallet's consent.
fn payout(me: &Identity, api: &Api, wallet: Wallet) -> anyhow::Result<()> {
    let text = ask_text(me, api, wallet)?.to_string();
    send(me, api, LinkProof { peer: me.sign_link(&text), wallet: WalletProof::Unproven, handover: None, message: text })
}

/// A signature as wallets give it; some count its last byte from 0.
fn bytes(signature: &str, what: &str) -> anyhow::Result<Vec<u8>> {
    let mut bytes =
        unhex(signature.trim()).with_context(|| format!("{what} is no signature: it is written in hex, 0x…"))?;
    if let [.., v @ (0 | 1)] = &mut bytes[..]
        && signature.trim().len() == 2 + 2 * 65
    {
        *v += 27;
    }
    Ok(bytes)
}

/// Sends a link, and says what comes of it.
fn send(me: &Identity, api: &Api, proof: LinkProof) -> anyhow::Result<()> {
    let taken = api.post("/api/link", &json!({"proof": hex(&proof.to_bytes())}))?;
    let (Some(wallet), Some(from)) = (taken["wallet"].as_str(), taken["from"].as_u64()) else {
        bail!("the coordinator's answer says nothing: see `tributary wallet status` for what it took");
    };
    let (waits, unproven) = (taken["waits"] == true, proof.wallet == WalletProof::Unproven);
    Output::new().event(
        || json!({"event": "linked", "me": me.id(), "wallet": wallet, "from": from, "waits": waits, "unproven": unproven}),
        || {
            let when = match (from, waits) {
                (0, _) => format!("Linked: everything that {} earned and earns goes to {wallet}.", me.id()),
                (_, false) => format!("Linked: from round {from} on, earnings go to {wallet}."),
                (_, true) => format!(
                    "Linked: from round {from} on, earnings go to {wallet}, and until then to the wallet before, which did not sign that another takes its place."
                ),
            };
            let doubt = if unproven { "\nUnproven: nobody has checked that this address is yours or that it exists." } else { "" };
            format!("{when} It is in the log once the open round has settled.{doubt}")
        },
    );
    Ok(())
}
