//! Wallets are linked over HTTP and by the program, with real processes: what is taken is in the log, whatever is killed,
//! and what is not says why.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tributary_ledger::abi::{self, hex};
use tributary_ledger::{Entry, LinkMessage, LinkProof, WalletProof, checksummed};
use tributary_protocol::Identity;
use tributary_tests::process::{Process, Site, last_event, output};
use tributary_tests::wallet::{self, message, signs};

/// The identity that a contributor's process made.
fn identity(site: &Site, name: &str) -> Identity {
    let secret = fs::read(site.path(&format!("{name}/identity.key"))).unwrap();
    Identity::from_secret(secret.try_into().unwrap())
}

/// A text for wallet `to` that the coordinator gave the nonce for.
fn text(site: &Site, who: &Identity, to: u8) -> LinkMessage {
    let (status, given) = site.post("/api/link/nonce", &site.http, "");
    assert_eq!(status, 200, "{given}");
    let domain = site.http.trim_start_matches("http://");
    message(who, to, domain, given["nonce"].as_str().unwrap(), given["issued"].as_u64().unwrap())
}

fn link(site: &Site, proof: &LinkProof) -> (u16, Value) {
    site.post("/api/link", &site.http, &json!({"proof": hex(&proof.to_bytes())}).to_string())
}

#[track_caller]
fn refused((status, answer): (u16, Value), expected: u16, words: &str) {
    let why = answer["why"].as_str().unwrap_or_default();
    assert!(status == expected && why.contains(words) && why.ends_with('.'), "{status} {answer}, not {words:?}");
}

/// Every wallet that the log names, in its order.
fn log(site: &Site) -> Vec<String> {
    let all = site.bytes("/api/ledger");
    let (mut rest, mut wallets) = (&all[..], Vec::new());
    while let Some((len, after)) = rest.split_first_chunk::<4>() {
        let (entry, after) = after.split_at(u32::from_le_bytes(*len) as usize);
        if let Entry::Linked { wallet, .. } = Entry::from_bytes(entry).unwrap() {
            wallets.push(checksummed(&wallet));
        }
        rest = after;
    }
    wallets
}

fn address(n: u8) -> String {
    checksummed(&wallet::wallet(n))
}

/// Until what was taken before this is in the log.
fn settles(serve: &mut Process) {
    serve.event("settled");
    serve.event("settled");
}

#[test]
fn a_link_over_http_is_in_the_log_and_survives_a_kill() {
    let mut site = Site::new(2, 6);
    let (mut serve, _) = site.serve("run.toml", "state");
    let (_train, id) = site.train("me");
    serve.event("settled");
    let me = identity(&site, "me");
    let account = format!("/api/account/{id}");
    assert_eq!(site.get("/api/chain"), Value::Null);
    assert_eq!(site.get(&account)["wallet"], Value::Null);

    let first = wallet::proof(&me, 1, None, &text(&site, &me, 1));
    let (status, taken) = link(&site, &first);
    assert_eq!((status, taken), (200, json!({"wallet": address(1), "from": 0, "waits": false})));
    refused(link(&site, &first), 400, "used already");
    settles(&mut serve);
    let said = site.get(&account);
    assert_eq!(said["wallet"], json!({"address": address(1), "by": "key", "from": 0}));
    assert_eq!((&said["pending"], &said["queued"], said["round"].is_u64()), (&Value::Null, &Value::Null, true));
    assert_eq!(log(&site), [address(1)]);
    assert_eq!(last_event(&["ledger", "verify", &site.http])["event"], "verified");

    // Killed once it has said yes, before a round could settle.
    serve.event("opened");
    let second = wallet::proof(&me, 2, None, &text(&site, &me, 2));
    let (status, taken) = link(&site, &second);
    assert_eq!((status, &taken["waits"]), (200, &json!(true)), "{taken}");
    serve.kill();
    let (mut serve, _) = site.serve("run.toml", "state");
    let said = site.get(&account);
    assert_eq!(said["queued"], json!({"address": address(2), "by": "key"}), "{said}");
    refused(link(&site, &wallet::proof(&me, 3, None, &text(&site, &me, 3))), 409, "waits for the next settled round");
    settles(&mut serve);
    let said = site.get(&account);
    assert_eq!(said["pending"], json!({"address": address(2), "by": "key", "from": taken["from"]}), "{said}");
    assert_eq!(log(&site), [address(1), address(2)]);
    serve.kill();
    let (mut serve, _) = site.serve("run.toml", "state");

    // With the first wallet's word the third takes its place at once.
    let third = wallet::proof(&me, 3, Some(1), &text(&site, &me, 3));
    let (status, taken) = link(&site, &third);
    assert_eq!((status, &taken["waits"]), (200, &json!(false)), "{taken}");
    settles(&mut serve);
    let said = site.get(&account);
    assert_eq!((&said["wallet"]["address"], &said["pending"]), (&json!(address(3)), &Value::Null), "{said}");
    assert_eq!(last_event(&["ledger", "verify", &site.http])["event"], "verified");
    assert_eq!(log(&site), [address(1), address(2), address(3)]);
}

