//! The operator's commands against a real node: each is stopped, repeated and done again after a reorganisation.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use common::{ANOTHER, Anvil, OPERATOR, RUN, terms};
use tributary_chain::{ChainError, Deployment, Key, Node, Sender, Submission, Terms};
use tributary_ledger::{Epoch, checksummed};

/// Epochs in which two wallets earn a million each time.
fn epochs(count: u64) -> Vec<Epoch> {
    let sums = |number| BTreeMap::from([([1; 20], (number + 1) * 1_000_000), ([2; 20], (number + 1) * 1_000_000)]);
    (0..count).map(|number| Epoch { number, sums: sums(number), log: [number as u8; 32] }).collect()
}

fn refused(result: Result<impl std::fmt::Debug, ChainError>, word: &str) {
    let error = result.unwrap_err().to_string();
    assert!(error.contains(word), "{error}");
}

#[test]
fn contracts_are_deployed_once_and_epochs_submitted_once() {
    let Some(anvil) = Anvil::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (sender, file) = (anvil.sender(dir.path()), dir.path().join("chain.json"));
    let made = Deployment::make(&sender, &terms(&sender), &file).unwrap();
    assert_eq!(Deployment::make(&sender, &terms(&sender), &file).unwrap(), made, "once");
    assert_eq!(Deployment::read(&file).unwrap(), Some(made.clone()));
    refused(Deployment::make(&sender, &Terms { run: [8; 32], ..terms(&sender) }, &file), "another run");
    assert_eq!(made.rounds(&anvil.node()).unwrap(), 4);

    refused(made.submit(&sender, &RUN, &[]), "closes with round 3");
    let (number, sent) = made.submit(&sender, &RUN, &epochs(1)).unwrap();
    assert!(matches!((number, sent), (0, Submission::Sent(_))));
    assert_eq!(made.submit(&sender, &RUN, &epochs(1)).unwrap(), (0, Submission::Known));
    refused(made.submit(&sender, &[8; 32], &epochs(1)), "another run");
    let mut other = epochs(2);
    other[0].sums.insert([1; 20], 7);
    refused(made.submit(&sender, &RUN, &other), "another root");
    refused(made.submit(&sender, &RUN, &epochs(2)), "TooEarly");
    anvil.tell("evm_increaseTime", "[60]");
    anvil.tell("evm_mine", "[]");
    assert!(matches!(made.submit(&sender, &RUN, &epochs(2)).unwrap(), (1, Submission::Sent(_))));
    let status = made.status(&anvil.node()).unwrap();
    assert_eq!((status.next, status.rounds, status.minted, status.deposited), (2, 4, 0, 0));
    assert!(status.last.is_some_and(|(from, vetoed)| !vetoed && from >= anvil.node().time().unwrap()));
    refused(made.deposit(&sender, "first", 1_000), "NoShares");
    let poor = Sender::new(anvil.node(), Key::from_text(&"11".repeat(32)).unwrap(), dir.path().to_owned());
    refused(made.submit(&poor, &RUN, &epochs(3)), "OnlySubmitter");
    let files = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(files.collect::<Vec<_>>(), ["chain.json"], "nothing is under way");
}

/// The first wallet is often linked when epochs have closed.
#[test]
fn an_epoch_without_payouts_holds_up_no_other() {
    let Some(anvil) = Anvil::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let sender = anvil.sender(dir.path());
    let made = Deployment::make(&sender, &terms(&sender), &dir.path().join("chain.json")).unwrap();
    let mut two = epochs(2);
    two[0].sums.clear();
    assert!(matches!(made.submit(&sender, &RUN, &two).unwrap(), (0, Submission::Sent(_))));
    anvil.tell("evm_increaseTime", "[60]");
    anvil.tell("evm_mine", "[]");
    assert!(matches!(made.submit(&sender, &RUN, &two).unwrap(), (1, Submission::Sent(_))));
    assert_eq!(made.submit(&sender, &RUN, &two).unwrap(), (1, Submission::Known));
}

#[test]
fn a_guardian_refuses_what_the_log_does_not_give_and_the_next_epoch_goes_on() {
    let Some(anvil) = Anvil::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (sender, elsewhere) = (anvil.sender(dir.path()), tempfile::tempdir().unwrap());
    let guardian = Sender::new(anvil.node(), Key::from_text(ANOTHER).unwrap(), elsewhere.path().to_owned());
    let terms = Terms { guardian: guardian.address(), ..terms(&sender) };
    let made = Deployment::make(&sender, &terms, &dir.path().join("chain.json")).unwrap();
    let submit = |epochs: &[Epoch]| {
        anvil.tell("evm_increaseTime", "[60]");
        anvil.tell("evm_mine", "[]");
        matches!(made.submit(&sender, &RUN, epochs).unwrap(), (number, Submission::Sent(_)) if number + 1 == epochs.len() as u64)
    };
    assert!(submit(&epochs(1)));
    assert_eq!(made.veto(&guardian, &RUN, &epochs(1), None).unwrap(), [0; 0], "what the log gives");
    let mut bad = epochs(2);
    bad[1].sums.insert([9; 20], 7);
    assert!(submit(&bad));
    refused(made.veto(&guardian, &RUN, &epochs(1), None), "not closed in this log");
    refused(made.veto(&sender, &RUN, &epochs(2), None), "OnlyGuardian");
    refused(made.veto(&guardian, &[8; 32], &epochs(2), None), "another run");
    assert_eq!(made.veto(&guardian, &RUN, &epochs(2), None).unwrap(), [1]);
    assert_eq!(made.veto(&guardian, &RUN, &epochs(2), None).unwrap(), [0; 0], "once");
    assert!(made.status(&anvil.node()).unwrap().last.is_some_and(|(_, vetoed)| vetoed));
    assert!(submit(&epochs(3)), "a vetoed root holds up no other");
    assert_eq!(made.veto(&guardian, &RUN, &epochs(3), Some(2)).unwrap(), [2], "whatever the log gives");
}

