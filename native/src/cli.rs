//! The command line. Flags stand above the environment, which stands above `tributary.toml`
//! ([`crate::config`]); so every setting that a file may give is optional here.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use tributary_protocol::job::DeviceChoice;

use crate::chain::ChainCommand;
use crate::wallet::WalletArgs;

/// Train one language model together, on browser tabs and gaming PCs.
#[derive(Debug, Parser)]
#[command(name = "tributary", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// Settings file with [serve] and [train] tables; ./tributary.toml where there is one
    #[arg(long, global = true, value_name = "FILE", env = "TRIBUTARY_CONFIG", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  tributary data import books/ --heldout macbeth.txt --out data --name books
  tributary serve --data data --state state
  tributary train http://127.0.0.1:8080
  tributary model export --state state --out model
  tributary model generate --state state --prompt \"Once upon a time\"
  tributary ledger verify http://127.0.0.1:8080
  tributary chain status --rpc http://127.0.0.1:8545
  tributary wallet link http://127.0.0.1:8080
  tributary identity export --out tributary-identity.txt

Settings come from tributary.toml, then TRIBUTARY_* in the environment, then flags; the later wins.
TRIBUTARY_LOG=debug writes a log to stderr.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Coordinate a run: open rounds, judge and fold updates, keep the credits, serve the page
    Serve(ServeArgs),
    /// Contribute to a run: train on this machine and earn credits
    ///
    /// The first Ctrl-C finishes the round and sends its update, the second stops at once.
    #[command(verbatim_doc_comment)]
    Train(TrainArgs),
    /// Prepare training data
    Data {
        #[command(subcommand)]
        command: DataCommand,
    },
    /// Use the trained model
    Model {
        #[command(subcommand)]
        command: ModelCommand,
    },
    /// Check a coordinator's books
    Ledger {
        #[command(subcommand)]
        command: LedgerCommand,
    },
    /// Let contributors claim on a chain what they earned
    Chain {
        #[command(subcommand)]
        command: ChainCommand,
    },
    /// Say which wallet this contributor's earnings go to
    Wallet(WalletArgs),
    /// Back up who this contributor is, and with it what it earned; take it to another machine
    Identity(IdentityArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// Turn text into hashed token shards and a manifest that names them
    Import(ImportArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Write a coordinator's newest weights as a folder that Hugging Face transformers loads
    Export(ExportArgs),
    /// Have a coordinator's newest weights write on from a text
    Generate(GenerateArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    /// Recompute every balance from the log, and check every signature in it
    Verify(LedgerVerifyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct LedgerVerifyArgs {
    /// A coordinator's page, a log that was saved from one, or a coordinator's state folder
    #[arg(value_name = "URL|FILE")]
    pub(crate) log: String,
    /// Compare with a checkpoint that was kept: the file `checkpoint` in a contributor's state folder
    #[arg(long, value_name = "FILE")]
    pub(crate) remembered: Option<PathBuf>,
    /// Save the log that was fetched
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct ServeArgs {
    /// What to train; without it the state folder's run goes on, or a first run of the tiny model begins
    #[arg(long, value_name = "run.toml", env = "TRIBUTARY_RUN", hide_env_values = true)]
    pub(crate) run: Option<PathBuf>,
    /// Folder that `tributary data import` wrote; by default the folder of the run file's manifest
    #[arg(long, value_name = "DIR", env = "TRIBUTARY_DATA", hide_env_values = true)]
    pub(crate) data: Option<PathBuf>,
    /// Folder for the identity, the journal and the weights [default: ./state]
    #[arg(long, value_name = "DIR", env = "TRIBUTARY_STATE", hide_env_values = true)]
    pub(crate) state: Option<PathBuf>,
    /// Where the page and the API are served; port 0 takes any free one [default: 0.0.0.0:8080]
    #[arg(long, value_name = "ADDR", env = "TRIBUTARY_HTTP", hide_env_values = true)]
    pub(crate) http: Option<String>,
    /// Where peers connect; may be given several times [default: TCP and QUIC on 4001, WebRTC on 4002, WebSocket on 4003]
    #[arg(long, value_name = "MULTIADDR", env = "TRIBUTARY_LISTEN", hide_env_values = true, value_delimiter = ',')]
    pub(crate) listen: Vec<String>,
    /// Further addresses by which peers reach this machine, such as a proxy's; told to them first
    #[arg(long, value_name = "MULTIADDR", env = "TRIBUTARY_ANNOUNCE", hide_env_values = true, value_delimiter = ',')]
    pub(crate) announce: Vec<String>,
    /// Folder of the built page [default: `www` beside the program, or ./www/dist]
    #[arg(long, value_name = "DIR", env = "TRIBUTARY_WWW", hide_env_values = true)]
    pub(crate) www: Option<PathBuf>,
    /// Device that measures the loss on held-out text: auto, gpu or cpu [default: auto]
    #[arg(long, value_name = "DEVICE", env = "TRIBUTARY_DEVICE", hide_env_values = true, value_parser = device)]
    pub(crate) device: Option<DeviceChoice>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct TrainArgs {
    /// The coordinator: its page's address (http://HOST:8080) or a multiaddr that ends in /p2p/ID
    #[arg(value_name = "URL|MULTIADDR", env = "TRIBUTARY_COORDINATOR", hide_env_values = true)]
    pub(crate) coordinator: Option<String>,
    /// Device to train on: auto (a real GPU, else the CPU), gpu or cpu [default: auto]
    #[arg(long, value_name = "DEVICE", env = "TRIBUTARY_DEVICE", hide_env_values = true, value_parser = device)]
    pub(crate) device: Option<DeviceChoice>,
    /// Folder for this contributor's identity [default: the user's data folder]
    #[arg(long, value_name = "DIR", env = "TRIBUTARY_TRAIN_STATE", hide_env_values = true)]
    pub(crate) state: Option<PathBuf>,
    /// Stop after this many credited rounds
    #[arg(long, value_name = "N", env = "TRIBUTARY_ROUNDS", hide_env_values = true, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rounds: Option<u64>,
    /// Most that goes up to others in a second, such as 500KB or 2MB; without it there is no limit
    #[arg(long, value_name = "BYTES", env = "TRIBUTARY_UPLOAD_LIMIT", hide_env_values = true, value_parser = rate)]
    pub(crate) upload_limit: Option<u64>,
    /// Where this machine's browser finds the page of this contributor, or off [default: 127.0.0.1:8090, or another port]
    #[arg(long, value_name = "ADDR|off", env = "TRIBUTARY_PAGE", hide_env_values = true)]
    pub(crate) page: Option<String>,
    /// Folder of the built page [default: `www` beside the program, or ./www/dist]
    #[arg(long, value_name = "DIR", env = "TRIBUTARY_WWW", hide_env_values = true)]
    pub(crate) www: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Files and folders of .txt and .jsonl (one object a line, field "text")
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Files and folders to evaluate on; kept out of training even where PATH contains them
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub(crate) heldout: Vec<PathBuf>,
    /// Folder for manifest.json and the shards
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// The data's name, for people
    #[arg(long)]
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The coordinator's state folder; the coordinator may be running
    #[arg(long, value_name = "DIR", env = "TRIBUTARY_STATE", hide_env_values = true, default_value = "state")]
    pub(crate) state: PathBuf,
    /// Folder for model.safetensors, config.json and the tokenizer
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// The coordinator's state folder; the coordinator may be running
    #[arg(long, value_name = "DIR", env = "TRIBUTARY_STATE", hide_env_values = true, default_value = "state")]
    pub(crate) state: PathBuf,
    /// The text to write on from
    #[arg(long, value_name = "TEXT")]
    pub(crate) prompt: String,
    /// Tokens to write at most; with the prompt they have to fit what the model reads
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) tokens: u32,
    /// 0 takes the likeliest token each time; 1 draws by the model's own probabilities, more is wilder, at most 10
    #[arg(long, value_name = "T", default_value_t = 0.8)]
    pub(crate) temperature: f32,
    /// Where draws begin: the same seed draws the same
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Device to compute on: auto, gpu or cpu [default: auto]
    #[arg(long, value_name = "DEVICE", env = "TRIBUTARY_DEVICE", hide_env_values = true, value_parser = device)]
    pub(crate) device: Option<DeviceChoice>,
}

#[derive(Debug, Args)]
pub(crate) struct IdentityArgs {
    /// Folder of the contributor's identity, as for `train` [default: the user's data folder]
    #[arg(long, global = true, value_name = "DIR", env = "TRIBUTARY_TRAIN_STATE", hide_env_values = true)]
    pub(crate) state: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: IdentityCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IdentityCommand {
    /// Say who this machine is
    Show,
    /// Write a backup, which is not encrypted: whoever has it has the identity and what it earned
    Export {
        /// File to write, which only you may read; without it the backup is printed
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Be who a backup says, from the program or from the page
    Import {
        /// The backup's file; - reads it from the standard input
        #[arg(value_name = "FILE|-")]
        file: PathBuf,
        /// Where there is another identity, take its place; it is kept beside the new one
        #[arg(long)]
        replace: bool,
    },
}

/// A device by name.
pub(crate) fn device(name: &str) -> Result<DeviceChoice, String> {
    match name {
        "auto" => Ok(DeviceChoice::Auto),
        "gpu" => Ok(DeviceChoice::Gpu),
        "cpu" => Ok(DeviceChoice::Cpu),
        _ => Err("must be auto, gpu or cpu".to_owned()),
    }
}

/// Bytes a second, in words such as `500KB`, `2MB` or `1.5 MB`.
pub(crate) fn rate(text: &str) -> Result<u64, String> {
    /// The own updates go up under the same limit; with less than this they would miss their round.
    const LEAST: f64 = 16_000.0;
    let lower = text.trim().to_ascii_lowercase();
    let (number, unit) = match lower.strip_suffix("mb") {
        Some(number) => (number, 1e6),
        None => (lower.strip_suffix("kb").unwrap_or_default(), 1e3),
    };
    match number.trim().parse::<f64>() {
        Ok(number) if number.is_finite() && number * unit >= LEAST => Ok((number * unit) as u64),
        Ok(_) => Err("must be at least 16KB".to_owned()),
        Err(_) => Err("must be a number with KB or MB, such as 500KB or 2MB".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_a_unit_and_a_least() {
        let check = |text: &str, expected: Result<u64, &str>| match (rate(text), expected) {
            (Err(error), Err(words)) => assert!(error.contains(words), "{text}: {error}"),
            (got, expected) => assert_eq!(got, expected.map_err(str::to_owned), "{text}"),
        };
        check("2MB", Ok(2_000_000));
        check("1.5 mb", Ok(1_500_000));
        check("500KB", Ok(500_000));
        check("15KB", Err("at least"));
        check("-1MB", Err("at least"));
        for text in ["", "2", "MB", "2GB", "infMB", "NaN"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