#[test]
fn what_cannot_be_linked_is_told_in_a_sentence() {
    let mut site = Site::new(2, 6);
    let (mut serve, _) = site.serve("run.toml", "state");
    let (_train, id) = site.train("me");
    serve.event("settled");
    let me = identity(&site, "me");
    let stranger = Identity::from_secret([8; 32]);
    let said = text(&site, &me, 1);
    let good = wallet::proof(&me, 1, None, &said);

    let wrong_wallet = LinkProof { wallet: WalletProof::Key(signs(2, &good.message)), ..good.clone() };
    refused(link(&site, &wrong_wallet), 400, "wallet did not sign");
    let wrong_peer = LinkProof { peer: stranger.sign_link(&good.message), ..good.clone() };
    refused(link(&site, &wrong_peer), 400, "contributor's key did not sign");
    let elsewhere = message(&me, 1, "evil.example", &said.nonce, said.issued);
    refused(link(&site, &wallet::proof(&me, 1, None, &elsewhere)), 400, "evil.example, which is not this one");
    for other in [
        LinkMessage { nonce: "0123456789abcdef".repeat(3), ..said.clone() },
        LinkMessage { issued: said.issued - 1, expires: said.expires - 1, ..said.clone() },
    ] {
        refused(link(&site, &wallet::proof(&me, 1, None, &other)), 400, "no nonce of this coordinator");
    }
    let contract = WalletProof::Contract { signature: vec![1; 65], block: 0 };
    refused(link(&site, &LinkProof { wallet: contract, ..good.clone() }), 400, "no chain to ask");
    let handover = Some(signs(5, &said.handover()));
    // Nobody was paid before, so there is nothing to hand over, and it does no harm.
    let unknown = wallet::proof(&stranger, 1, None, &text(&site, &stranger, 1));
    refused(link(&site, &unknown), 409, "let it train first");

    let origin = site.http.clone();
    let body = json!({"proof": hex(&good.to_bytes())}).to_string();
    for evil in ["https://evil.example", "null", &format!("{origin}.evil.example"), &origin.replace("http", "ftp")] {
        refused(site.post("/api/link", evil, &body), 403, "another site");
        refused(site.post("/api/link/nonce", evil, ""), 403, "another site");
    }
    refused(site.post("/api/link", &origin, &format!("{{\"proof\": \"0x{}\"}}", "00".repeat(4096))), 413, "8192 bytes");
    refused(site.post("/api/link", &origin, "{}"), 400, "missing field `proof`");
    refused(site.post("/api/link", &origin, "{\"proof\": \"zz\"}"), 400, "no hex");
    refused(site.post("/api/link", &origin, "{\"proof\": \"0x00\"}"), 400, "damaged");
    refused(site.post("/api/link/code/ABCD-EFGH", &origin, "{}"), 400, "missing field");
    let head = String::from_utf8_lossy(&site.bytes("/api/account/nobody")).into_owned();
    assert!(head.contains("names nobody"), "{head}");
    assert_eq!(site.get(&format!("/api/account/{id}"))["queued"], Value::Null);

    // None of that has used the text up.
    let (status, taken) = link(&site, &LinkProof { handover, ..good });
    assert_eq!(status, 200, "{taken}");
}

