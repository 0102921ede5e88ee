//! `/metrics`: the board in Prometheus' text format (exposition format 0.0.4).

use std::fmt::Write;

use tributary_ledger::Balance;

use super::board::State;

/// The page.
pub(super) fn page(state: &State) -> String {
    let mut page = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, lines: &[(String, f64)]| {
        // Writing to a string cannot fail.
        let _ = writeln!(page, "# HELP tributary_{name} {help}\n# TYPE tributary_{name} {kind}");
        for (labels, value) in lines {
            let _ = writeln!(page, "tributary_{name}{labels} {value}");
        }
    };
    let one = |value: f64| vec![(String::new(), value)];
    metric("peers", "gauge", "Contributors that are connected.", &one(state.peers as f64));
    metric("round", "gauge", "The newest round that has not folded.", &one(state.round as f64));
    metric("ready", "gauge", "1 when a round can open.", &one(f64::from(u8::from(state.ready))));
    metric("updates_accepted_total", "counter", "Updates folded.", &one(state.accepted as f64));
    let refused: Vec<_> =
        state.refused.iter().map(|(reason, n)| (format!("{{reason=\"{reason}\"}}"), *n as f64)).collect();
    metric("commits_refused_total", "counter", "Commits refused, by reason.", &refused);
    metric("frames_refused_total", "counter", "Frames that were no message.", &one(state.bad_frames as f64));
    metric("peers_dropped_total", "counter", "Connections dropped for misbehaviour.", &one(state.dropped as f64));
    let bytes = [("up", state.traffic.up), ("down", state.traffic.down)];
    let bytes = bytes.map(|(direction, n)| (format!("{{direction=\"{direction}\"}}"), n as f64));
    metric("bytes_total", "counter", "Bytes sent and received.", &bytes);
    let (folds, took) = state.folds;
    let folds = [("_count".to_owned(), folds as f64), ("_sum".to_owned(), took.as_secs_f64())];
    metric("fold_seconds", "summary", "Time that folds took.", &folds);
    let paid = state.credits.values().map(Balance::paid).sum::<u64>();
    metric("credits_total", "counter", "Credits ever paid.", &one(paid as f64));
    let loss: Vec<_> = state.bits_per_byte.into_iter().map(|loss| (String::new(), f64::from(loss))).collect();
    metric("heldout_bits_per_byte", "gauge", "Loss of the newest state on held-out text.", &loss);
    page
}

#[cfg(test)]
mod tests {
    use tributary_protocol::{Hash, Id};

    use super::super::board::{Board, RunJson};
    use super::*;

    #[test]
    fn every_line_is_a_comment_or_a_number() {
        let board = Board::new(RunJson {
            run: Hash::default(),
            name: "test".into(),
            peer: Id([1; 32]),
            addrs: Vec::new(),
            version: 1,
            params: 1,
            round_seconds: 1,
            pool: 1,
        });
        board.lock().refused.insert("late".into(), 3);
        let page = page(&board.lock());
        assert!(page.contains("\ntributary_commits_refused_total{reason=\"late\"} 3\n"), "{page}");
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(name.starts_with("tributary_") && value.parse::<f64>().is_ok(), "{line}");
        }
    }
}
