//! `tributary model generate`: text from a coordinator's newest weights.
//!
//! Leaves: on a terminal the text as it is written; elsewhere one JSON object with all of it. How fast it came is said
//! on stderr. Refuses what the model can't go on from, in a sentence.

use std::io::{self, Write};
use std::time::Instant;

use futures::executor::block_on;
use serde_json::json;
use tributary_protocol::job::{Ask, readable};
use tributary_trainer::{Generator, Turn, open_device};

use crate::cli::GenerateArgs;
use crate::model;
use crate::output::Output;

pub(crate) fn run(args: &GenerateArgs) -> anyhow::Result<()> {
    let (newest, weights) = model::newest(&args.state)?;
    let (device, info) = block_on(open_device(args.device.unwrap_or_default())).map_err(anyhow::Error::msg)?;
    let GenerateArgs { prompt, tokens, temperature, seed, .. } = args;
    let ask = Ask { id: 0, prompt: prompt.clone(), tokens: *tokens, temperature: *temperature, seed: *seed };
    let mut generator = Generator::new(&newest.spec.model, &weights, device, &ask)?;

    let output = Output::new();
    let mut shown = Shown { on: !output.is_json(), bytes: 0 };
    shown.more(prompt);
    let (mut written, mut began) = (Vec::new(), Instant::now());
    let end = loop {
        match block_on(generator.turn())? {
            Turn::Read => began = Instant::now(),
            Turn::Wrote(byte) => {
                written.push(byte);
                shown.more(&format!("{prompt}{}", readable(&written, false)));
            }
            Turn::Ended(end) => break end,
        }
    };
    let seconds = began.elapsed().as_secs_f64();
    let text = readable(&written, true);
    shown.more(&format!("{prompt}{text}\n"));
    let rate = written.len() as f64 / seconds.max(1e-9);
    output.event(
        || {
            json!({
                "event": "generated",
                "run": newest.spec.id(),
                "round": newest.round,
                "state": newest.base.hash,
                "device": info.name,
                "prompt": prompt,
                "text": text,
                "tokens": written,
                "end": end,
                "tokens_per_s": rate,
            })
        },
        String::new,
    );
    eprintln!("{} tokens in {seconds:.2} s: {rate:.1} tokens/s on {}", written.len(), info.name);
    Ok(())
}

/// What stands on the terminal so far.
struct Shown {
    on: bool,
    bytes: usize,
}

impl Shown {
    /// Adds what `text` has more. A terminal would obey control characters, so they are left out.
    fn more(&mut self, text: &str) {
        let more = text.get(self.bytes..).unwrap_or_default();
        self.bytes = text.len();
        if !self.on {
            return;
        }
        let more: String = more.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
        // A reader that went away is no reason to fail.
        let mut stdout = io::stdout().lock();
        let _ = stdout.write_all(more.as_bytes()).and_then(|()| stdout.flush());
    }
}