/// The ways that the program has: an address alone, another tool's signature, and the page's help under a code.
#[test]
fn the_program_links_in_three_ways() {
    let mut site = Site::new(2, 6);
    let (mut serve, _) = site.serve("run.toml", "state");
    let (_train, id) = site.train("me");
    serve.event("settled");
    let (me, state) = (identity(&site, "me"), site.path("me"));
    let run = |more: &[&str]| {
        let mut args = vec!["wallet", "link", &site.http, "--state", &state];
        args.extend(more);
        last_event(&args)
    };
    let status = || last_event(&["wallet", "status", &site.http, "--state", &state]);
    assert_eq!((&status()["peer"], &status()["wallet"]), (&json!(id), &Value::Null));

    let linked = run(&["--payout", &address(1).to_lowercase()]);
    assert_eq!(
        (&linked["event"], &linked["wallet"], &linked["unproven"]),
        (&json!("linked"), &json!(address(1)), &json!(true))
    );
    settles(&mut serve);
    assert_eq!(status()["wallet"], json!({"address": address(1), "by": "unproven", "from": 0}));

    let asked = run(&["--wallet", &address(2), "--message"]);
    let (text, handover) = (asked["text"].as_str().unwrap(), asked["handover"].as_str().unwrap());
    // Some wallets count the last byte from 0.
    let mut signature = signs(2, text);
    signature[64] -= 27;
    let linked = run(&["--signature", &hex(&signature), "--handover", &hex(&signs(1, handover))]);
    assert_eq!((&linked["wallet"], &linked["waits"]), (&json!(address(2)), &json!(false)));
    settles(&mut serve);
    assert_eq!((&status()["wallet"]["address"], &status()["wallet"]["by"]), (&json!(address(2)), &json!("key")));

    // A page answers; first one with a text about somebody else.
    let mut link = Process::start(&["wallet", "link", &site.http, "--state", &state]);
    let shown = link.event("link");
    let code = format!("/api/link/code/{}", shown["code"].as_str().unwrap());
    assert_eq!(shown["url"], format!("{}/#link={}", site.http, shown["code"].as_str().unwrap()));
    assert_eq!(site.get(&code)["peer"], id);
    let answer = |who: &Identity, to: u8| {
        let text = self::text(&site, who, to);
        let text = text.to_string();
        json!({"signature": hex(&signs(to, &text)), "text": text, "contract": false, "handover": null}).to_string()
    };
    let stranger = Identity::from_secret([8; 32]);
    refused(site.post(&code, &site.http, &answer(&stranger, 3)), 400, "another contributor");
    refused(site.post("/api/link/code/ABCD-EFGH", &site.http, &answer(&me, 3)), 404, "no such code");
    let right = answer(&me, 3);
    assert_eq!(site.post(&code, &site.http, &right), (200, json!({})));
    refused(site.post(&code, &site.http, &answer(&me, 4)), 409, "signed for this code already");
    assert_eq!(link.event("signed")["wallet"], address(3));
    assert_eq!(link.event("linked")["waits"], true);
    assert_eq!(link.end().0, Some(0));
    settles(&mut serve);
    assert_eq!(status()["pending"]["address"], address(3));

    let fails = |more: &[&str], words: &str| {
        let mut args = vec!["wallet", "link", &site.http, "--state", &state];
        args.extend(more);
        let output = output(&args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(words) && !said.contains("panicked"), "{said}");
    };
    fails(&["--signature", "0x00"], "no text that this could be a signature of");
    fails(&["--payout", "0x12"], "--payout is no address");
    run(&["--wallet", &address(4), "--message"]);
    fails(&["--signature", &hex(&signs(5, "another text"))], "wallet did not sign");
    let nobody = output(&["wallet", "status", &site.http, "--state", &site.path("nobody")]);
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("no identity yet"));
}

/// A chain's node of a few answers: its address. It is away while `up` is not set.
fn node(run: &str, up: Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let run = format!("0x{run}");
    let selector = |function: &str| hex(&abi::call(function, &[]));
    let (runs, rounds, consents) =
        (selector("run()"), selector("rounds()"), selector("isValidSignature(bytes32,bytes)"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = Vec::new();
            let body = loop {
                let mut some = [0; 4096];
                let read = stream.read(&mut some).unwrap();
                request.extend(&some[..read]);
                let text = String::from_utf8_lossy(&request).into_owned();
                let json = text.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str::<Value>(body).ok());
                if let Some(json) = json {
                    break json;
                }
                assert!(read > 0, "{text}");
            };
            if !up.load(Ordering::SeqCst) {
                continue;
            }
            let call = body["params"][0]["data"].as_str().unwrap_or_default();
            let result = match body["method"].as_str().unwrap() {
                "eth_chainId" => "0x7a69".to_owned(),
                "eth_getCode" => "0x60".to_owned(),
                "eth_blockNumber" => "0x1234".to_owned(),
                "eth_call" if call.starts_with(&runs) => run.clone(),
                "eth_call" if call.starts_with(&rounds) => format!("0x{:064x}", 1440),
                // To signatures of 65 bytes of 1 the contract says yes.
                "eth_call" if call.starts_with(&consents) && call.contains(&"01".repeat(65)) => {
                    assert_eq!(body["params"][1], "0x1234");
                    format!("{consents}{}", "0".repeat(56))
                }
                _ => "0x".to_owned(),
            };
            let body = json!({"jsonrpc": "2.0", "id": 1, "result": result}).to_string();
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n", body.len());
            let _ = write!(stream, "{head}connection: close\r\n\r\n{body}");
        }
    });
    url
}

