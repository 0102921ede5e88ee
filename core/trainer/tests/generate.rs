//! Texts and archives of the base, asked for between the jobs of training.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Driver, play, spec};
use futures::StreamExt;
use tributary_protocol::Hash;
use tributary_protocol::fold::state_hash;
use tributary_protocol::job::{Ask, DeviceChoice, End, Job, Packed, Report};
use tributary_trainer::{Generator, Turn, open_device};

const PROMPT: &str = "the rain in ";

fn ask(id: u32, tokens: u32) -> Ask {
    Ask { id, prompt: PROMPT.to_owned(), tokens, temperature: 0.0, seed: 0 }
}

/// What came of a request.
struct Written {
    state: Hash,
    bytes: Vec<u8>,
    end: End,
    tokens_per_s: f32,
    /// Training steps that progress told of while it was written.
    steps: u64,
}

/// Reads reports to the end of a text.
async fn written(driver: &mut Driver, id: u32) -> Written {
    let (mut bytes, mut steps) = (Vec::new(), Vec::new());
    loop {
        match driver.reports.next().await.unwrap() {
            Report::Generated { id: of, state, bytes: more, tokens_per_s, end } => {
                assert_eq!(of, id);
                bytes.extend_from_slice(&more);
                if let Some(end) = end {
                    let steps = steps.last().copied().unwrap_or(0) - steps.first().copied().unwrap_or(0);
                    return Written { state, bytes, end, tokens_per_s, steps };
                }
            }
            Report::Progress(progress) => steps.push(progress.steps),
            Report::Need(blob) => {
                let bytes = driver.shard.clone();
                driver.send(Job::Shard { hash: blob.hash, bytes });
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The same text without a worker.
async fn alone(driver: &Driver, ask: &Ask) -> Vec<u8> {
    let (device, _) = open_device(DeviceChoice::Cpu).await.unwrap();
    let mut generator = Generator::new(&driver.spec.model, &driver.base, device, ask).unwrap();
    let mut bytes = Vec::new();
    loop {
        match generator.turn().await.unwrap() {
            Turn::Read => {}
            Turn::Wrote(byte) => bytes.push(byte),
            Turn::Ended(_) => return bytes,
        }
    }
}

#[test]
fn the_base_writes_while_it_trains_and_while_it_does_not() {
    play(spec(), async |driver| {
        driver.begin().await;
        driver.work().await;
        let expected = alone(driver, &ask(0, 18)).await;
        // By the base, not by what was trained since.
        driver.send(Job::Generate(ask(1, 18)));
        let first = written(driver, 1).await;
        assert_eq!((first.bytes, first.state), (expected.clone(), state_hash(&driver.base)));
        assert!(first.end == End::Length || first.end == End::Text, "{:?}", first.end);
        // This host's clock goes on whenever anybody looks at it, so that a step takes as long as six bytes.
        assert!(first.steps >= 5 && first.tokens_per_s > 0.0, "{}", first.steps);
        driver.send(Job::Pause);
        driver.send(Job::Generate(ask(2, 18)));
        let second = written(driver, 2).await;
        assert_eq!((second.bytes, second.steps), (expected, 0));
        assert!(second.tokens_per_s > first.tokens_per_s, "{} {}", second.tokens_per_s, first.tokens_per_s);
        // Training goes on as if nothing had been.
        driver.train(0);
        driver.work().await;
        driver.cut_and_pause(0).await;
    });
}

#[test]
fn a_text_ends_when_another_is_asked_for_and_when_it_is_told_to() {
    play(spec(), async |driver| {
        driver.begin().await;
        driver.send(Job::Generate(ask(1, 1000)));
        driver.send(Job::Generate(ask(2, 1000)));
        assert_eq!(written(driver, 1).await.end, End::Stopped);
        driver.send(Job::Hush);
        assert_eq!(written(driver, 2).await.end, End::Stopped);
        // There is nothing to end, and nothing is said.
        driver.send(Job::Hush);
        driver.send(Job::Generate(ask(3, 1000)));
        let end = written(driver, 3).await.end;
        assert!(end == End::Full || end == End::Text, "{end:?}");
    });
}

async fn refused(driver: &mut Driver, ask: Ask, words: &str) {
    let id = ask.id;
    driver.send(Job::Generate(ask));
    let End::Failed { why } = written(driver, id).await.end else { panic!("{words}") };
    assert!(why.contains(words), "{why}");
}

#[test]
fn what_nothing_comes_of_is_said_in_words() {
    play(spec(), async |driver| {
        refused(driver, ask(1, 9), "isn't here yet").await;
        driver.send(Job::Pack);
        assert!(matches!(driver.report().await, Report::Packed(Packed::Failed { why }) if why.contains("isn't here")));
        driver.begin().await;
        refused(driver, Ask { prompt: String::new(), ..ask(2, 9) }, "no text").await;
        refused(driver, Ask { prompt: "x".repeat(1 << 20), ..ask(3, 9) }, "Shorten").await;
        refused(driver, Ask { temperature: f32::NAN, ..ask(4, 9) }, "temperature").await;
        // Weights can be no numbers and still be what everybody agreed on.
        driver.send(Job::Pause);
        let mut base = driver.base.clone();
        base[100] = f32::INFINITY;
        driver.rebase(1, base).await;
        refused(driver, ask(5, 9), "not all numbers").await;
    });
}

#[test]
fn the_base_is_packed_as_one_archive() {
    play(spec(), async |driver| {
        driver.begin().await;
        driver.send(Job::Pack);
        let mut archive = Vec::new();
        loop {
            let Report::Packed(Packed::Part { name, at, total, bytes }) = driver.report().await else { panic!() };
            assert!(name.contains(&state_hash(&driver.base).short()) && name.ends_with(".zip"), "{name}");
            assert_eq!(at, archive.len() as u64);
            archive.extend_from_slice(&bytes);
            if archive.len() as u64 == total {
                break;
            }
        }
        let weights: Vec<u8> = driver.base[..1000].iter().flat_map(|value| value.to_le_bytes()).collect();
        assert!(archive.windows(weights.len()).any(|window| window == weights));
        driver.work().await;
    });
}
