//! What the worlds came to: a table for people and the figures that goals are set for.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::super::mean::Mean;
use super::{CHEATS, NOBODY, SPLIT, WHOLE};
use crate::run::say;

/// What a forward pass costs of training on the same tokens, which goes through the model once more for each of the
/// weights' and the activations' gradients.
const FORWARD: f64 = 1.0 / 3.0;

/// One cheat over all seeds, in percent.
struct Row {
    kept: f64,
    gain: f64,
    paid: f64,
    r#final: f64,
    /// Part of the pool that honest contributors were paid.
    honest: f64,
    /// What the cheat's updates add to the loss: the sum over folds, each against the same fold without them.
    harm: f64,
    /// How far the losses of whole worlds with it and without it are apart in the end, which they are by themselves too.
    apart: Mean,
    counted: f64,
    found: String,
}

/// Prints the table and the line of figures.
pub(super) fn print(outcomes: &[Value]) -> Result<()> {
    let of = |name: &str| -> Vec<&Value> { outcomes.iter().filter(|outcome| outcome["cheat"] == name).collect() };
    let alone = of(NOBODY);
    let losses: BTreeMap<u64, f64> =
        alone.iter().filter_map(|one| Some((one["seed"].as_u64()?, one["loss"].as_f64()?))).collect();
    say(
        "| Cheat | Keeps, % of an honest contributor | Beyond honest work | Was paid before | Final | Honest ones were paid, % of the pool | Harm of its folds, % | Whole worlds apart, % | Rounds that counted | What was found |",
    );
    say("|---|---|---|---|---|---|---|---|---|---|");
    let [mut gain, mut harm] = [f64::NEG_INFINITY; 2];
    for name in CHEATS {
        let worlds = of(name);
        if worlds.is_empty() {
            continue;
        }
        let row = Row::of(&worlds, &losses).with_context(|| format!("a world of {name} lacks figures"))?;
        say(format_args!(
            "| {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.1} | {:+.2} | {} | {:.1} | {} |",
            name.replace('-', " "),
            row.kept,
            row.gain,
            row.paid,
            row.r#final,
            row.honest,
            row.harm,
            row.apart.shown(1),
            row.counted,
            row.found
        ));
        (gain, harm) = (gain.max(row.gain), harm.max(row.harm));
    }
    let total = |of: &[&Value], key: &str| of.iter().filter_map(|one| one.pointer(key)?.as_f64()).sum::<f64>();
    let part = |a: f64, b: f64| if b > 0.0 { Some(a / b) } else { None };
    let all: Vec<&Value> = outcomes.iter().collect();
    let mut wronged: BTreeMap<&str, u64> = BTreeMap::new();
    all.iter().flat_map(|one| entries(&one["wronged"])).for_each(|(why, n)| *wronged.entry(why).or_default() += n);
    let refused = part(wronged.values().sum::<u64>() as f64, total(&all, "/promised"));
    let seconds = |key: &str| total(&alone, &format!("/seconds/{key}"));
    let tokens = |key: &str| total(&alone, &format!("/tokens/{key}"));
    let spent = part(seconds("score") + seconds("replay"), seconds("train"));
    let computed = part(FORWARD * tokens("score") + tokens("replay"), tokens("train"));
    let split = part(total(&of(SPLIT), "/kept"), total(&of(WHOLE), "/kept"));
    let figure = |name: &str, value: Option<f64>| {
        say(format_args!("{name}: {}", value.map_or("not measured".to_owned(), |value| format!("{value:.3}"))));
    };
    say("");
    figure("Pay of fifty identities over that of one with the same work", split);
    figure("Honest updates refused or forfeited, %", refused.map(|part| 100.0 * part));
    wronged.iter().for_each(|(why, count)| say(format_args!("  of these {why}: {count}")));
    figure("Time spent checking over time spent training, %", spent.map(|part| 100.0 * part));
    figure("The same in tokens, a forward pass as a third", computed.map(|part| 100.0 * part));
    let seeds = outcomes.iter().filter_map(|one| one["seed"].as_u64()).max();
    say(json!({
        "worst_gain_percent": gain.is_finite().then_some(gain),
        "split_gain": split,
        "harm_percent": harm.is_finite().then_some(harm),
        "false_refusal_percent": refused.map(|part| 100.0 * part),
        "overhead_percent": spent.map(|part| 100.0 * part),
        "overhead_tokens_percent": computed.map(|part| 100.0 * part),
        "seeds": seeds,
        "rounds": outcomes.first().map(|one| one["rounds"].clone()),
    }));
    Ok(())
}

impl Row {
    fn of(worlds: &[&Value], losses: &BTreeMap<u64, f64>) -> Option<Self> {
        let mean = |of: &dyn Fn(&Value) -> Option<f64>| -> Option<f64> {
            let values: Option<Vec<f64>> = worlds.iter().map(|world| of(world)).collect();
            let values = values?;
            Some(values.iter().sum::<f64>() / values.len() as f64)
        };
        let percent = |key: &str| mean(&|world| Some(100.0 * world[key].as_f64()?));
        let kept = percent("kept")?;
        let apart = |world: &&Value| {
            let alone = losses.get(&world["seed"].as_u64()?)?;
            Some(100.0 * (world["loss"].as_f64()? / alone - 1.0))
        };
        let apart: Option<Vec<f64>> = worlds.iter().map(apart).collect();
        let mut found: BTreeMap<&str, u64> = BTreeMap::new();
        for (what, count) in worlds.iter().flat_map(|world| [&world["findings"], &world["refused"]]).flat_map(entries) {
            *found.entry(what).or_default() += count;
        }
        let found: Vec<_> = found.into_iter().map(|(what, count)| format!("{what} {count}")).collect();
        Some(Self {
            kept,
            gain: kept - percent("deserved")?,
            paid: percent("paid")?,
            r#final: percent("final")?,
            honest: percent("honest_paid")?,
            harm: percent("harm")?,
            apart: Mean::of(&apart?)?,
            counted: mean(&|world| world["counted"].as_f64())?,
            found: found.join(", "),
        })
    }
}

fn entries(of: &Value) -> impl Iterator<Item = (&str, u64)> {
    of.as_object().into_iter().flatten().filter_map(|(what, count)| Some((what.as_str(), count.as_u64()?)))
}
