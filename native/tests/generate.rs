//! `tributary model generate`: what it writes, how often the same, and what it refuses.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Running, import, last_json, output, path, refused};
use serde_json::Value;

#[test]
fn it_writes_while_the_coordinator_runs_and_the_same_again() {
    let dir = tempfile::tempdir().unwrap();
    let data = import(dir.path());
    let (_serve, listening) = Running::serve(dir.path(), &data, &[]);
    let state = path(dir.path(), "state");
    let generate = |more: &[&str]| {
        let mut args = vec!["model", "generate", "--state", &state, "--device", "cpu", "--prompt", "line 7 of"];
        args.extend(more);
        let output = output(&args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(" tokens/s"), "{said}");
        last_json(&output)
    };
    let text = |event: &Value| event["tokens"].as_array().unwrap().clone();
    let greedy = generate(&["--temperature", "0"]);
    assert_eq!(greedy["event"], "generated");
    assert_eq!((&greedy["run"], &greedy["state"]), (&listening["run"], &listening["state"]));
    // The model reads 64 bytes, nine of which are there already.
    assert!(text(&greedy).len() == 55 && greedy["end"] == "full" || greedy["end"] == "text", "{greedy}");
    assert_eq!(text(&greedy), text(&generate(&["--temperature", "0", "--seed", "5"])));
    let drawn = generate(&["--seed", "5"]);
    assert_eq!(text(&drawn), text(&generate(&["--seed", "5"])));
    assert_ne!(text(&drawn), text(&generate(&["--seed", "6"])));
    assert!(text(&generate(&["--tokens", "3"])).len() <= 3);
}

#[test]
fn what_it_cannot_go_on_from_is_said_in_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let data = import(dir.path());
    let state = path(dir.path(), "state");
    let check = |prompt: &str, more: &[&str], words: &[&str]| {
        let mut args = vec!["model", "generate", "--state", &state, "--device", "cpu", "--prompt", prompt];
        args.extend(more);
        refused(&args, words);
    };
    check("x", &[], &["no run yet", "--state"]);
    drop(Running::serve(dir.path(), &data, &[]));
    check("", &[], &["no text to go on from"]);
    check(&"x".repeat(64), &[], &["64 bytes", "Shorten"]);
    check("x", &["--temperature", "11"], &["from 0 to 10"]);
    check("x", &["--temperature", "NaN"], &["from 0 to 10"]);
}
