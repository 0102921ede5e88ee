//! The trainer through its jobs and reports: what survives a cut, a fold, a jump, a bad step.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::{Storage, manifest, play, play_on, spec};
use tributary_protocol::Id;
use tributary_protocol::fold::{add, norm, state_hash};
use tributary_protocol::job::{DeviceChoice, Job, Report};
use tributary_protocol::spec::{Coding, UpdateFormat};
use tributary_protocol::update::{compress, decode, encode};
use tributary_trainer::MOMENTS;

fn distance(a: &[f32], b: &[f32]) -> f64 {
    norm(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>())
}

#[test]
fn the_loss_falls_and_progress_is_told_at_most_four_times_a_second() {
    play(spec(), async |driver| {
        driver.begin().await;
        let first = driver.progress().await;
        assert!(first.loss > 4.0, "{first:?}");
        let mut newest = first;
        while newest.steps < 150 {
            newest = driver.progress().await;
        }
        assert!(newest.loss < 1.5, "{newest:?}");
        assert_eq!(newest.tokens, newest.steps * 64);
        assert!(newest.tokens_per_s > 0.0);
        // The clock goes on by a few tens of milliseconds a step.
        assert!(newest.steps - first.steps > 20);
    });
}

#[test]
fn whoever_may_use_a_quarter_of_the_time_trains_much_slower_and_later_as_fast_as_before() {
    play(spec(), async |driver| {
        driver.begin().await;
        driver.work().await;
        let full = driver.progress().await.tokens_per_s;
        driver.send(Job::Pace { percent: 25 });
        // The rate is that of the last five seconds.
        let from = driver.progress().await.steps;
        let mut newest = driver.progress().await;
        while newest.steps < from + 50 {
            newest = driver.progress().await;
        }
        let share = newest.tokens_per_s / full;
        // This host's clock goes on whenever anybody looks at it, between steps too, which no share counts; what a real
        // clock gives stands in `pace.rs` and in the page's tests.
        assert!((0.2..0.5).contains(&share), "{share}");
        driver.send(Job::Pace { percent: 100 });
        let from = driver.progress().await.steps;
        while newest.steps < from + 300 {
            newest = driver.progress().await;
        }
        assert!(newest.tokens_per_s > 0.8 * full, "{} {full}", newest.tokens_per_s);
    });
}

#[test]
fn sent_work_is_not_counted_twice() {
    play(spec(), async |driver| {
        driver.begin().await;
        driver.work().await;
        let (sent, tokens) = driver.cut_and_pause(0).await;
        assert!(tokens > 0 && norm(&sent) > 0.0);
        let step: Vec<f32> = sent.iter().map(|value| -0.5 * value).collect();
        driver.fold(0, &step).await;
        driver.send(Job::Cut { round: 1 });
        assert!(matches!(driver.report().await, Report::Withheld { round: 1, .. }));
        // A single report of progress later there is little new work, and nothing of the old.
        driver.train(1);
        driver.progress().await;
        let (next, tokens_next) = driver.cut_and_pause(1).await;
        assert!(tokens_next < tokens, "{tokens_next} {tokens}");
        assert!(norm(&next) < 0.7 * norm(&sent), "{} {}", norm(&next), norm(&sent));
    });
}

#[test]
fn work_since_the_cut_survives_the_fold() {
    let step: Vec<f32> = (0..spec().model.params()).map(|i| 0.01 * (i as f32 * 0.3).sin()).collect();
    let mut since = Vec::new();
    // Without a fold, two cuts from one base differ by the work between them.
    play(spec(), async |driver| {
        driver.begin().await;
        driver.work().await;
        let (first, _) = driver.cut_and_pause(0).await;
        driver.train(0);
        driver.work().await;
        let (second, _) = driver.cut_and_pause(1).await;
        since = second.iter().zip(&first).map(|(second, first)| second - first).collect();
    });
    play(spec(), async |driver| {
        driver.begin().await;
        driver.work().await;
        driver.cut_and_pause(0).await;
        driver.train(0);
        driver.work().await;
        driver.send(Job::Pause);
        driver.fold(0, &step).await;
        let (delta, _) = driver.cut_and_pause(1).await;
        // As near as the coding of the states at both cuts leaves them.
        assert!(distance(&delta, &since) < 0.15 * norm(&since), "{} {}", distance(&delta, &since), norm(&since));
    });
}

