//! The trained model's text against that of Hugging Face transformers.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{Running, import, last_json, output, path};

/// `TRIBUTARY_PYTHON` names a Python with torch and transformers; `cargo xtask setup` makes one.
/// Without it there is nothing to compare with, which a run in CI must not pass over.
#[test]
fn greedy_text_is_that_of_transformers() {
    let Some(python) = std::env::var_os("TRIBUTARY_PYTHON") else {
        assert!(
            std::env::var_os("CI").is_none(),
            "TRIBUTARY_PYTHON is not set, so texts were not compared: run `cargo xtask test`, which sets it"
        );
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| path(dir.path(), name);
    let data = import(dir.path());
    let (serve, listening) = Running::serve(dir.path(), &data, &[]);
    let http = listening["http"].as_str().unwrap();
    let one = at("one");
    let mut train = Running::start(&["train", http, "--state", &one, "--device", "cpu", "--rounds", "3"]);
    train.event("stopped");
    assert_eq!(train.wait(), Some(0));
    drop(serve);

    let (state, model) = (at("state"), at("model"));
    let exported = last_json(&output(&["model", "export", "--state", &state, "--out", &model]));
    assert_ne!(exported["state"], listening["state"], "nothing was trained");
    let texts = ["line 7 of", "t", "a river that runs to the sea\nline 12", "Ünïcödé "].map(|prompt| {
        let args = ["model", "generate", "--state", &state, "--device", "cpu", "--temperature", "0"];
        let text = last_json(&output(&[&args[..], &["--tokens", "40", "--prompt", prompt]].concat()));
        assert_eq!(text["state"], exported["state"]);
        text
    });
    let expected = dir.path().join("texts.json");
    fs::write(&expected, serde_json::to_vec(&texts).unwrap()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/python/generate.py");
    let output = Command::new(python).arg(script).args([model.as_str(), expected.to_str().unwrap()]).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    println!("{out}");
}
