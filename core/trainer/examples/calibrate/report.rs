//! The report of what was replayed, in Markdown.

use std::collections::BTreeMap;

use serde_json::Value;

/// Steps of a segment by which honest replays are put together: up to each.
const GROUPS: [u64; 5] = [10, 30, 64, 128, u64::MAX];

/// The least and the largest of what was measured.
#[derive(Clone, Copy)]
struct Range(f64, f64);

/// Prints the report of files of JSON lines, each called by its name.
pub(crate) fn print(files: &[&str]) -> Result<(), String> {
    println!("| Replayed | Steps | Segments | Way: ratio | cosine | Momentum | Scale | Update | Rest | Refused |");
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let mut cheats = BTreeMap::new();
    for file in files {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
        let lines: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
        let lines = lines.map_err(|error| format!("{file}: {error}"))?;
        let name = file.rsplit('/').next().unwrap_or(file).trim_end_matches(".jsonl");
        let (honest, others): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line["name"] == "honest");
        for (at, most) in GROUPS.into_iter().enumerate() {
            let least = if at == 0 { 0 } else { GROUPS[at - 1] };
            let steps = |line: &&Value| line["steps"].as_u64().is_some_and(|steps| steps > least && steps <= most);
            let group: Vec<&Value> = honest.iter().filter(steps).collect();
            if group.is_empty() {
                continue;
            }
            let of = |key: &str, part: usize| Range::of(group.iter().filter_map(|line| line[key][part].as_f64()));
            let refused = group.iter().filter(|line| line["same"] == false).count();
            let steps = Range::of(group.iter().filter_map(|line| line["steps"].as_f64()));
            let (ratio, count) = (of("way", 0), group.len());
            println!(
                "| {name} | {:.0} to {:.0} | {count} | {:.3} to {:.3} | {:.4} | {:.3} | {:.3} | {:.3} | {:.3} | {refused} |",
                steps.0,
                steps.1,
                ratio.0,
                ratio.1,
                of("way", 1).0,
                of("momentum", 1).0,
                of("scale", 1).0,
                of("update", 1).0,
                of("rest", 1).0,
            );
        }
        for line in others {
            let what = (line["round_steps"].as_u64().unwrap_or(0), line["name"].as_str().unwrap_or("").to_owned());
            cheats.entry(what).or_insert_with(Vec::new).push(line);
        }
    }
    println!("\n| Cheat | Steps | Way: ratio | cosine | Momentum | Scale | Refused |\n|---|---|---|---|---|---|---|");
    for ((steps, name), lines) in cheats {
        let of = |key: &str, part: usize| Range::of(lines.iter().filter_map(|line| line[key][part].as_f64())).1;
        let refused = lines.iter().filter(|line| line["same"] == false).count();
        let [ratio, cosine, momentum, scale] = [of("way", 0), of("way", 1), of("momentum", 1), of("scale", 1)];
        println!(
            "| {name} | {steps} | {ratio:.3} | {cosine:.4} | {momentum:.3} | {scale:.3} | {refused} of {} |",
            lines.len()
        );
    }
    Ok(())
}

impl Range {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        values.fold(Self(f64::NAN, f64::NAN), |Self(least, most), value| Self(least.min(value), most.max(value)))
    }
}
