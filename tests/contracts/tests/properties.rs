//! Whatever anyone sends in whatever order: shares and fees go where the rules say, and nowhere else.
//!
//! A model of a few pages predicts the outcome of every call, refusals too; at the end of each sequence the chain must
//! be where the model is. Enough of every outcome must have been seen, so that steps that never get anywhere are noticed.

mod common;
mod model;

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use common::World;
use model::{Model, REFUSALS};

/// Random sequences of calls.
const SEQUENCES: u32 = 100_000;

/// Calls of one; most sequences that get anywhere have an epoch submitted, waited for and claimed by then.
const CALLS: usize = 24;

/// Calls that succeed now and then; the others never may.
const DONE: [&str; 9] =
    ["wait", "submit", "veto", "claim", "transfer", "approve", "transferFrom", "depositFees", "claimFees"];

/// How often each outcome must have been seen.
const SEEN: u64 = 100;

#[test]
fn no_sequence_of_calls_leaves_the_rules() {
    let world = World::new();
    let seen = RefCell::new(BTreeMap::<_, u64>::new());
    let config = Config { cases: SEQUENCES, failure_persistence: None, ..Config::default() };
    let steps = prop::collection::vec(model::steps(), 1..=CALLS);
    let result = TestRunner::new(config).run(&steps, |steps| {
        let (mut world, mut model) = (world.again(), Model::new(&world));
        for step in &steps {
            let call = model.call(&world, step);
            let expected = model.expect(&mut world, &call);
            let found = call.send(&mut world);
            // What nonsense is answered with doesn't matter, only that it is refused.
            let same = found == expected || (call.name() == "raw" && found.is_err());
            prop_assert!(same, "{:?} gave {:02x?} and not {:02x?}", call, found, expected);
            *seen.borrow_mut().entry((call.name(), expected.err())).or_default() += 1;
        }
        model.check(&mut world);
        Ok(())
    });
    let seen = seen.into_inner();
    for ((call, refusal), times) in &seen {
        println!("{times:>9} {call} {}", refusal.map_or("done".to_owned(), |bytes| format!("{bytes:02x?}")));
    }
    result.unwrap_or_else(|failure| panic!("{failure}"));
    for outcome in
        DONE.map(|call| (call, None)).into_iter().chain(REFUSALS.map(|(call, refusal)| (call, Some(refusal))))
    {
        let times = seen.get(&outcome).copied().unwrap_or(0);
        assert!(times >= SEEN, "{outcome:02x?} was seen {times} times in {SEQUENCES} sequences");
    }
}
