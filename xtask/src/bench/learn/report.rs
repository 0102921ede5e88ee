//! What the runs came to: a table for people and the figures that goals are set for.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::super::mean::Mean;
use super::arms::Arm;
use crate::run::say;

/// What one run came to.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) arm: Arm,
    /// Nats a token on held-out text, at the end.
    pub(crate) loss: f64,
    /// Tokens and loss on the way.
    pub(crate) curve: Vec<(f64, f64)>,
    /// Bytes of an update as f32, and as sent on average.
    bytes_f32: f64,
    /// Of a newcomer's first update apart.
    bytes_up: f64,
    /// First updates included.
    bytes_up_all: f64,
    bytes_down: f64,
}

impl Outcome {
    /// From the lines that a run printed; `None` if it didn't end, or was of another arm.
    pub(crate) fn read(file: &Path, arm: &Arm, settings: &Value) -> Option<Self> {
        let order: Value = serde_json::from_slice(&std::fs::read(file.with_extension("json")).ok()?).ok()?;
        let text = std::fs::read_to_string(file).ok()?;
        let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let end = lines.last().filter(|line| line.get("arm").is_some() && order == *settings)?;
        let number = |key: &str| end[key].as_f64();
        let point = |line: &Value| Some((line["tokens"].as_f64()?, line["loss"].as_f64()?));
        Some(Self {
            arm: arm.clone(),
            loss: number("loss")?,
            curve: lines[..lines.len() - 1].iter().filter_map(point).collect(),
            bytes_f32: number("bytes_f32")?,
            // Nothing is sent where there is one model for all.
            bytes_up: number("bytes_up").unwrap_or(0.0),
            bytes_up_all: number("bytes_up_all").unwrap_or(0.0),
            bytes_down: number("bytes_down").unwrap_or(0.0),
        })
    }

    /// A name for its picture.
    pub(crate) fn name(&self) -> String {
        self.arm.file_name()
    }

    fn seed(&self) -> u64 {
        self.arm.settings["seed"].as_u64().unwrap_or(0)
    }
}

/// Every seed's percentage by which the runs of one arm lie above those of another.
fn over(outcomes: &[Outcome], arm: (&str, u64), reference: (&str, u64)) -> Option<Mean> {
    let of = |(name, replicas): (&str, u64)| -> BTreeMap<u64, f64> {
        let is = |o: &&Outcome| o.arm.name == name && o.arm.replicas == replicas;
        outcomes.iter().filter(is).map(|o| (o.seed(), o.loss)).collect()
    };
    let reference = of(reference);
    let ratio = |(seed, loss): (&u64, &f64)| Some(100.0 * (loss / reference.get(seed)? - 1.0));
    Mean::of(&of(arm).iter().filter_map(ratio).collect::<Vec<_>>())
}

