//! Settings: `tributary.toml` at the bottom, the environment above it (read by the command line's
//! parser), flags on top. Leaves one plain struct a command. Refuses unknown fields with line and column.

use std::fmt;
use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;
use tributary_log::Url;
use tributary_protocol::job::DeviceChoice;
use tributary_swarm::{Multiaddr, Relay};

use crate::cli::{self, ServeArgs, TrainArgs};
use crate::files;
use crate::identity;

/// The settings file where none is named.
const FILE: &str = "tributary.toml";

/// The run file where none is named.
const RUN: &str = "run.toml";

/// Where peers connect by default: TCP and QUIC for programs; WebSocket for tabs, and WebRTC for those on
/// an encrypted page, which may not open a plain WebSocket.
const LISTEN: [&str; 4] = [
    "/ip4/0.0.0.0/tcp/4001",
    "/ip4/0.0.0.0/udp/4001/quic-v1",
    "/ip4/0.0.0.0/udp/4002/webrtc-direct",
    "/ip4/0.0.0.0/tcp/4003/ws",
];

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    serve: ServeFile,
    train: TrainFile,
}

/// The [serve] table: the same names as the flags. Paths are relative to the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ServeFile {
    run: Option<PathBuf>,
    data: Option<PathBuf>,
    state: Option<PathBuf>,
    http: Option<String>,
    listen: Vec<String>,
    announce: Vec<String>,
    www: Option<PathBuf>,
    device: Option<DeviceChoice>,
    relay: RelayFile,
    chain: Option<Chain>,
    /// A PostgreSQL server's URL, to keep the journal and the ledger there.
    log: Option<String>,
}

/// The [serve.relay] table: how many introductions the coordinator carries between peers.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RelayFile {
    /// Peers that can be reached at a time.
    reservations: Option<usize>,
    /// Introductions under way at a time.
    circuits: Option<usize>,
    /// Those of one peer.
    circuits_per_peer: Option<usize>,
    /// Of one introduction, each way.
    circuit_bytes: Option<u64>,
    /// How long one may take.
    circuit_seconds: Option<u32>,
}

impl RelayFile {
    fn limits(self) -> Relay {
        let usual = Relay::default();
        Relay {
            reservations: self.reservations.unwrap_or(usual.reservations),
            circuits: self.circuits.unwrap_or(usual.circuits),
            circuits_per_peer: self.circuits_per_peer.unwrap_or(usual.circuits_per_peer),
            circuit_bytes: self.circuit_bytes.unwrap_or(usual.circuit_bytes),
            circuit_time: self.circuit_seconds.map_or(usual.circuit_time, |s| Duration::from_secs(s.into())),
        }
    }
}

/// The [serve.chain] table: where contributors claim what they earned. Without it wallets are linked all the same, except
/// those that are contracts.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Chain {
    /// The chain.json that `tributary chain deploy` wrote.
    pub(crate) deployment: PathBuf,
    /// A node of that chain, for the coordinator itself; told to nobody.
    pub(crate) rpc: String,
    /// A site that shows that chain's transactions to people.
    pub(crate) explorer: Option<String>,
}

/// Without the node's address, in which there may be a key.
impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").field("deployment", &self.deployment).field("explorer", &self.explorer).finish()
    }
}

impl Chain {
    /// With the path made one from here, and what is no URL refused.
    fn below(self, base: &Path) -> anyhow::Result<Self> {
        let is_url = |text: &String| text.starts_with("https://") || text.starts_with("http://");
        for (name, text) in [("rpc", Some(&self.rpc)), ("explorer", self.explorer.as_ref())] {
            if text.is_some_and(|text| !is_url(text)) {
                bail!("{name} in [serve.chain] is not a URL; it must begin with https:// or http://");
            }
        }
        Ok(Self { deployment: base.join(self.deployment), ..self })
    }
}

/// The [train] table.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TrainFile {
    coordinator: Option<String>,
    device: Option<DeviceChoice>,
    state: Option<PathBuf>,
    rounds: Option<u64>,
    upload_limit: Option<String>,
    page: Option<String>,
    www: Option<PathBuf>,
}

/// What `tributary serve` runs with.
#[derive(Debug)]
pub(crate) struct Serve {
    /// The run file, if there is one.
    pub(crate) run: Option<PathBuf>,
    /// The data folder, if it is named apart from the run file.
    pub(crate) data: Option<PathBuf>,
    /// The state folder.
    pub(crate) state: PathBuf,
    /// Where HTTP listens.
    pub(crate) http: String,
    /// Where peers connect.
    pub(crate) listen: Vec<Multiaddr>,
    /// By which further addresses they reach this machine.
    pub(crate) announce: Vec<Multiaddr>,
    /// The page's folder, if there is one.
    pub(crate) www: Option<PathBuf>,
    /// The device of the held-out evaluation.
    pub(crate) device: DeviceChoice,
    /// How many introductions are carried between peers.
    pub(crate) relay: Relay,
    /// Where the journal is, if not in the state folder.
    pub(crate) log: Option<Url>,
    /// Where earnings are claimed, if anywhere.
    pub(crate) chain: Option<Chain>,
}

