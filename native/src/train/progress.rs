//! What a contributor shows: one line that moves on a terminal, JSON lines elsewhere.
//!
//! Enters: snapshots, some of which may have been missed in between. Leaves: every phase, link and round
//! once, and the numbers at most every two seconds.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use tributary_protocol::Id;
use tributary_protocol::job::{Backend, DeviceInfo};
use tributary_protocol::view::{Link, Phase, RoundRow, Snapshot, Verdict, Witnessing};

use super::find::Found;
use crate::output::Output;

/// Between two progress lines for scripts.
const EVERY: Duration = Duration::from_secs(2);

/// What was shown.
pub(super) struct Progress {
    output: Output,
    bar: ProgressBar,
    me: Id,
    phase: Option<Phase>,
    link: Option<Link>,
    device: Option<DeviceInfo>,
    notice: Option<String>,
    checking: Option<Witnessing>,
    rounds: BTreeSet<u64>,
    credited: u64,
    shown_at: Option<Instant>,
}

impl Progress {
    /// Nothing shown yet.
    pub(super) fn new(me: Id) -> Self {
        let output = Output::new();
        let bar = if output.is_json() {
            ProgressBar::hidden()
        } else {
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout())
        };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        let (rounds, credited, shown_at) = (BTreeSet::new(), 0, None);
        let (phase, link, device, notice, checking) = (None, None, None, None, None);
        Self { output, bar, me, phase, link, device, notice, checking, rounds, credited, shown_at }
    }

    /// Rounds that were credited.
    pub(super) fn credited(&self) -> u64 {
        self.credited
    }

    /// Whom it joins.
    pub(super) fn joining(&self, found: &Found) {
        let (me, addr) = (self.me, found.addr.to_string());
        let name = found.name.as_deref().unwrap_or("the coordinator's run");
        self.say(
            || json!({"event": "joining", "me": me, "addr": addr, "run": found.run, "name": found.name}),
            || format!("joining {name} at {addr} as {me}"),
        );
    }

    /// Where it can be seen and controlled.
    pub(super) fn page(&self, url: &str) {
        self.say(|| json!({"event": "page", "url": url}), || format!("see and control it in a browser: {url}"));
    }

    /// It can be seen here only; training needs no page.
    pub(super) fn no_page(&self, why: &anyhow::Error) {
        self.say(|| json!({"event": "notice", "text": format!("{why:#}")}), || format!("no page: {why:#}"));
    }

    /// The first Ctrl-C.
    pub(super) fn finishing(&self) {
        self.say(
            || json!({"event": "finishing"}),
            || "finishing the round and sending its update; Ctrl-C again stops now".to_owned(),
        );
    }

    /// The last line.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
        let credited = self.credited;
        self.output.event(
            || json!({"event": "stopped", "credited": credited}),
            || format!("stopped; {credited} rounds were credited"),
        );
    }

    /// Shows what is new.
    pub(super) fn show(&mut self, snapshot: &Snapshot) {
        if self.device != snapshot.device {
            self.device.clone_from(&snapshot.device);
            if let Some(device) = &snapshot.device {
                self.say(|| device_json(device), || device_line(device));
            }
        }
        if self.notice != snapshot.notice {
            self.notice.clone_from(&snapshot.notice);
            if let Some(notice) = &snapshot.notice {
                self.say(|| json!({"event": "notice", "text": notice}), || notice.clone());
            }
        }
        if self.checking != snapshot.witness.now {
            self.checking.clone_from(&snapshot.witness.now);
            if let Some(Witnessing { who, round }) = &snapshot.witness.now {
                self.say(
                    || json!({"event": "checking", "who": who, "round": round}),
                    || format!("checking a part of what {who} did for round {round}; training goes on after it"),
                );
            }
        }
        if self.phase.as_ref() != Some(&snapshot.phase) {
            self.phase = Some(snapshot.phase.clone());
            self.say(|| tagged("phase", &snapshot.phase), String::new);
        }
        // Only the attempt's clock runs on while the coordinator is away.
        let kind = |link: &Link| std::mem::discriminant(link);
        if self.link.as_ref().map(kind) != Some(kind(&snapshot.link)) {
            self.link = Some(snapshot.link.clone());
            self.say(|| tagged("link", &snapshot.link), || link_line(&snapshot.link));
        }
        self.show_rounds(snapshot);
        self.bar.set_message(line(snapshot));
        let due = self.shown_at.is_none_or(|at| at.elapsed() >= EVERY);
        if due && snapshot.phase == Phase::Training {
            self.shown_at = Some(Instant::now());
            self.say(|| progress_json(snapshot), String::new);
        }
    }

    /// Oldest first, each once, when nothing more will become of it.
    fn show_rounds(&mut self, snapshot: &Snapshot) {
        let newest = snapshot.rounds.first().map_or(0, |row| row.round);
        for row in snapshot.rounds.iter().rev() {
            let judged = !matches!(row.verdict, Verdict::Sent | Verdict::Accepted);
            // The state comes with the fold, a moment after or before the verdict; a round that was slept
            // through never has one, and nothing comes after the end.
            let ended = snapshot.phase == Phase::Idle || row.round + 2 <= newest;
            let over = judged && (row.state.is_some() || ended);
            if !over || !self.rounds.insert(row.round) {
                continue;
            }
            if let Verdict::Credited { .. } = row.verdict {
                self.credited += 1;
            }
            self.say(|| round_json(row, snapshot.credits), || round_line(row, snapshot.credits));
        }
    }

    fn say(&self, json: impl FnOnce() -> Value, human: impl FnOnce() -> String) {
        self.bar.suspend(|| self.output.event(json, human));
    }
}

