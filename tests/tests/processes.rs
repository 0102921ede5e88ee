//! Real processes, killed and started again: the round goes on, nothing is lost, nothing is paid twice,
//! and whoever is told something is told it in words.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tributary_tests::process::{Process, Site, damage, last_event, output, page};

/// What each contributor was paid by the settled rounds.
fn paid(rounds: &Value) -> BTreeMap<String, u64> {
    let mut paid = BTreeMap::new();
    for round in rounds["rounds"].as_array().unwrap() {
        for share in round["accepted"].as_array().unwrap() {
            *paid.entry(share["peer"].as_str().unwrap().to_owned()).or_default() += share["credits"].as_u64().unwrap();
        }
    }
    paid
}

/// Checks that rounds are settled once each, that they pay for work what witnesses leave of the pool, and that the
/// ledger pays all of it to the unit.
fn check_books(site: &Site) -> Value {
    let rounds = site.get("/api/rounds");
    let credits = site.get("/api/credits");
    let list = rounds["rounds"].as_array().unwrap();
    for (index, round) in list.iter().enumerate() {
        assert_eq!(round["round"], index);
        assert!(index == 0 || round["before"] == list[index - 1]["after"]);
        let work: u64 =
            round["accepted"].as_array().unwrap().iter().map(|share| share["credits"].as_u64().unwrap()).sum();
        // A twentieth is for witnesses, if there were any.
        assert!([1_000_000, 950_000].contains(&work), "round {index}: {work}");
    }
    let owed: BTreeMap<String, u64> = credits["credits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (line["peer"].as_str().unwrap().to_owned(), line["credits"].as_u64().unwrap()))
        .collect();
    assert_eq!(owed.values().sum::<u64>(), 1_000_000 * list.len() as u64);
    for (peer, work) in paid(&rounds) {
        assert!(owed[&peer] >= work, "{peer} is owed {} and worked for {work}", owed[&peer]);
    }
    rounds
}

fn names(accepted: &Value) -> Vec<&str> {
    let mut names: Vec<_> = accepted.as_array().unwrap().iter().map(|peer| peer.as_str().unwrap()).collect();
    names.sort_unstable();
    names
}

/// Waits until a contributor is in the midst of this round.
fn works_on(train: &mut Process, round: &Value) {
    train.wait_for("work on the round", |event| {
        event["event"] == "progress" && event["round"] == *round && event["left_ms"].as_u64() > Some(500)
    });
}

/// Waits until a contributor was credited for this round and holds its state.
fn credited(train: &mut Process, round: &Value, state: &Value) {
    let row = train.wait_for(&format!("round {round}"), |event| {
        event["event"] == "round" && event["round"] == *round && event["verdict"] == "credited"
    });
    assert_eq!(&row["state"], state, "{row}");
}

/// Whose updates of this round were folded, in it or late.
fn makers(site: &Site, round: &Value) -> Vec<String> {
    let rounds = site.get("/api/rounds");
    let folds = rounds["rounds"].as_array().unwrap().iter();
    let made = folds.flat_map(|fold| {
        let origin = move |share: &Value| fold["round"].as_u64().zip(share["age"].as_u64()).map(|(r, age)| r - age);
        fold["accepted"].as_array().unwrap().iter().filter(move |share| origin(share) == round.as_u64())
    });
    let mut made: Vec<_> = made.map(|share| share["peer"].as_str().unwrap().to_owned()).collect();
    made.sort_unstable();
    made
}

#[test]
fn a_killed_coordinator_goes_on_with_the_same_round() {
    let mut site = Site::new(6, 18);
    let (mut serve, first) = site.serve("run.toml", "state");
    let (mut one, one_id) = site.train("one");
    let (mut two, two_id) = site.train("two");
    let mut both = [one_id.as_str(), two_id.as_str()];
    both.sort_unstable();
    let whole = |event: &Value| event["event"] == "settled" && names(&event["accepted"]) == both;
    serve.wait_for("a round of both", whole);

    // In the midst of a round: both train for it.
    let round = serve.event("opened")["round"].clone();
    for train in [&mut one, &mut two] {
        works_on(train, &round);
    }
    let before = check_books(&site);
    serve.kill();
    let (mut serve, again) = site.serve("run.toml", "state");
    for key in ["peer", "run", "http"] {
        assert_eq!(first[key], again[key]);
    }
    assert_eq!(again["round"], round, "the same round");
    let next = serve.wait_for("the round's end", |event| event["event"] == "settled" || event["event"] == "opened");
    assert_eq!((&next["event"], &next["round"]), (&json!("settled"), &round), "it was not opened anew: {next}");
    for train in [&mut one, &mut two] {
        credited(train, &round, &next["state"]);
    }
    // Nobody's work was lost: whoever found its way back too late for this fold is in one of the next two.
    let mut made = makers(&site, &round);
    for _ in 0..2 {
        if made.len() < both.len() {
            serve.event("settled");
            made = makers(&site, &round);
        }
    }
    assert_eq!(made, both);

    // And once more, just after a round was settled.
    let settled = serve.wait_for("a round of both", whole);
    serve.kill();
    let (mut serve, again) = site.serve("run.toml", "state");
    assert_eq!(
        (&again["state"], again["round"].as_u64()),
        (&settled["state"], settled["round"].as_u64().map(|r| r + 1))
    );
    let last = serve.wait_for("a round of both", whole);
    for train in [&mut one, &mut two] {
        credited(train, &last["round"], &last["state"]);
    }
    let after = check_books(&site);
    let kept = before["rounds"].as_array().unwrap().len();
    for (then, now) in before["rounds"].as_array().unwrap().iter().zip(after["rounds"].as_array().unwrap()) {
        assert_eq!((&then["after"], &then["accepted"]), (&now["after"], &now["accepted"]));
    }
    assert!(after["rounds"].as_array().unwrap().len() >= kept + 3);
}

#[test]
fn a_killed_contributor_does_not_hold_up_the_others() {
    let mut site = Site::new(6, 6);
    let (mut serve, _) = site.serve("run.toml", "state");
    let (mut one, one_id) = site.train("one");
    let (mut two, two_id) = site.train("two");
    serve.wait_for("a round of both", |event| event["event"] == "settled" && names(&event["accepted"]).len() == 2);
    let round = serve.event("opened")["round"].clone();
    works_on(&mut two, &round);
    two.kill();
    let settled = serve.event("settled");
    assert_eq!((&settled["round"], names(&settled["accepted"])), (&round, vec![one_id.as_str()]));
    credited(&mut one, &round, &settled["state"]);

    // It comes back under its name and counts again.
    let (mut two, again) = site.train("two");
    assert_eq!(again, two_id);
    let settled = serve.wait_for("a round of both", |event| {
        event["event"] == "settled" && names(&event["accepted"]).contains(&two_id.as_str())
    });
    credited(&mut two, &settled["round"], &settled["state"]);
    check_books(&site);
}

#[test]
fn another_version_or_run_is_told_in_words_and_ends_the_program() {
    let mut site = Site::new(3, 6);
    let (serve, listening) = site.serve("run.toml", "state");
    let refused = |url: &str, words: &[&str]| {
        let output = output(&["train", url, "--device", "cpu", "--state", &site.path("me")]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        for word in words {
            assert!(said.contains(word), "{word:?} in: {said}");
        }
        assert!(!said.contains("panicked"), "{said}");
    };
    let mut run = site.get("/run.json");
    let real = run["run"].as_str().unwrap().to_owned();
    let other = "ab".repeat(32);
    run["run"] = json!(other);
    refused(&page(&run), &[&real, &other, "check the address"]);
    run["version"] = json!(99);
    refused(&page(&run), &["version 99", "update the older"]);

    // A contributor that is away from a coordinator that meanwhile begins another run.
    let (mut train, _) = site.train("one");
    train.event("progress");
    drop(serve);
    fs::create_dir(site.path("other")).unwrap();
    fs::copy(site.path("state/identity.key"), site.path("other/identity.key")).unwrap();
    site.write_run("other.toml", 7, 3, 6);
    let (_serve, other) = site.serve("other.toml", "other");
    assert_eq!(other["peer"], listening["peer"]);
    let (code, said) = train.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(other["run"].as_str().unwrap()) && said.contains("check the address"), "{said}");
}

#[test]
fn what_is_damaged_on_the_disk_is_noticed_and_made_again_or_asked_for() {
    let mut site = Site::new(2, 6);
    let (mut serve, _) = site.serve("run.toml", "state");
    let (train, _) = site.train("one");
    serve.event("settled");
    let settled = serve.event("settled");
    drop(train);
    serve.kill();

    // The newest weights: folded again from what is there.
    let blob = |state: &Value| Path::new(&site.path("state/blobs")).join(state.as_str().unwrap()).to_owned();
    let newest = blob(&settled["state"]);
    let whole = fs::read(&newest).unwrap();
    damage(&newest);
    let (out, state) = (site.path("model"), site.path("state"));
    let export = ["model", "export", "--state", &state, "--out", &out];
    let refused = output(&export);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("damaged"), "{said}");
    let (serve, again) = site.serve("run.toml", "state");
    assert_eq!(again["state"], settled["state"]);
    assert_eq!(fs::read(&newest).unwrap(), whole);
    drop(serve);
    let exported = last_event(&export);
    assert_eq!(exported["state"], settled["state"]);
    for file in
        ["model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]
    {
        assert!(fs::metadata(Path::new(&out).join(file)).is_ok_and(|file| file.len() > 0), "{file}");
    }

    // A shard of the data, of which there is no other copy: nobody trains on it, and it is said.
    let manifest: Value = serde_json::from_slice(&fs::read(site.path("data/manifest.json")).unwrap()).unwrap();
    let shard = manifest["train"][0]["hash"].as_str().unwrap();
    let shard = Path::new(&site.path("data/blobs")).join(shard);
    let good = fs::read(&shard).unwrap();
    damage(&shard);
    let (serve, _) = site.serve("run.toml", "state");
    let (mut train, _) = site.train("one");
    let notice = train.event("notice");
    assert!(notice["text"].as_str().unwrap().contains("text to train on"), "{notice}");
    drop(serve);
    fs::write(&shard, good).unwrap();
    let (mut serve, _) = site.serve("run.toml", "state");
    let settled = serve.event("settled");
    credited(&mut train, &settled["round"], &settled["state"]);
    check_books(&site);
}

#[test]
fn taken_ports_and_bad_run_files_are_said_in_a_sentence() {
    let mut site = Site::new(3, 6);
    let (_serve, _) = site.serve("run.toml", "state");
    let refused = |args: &[String], words: &[&str]| {
        let output = output(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        for word in words {
            assert!(said.contains(word), "{word:?} in: {said}");
        }
        assert!(!said.contains("panicked"), "{said}");
    };
    let http = site.http.trim_start_matches("http://");
    refused(&site.serve_args("run.toml", "another"), &[http, "in use", "--http"]);
    fs::write(site.path("bad.toml"), "[round]\nseconds = \"soon\"\n").unwrap();
    refused(&site.serve_args("bad.toml", "third"), &["bad.toml", "line 2, column 11"]);
}

/// What README says to type must be there to be typed.
#[test]
fn the_readme_names_commands_that_there_are() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let mut seen = 0;
    for line in readme.lines().map(str::trim).filter(|line| line.starts_with("tributary ")) {
        let words: Vec<_> = line.split('#').next().unwrap().split_whitespace().skip(1).collect();
        // The command is what stands before the first path, address or flag; its help must name the flags.
        let command = words.iter().take_while(|word| word.chars().all(|c| c.is_ascii_lowercase())).copied();
        let help = output(&command.chain(["--help"]).collect::<Vec<_>>());
        let said = String::from_utf8_lossy(&help.stdout);
        assert!(help.status.success(), "{line}");
        for flag in words.iter().filter(|word| word.starts_with("--")) {
            assert!(said.contains(flag), "{line}: there is no {flag}\n{said}");
        }
        seen += 1;
    }
    assert!(seen >= 3, "README shows {seen} commands");
}