/// What `tributary train` runs with.
#[derive(Debug)]
pub(crate) struct Train {
    /// URL or multiaddr.
    pub(crate) coordinator: String,
    /// The device to train on.
    pub(crate) device: DeviceChoice,
    /// The folder of the identity.
    pub(crate) state: PathBuf,
    /// Credited rounds after which to stop.
    pub(crate) rounds: Option<u64>,
    /// Bytes a second that go up to others at most.
    pub(crate) upload_limit: Option<u64>,
    /// Where its page is.
    pub(crate) page: At,
    /// The page's folder, if there is one.
    pub(crate) www: Option<PathBuf>,
}

/// Where a contributor's own page is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// Nowhere.
    Off,
    /// At the usual port, or another if that is taken.
    Usual,
    /// There.
    Here(SocketAddr),
}

impl FromStr for At {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        if text == "off" {
            return Ok(At::Off);
        }
        let at = text.parse();
        at.map(At::Here)
            .map_err(|_| anyhow::anyhow!("{text} is no place for the page; write --page 127.0.0.1:8090 or --page off"))
    }
}

/// The settings of `serve`.
pub(crate) fn serve(args: ServeArgs, config: Option<&Path>) -> anyhow::Result<Serve> {
    let (file, base) = load(config)?;
    let file = file.serve;
    let below = |path: Option<PathBuf>| path.map(|path| base.join(path));
    let listen = first_given(args.listen, file.listen);
    let listen = if listen.is_empty() { LISTEN.map(str::to_owned).to_vec() } else { listen };
    let http = args.http.or(file.http).unwrap_or_else(|| "0.0.0.0:8080".to_owned());
    if http.to_socket_addrs().is_err() {
        bail!("{http} is no address to serve HTTP on; write --http ADDRESS:PORT, such as 127.0.0.1:8080");
    }
    let www = page_folder(args.www.or(below(file.www)))?;
    Ok(Serve {
        run: args.run.or(below(file.run)).or_else(|| Some(PathBuf::from(RUN)).filter(|run| run.is_file())),
        data: args.data.or(below(file.data)),
        state: args.state.or(below(file.state)).unwrap_or_else(|| PathBuf::from("state")),
        http,
        listen: multiaddrs(&listen, "--listen")?,
        announce: multiaddrs(&first_given(args.announce, file.announce), "--announce")?,
        www,
        device: args.device.or(file.device).unwrap_or_default(),
        relay: file.relay.limits(),
        log: file.log.map(Url::from),
        chain: file.chain.map(|chain| chain.below(&base)).transpose()?,
    })
}

/// The settings of `train`.
pub(crate) fn train(args: TrainArgs, config: Option<&Path>) -> anyhow::Result<Train> {
    let state = train_state(args.state, config)?;
    let (file, base) = load(config)?;
    let file = file.train;
    let page = args.page.or(file.page).map_or(Ok(At::Usual), |page| page.parse())?;
    let www = page_folder(args.www.or(file.www.map(|www| base.join(www))))?;
    let limit = file.upload_limit.map(|text| cli::rate(&text).map_err(|why| anyhow::anyhow!("upload_limit {why}")));
    Ok(Train {
        coordinator: args.coordinator.or(file.coordinator).context(
            "whom to train with? name the coordinator's page, such as: tributary train http://127.0.0.1:8080",
        )?,
        device: args.device.or(file.device).unwrap_or_default(),
        state,
        rounds: args.rounds.or(file.rounds),
        upload_limit: args.upload_limit.or(limit.transpose()?),
        page,
        www,
    })
}

/// The coordinator of a contributor.
pub(crate) fn coordinator(named: Option<String>, config: Option<&Path>) -> anyhow::Result<String> {
    named.or(load(config)?.0.train.coordinator).context(
        "whose books are meant? name the coordinator's page, such as: tributary wallet status http://127.0.0.1:8080",
    )
}

/// The folder of a contributor's identity.
pub(crate) fn train_state(flag: Option<PathBuf>, config: Option<&Path>) -> anyhow::Result<PathBuf> {
    let (file, base) = load(config)?;
    match flag.or(file.train.state.map(|state| base.join(state))) {
        Some(state) => Ok(state),
        None => identity::default_state(),
    }
}

