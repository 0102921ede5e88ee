//! `tributary train` against `tributary serve`: real processes, a real model, real rounds.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Running, get_json, import, path, refused};

#[test]
fn two_processes_hold_the_same_weights_and_the_work_is_paid() {
    let dir = tempfile::tempdir().unwrap();
    let data = import(dir.path());
    let (mut serve, listening) = Running::serve(dir.path(), &data, &[]);
    let http = listening["http"].as_str().unwrap();
    let me = path(dir.path(), "me");
    let mut train = Running::start(&["train", http, "--device", "cpu", "--state", &me, "--rounds", "2"]);
    let id = train.event("joining")["me"].clone();
    let rows = [train.event("round"), train.event("round")];
    assert_eq!(train.event("stopped")["credited"], 2);
    assert_eq!(train.wait(), Some(0));

    let rounds = get_json(http, "/api/rounds");
    for row in &rows {
        let settled =
            rounds["rounds"].as_array().unwrap().iter().find(|settled| settled["round"] == row["round"]).unwrap();
        assert_eq!(settled["after"], row["state"]);
        assert_eq!((&settled["accepted"][0]["peer"], &settled["accepted"][0]["credits"]), (&id, &row["credits"]));
        assert_eq!(row["credits"], 1_000_000);
    }
    let credits = get_json(http, "/api/credits");
    assert_eq!(credits["credits"][0]["peer"], id);
    assert!(credits["total"].as_u64().unwrap() >= 2_000_000);

    // Killed and started again, the coordinator owes exactly what it owed.
    let settled = rounds["rounds"].as_array().unwrap().len();
    serve.signal("KILL");
    serve.wait();
    let (again_serve, again) = Running::serve(dir.path(), &data, &[]);
    let http = again["http"].as_str().unwrap();
    assert!(again["round"].as_u64().unwrap() as usize >= settled);
    assert_eq!(get_json(http, "/api/credits"), credits);
    assert_eq!(get_json(http, "/api/rounds")["rounds"].as_array().unwrap()[..settled].len(), settled);

    // What it signed it must be able to stand by.
    drop(again_serve);
    std::fs::write(dir.path().join("state/identity.key"), [7; 32]).unwrap();
    let state = path(dir.path(), "state");
    refused(&["serve", "--state", &state, "--http", "127.0.0.1:0"], &["cannot be gone on with", "identity file"]);
}

#[test]
fn ctrl_c_finishes_the_round_and_sends_its_update() {
    let dir = tempfile::tempdir().unwrap();
    let data = import(dir.path());
    let (mut serve, listening) = Running::serve(dir.path(), &data, &[]);
    let me = path(dir.path(), "me");
    let mut train = Running::start(&["train", listening["http"].as_str().unwrap(), "--device", "cpu", "--state", &me]);
    train.event("progress");
    train.signal("INT");
    train.event("finishing");
    train.event("stopped");
    assert_eq!(train.wait(), Some(0));
    serve.event("settled");
}

#[test]
fn an_address_that_leads_nowhere_is_said_so() {
    let dir = tempfile::tempdir().unwrap();
    let state = path(dir.path(), "me");
    let data = import(dir.path());
    let (_serve, listening) = Running::serve(dir.path(), &data, &[]);
    let page = format!("{}/assets", listening["http"].as_str().unwrap());
    for (coordinator, words) in [
        ("http://127.0.0.1:9", &["cannot reach http://127.0.0.1:9/run.json", "check the address"][..]),
        ("nonsense://", &["neither an address of a page"]),
        ("/ip4/127.0.0.1/tcp/1", &["/p2p/"]),
        (&page, &["status 404"]),
    ] {
        refused(&["train", coordinator, "--state", &state], words);
    }
    let (http, own) = (listening["http"].as_str().unwrap(), path(dir.path(), "state"));
    refused(&["train", http, "--state", &own], &["the coordinator's own state folder", "--state"]);
}