/// Arms and numbers of replicas, in the plan's order, each once.
fn kinds(outcomes: &[Outcome]) -> Vec<(&'static str, u64)> {
    let mut kinds = Vec::new();
    for outcome in outcomes {
        let kind = (outcome.arm.name, outcome.arm.replicas);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds
}

fn mean_of(outcomes: &[Outcome], kind: (&str, u64), value: impl Fn(&Outcome) -> f64) -> Option<Mean> {
    let is = |o: &&Outcome| (o.arm.name, o.arm.replicas) == kind;
    Mean::of(&outcomes.iter().filter(is).map(value).collect::<Vec<_>>())
}

/// The table.
pub(crate) fn table(outcomes: &[Outcome]) {
    say(format_args!(
        "{:<20}{:>9}{:>10}{:>26}{:>22}{:>16}{:>18}",
        "arm", "replicas", "loss", "% over data-parallel", "% over dense", "fewer bytes up", "fewer bytes down"
    ));
    for kind in kinds(outcomes) {
        let (name, replicas) = kind;
        let loss = mean_of(outcomes, kind, |o| o.loss).map_or(f64::NAN, |mean| mean.mean);
        let or_dash = |mean: Option<Mean>| mean.map_or("-".to_owned(), |mean| mean.shown(2));
        let fewer = |bytes: fn(&Outcome) -> f64| {
            let ratio = mean_of(outcomes, kind, |o| o.bytes_f32 / bytes(o)).map(|mean| mean.mean);
            ratio.filter(|ratio| ratio.is_finite()).map_or("-".to_owned(), |ratio| format!("{ratio:.1}"))
        };
        say(format_args!(
            "{name:<20}{replicas:>9}{loss:>10.4}{:>26}{:>22}{:>16}{:>18}",
            or_dash(over(outcomes, kind, ("data-parallel", 0)).filter(|_| replicas > 0 && !is_long(name))),
            or_dash(
                over(outcomes, kind, (if is_long(name) { LONG_DENSE } else { "dense" }, replicas))
                    .filter(|_| !name.starts_with("dense"))
            ),
            fewer(|o| o.bytes_up),
            fewer(|o| o.bytes_down),
        ));
    }
    say("\nLoss is in nats a token on held-out books; ± is the 95 % interval over seeds.");
}

/// The reference of arms with long rounds, which have a model of their own.
const LONG_DENSE: &str = "dense-long-rounds";

fn is_long(name: &str) -> bool {
    name.contains("long-rounds")
}

/// The figures that goals are set for.
pub(crate) fn json(outcomes: &[Outcome]) -> Value {
    let by_replicas = |reference: fn(u64) -> (&'static str, u64)| -> Map<String, Value> {
        let default = kinds(outcomes).into_iter().filter(|(name, _)| *name == "default");
        default.map(|kind| (kind.1.to_string(), number(over(outcomes, kind, reference(kind.1))))).collect()
    };
    let bytes = mean_of(outcomes, ("default", 8), |o| o.bytes_f32 / o.bytes_up);
    json!({
        "parity_percent": by_replicas(|_| ("data-parallel", 0)),
        "bytes_ratio": bytes.map(|mean| mean.mean),
        "bytes_ratio_with_first": mean_of(outcomes, ("default", 8), |o| o.bytes_f32 / o.bytes_up_all).map(|mean| mean.mean),
        "bytes_ratio_down": mean_of(outcomes, ("default", 8), |o| o.bytes_f32 / o.bytes_down).map(|mean| mean.mean),
        "loss_vs_dense_percent": by_replicas(|replicas| ("dense", replicas)),
        "long_rounds_percent": number(over(outcomes, ("long-rounds", 8), ("dense-long-rounds", 8))),
        "churn_percent": number(over(outcomes, ("missing", 8), ("default", 8))),
        "leaving_percent": number(over(outcomes, ("leaving", 8), ("default", 8))),
        "mixed_speed_percent": number(over(outcomes, ("mixed-speeds", 3), ("equal-speeds", 3))),
    })
}

fn number(mean: Option<Mean>) -> Value {
    mean.map_or(Value::Null, |mean| json!({ "mean": mean.mean, "half_interval": mean.half }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(name: &'static str, replicas: u64, seed: u64, loss: f64) -> Outcome {
        let settings = Map::from_iter([("seed".to_owned(), json!(seed))]);
        let arm = Arm { name, replicas, usual: true, settings };
        Outcome { arm, loss, curve: Vec::new(), bytes_f32: 300.0, bytes_up: 2.0, bytes_up_all: 3.0, bytes_down: 10.0 }
    }

    #[test]
    fn percentages_pair_seeds() {
        let outcomes = [
            outcome("data-parallel", 0, 1, 2.0),
            outcome("data-parallel", 0, 2, 4.0),
            outcome("default", 8, 2, 4.4),
            outcome("default", 8, 1, 2.2),
            outcome("default", 8, 3, 9.0),
        ];
        let mean = over(&outcomes, ("default", 8), ("data-parallel", 0)).unwrap();
        assert!((mean.mean - 10.0).abs() < 1e-9 && mean.half.unwrap() < 1e-9);
        assert_eq!(over(&outcomes, ("default", 4), ("data-parallel", 0)), None);
        let figures = json(&outcomes);
        assert_eq!(figures["bytes_ratio"], 150.0);
        assert!((figures["parity_percent"]["8"]["mean"].as_f64().unwrap() - 10.0).abs() < 1e-9);
        assert_eq!(figures["churn_percent"], Value::Null);
    }
}