/// The settings file and the folder that its paths are relative to.
fn load(named: Option<&Path>) -> anyhow::Result<(File, PathBuf)> {
    let path = match named {
        Some(path) => path,
        None if Path::new(FILE).is_file() => Path::new(FILE),
        None => return Ok((File::default(), PathBuf::new())),
    };
    let text = fs::read_to_string(path).map_err(|e| files::trouble("read the settings", path, &e))?;
    let file =
        toml::from_str(&text).map_err(|e| anyhow::anyhow!("{} cannot be read as settings: {e}", path.display()))?;
    Ok((file, path.parent().unwrap_or(Path::new("")).to_path_buf()))
}

fn first_given(above: Vec<String>, below: Vec<String>) -> Vec<String> {
    if above.is_empty() { below } else { above }
}

fn multiaddrs(texts: &[String], flag: &str) -> anyhow::Result<Vec<Multiaddr>> {
    let parse = |text: &String| {
        text.parse().map_err(|_| {
            anyhow::anyhow!(
                "{text} ({flag}) is not a multiaddr; write it like /ip4/0.0.0.0/tcp/4001 or /ip4/0.0.0.0/tcp/4003/ws"
            )
        })
    };
    texts.iter().map(parse).collect()
}

/// The folder of the built page: the named one, or where it usually is.
fn page_folder(named: Option<PathBuf>) -> anyhow::Result<Option<PathBuf>> {
    if let Some(www) = named.as_deref().filter(|www| !www.is_dir()) {
        bail!("there is no folder {}; build the page first, or leave --www out", www.display());
    }
    Ok(named.or_else(usual_www))
}

/// The page beside the program (an installed one), or in the working folder (a checkout).
fn usual_www() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("www")));
    beside.into_iter().chain([PathBuf::from("www/dist")]).find(|dir| dir.join("index.html").is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_stand_above_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.toml");
        let text = "[serve]\nstate = \"s\"\nlog = \"postgresql://me:hunter2@db/runs\"\nhttp = \"127.0.0.1:1\"\nlisten = [\"/ip4/127.0.0.1/tcp/7\"]\ndevice = \"cpu\"\n\
             [serve.relay]\ncircuits = 5\n[serve.chain]\ndeployment = \"chain/chain.json\"\nrpc = \"https://node.example/hunter2\"\n";
        fs::write(&path, text).unwrap();
        let from_file = serve(ServeArgs::default(), Some(&path)).unwrap();
        assert!(from_file.log.is_some() && !format!("{from_file:?}").contains("hunter2"), "{from_file:?}");
        assert_eq!((from_file.state, from_file.http.as_str()), (dir.path().join("s"), "127.0.0.1:1"));
        assert_eq!((from_file.listen.len(), from_file.device), (1, DeviceChoice::Cpu));
        assert_eq!(from_file.relay, Relay { circuits: 5, ..Relay::default() });
        assert_eq!(from_file.chain.unwrap().deployment, dir.path().join("chain/chain.json"));
        let args = ServeArgs {
            http: Some("127.0.0.1:2".into()),
            state: Some("t".into()),
            device: Some(DeviceChoice::Gpu),
            ..ServeArgs::default()
        };
        let from_flags = serve(args, Some(&path)).unwrap();
        assert_eq!((from_flags.state, from_flags.http.as_str()), ("t".into(), "127.0.0.1:2"));
        assert_eq!(from_flags.device, DeviceChoice::Gpu);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.toml");
        fs::write(&path, "[serve]\nport = 5\n").unwrap();
        let error = serve(ServeArgs::default(), Some(&path)).unwrap_err().to_string();
        assert!(error.contains("line 2, column 1") && error.contains("unknown field `port`"), "{error}");
        fs::write(&path, "[serve.chain]\ndeployment = \"d\"\nrpc = \"node:8545\"\n").unwrap();
        let error = serve(ServeArgs::default(), Some(&path)).unwrap_err().to_string();
        assert!(error.contains("rpc in [serve.chain] is not a URL"), "{error}");
        let args = |listen: &str, http: &str| ServeArgs {
            listen: vec![listen.to_owned()],
            http: Some(http.to_owned()),
            ..ServeArgs::default()
        };
        let error = |args| serve(args, None).unwrap_err().to_string();
        assert!(error(args("tcp:5", "127.0.0.1:0")).contains("not a multiaddr"));
        assert!(error(args("/ip4/127.0.0.1/tcp/0", "here")).contains("--http"));
        assert!(train(TrainArgs::default(), None).unwrap_err().to_string().contains("tributary train http"));
    }
}
