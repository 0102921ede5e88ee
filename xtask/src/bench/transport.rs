//! `bench transport`: a blob of 50 MB over our WebRTC transport, between tabs and native peers, against a bare data
//! channel pair and js-libp2p in the same run and browser. `tests/browser/transport.mjs` measures.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use crate::paths::Paths;
use crate::run::{logged, minutes, say, shown};
use crate::{browser, build, setup};

/// A bare pair is as fast as the better of its two message sizes.
const RAW: [&str; 2] = ["raw_16k", "raw_64k"];
/// The other implementation, tab to tab.
const JS: &str = "js_libp2p";

/// What a route came to.
struct Route {
    name: String,
    mib_per_s: f64,
    extra_memory_mib: Option<f64>,
    longest_task_ms: f64,
    longest_gap_ms: f64,
}

/// Runs it; it has no settings.
pub(crate) fn run(paths: &Paths, args: &[&str]) -> Result<()> {
    if let Some(arg) = args.first() {
        bail!("bench transport has no settings, and so no {arg}");
    }
    setup::for_build(paths)?;
    setup::for_browser(paths)?;
    let mut cargo = paths.command("cargo");
    cargo.args(["build", "--release", "--bin", "webrtc-peer"]);
    logged(paths, "build the native peer", build::native_workspace(&mut cargo), minutes(60))?;
    build::webrtc_peer(paths)?;
    let (status, lines) = shown(&mut browser::webrtc_script(paths, "transport.mjs")?, minutes(20))?;
    if !status.success() {
        bail!("The measurement failed ({status}).");
    }
    let routes: Vec<Route> = lines.iter().filter_map(|line| Route::read(line)).collect();
    table(&routes);
    say(result(&routes)?);
    Ok(())
}

impl Route {
    fn read(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let rates: Option<Vec<f64>> = value["mib_per_s"].as_array()?.iter().map(Value::as_f64).collect();
        Some(Self {
            name: value["route"].as_str()?.to_owned(),
            mib_per_s: median(rates?)?,
            extra_memory_mib: value["extra_memory_mib"].as_f64(),
            longest_task_ms: value["longest_task_ms"].as_f64()?,
            longest_gap_ms: value["longest_gap_ms"].as_f64()?,
        })
    }

    fn is_ours(&self) -> bool {
        self.name != JS && !RAW.contains(&&*self.name)
    }
}

fn median(mut rates: Vec<f64>) -> Option<f64> {
    rates.sort_by(f64::total_cmp);
    let upper = *rates.get(rates.len() / 2)?;
    Some(if rates.len() % 2 == 1 { upper } else { (upper + rates[rates.len() / 2 - 1]) / 2.0 })
}

fn table(routes: &[Route]) {
    say(format_args!(
        "\n{:<20}{:>10}{:>20}{:>20}{:>22}",
        "route", "MiB/s", "extra memory, MiB", "longest task, ms", "thread not free, ms"
    ));
    for route in routes {
        let extra = route.extra_memory_mib.map_or("-".to_owned(), |mib| format!("{mib:.1}"));
        say(format_args!(
            "{:<20}{:>10.1}{:>20}{:>20.0}{:>22.0}",
            route.name, route.mib_per_s, extra, route.longest_task_ms, route.longest_gap_ms
        ));
    }
    say("A task under 50 ms is not reported by the browser, and shows as 0.\n");
}

/// The figures that goals are set for.
fn result(routes: &[Route]) -> Result<Value> {
    let rate = |name: &str| routes.iter().find(|route| route.name == name).map(|route| route.mib_per_s);
    let raw = RAW.iter().filter_map(|name| rate(name)).reduce(f64::max).context("there is no bare pair")?;
    let js = rate(JS).context("there is no js-libp2p")?;
    let ours = || routes.iter().filter(|route| route.is_ours());
    let over = |other: f64| -> Map<String, Value> {
        ours().map(|route| (route.name.clone(), json!(route.mib_per_s / other))).collect()
    };
    let most = |value: fn(&Route) -> Option<f64>| ours().filter_map(value).reduce(f64::max);
    let rates: Map<String, Value> = routes.iter().map(|one| (one.name.clone(), json!(one.mib_per_s))).collect();
    Ok(json!({
        "ratio_raw": over(raw),
        "ratio_js_libp2p": over(js),
        "extra_memory_mib": most(|route| route.extra_memory_mib),
        "longest_task_ms": most(|route| Some(route.longest_task_ms)),
        "mib_per_s": rates,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_held_against_the_faster_bare_pair() {
        let line = |route: &str, rates: [f64; 3], task: f64| json!({ "route": route, "mib_per_s": rates, "extra_memory_mib": 3.0, "longest_task_ms": task, "longest_gap_ms": 1.0 });
        let routes: Vec<Route> = [
            line("raw_16k", [9.0, 8.0, 10.0], 500.0),
            line("raw_64k", [40.0, 1.0, 20.0], 0.0),
            line("js_libp2p", [10.0, 10.0, 10.0], 0.0),
            line("tab_to_tab", [10.0, 15.0, 90.0], 30.0),
        ]
        .iter()
        .filter_map(|line| Route::read(&line.to_string()))
        .collect();
        let result = result(&routes).expect("every route is there");
        assert_eq!(result["ratio_raw"], json!({ "tab_to_tab": 0.75 }));
        assert_eq!(result["ratio_js_libp2p"], json!({ "tab_to_tab": 1.5 }));
        assert_eq!(result["longest_task_ms"], json!(30.0), "the others' tasks are not ours");
    }
}
