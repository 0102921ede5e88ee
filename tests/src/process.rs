//! The `tributary` program as people and scripts run it: processes, their JSON lines, HTTP by hand.
//!
//! A test waits for what a process says, never for time to pass; only how long it waits is bounded.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long something may take that takes seconds: a slow machine that does much else at once.
const PATIENCE: Duration = Duration::from_secs(120);

/// Lines that wait for a test to read them; then the process waits with its next one. An hour's worth.
const LINES: usize = 10_000;

/// The program, which `cargo xtask test` builds beforehand. `TRIBUTARY_BIN` names another one.
pub fn program() -> PathBuf {
    if let Some(named) = std::env::var_os("TRIBUTARY_BIN") {
        return named.into();
    }
    let test = std::env::current_exe().unwrap();
    let name = format!("release/tributary{}", std::env::consts::EXE_SUFFIX);
    let found = test.ancestors().map(|folder| folder.join(&name)).find(|path| path.is_file());
    found.expect("The program isn't built. `cargo xtask test` builds it, or: cargo build --release -p tributary")
}

/// The program with these arguments, free of this machine's settings.
fn tributary<S: AsRef<str>>(args: &[S]) -> Command {
    let mut command = Command::new(program());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TRIBUTARY_") {
            command.env_remove(name);
        }
    }
    command.args(args.iter().map(AsRef::as_ref)).stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub fn output<S: AsRef<str>>(args: &[S]) -> Output {
    tributary(args).output().unwrap()
}

/// Runs the program to its end, which must be good, and gives its last line.
pub fn last_event<S: AsRef<str>>(args: &[S]) -> Value {
    let output = output(args);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(said.lines().last().unwrap()).unwrap()
}

/// A running process that writes JSON lines; killed when it goes out of scope.
#[derive(Debug)]
pub struct Process {
    what: String,
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
    stderr: Option<JoinHandle<String>>,
}

impl Process {
    /// Starts the program.
    pub fn start<S: AsRef<str>>(args: &[S]) -> Self {
        let mut child = tributary(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, mut errors) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (sender, lines) = sync_channel(LINES);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let stderr = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = errors.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let what = args.iter().map(AsRef::as_ref).take(2).collect::<Vec<_>>().join(" ");
        Self { what, child, lines, said: Vec::new(), stderr: Some(stderr) }
    }

