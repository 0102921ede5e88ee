//! The arms. What an arm doesn't say is the default of `run.toml`, so that the arm `default` is what people get.

use serde_json::{Map, Value, json};

/// One run to make: what is tried, with how many replicas.
#[derive(Debug, Clone)]
pub(crate) struct Arm {
    pub(crate) name: &'static str,
    pub(crate) replicas: u64,
    /// Whether it runs when no arms are named.
    pub(crate) usual: bool,
    /// What the example `learn` reads.
    pub(crate) settings: Map<String, Value>,
}

impl Arm {
    /// A name for its files.
    pub(crate) fn file_name(&self) -> String {
        let of =
            |key: &str| self.settings.get(key).map(|v| v.to_string().trim_matches('"').to_owned()).unwrap_or_default();
        format!("{}-{}-m{}-{}k-s{}", of("preset"), self.name, self.replicas, self.tokens() / 1000, of("seed"))
    }

    fn tokens(&self) -> u64 {
        self.settings.get("tokens").and_then(Value::as_u64).unwrap_or(0)
    }
}

/// Every arm.
pub(crate) fn all(quick: bool) -> Vec<Arm> {
    // The references at their own best inner learning rates of 1, 1.4, 2, 3 and 5 thousandths on `tiny` (dense: of 1.4,
    // 2 and 3), and dense DiLoCo with its best outer optimiser; see ARCHITECTURE.md.
    let alone = json!({ "lr": 0.001 });
    let f32s = json!({
        "lr": 0.002,
        "update": "f32", "first": "f32", "step": "f32", "feedback": 0.0,
        "outer_lr": [1.0], "momentum": 0.0, "average": "all",
    });
    let four = json!({ "coded": { "keep": 4096, "bits": 4 } });
    let many: &[u64] = &[2, 4, 8];
    // With few tokens there is time for one seed and for fewer arms.
    let mut arms = Vec::new();
    let mut add = |name, usual, replicas: &[u64], settings: Value| {
        for &replicas in replicas {
            let mut map = Map::new();
            map.insert("replicas".to_owned(), json!(replicas));
            map.extend(settings.as_object().cloned().unwrap_or_default());
            arms.push(Arm { name, replicas, usual, settings: map });
        }
    };
    add("data-parallel", true, &[0], alone.clone());
    add("default", true, many, json!({}));
    add("dense", true, if quick { &[8] } else { many }, f32s.clone());
    add("missing", true, &[8], json!({ "miss": 0.5 }));
    add("leaving", true, &[8], json!({ "leave": 0.1 }));
    add("equal-speeds", true, &[3], json!({}));
    add("mixed-speeds", true, &[3], json!({ "speeds": [1, 4, 16] }));
    // Long rounds, with a model so small that there is time for some.
    let long = json!({ "preset": "micro", "tokens": 1_900_000, "steps": 150, "windows": 256 });
    add("dense-long-rounds", true, &[8], merged(&merged(&f32s, long.clone()), json!({ "lr": 0.003 })));
    add("long-rounds", true, &[8], long.clone());
    // Tried on the way to the default; see ARCHITECTURE.md.
    add("diloco", false, many, merged(&f32s, json!({ "outer_lr": [0.7], "momentum": 0.9 })));
    add("four-bit", false, many, json!({ "update": four, "first": four, "step": four }));
    add("one-bit", false, many, json!({ "update": { "coded": { "keep": 64, "bits": 1 } } }));
    add("keep-32", false, many, json!({ "update": { "coded": { "keep": 32, "bits": 2 } } }));
    add("keep-128", false, many, json!({ "update": { "coded": { "keep": 128, "bits": 2 } } }));
    add("forget-more", false, many, json!({ "feedback": 0.8 }));
    add("forget-nothing", false, many, json!({ "feedback": 1.0 }));
    add("all", false, many, json!({ "average": "all", "outer_lr": [1.0] }));
    add("long-rounds-one-form", false, &[8], merged(&long, json!({ "update_steps": 0 })));
    add("step-512", false, many, json!({ "step": { "coded": { "keep": 512, "bits": 4 } } }));
    // Fragments in turn, in four bits: Streaming DiLoCo.
    let streaming = json!({ "fragments": 4, "feedback": 1.0, "outer_lr": [1.0], "average": "all" });
    let four_bits = json!({ "update": four, "first": four, "step": four });
    add("streaming", false, many, merged(&streaming, four_bits));
    // Half of all updates come a round late, and count for a half, in full, or for nothing.
    add("late", false, &[8], json!({ "late": 0.5 }));
    add("late-in-full", false, &[8], json!({ "late": 0.5, "stale": 1.0 }));
    add("late-for-nothing", false, &[8], json!({ "late": 0.5, "stale": 0.0 }));
    // Mixed speeds, weighed otherwise.
    add("mixed-equal", false, &[3], json!({ "speeds": [1, 4, 16], "merge": "equal" }));
    add("mixed-norms", false, &[3], json!({ "speeds": [1, 4, 16], "merge": "norms" }));
    add("sparse-first", false, many, json!({ "first": { "coded": { "keep": 64, "bits": 2 } } }));
    add("step-f32", false, many, json!({ "step": "f32" }));
    add("late-fold", false, many, json!({ "delay": 0.5 }));
    add("muon", false, many, json!({ "optimizer": "muon" }));
    add("data-parallel-muon", false, &[0], merged(&alone, json!({ "optimizer": "muon" })));
    add("data-parallel-fast", false, &[0], json!({}));
    arms
}

fn merged(settings: &Value, more: Value) -> Value {
    let mut map = settings.as_object().cloned().unwrap_or_default();
    map.extend(more.as_object().cloned().unwrap_or_default());
    Value::Object(map)
}

/// Their names.
pub(crate) fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = all(false).iter().map(|arm| arm.name).collect();
    names.dedup();
    names
}
