//! Lines on stdout: for people on a terminal, one JSON object a line elsewhere, so that a script or a
//! test reads the same events that a person does.

use std::io::{IsTerminal, Write};

use serde_json::Value;

/// Where events go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    /// By what stdout is.
    pub(crate) fn new() -> Self {
        Self { json: !std::io::stdout().is_terminal() }
    }

    /// Whether events leave as JSON.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Writes one event in the form that the reader wants.
    pub(crate) fn event(self, json: impl FnOnce() -> Value, human: impl FnOnce() -> String) {
        let line = if self.json { json().to_string() } else { human() };
        if line.is_empty() {
            return;
        }
        // A reader that went away is no reason to stop training.
        let mut stdout = std::io::stdout().lock();
        let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    }
}
