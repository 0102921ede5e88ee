//! `tributary serve` as a process: what it says, what it serves, and what it refuses.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::net::TcpListener;

use common::{RUN, Running, get, get_json, import, last_json, output, path, refused};

#[test]
fn it_serves_the_page_the_run_and_its_health() {
    let dir = tempfile::tempdir().unwrap();
    let data = import(dir.path());
    let www = dir.path().join("www");
    fs::create_dir_all(www.join("assets")).unwrap();
    fs::write(www.join("index.html"), "<!doctype html>").unwrap();
    fs::write(www.join("assets/app-1.wasm"), "plain").unwrap();
    fs::write(www.join("assets/app-1.wasm.br"), "small").unwrap();
    let (mut serve, listening) = Running::serve(dir.path(), &data, &["--www", www.to_str().unwrap()]);
    let http = listening["http"].as_str().unwrap();

    let run = get_json(http, "/run.json");
    for key in ["run", "peer", "addrs"] {
        assert_eq!(run[key], listening[key]);
    }
    assert_eq!(run["name"], "river");
    let addrs: Vec<_> = run["addrs"].as_array().unwrap().iter().map(|addr| addr.as_str().unwrap()).collect();
    assert!(addrs.iter().any(|addr| addr.contains("/ws/p2p/12D3KooW")), "{addrs:?}");
    assert!(addrs.iter().all(|addr| !addr.contains("/tcp/0/")), "{addrs:?}");

    assert!(get(http, "/healthz", "").0.contains(" 200 "));
    serve.event("evaluated");
    assert!(get(http, "/readyz", "").0.contains(" 200 "));
    let metrics = String::from_utf8(get(http, "/metrics", "").1).unwrap();
    assert!(metrics.contains("\ntributary_peers 0\n") && metrics.contains("\ntributary_ready 1\n"), "{metrics}");
    assert!(metrics.contains("tributary_heldout_bits_per_byte "), "{metrics}");
    let rounds = get_json(http, "/api/rounds?last=5");
    assert_eq!((rounds["round"].as_u64(), rounds["rounds"].as_array().unwrap().len()), (Some(0), 0));
    assert_eq!(get_json(http, "/api/credits")["total"], 0);

    let (head, _) = get(http, "/", "");
    for header in [
        "content-security-policy: default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self' ws: wss:;",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "cross-origin-opener-policy: same-origin",
        "cross-origin-embedder-policy: require-corp",
        "cache-control: no-cache",
    ] {
        assert!(head.contains(header), "{header:?} in {head}");
    }
    let (head, body) = get(http, "/assets/app-1.wasm", "Accept-Encoding: br\r\n");
    assert!(head.contains("content-type: application/wasm") && head.contains("content-encoding: br"), "{head}");
    assert!(head.contains("immutable") && body == b"small", "{head}");
    let (head, body) = get(http, "/assets/app-1.wasm", "");
    assert!(!head.contains("content-encoding") && body == b"plain", "{head}");
    for missing in ["/assets/none.js", "/../run.toml", "/%2e%2e/run.toml"] {
        let (head, _) = get(http, missing, "");
        assert!(head.contains(" 404 ") && !head.contains("immutable"), "{missing}: {head}");
    }
    serve.signal("TERM");
    assert_eq!((serve.event("stopped")["event"].as_str(), serve.wait()), (Some("stopped"), Some(0)));
}

#[test]
fn it_goes_on_as_the_same_and_exports_while_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let data = import(dir.path());
    let (serve, first) = Running::serve(dir.path(), &data, &[]);
    drop(serve);
    let (_serve, again) = Running::serve(dir.path(), &data, &[]);
    for key in ["peer", "run", "state"] {
        assert_eq!(first[key], again[key]);
    }
    let (state, out) = (path(dir.path(), "state"), path(dir.path(), "model"));
    let said = last_json(&output(&["model", "export", "--state", &state, "--out", &out]));
    assert_eq!(said["state"], first["state"]);
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.path().join("model/config.json")).unwrap()).unwrap();
    assert_eq!((config["hidden_size"].as_u64(), config["num_hidden_layers"].as_u64()), (Some(32), Some(1)));
    assert!(fs::metadata(dir.path().join("model/model.safetensors")).unwrap().len() > 4 * 256 * 32);
}

#[test]
fn damaged_weights_are_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let data = import(dir.path());
    let (serve, first) = Running::serve(dir.path(), &data, &[]);
    drop(serve);
    let blob = dir.path().join("state/blobs").join(first["state"].as_str().unwrap());
    fs::write(&blob, b"damaged").unwrap();
    let (_serve, again) = Running::serve(dir.path(), &data, &[]);
    assert_eq!(first["state"], again["state"]);
    assert!(fs::metadata(blob).unwrap().len() > 7);
}

#[test]
fn what_stands_in_its_way_is_said_in_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| path(dir.path(), name);
    let data = import(dir.path());
    let (_serve, listening) = Running::serve(dir.path(), &data, &[]);
    let serve = |more: &[&str], words: &[&str]| {
        let mut args = vec!["serve", "--device", "cpu"];
        args.extend(more);
        for (flag, value) in
            [("--http", "127.0.0.1:0"), ("--listen", "/ip4/127.0.0.1/tcp/0"), ("--data", data.as_str())]
        {
            if !more.contains(&flag) {
                args.extend([flag, value]);
            }
        }
        refused(&args, words);
    };
    serve(&["--state", &at("state")], &["in use by another `tributary serve`", "--state"]);

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    serve(&["--state", &at("s1"), "--http", &addr.to_string()], &[&addr.to_string(), "in use", "--http"]);
    let multiaddr = format!("/ip4/127.0.0.1/tcp/{}", addr.port());
    serve(&["--state", &at("s2"), "--listen", &multiaddr], &[&multiaddr, "cannot listen"]);
    serve(&["--state", &at("text/river.txt")], &["a file stands where a folder is needed"]);
    serve(&["--state", &at("s3"), "--data", &at("nowhere")], &["nowhere", "no such file"]);
    serve(&["--state", &at("s3"), "--www", &at("nowhere")], &["no folder", "--www"]);

    fs::write(at("bad.toml"), "[round]\nsecond = 5\n").unwrap();
    serve(
        &["--state", &at("s4"), "--run", &at("bad.toml")],
        &["bad.toml", "line 2, column 1", "second = 5", "`seconds`"],
    );
    fs::write(at("bad.toml"), "[inner]\nlr = 99.0\n").unwrap();
    serve(&["--state", &at("s4"), "--run", &at("bad.toml")], &["bad.toml", "inner.lr is 99"]);

    // Another run on the state of the first, once that one is not in use.
    drop(listening);
    drop(_serve);
    fs::write(at("other.toml"), format!("seed = 7\n{RUN}")).unwrap();
    serve(&["--state", &at("state"), "--run", &at("other.toml")], &["belongs to run river", "another run", "--state"]);
}
