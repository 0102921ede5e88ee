//! The forms of updates: which one goes with how long a way, and that a coordinator takes no other.
#![allow(clippy::unwrap_used)]

use tributary_protocol::coordinator::{Examined, Input};
use tributary_protocol::message::{Reason, Verdict};
use tributary_protocol::spec::{Coding, RoundRule, RunSpec, UPDATE_STEPS, UpdateFormat};
use tributary_tests::desk::{Desk, people};
use tributary_tests::{Run, tiny_run};

fn run() -> Run {
    let mut run = tiny_run(RoundRule { seconds: 10, grace: 5, quorum: 1, stale: 0.5 });
    (run.spec.update, run.spec.first) = (UpdateFormat::UPDATE, UpdateFormat::FIRST);
    run.spec.update_steps = UPDATE_STEPS;
    run
}

#[test]
fn a_longer_way_has_room_for_more_values() {
    let mut spec = run().spec;
    let step = spec.tokens_a_step();
    let keep = |spec: &RunSpec, tokens: u64| match spec.update_format(tokens) {
        UpdateFormat::Coded(Coding { keep, bits: 2 }) => keep,
        other => panic!("{other:?}"),
    };
    let kept = [0, 1, 10, 11, 20, 21, 320, 321, 1 << 40].map(|steps| keep(&spec, steps * step));
    assert_eq!(kept, [64, 64, 64, 128, 128, 256, 2048, 4096, 4096]);
    assert_eq!((keep(&spec, 10 * step + 1), keep(&spec, u64::MAX)), (128, 4096));
    let formats = spec.sent_formats();
    assert_eq!((formats.len(), formats[0]), (8, UpdateFormat::FIRST));
    assert!((0..3000).all(|steps| formats.contains(&spec.update_format(steps * step))));
    spec.update_steps = 0;
    assert_eq!((keep(&spec, 1 << 40), spec.sent_formats()), (64, vec![spec.first, spec.update]));
    (spec.update, spec.update_steps) = (UpdateFormat::F32, UPDATE_STEPS);
    assert_eq!(spec.sent_formats(), [spec.first, UpdateFormat::F32]);
}

#[test]
fn an_update_has_the_form_of_its_way_or_a_newcomers() {
    let me = &people(1)[0];
    let spec = run().spec;
    let check = |steps: u64, format: UpdateFormat, expected: Verdict| {
        let mut desk = Desk::with(run());
        desk.hello(me);
        let commit = desk.commit_of(me, steps * spec.tokens_a_step());
        desk.commit(me, &commit);
        let examined = Examined { format, ..desk.examined(&commit.update) };
        desk.input(Input::Fetched { from: me.id(), update: commit.update.hash, result: Ok(examined) });
        assert_eq!(desk.verdicts(me), [(0, expected)], "{steps} steps, {format:?}");
    };
    let keep = |keep| UpdateFormat::Coded(Coding { keep, bits: 2 });
    for (steps, format) in [(1, keep(64)), (10, keep(64)), (11, keep(128)), (321, keep(4096)), (1, spec.first)] {
        check(steps, format, Verdict::Received);
    }
    for (steps, format) in [(10, keep(128)), (11, keep(64)), (1, keep(4096)), (1, UpdateFormat::F32)] {
        check(steps, format, Verdict::Refused(Reason::Malformed));
    }
}