    /// The next event that is wanted; those before it are passed over.
    pub fn wait_for(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let line = match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => line,
                Err(why) => self.give_up(what, why),
            };
            let event: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
            self.said.push(line);
            if wanted(&event) {
                return event;
            }
        }
    }

    /// The next event of this name.
    pub fn event(&mut self, name: &str) -> Value {
        self.wait_for(name, |event| event["event"] == name)
    }

    fn give_up(&mut self, what: &str, why: RecvTimeoutError) -> ! {
        let _ = self.child.kill();
        let stderr = self.errors();
        let why = match why {
            RecvTimeoutError::Timeout => format!("did not say it in {} s", PATIENCE.as_secs()),
            RecvTimeoutError::Disconnected => "ended before".to_owned(),
        };
        panic!("waiting for {what}: `tributary {}` {why}\n{}\n{stderr}", self.what, self.said.join("\n"));
    }

    /// Ends it at once, as when the power fails.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end: the exit code and what it wrote to stderr.
    pub fn end(&mut self) -> (Option<i32>, String) {
        // Its end closes stdout, which ends the wait.
        let until = Instant::now() + PATIENCE;
        while let Ok(line) = self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            self.said.push(line);
        }
        assert!(Instant::now() < until, "`tributary {}` does not end\n{}", self.what, self.said.join("\n"));
        (self.child.wait().unwrap().code(), self.errors())
    }

    fn errors(&mut self) -> String {
        self.stderr.take().map(|thread| thread.join().unwrap()).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A coordinator's folders and addresses, which stay the same over restarts.
#[derive(Debug)]
pub struct Site {
    /// Everything lies in here.
    pub dir: tempfile::TempDir,
    /// The web server's address, once it was started.
    pub http: String,
    listen: String,
}

impl Site {
    /// Imported text and a run of a model so small that a step takes no time.
    pub fn new(seconds: u32, grace: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (http, listen) = ("http://127.0.0.1:0".to_owned(), "/ip4/127.0.0.1/tcp/0".to_owned());
        let site = Self { dir, http, listen };
        fs::create_dir_all(site.dir.path().join("text")).unwrap();
        let text: String = (0..4000).map(|n| format!("line {n} of a river that runs to the sea\n")).collect();
        fs::write(site.path("text/river.txt"), &text).unwrap();
        fs::write(site.path("text/held.txt"), &text[..8000]).unwrap();
        let (text, held, data) = (site.path("text"), site.path("text/held.txt"), site.path("data"));
        last_event(&["data", "import", &text, "--heldout", &held, "--out", &data, "--name", "river"]);
        site.write_run("run.toml", 0, seconds, grace);
        site
    }

    /// Writes a run file; another seed is another run.
    pub fn write_run(&self, name: &str, seed: u64, seconds: u32, grace: u32) {
        // Whole updates and steps: in two thousand steps a round, which is what so small a model gets, what few values
        // say of them leads astray, and rounds of which nothing can be sent are not what these tests are about.
        let run = format!(
            "seed = {seed}\nupdate = \"f32\"\nfirst = \"f32\"\nstep = \"f32\"\n[model]\nwidth = 32\nlayers = 1\nheads = 2\nkv_heads = 1\nhidden = 64\ncontext = 64\n\
             [inner]\nbatch = 2\n[round]\nseconds = {seconds}\ngrace = {grace}\n"
        );
        fs::write(self.path(name), run).unwrap();
    }

    /// A path below the folder, as an argument.
    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// The arguments that start the coordinator with a run file and a state folder.
    pub fn serve_args(&self, run: &str, state: &str) -> Vec<String> {
        let http = self.http.trim_start_matches("http://").to_owned();
        let (run, data, state) = (self.path(run), self.path("data"), self.path(state));
        let args = ["serve", "--run", &run, "--data", &data, "--state", &state, "--device", "cpu", "--http", &http];
        args.into_iter().chain(["--listen", &self.listen]).map(str::to_owned).collect()
    }

    /// Starts the coordinator, the first time on free ports and then always on those.
    pub fn serve(&mut self, run: &str, state: &str) -> (Process, Value) {
        let mut serve = Process::start(&self.serve_args(run, state));
        let listening = serve.event("listening");
        self.http = listening["http"].as_str().unwrap().to_owned();
        let addr = listening["addrs"][0].as_str().unwrap();
        self.listen = addr.split("/p2p/").next().unwrap().to_owned();
        (serve, listening)
    }

    /// Starts a contributor with an identity of this name: the process and its peer id.
    pub fn train(&self, name: &str) -> (Process, String) {
        let state = self.path(name);
        let mut train = Process::start(&["train", &self.http, "--device", "cpu", "--state", &state]);
        let me = train.event("joining")["me"].as_str().unwrap().to_owned();
        (train, me)
    }

    /// GET of JSON from the coordinator.
    pub fn get(&self, path: &str) -> Value {
        let (head, body) = self.ask(&format!("GET {path} HTTP/1.0\r\n\r\n"));
        assert!(head.contains(" 200 "), "{head}");
        serde_json::from_slice(&body).unwrap()
    }

    /// GET of whatever it is.
    pub fn bytes(&self, path: &str) -> Vec<u8> {
        self.ask(&format!("GET {path} HTTP/1.0\r\n\r\n")).1
    }

    /// POST from a page at `origin`: the status and the answer.
    pub fn post(&self, path: &str, origin: &str, body: &str) -> (u16, Value) {
        let host = self.http.trim_start_matches("http://");
        let head = format!(
            "POST {path} HTTP/1.0\r\nhost: {host}\r\norigin: {origin}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let (head, body) = self.ask(&(head + body));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    fn ask(&self, request: &str) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(self.http.trim_start_matches("http://")).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // Whoever is refused for a body that is too long may find the connection closed.
        let _ = stream.read_to_end(&mut answer);
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer's head");
        (String::from_utf8(answer[..end].to_vec()).unwrap(), answer[end + 4..].to_vec())
    }
}

/// A page that answers every request with this JSON: its address. Serves until the test's process ends.
pub fn page(json: &Value) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let body = json.to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = stream;
            let mut request = [0; 2048];
            let _ = stream.read(&mut request);
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n", body.len());
            let _ = write!(stream, "{head}connection: close\r\n\r\n{body}");
        }
    });
    url
}

/// Flips a bit in the middle of a file.
pub fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}