fn tagged(event: &str, value: &impl serde::Serialize) -> Value {
    let mut json = serde_json::to_value(value).unwrap_or_default();
    if let Some(object) = json.as_object_mut() {
        // {"kind": "training"} reads {"event": "phase", "phase": "training"}.
        let kind = object.remove("kind").unwrap_or_default();
        object.insert("event".to_owned(), event.into());
        object.insert(event.to_owned(), kind);
    }
    json
}

fn device_json(device: &DeviceInfo) -> Value {
    json!({"event": "device", "backend": device.backend, "name": device.name, "note": device.note})
}

fn device_line(device: &DeviceInfo) -> String {
    let what = match device.backend {
        Backend::WebGpu | Backend::Wgpu => "GPU",
        Backend::Cpu => "CPU",
    };
    let note = device.note.as_ref().map_or_else(String::new, |note| format!(" ({note})"));
    format!("training on the {what}: {}{note}", device.name)
}

fn link_line(link: &Link) -> String {
    match link {
        Link::Away { why, .. } => format!("the coordinator is away ({why}); training goes on, and it is tried again"),
        Link::Online => "connected to the coordinator".to_owned(),
        Link::Off | Link::Dialling => String::new(),
    }
}

fn progress_json(snapshot: &Snapshot) -> Value {
    json!({
        "event": "progress",
        "round": snapshot.round.map(|round| round.round),
        "left_ms": snapshot.round.and_then(|round| round.left_ms),
        "round_tokens": snapshot.round.map(|round| round.tokens),
        "tokens": snapshot.tokens,
        "tokens_per_s": snapshot.tokens_per_s,
        "loss": snapshot.loss,
        "credits": snapshot.credits,
        "peers": snapshot.peers_total,
        "links_up": snapshot.links.up,
        "links_wanted": snapshot.links.wanted,
        "up_per_s": snapshot.up_per_s,
        "down_per_s": snapshot.down_per_s,
        "round_bytes_up": snapshot.bytes_round_up,
        "round_bytes_down": snapshot.bytes_round_down,
        "earnings": snapshot.earnings,
        "checked": snapshot.witness.segments,
        "bulk_direct": snapshot.bulk_direct,
        "bulk_coordinator": snapshot.bulk_coordinator,
    })
}

fn round_json(row: &RoundRow, total: u64) -> Value {
    let (verdict, credits, why) = verdict(&row.verdict);
    json!({
        "event": "round", "round": row.round, "tokens": row.tokens, "state": row.state,
        "verdict": verdict, "credits": credits, "why": why, "total": total,
    })
}

fn round_line(row: &RoundRow, total: u64) -> String {
    let state = row.state.as_deref().map_or("", |state| &state[..state.len().min(8)]);
    match verdict(&row.verdict) {
        ("credited", credits, _) => {
            format!("round {}: {} tokens, credited {credits}, {total} in all; state {state}", row.round, row.tokens)
        }
        (verdict, _, None) => format!("round {}: {verdict}; state {state}", row.round),
        (verdict, _, Some(why)) => format!("round {}: {verdict}: {why}; state {state}", row.round),
    }
}

