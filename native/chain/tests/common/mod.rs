//! A chain to test with: anvil, whose program `TRIBUTARY_ANVIL` names (`cargo xtask test --only chain`).
#![allow(dead_code, reason = "each test file uses some of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tributary_chain::{Key, Node, Sender, Terms};
use tributary_ledger::Wallet;

/// anvil's first accounts, which every installation has.
pub(crate) const OPERATOR: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
pub(crate) const ANOTHER: &str = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
pub(crate) const GUARDIAN: Wallet = [0x77; 20];
pub(crate) const RUN: [u8; 32] = [9; 32];

/// A node of its own, which ends with this.
pub(crate) struct Anvil {
    child: Child,
    pub(crate) port: u16,
}

impl Anvil {
    /// None where there is no anvil: the suite that has one names it.
    pub(crate) fn start() -> Option<Self> {
        let Some(program) = std::env::var_os("TRIBUTARY_ANVIL") else {
            eprintln!("skipped: TRIBUTARY_ANVIL names no anvil");
            return None;
        };
        let mut child = Command::new(program).args(["--port", "0"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.find_map(|line| line.unwrap().strip_prefix("Listening on 127.0.0.1:")?.parse().ok()).unwrap();
        // Read on, or its output would fill up and stop it.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { child, port })
    }

    /// To ask it.
    pub(crate) fn node(&self) -> Node {
        Node::new(&format!("http://127.0.0.1:{}", self.port))
    }

    /// To send in the operator's name.
    pub(crate) fn sender(&self, folder: &Path) -> Sender {
        Sender::new(self.node(), Key::from_text(OPERATOR).unwrap(), folder.to_owned())
    }

    /// A command of anvil's own.
    pub(crate) fn tell(&self, method: &str, params: &str) -> String {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let head = "POST / HTTP/1.1\r\nhost: anvil\r\nconnection: close\r\ncontent-type: application/json\r\n";
        write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("\"result\""), "{method}: {answer}");
        answer
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Epochs of four rounds.
pub(crate) fn terms(sender: &Sender) -> Terms {
    Terms {
        name: "Tributary".to_owned(),
        symbol: "TRIB".to_owned(),
        run: RUN,
        submitter: sender.address(),
        guardian: GUARDIAN,
        cap: 4_000_000,
        rounds: 4,
        period: 60,
        delay: 30,
    }
}