#[test]
fn without_a_cut_local_work_moves_with_the_base() {
    let step: Vec<f32> = (0..spec().model.params()).map(|i| 0.01 * (i as f32 * 0.3).sin()).collect();
    let mut alone = Vec::new();
    play(spec(), async |driver| {
        driver.begin().await;
        driver.work().await;
        alone = driver.cut_and_pause(0).await.0;
    });
    for by_snapshot in [false, true] {
        play(spec(), async |driver| {
            driver.begin().await;
            driver.work().await;
            driver.send(Job::Pause);
            if by_snapshot {
                let mut base = driver.base.clone();
                add(&mut base, &step);
                driver.rebase(5, base).await;
            } else {
                driver.fold(0, &step).await;
            }
            let (delta, _) = driver.cut_and_pause(5).await;
            assert!(distance(&delta, &alone) < 1e-4 * norm(&alone), "{} {}", distance(&delta, &alone), norm(&alone));
        });
    }
}

#[test]
fn what_others_found_too_is_not_added_to_work_that_was_not_cut() {
    let mut alone = Vec::new();
    play(spec(), async |driver| {
        driver.begin().await;
        driver.work().await;
        alone = driver.cut_and_pause(0).await.0;
    });
    play(spec(), async |driver| {
        driver.begin().await;
        driver.work().await;
        driver.send(Job::Pause);
        // The others went half as far in the same direction, and a pseudo-gradient points back.
        let half: Vec<f32> = alone.iter().map(|value| value / 2.0).collect();
        let step: Vec<f32> = half.iter().map(|value| -value).collect();
        driver.fold(0, &step).await;
        let (delta, _) = driver.cut_and_pause(5).await;
        assert!(distance(&delta, &half) < 0.1 * norm(&half), "{} {}", distance(&delta, &half), norm(&half));
    });
}

#[test]
fn a_step_that_leads_elsewhere_changes_nothing() {
    play(spec(), async |driver| {
        driver.begin().await;
        driver.work().await;
        driver.send(Job::Pause);
        let step = vec![0.1; driver.base.len()];
        let (good, hash) = (encode(&compress(&step, UpdateFormat::F32)), state_hash(&driver.base));
        driver.send(Job::Fold { round: 0, step: good.clone(), next: hash });
        assert!(matches!(driver.report().await, Report::Mismatch { round: 0, got: Some(got) } if got != hash));
        driver.send(Job::Fold { round: 0, step: good.slice(1..), next: hash });
        assert_eq!(driver.report().await, Report::Mismatch { round: 0, got: None });
        // The update is still measured from the old base: `cut_and_pause` checks its hash.
        driver.cut_and_pause(0).await;
        let weights = Bytes::from_static(b"damaged!");
        driver.send(Job::Base { round: 1, hash, weights });
        assert!(matches!(driver.report().await, Report::Trouble { fatal: false, .. }));
    });
}

#[test]
fn steps_that_explode_are_undone_and_their_update_withheld() {
    let mut spec = spec();
    (spec.inner.lr, spec.inner.warmup) = (10.0, 0);
    play(spec, async |driver| {
        driver.begin().await;
        let Report::Trouble { what, fatal: false } = driver.report().await else { panic!() };
        assert!(what.contains("undone"), "{what}");
        driver.send(Job::Cut { round: 0 });
        driver.send(Job::Pause);
        let withheld = loop {
            match driver.report().await {
                Report::Trouble { fatal: false, .. } => {}
                other => break other,
            }
        };
        assert!(matches!(withheld, Report::Withheld { round: 0, .. }), "{withheld:?}");
    });
}

