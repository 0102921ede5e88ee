//! The fold, chunk by chunk and sparse, against one that is written down coordinate by coordinate: the same
//! bits in 10,000 random worlds.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used)]

mod common;

use std::ops::Range;

use common::Random;
use proptest::prelude::*;
use tributary_protocol::fold::{Clip, OuterState, Term, apply, fold};
use tributary_protocol::spec::{Average, Coding, Outer, UpdateFormat};
use tributary_protocol::update::{Update, compress, decode, encode};

/// The step's values before they are coded: what [`fold`] documents, with nothing clever.
fn naive(terms: &[Term<'_>], layout: &[Range<usize>], state: &mut OuterState, outer: &Outer, rate: f32) -> Vec<f32> {
    let count = layout.last().unwrap().end;
    let sent: Vec<Vec<Option<f32>>> = terms
        .iter()
        .map(|term| {
            let mut values = vec![None; count];
            term.update.entries().for_each(|(at, value)| values[at] = Some(value));
            values
        })
        .collect();
    let mut raw = Vec::new();
    for at in 0..count {
        let tensor = layout.iter().position(|range| range.contains(&at)).unwrap();
        let (mut sum, mut weights) = (0.0, 0.0);
        for (term, values) in terms.iter().zip(&sent) {
            let Some(value) = values[at] else { continue };
            let clip = term.clips.iter().find(|clip| usize::from(clip.tensor) == tensor);
            sum += term.weight * clip.map_or(1.0, |clip| clip.factor) * value;
            weights += term.weight;
        }
        if outer.average == Average::Senders && weights > 0.0 {
            sum /= weights;
        }
        if outer.momentum > 0.0 {
            state.momentum[at] = outer.momentum * state.momentum[at] + sum;
            sum += outer.momentum * state.momentum[at];
        }
        raw.push(state.residual.get(at).copied().unwrap_or(0.0) - rate * sum);
    }
    raw
}

fn any_format() -> impl Strategy<Value = UpdateFormat> {
    let coding = (prop_oneof![1..=4096_u16, Just(64), Just(4096)], 1..=8_u8);
    prop_oneof![
        1 => Just(UpdateFormat::F32),
        4 => coding.prop_map(|(keep, bits)| UpdateFormat::Coded(Coding { keep, bits })),
    ]
}

fn random_layout(random: &mut Random, count: usize) -> Vec<Range<usize>> {
    let mut ends: Vec<usize> = (0..random.below(6)).map(|_| random.below(count as u64) as usize).collect();
    ends.extend([0, count]);
    ends.sort_unstable();
    ends.dedup();
    ends.windows(2).map(|pair| pair[0]..pair[1]).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(debug_assertions) { 100 } else { 10_000 }, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn both_folds_give_the_same_bits(
        seed: u64,
        count in prop_oneof![8 => 1..1500_usize, 1 => 1..20_000_usize, 1 => 4090..4100_usize],
        formats in prop::collection::vec(any_format(), 1..=8),
        step_format in any_format(),
        senders: bool,
        momentum in prop_oneof![Just(0.0_f32), 0.1..0.99_f32],
    ) {
        let random = &mut Random(seed);
        let layout = random_layout(random, count);
        let updates: Vec<Update> = formats
            .iter()
            .map(|&format| {
                let bytes = encode(&compress(&random.values(count), format));
                decode(&[format], &bytes, count as u64).unwrap()
            })
            .collect();
        let clips: Vec<Vec<Clip>> = updates
            .iter()
            .map(|_| {
                let clipped = (0..layout.len() as u16).filter(|_| random.below(4) == 0);
                clipped.collect::<Vec<_>>().into_iter().map(|tensor| Clip { tensor, factor: random.unit() }).collect()
            })
            .collect();
        let terms: Vec<_> = updates
            .iter()
            .zip(&clips)
            .map(|(update, clips)| Term { weight: random.unit() + 0.01, clips, update })
            .collect();
        let average = if senders { Average::Senders } else { Average::All };
        let rate = random.unit();
        let outer = Outer { lr: vec![], momentum, average };
        let mut state = OuterState {
            momentum: if momentum > 0.0 { random.values(count) } else { Vec::new() },
            residual: if step_format == UpdateFormat::F32 { Vec::new() } else { random.values(count) },
        };
        let mut expected = state.clone();
        let raw = naive(&terms, &layout, &mut expected, &outer, rate);
        let step = fold(&terms, &layout, &mut state, &outer, rate, step_format);
        let values = step.values();

        prop_assert_eq!(bits(&values), bits(&compress(&raw, step_format).values()));
        prop_assert_eq!(bits(&state.momentum), bits(&expected.momentum));
        if step_format == UpdateFormat::F32 {
            prop_assert!(state.residual.is_empty());
        } else {
            let rest: Vec<f32> = raw.iter().zip(&values).map(|(raw, value)| raw - value).collect();
            // Where nothing was sent, all is left, be it -0.0.
            prop_assert!(state.residual.iter().zip(&rest).all(|(got, rest)| got == rest));
        }
        let bytes = state.to_bytes();
        prop_assert_eq!(OuterState::from_bytes(&bytes, count, &outer, step_format), Some(state));
        // Who gets the step by its bytes has the same base.
        let (mut ours, base) = (random.values(count), random.values(count));
        ours.clone_from(&base);
        let mut theirs = base;
        apply(&mut ours, &step);
        apply(&mut theirs, &decode(&[step_format], &encode(&step), count as u64).unwrap());
        prop_assert_eq!(bits(&ours), bits(&theirs));
        let norms = step.norms(&layout);
        for (range, norm) in layout.iter().zip(norms) {
            prop_assert!((norm - tributary_protocol::fold::norm(&values[range.clone()])).abs() <= norm * 1e-12);
        }
    }
}