fn verdict(verdict: &Verdict) -> (&'static str, u64, Option<&str>) {
    match verdict {
        Verdict::Sent => ("sent", 0, None),
        Verdict::Accepted => ("accepted", 0, None),
        Verdict::Credited { credits } => ("credited", *credits, None),
        Verdict::Refused { why } => ("refused", 0, Some(why)),
        Verdict::Withheld { why } => ("withheld", 0, Some(why)),
        Verdict::Watched => ("watched", 0, None),
    }
}

/// The line that moves.
fn line(snapshot: &Snapshot) -> String {
    let what = match &snapshot.phase {
        Phase::Idle => "stopped; Start on the page goes on, Ctrl-C ends the program".to_owned(),
        Phase::Connecting => "connecting".to_owned(),
        Phase::Preparing { what } => what.clone(),
        Phase::Waiting => "waiting for a round".to_owned(),
        Phase::Training => "training".to_owned(),
        Phase::Finishing => "finishing the round".to_owned(),
        Phase::Failed { why } => return why.clone(),
    };
    let mut parts = vec![what];
    if let Link::Away { retry_in_ms, .. } = &snapshot.link {
        parts.push(format!("coordinator away, next attempt in {} s", retry_in_ms.div_ceil(1000)));
    }
    if let Some(round) = snapshot.round {
        let left = round.left_ms.map_or_else(|| "folding".to_owned(), |ms| format!("{} s left", ms.div_ceil(1000)));
        parts.push(format!("round {} ({left})", round.round));
    }
    if let Some(loss) = snapshot.loss {
        parts.push(format!("loss {loss:.3}"));
    }
    if snapshot.tokens_per_s > 0.0 {
        parts.push(format!("{:.0} tokens/s", snapshot.tokens_per_s));
    }
    if snapshot.links.wanted > 0 {
        parts.push(format!("direct links {} of {}", snapshot.links.up, snapshot.links.wanted));
    }
    parts.push(format!("{} credits", snapshot.credits));
    parts.join(" · ")
}

#[cfg(test)]
mod tests {
    use tributary_protocol::view::LinksView;

    use super::*;

    fn row(round: u64, verdict: Verdict, state: Option<&str>) -> RoundRow {
        RoundRow { round, tokens: 10, verdict, state: state.map(str::to_owned) }
    }

    fn snapshot(rounds: Vec<RoundRow>) -> Snapshot {
        Snapshot {
            me: String::new(),
            phase: Phase::Training,
            link: Link::Online,
            run: None,
            device: None,
            round: None,
            tokens: 0,
            tokens_per_s: 0.0,
            loss: None,
            earnings: Default::default(),
            witness: Default::default(),
            credits: 5,
            losses: vec![],
            rounds,
            peers: vec![],
            peers_total: 0,
            links: LinksView { up: 3, wanted: 5, why: None },
            up_per_s: 0,
            down_per_s: 0,
            bytes_round_up: 0,
            bytes_round_down: 0,
            bulk_direct: 0,
            bulk_coordinator: 0,
            answer: None,
            notice: None,
        }
    }

    #[test]
    fn a_round_is_shown_once_and_only_when_it_is_over() {
        let mut progress = Progress::new(Id([1; 32]));
        let credited = Verdict::Credited { credits: 5 };
        progress.show(&snapshot(vec![row(3, Verdict::Sent, None)]));
        progress.show(&snapshot(vec![row(3, credited.clone(), None)]));
        assert!(progress.rounds.is_empty());
        for _ in 0..2 {
            progress.show(&snapshot(vec![row(3, credited.clone(), Some("ab"))]));
            assert_eq!(progress.credited(), 1);
        }
        // Round 4 has no state and never will: two rounds have passed since.
        let refused = Verdict::Refused { why: "late".into() };
        progress.show(&snapshot(vec![row(6, Verdict::Sent, None), row(4, refused, None)]));
        assert_eq!((progress.rounds.len(), progress.credited()), (2, 1));
    }

    #[test]
    fn lines_say_what_happened() {
        let json = tagged("phase", &Phase::Preparing { what: "fetching".into() });
        assert_eq!(json, json!({"event": "phase", "phase": "preparing", "what": "fetching"}));
        let line = round_line(&row(3, Verdict::Refused { why: "too late".into() }, Some("abcdef0123")), 0);
        assert_eq!(line, "round 3: refused: too late; state abcdef01");
        assert_eq!(super::line(&snapshot(vec![])), "training · direct links 3 of 5 · 5 credits");
        assert_eq!(round_json(&row(3, Verdict::Credited { credits: 7 }, Some("ab")), 9)["credits"], 7);
    }
}
