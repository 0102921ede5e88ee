//! Running the program as people and scripts do: processes, their JSON lines, and HTTP by hand.
#![allow(dead_code, clippy::unwrap_used, unreachable_pub)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use serde_json::Value;

/// The program with these arguments, free of this machine's settings.
pub fn tributary(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tributary"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TRIBUTARY_") {
            command.env_remove(name);
        }
    }
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub fn output(args: &[&str]) -> Output {
    tributary(args).output().unwrap()
}

/// Runs it and expects a refusal: exit code 1, nothing like a backtrace, and every one of `words`.
pub fn refused(args: &[&str], words: &[&str]) {
    let output = output(args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: ") || said.contains("\nerror: "), "{said}");
    assert!(!said.contains("panicked") && !said.contains("backtrace"), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} in: {said}");
    }
}

/// The last JSON line of a finished run.
pub fn last_json(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(said.lines().last().unwrap()).unwrap()
}

/// Text enough to train on, and a data folder made of it.
pub fn import(dir: &Path) -> String {
    let text: String = (0..4000).map(|n| format!("line {n} of a river that runs to the sea\n")).collect();
    fs::create_dir_all(dir.join("text")).unwrap();
    fs::write(dir.join("text/river.txt"), &text).unwrap();
    fs::write(dir.join("text/held.txt"), &text[..8000]).unwrap();
    let data = path(dir, "data");
    let (text, held) = (path(dir, "text"), path(dir, "text/held.txt"));
    last_json(&output(&["data", "import", &text, "--heldout", &held, "--out", &data, "--name", "river"]));
    data
}

/// A path below `dir`, as an argument.
pub fn path(dir: &Path, name: &str) -> String {
    dir.join(name).to_str().unwrap().to_owned()
}

/// A run of a model so small that a step takes no time.
pub const RUN: &str = "[model]\nwidth = 32\nlayers = 1\nheads = 2\nkv_heads = 1\nhidden = 64\ncontext = 64\n\
    [inner]\nbatch = 2\n[round]\nseconds = 1\ngrace = 5\n";

/// A running process that writes JSON lines. Killed when it goes out of scope.
pub struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Running {
    pub fn start(args: &[&str]) -> Self {
        let mut child = tributary(args).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// A coordinator on free ports of this machine.
    pub fn serve(dir: &Path, data: &str, more: &[&str]) -> (Self, Value) {
        fs::write(dir.join("run.toml"), RUN).unwrap();
        let (run, state) = (path(dir, "run.toml"), path(dir, "state"));
        let mut args = vec!["serve", "--run", &run, "--data", data, "--state", &state, "--device", "cpu"];
        args.extend([
            "--http",
            "127.0.0.1:0",
            "--listen",
            "/ip4/127.0.0.1/tcp/0",
            "--listen",
            "/ip4/127.0.0.1/tcp/0/ws",
        ]);
        args.extend(more);
        let mut serve = Self::start(&args);
        let listening = serve.event("listening");
        (serve, listening)
    }

    /// The next event of this name; those before it are passed over.
    pub fn event(&mut self, name: &str) -> Value {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "the process ended before it said {name:?}");
            let event: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line:?}: {e}"));
            if event["event"] == name {
                return event;
            }
        }
    }

    /// Sends a signal by its name, such as TERM.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end and gives the exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// GET by hand: the head and the body.
pub fn get(http: &str, path: &str, headers: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(http.strip_prefix("http://").unwrap()).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n{headers}\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    (String::from_utf8(answer[..end].to_vec()).unwrap().to_lowercase(), answer[end + 4..].to_vec())
}

/// GET of JSON.
pub fn get_json(http: &str, path: &str) -> Value {
    let (head, body) = get(http, path, "");
    assert!(head.contains(" 200 "), "{head}");
    serde_json::from_slice(&body).unwrap()
}