#[test]
fn what_the_coding_leaves_out_is_sent_later_also_after_a_restart() {
    let mut spec = spec();
    spec.update = UpdateFormat::Coded(Coding { keep: 64, bits: 2 });
    spec.first = UpdateFormat::Coded(Coding { keep: 4096, bits: 4 });
    let kept = Storage::default();
    let count = spec.model.params();
    let rest = |kept: &Storage| {
        let kept = kept.borrow();
        // Coded, with a seal of 32 bytes behind it.
        let (coded, _) = kept.values().next().unwrap().split_last_chunk::<32>().unwrap();
        decode(&[MOMENTS], coded, count).unwrap().values()
    };
    let values = |sent: &[f32]| sent.iter().filter(|value| **value != 0.0).count();
    let few = 64 * (count as usize).div_ceil(4096);
    play_on(spec.clone(), kept.clone(), async |driver| {
        driver.begin().await;
        driver.work().await;
        let (first, _) = driver.cut_and_pause(0).await;
        // Whoever is new sends nearly all of it.
        assert!(norm(&rest(&kept)) < 0.2 * norm(&first), "{} {}", norm(&rest(&kept)), norm(&first));
        driver.fold(0, &vec![0.0; count as usize]).await;
        driver.train(1);
        driver.work().await;
        let (sent, _) = driver.cut_and_pause(1).await;
        assert!(values(&sent) <= few && norm(&rest(&kept)) > norm(&sent));
    });
    // A restarted contributor knows what it has left, and goes on in the sparse form with it.
    let before = rest(&kept);
    play_on(spec.clone(), kept.clone(), async |driver| {
        driver.begin().await;
        driver.work().await;
        let (sent, _) = driver.cut_and_pause(2).await;
        assert!(values(&sent) <= few);
        let due: Vec<f32> = sent.iter().zip(rest(&kept)).map(|(sent, rest)| sent + rest).collect();
        let along: f64 = due.iter().zip(&before).map(|(due, before)| f64::from(*due) * f64::from(*before)).sum();
        assert!(along > 0.5 * norm(&before).powi(2), "{along} {}", norm(&before));
    });
    // Another identity's, or a damaged file, is as if there were none.
    kept.borrow_mut().values_mut().for_each(|bytes| bytes[7] ^= 1);
    play_on(spec, kept, async |driver| {
        driver.begin().await;
        driver.work().await;
        let (sent, _) = driver.cut_and_pause(3).await;
        assert!(values(&sent) > count as usize / 2);
    });
}

#[test]
fn nothing_is_done_before_its_time_and_a_bad_run_is_refused_in_words() {
    play(spec(), async |driver| {
        driver.send(Job::Cut { round: 0 });
        driver.send(Job::Pause);
        let mut spec = driver.spec.clone();
        spec.inner.seq = 1;
        let data = Bytes::from(manifest(&driver.shard));
        let start = |spec, data| Job::Start { spec: Box::new(spec), data, me: Id([3; 32]), device: DeviceChoice::Cpu };
        driver.send(start(spec, data.clone()));
        assert!(matches!(driver.report().await, Report::Trouble { what, fatal: true } if what.contains("inner.seq")));
        driver.send(start(driver.spec.clone(), data.slice(1..)));
        assert!(matches!(driver.report().await, Report::Trouble { fatal: true, .. }));
        for _ in 0..2 {
            driver.send(start(driver.spec.clone(), data.clone()));
            assert!(matches!(driver.report().await, Report::Ready(_)));
        }
        driver.train(0);
        driver.send(Job::Cut { round: 0 });
        assert!(matches!(driver.report().await, Report::Need(_) | Report::Withheld { .. }));
    });
}