#[test]
fn a_contract_is_asked_on_the_chain_and_its_block_is_in_the_log() {
    let mut site = Site::new(2, 6);
    let (serve, listening) = site.serve("run.toml", "state");
    drop(serve);
    let run = listening["run"].as_str().unwrap();
    let up = Arc::new(AtomicBool::new(false));
    let url = node(run, up.clone());
    let (distributor, share) = (address(8), address(9));
    let deployment = json!({"chain": 31337, "distributor": distributor, "share": share, "run": format!("0x{run}")});
    fs::write(site.path("chain.json"), deployment.to_string()).unwrap();
    fs::write(site.path("bad.json"), deployment.to_string().replace(run, &"ab".repeat(32))).unwrap();
    let settings = |deployment: &str| {
        let text = format!(
            "[serve.chain]\ndeployment = \"{deployment}\"\nrpc = \"{url}\"\nexplorer = \"https://explorer.example\"\n"
        );
        fs::write(site.path("tributary.toml"), text).unwrap();
    };
    let with_settings = |site: &Site| {
        let mut args = site.serve_args("run.toml", "state");
        args.extend(["--config".to_owned(), site.path("tributary.toml")]);
        args
    };
    for (file, words) in [("bad.json", "another run"), ("none.json", "no deployment at")] {
        settings(file);
        let output = output(&with_settings(&site));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(words), "{said}");
    }
    settings("chain.json");
    let mut serve = Process::start(&with_settings(&site));
    serve.event("listening");
    let (_train, id) = site.train("me");
    serve.event("settled");
    let me = identity(&site, "me");
    let chain = site.get("/api/chain");
    let expected = json!({"chain": "31337", "distributor": distributor, "share": share, "rounds": null, "explorer": "https://explorer.example"});
    assert_eq!(chain, expected);

    let said = text(&site, &me, 1);
    let by_contract = |signature: u8| LinkProof {
        wallet: WalletProof::Contract { signature: vec![signature; 65], block: 0 },
        ..wallet::proof(&me, 1, None, &said)
    };
    let away = link(&site, &by_contract(1));
    assert!(!away.1.to_string().contains(&url), "the node's address is told to nobody: {away:?}");
    refused(away, 503, "try again");
    // Nor is the node bothered for somebody whose link would not be taken.
    let stranger = Identity::from_secret([8; 32]);
    let unknown = wallet::proof(&stranger, 1, None, &text(&site, &stranger, 1));
    let contract = WalletProof::Contract { signature: vec![1; 65], block: 0 };
    refused(link(&site, &LinkProof { wallet: contract, ..unknown }), 409, "let it train first");
    up.store(true, Ordering::SeqCst);
    refused(link(&site, &by_contract(2)), 400, "does not say that it signed");
    let other_chain = LinkMessage { chain: 1, ..said.clone() };
    refused(link(&site, &wallet::proof(&me, 1, None, &other_chain)), 400, "switch the wallet to that chain");
    // The same text, which is good still.
    let (status, taken) = link(&site, &by_contract(1));
    assert_eq!(status, 200, "{taken}");
    assert_eq!(site.get("/api/chain")["rounds"], 1440);
    settles(&mut serve);
    let account = site.get(&format!("/api/account/{id}"));
    assert_eq!((&account["wallet"]["address"], &account["wallet"]["by"]), (&json!(address(1)), &json!("contract")));
    let all = site.bytes("/api/ledger");
    let asked = LinkProof { wallet: WalletProof::Contract { signature: vec![1; 65], block: 0x1234 }, ..by_contract(1) }
        .to_bytes();
    assert!(all.windows(asked.len()).any(|some| some == asked), "the block that was asked is in the log");
    assert_eq!(last_event(&["ledger", "verify", &site.http])["event"], "verified");
}