/// A payment that a wallet replaced, or that the node has forgotten, is a person's to look at; one that reverted is made
/// again.
#[test]
fn nothing_is_paid_in_twice() {
    let Some(anvil) = Anvil::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let sender = anvil.sender(dir.path());
    let made = Deployment::make(&sender, &terms(&sender), &dir.path().join("chain.json")).unwrap();
    // An account without code takes coins; one whose code only reverts takes none.
    let code = |code: &str| anvil.tell("anvil_setCode", &format!("[\"{}\",\"{code}\"]", made.share()));
    code("0x");
    let first = made.deposit(&sender, "first", 1_000).unwrap();
    assert_eq!(made.deposit(&sender, "first", 1_000).unwrap(), first);
    let file = dir.path().join("fees-first.sending.json");
    let known = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, known.replace(&first.hash, &format!("0x{}", "ab".repeat(32)))).unwrap();
    refused(made.deposit(&sender, "first", 1_000), "took the place of 0xabab");
    std::fs::write(&file, known).unwrap();
    assert_eq!(made.deposit(&sender, "first", 1_000).unwrap(), first);

    anvil.tell("evm_setAutomine", "[false]");
    let running = std::thread::spawn({
        let (sender, made) = (anvil.sender(dir.path()), made.clone());
        move || made.deposit(&sender, "second", 1_000)
    });
    while !anvil.tell("txpool_status", "[]").contains("\"pending\":\"0x1\"") {
        std::thread::yield_now();
    }
    code("0x60006000fd");
    anvil.tell("evm_mine", "[]");
    refused(running.join().unwrap(), "included and reverted");
    anvil.tell("evm_setAutomine", "[true]");
    code("0x");
    let second = made.deposit(&sender, "second", 1_000).unwrap();
    assert_eq!(made.deposit(&sender, "second", 1_000).unwrap(), second);
    assert!(anvil.tell("eth_getBalance", &format!("[\"{}\",\"latest\"]", made.share())).contains("\"0x7d0\""));
}

/// Stopped after the transaction was sent and before it was recorded, with no block made; then with one.
#[test]
fn what_is_under_way_is_gone_on_with() {
    let Some(anvil) = Anvil::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (sender, file) = (anvil.sender(dir.path()), dir.path().join("chain.json"));
    // Whatever was sent under the purpose before the stop is there again after it.
    let under_way = || std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    anvil.tell("evm_setAutomine", "[false]");
    let running = std::thread::spawn({
        let (sender, file) = (anvil.sender(dir.path()), file.clone());
        move || Deployment::make(&sender, &terms(&sender), &file)
    });
    while under_way().is_empty() || !anvil.tell("txpool_status", "[]").contains("\"pending\":\"0x1\"") {
        std::thread::yield_now();
    }
    let recorded = std::fs::read(&under_way()[0]).unwrap();
    let name = under_way()[0].clone();
    anvil.tell("evm_mine", "[]");
    let first = running.join().unwrap().unwrap();
    anvil.tell("evm_setAutomine", "[true]");
    std::fs::remove_file(&file).unwrap();
    std::fs::write(name, recorded).unwrap();
    assert_eq!(Deployment::make(&sender, &terms(&sender), &file).unwrap(), first, "the same contract, not a second");
    assert!(
        anvil
            .tell("eth_getTransactionCount", &format!("[\"{}\",\"latest\"]", checksummed(&sender.address())))
            .contains("\"0x1\"")
    );
}

#[test]
fn a_reorganisation_is_noticed_and_what_it_took_is_done_again() {
    let Some(anvil) = Anvil::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (sender, file) = (anvil.sender(dir.path()), dir.path().join("chain.json"));
    let empty = anvil.tell("evm_snapshot", "[]");
    let made = Deployment::make(&sender, &terms(&sender), &file).unwrap();
    let deployed = anvil.tell("evm_snapshot", "[]");
    let id = |answer: &str| answer.split("\"result\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    made.submit(&sender, &RUN, &epochs(1)).unwrap();
    anvil.tell("evm_revert", &format!("[\"{}\"]", id(&deployed)));
    assert!(matches!(made.submit(&sender, &RUN, &epochs(1)).unwrap(), (0, Submission::Sent(_))));
    anvil.tell("evm_revert", &format!("[\"{}\"]", id(&empty)));
    refused(made.submit(&sender, &RUN, &epochs(1)), "no contract");
    assert!(Deployment::make(&sender, &terms(&sender), &file).unwrap().check(&anvil.node()).is_ok());
}

#[test]
fn trouble_is_told_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = Sender::new(Node::new("http://127.0.0.1:9"), Key::from_text(OPERATOR).unwrap(), dir.path().to_owned());
    refused(Deployment::make(&nobody, &terms(&nobody), &dir.path().join("chain.json")), "does not answer");
    std::fs::write(dir.path().join("bad.json"), "{}").unwrap();
    refused(Deployment::read(&dir.path().join("bad.json")), "missing field");
}
