//! `tributary serve`: the coordinator of one run.
//!
//! Enters: settings, a run file, imported data, and the state folder of earlier times. Leaves: a
//! coordinator that peers connect to and a web server. Refuses to start on another run's state, on
//! state that is in use or does not add up, and on taken ports, each with what to do.

mod board;
mod driver;
mod examine;
mod fold;
mod history;
mod http;
pub(crate) use http::headers;
mod journal;
mod link;
pub(crate) use journal::Journal;
mod metrics;
pub(crate) mod newest;
mod prepare;
mod retention;
mod store;

use std::io;
use std::time::Duration;

use anyhow::Context;
use futures::StreamExt;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tributary_swarm::{Event, Events, Multiaddr};

use crate::config::Serve;
use crate::identity;
use crate::output::Output;
use crate::signals::Signals;
use board::{Board, RunJson};
use driver::{Driver, Parts};
use examine::Examiner;
use link::Links;
use prepare::Prepared;

/// How long to wait for every address before saying which there are.
const LISTENING: Duration = Duration::from_secs(3);

/// Runs until it is told to stop.
pub(crate) fn run(config: Serve) -> anyhow::Result<()> {
    let prepared = prepare::prepare(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let result = runtime.block_on(serve(&config, prepared));
    // A fold or an evaluation that is under way need not be waited for: the journal doesn't know it yet.
    runtime.shutdown_background();
    result
}

async fn serve(config: &Serve, prepared: Prepared) -> anyhow::Result<()> {
    let Prepared { identity, machine, journal, store, retention, manifest, settled } = prepared;
    let output = Output::new();
    let me = identity.id();
    let spec = machine.spec().clone();
    let board = Board::new(RunJson::new(&spec, me));
    {
        let mut board = board.lock();
        settled.iter().for_each(|settled| board.settled(&settled.fold));
        board.books(&machine);
        machine.evaluations().for_each(|evaluation| board.evaluated(*evaluation));
        board.run.addrs = config.announce.iter().map(|addr| named(addr, me)).collect();
    }
    let (asks, asked) = mpsc::channel(link::MOST_ASKS);
    let links = Links::new(config.chain.as_ref(), &config.announce, &identity, &spec.id(), asks)?;
    let web = TcpListener::bind(&config.http).await.map_err(|e| http_trouble(&config.http, &e))?;
    let http = web.local_addr().context("the web server has no address")?;
    let agent = concat!("tributary-serve/", env!("CARGO_PKG_VERSION"));
    let swarm = tributary_swarm::Config {
        listen: config.listen.clone(),
        relay: Some(config.relay),
        certificate: Some(identity::certificate(&config.state)?),
        ..tributary_swarm::Config::coordinator(identity.secret(), agent)
    };
    let (handle, mut events, node) = tributary_swarm::node(swarm, store.clone())?;
    tokio::spawn(node);
    tokio::spawn(links.clone().learn());
    let site = http::router(board.clone(), journal.clone(), links, config.www.clone());
    tokio::spawn(axum::serve(web, site).into_future());
    let early = listening(&mut events, &config.listen, &board).await?;
    let events = futures::stream::iter(early).chain(events);

    let (examiner, measured) = Examiner::start(&spec, &manifest, config.device, store.clone())?;
    let addrs = board.lock().run.addrs.clone();
    let (round, state) = (machine.head().0, machine.head().1.hash);
    output.event(
        || {
            json!({
                "event": "listening", "http": format!("http://{http}"), "addrs": addrs, "peer": me,
                "run": spec.id(), "round": round, "state": state,
            })
        },
        || {
            let addrs: String = addrs.iter().map(|addr| format!("\n  {addr}")).collect();
            let page = if config.www.is_some() { "page and API" } else { "API (the page is not built)" };
            format!("{}, run {}, round {round}\n{page}: http://{http}\npeers:{addrs}", spec.name, spec.id().short())
        },
    );
    board.lock().ready = true;
    let mut signals = Signals::new()?;
    let state = config.state.clone();
    let driver =
        Driver::new(Parts { machine, journal, store, handle, board, retention, examiner, asked, state, output });
    tokio::select! {
        result = driver.run(events, measured) => result,
        result = signals.next() => {
            result?;
            output.event(|| json!({"event": "stopped"}), || "stopped; the same command goes on with the same round".to_owned());
            Ok(())
        }
    }
}

/// Waits until every address that was asked for is there, as far as that happens soon. Leaves what else
/// happened meanwhile: after a restart contributors are back at once.
async fn listening(events: &mut Events, wanted: &[Multiaddr], board: &Board) -> anyhow::Result<Vec<Event>> {
    let kinds = |addr: &Multiaddr| addr.iter().map(|part| part.tag()).collect::<Vec<_>>();
    let (mut got, mut early) = (Vec::<Multiaddr>::new(), Vec::new());
    let missing = |got: &[Multiaddr]| {
        let count = |addrs: &[Multiaddr], kind| addrs.iter().filter(|addr| kinds(addr) == kind).count();
        wanted.iter().any(|addr| count(got, kinds(addr)) < count(wanted, kinds(addr)))
    };
    let all = async {
        while missing(&got) {
            match events.next().await {
                Some(Event::Listening(addr)) => {
                    let mut board = board.lock();
                    let named = named(&addr, board.run.peer);
                    board.run.addrs.push(named);
                    got.push(addr);
                }
                Some(event) => early.push(event),
                None => anyhow::bail!("the network has ended; start again"),
            }
        }
        Ok(())
    };
    match tokio::time::timeout(LISTENING, all).await {
        Ok(result) => result?,
        Err(_) if got.is_empty() => anyhow::bail!("none of the addresses can be listened on; check --listen"),
        Err(_) => {}
    }
    Ok(early)
}

fn named(addr: &Multiaddr, me: tributary_protocol::Id) -> String {
    let addr = addr.to_string();
    if addr.contains("/p2p/") { addr } else { format!("{addr}/p2p/{me}") }
}

fn http_trouble(addr: &str, error: &io::Error) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            anyhow::anyhow!(
                "{addr} is in use by another program; stop it, or choose another port with --http ADDRESS:PORT"
            )
        }
        io::ErrorKind::PermissionDenied => {
            anyhow::anyhow!("this user may not serve on {addr}; choose a port above 1023 with --http ADDRESS:PORT")
        }
        io::ErrorKind::AddrNotAvailable => {
            anyhow::anyhow!("this machine has no address {addr}; choose one of its own with --http ADDRESS:PORT")
        }
        _ => anyhow::anyhow!("cannot serve on {addr}: {error}; choose another address with --http ADDRESS:PORT"),
    }
}
