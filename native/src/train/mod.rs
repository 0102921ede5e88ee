//! `tributary train`: a contributor on this machine.
//!
//! Enters: a coordinator's address, the person's signals and what is asked on the page. Leaves: work, and what a person or
//! a script reads of it. Refuses: an address that leads to no coordinator, and one of another version.

mod find;
mod page;
mod progress;
mod trainer_thread;

use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use futures::StreamExt;
use tributary_peer::{Control, Options, Platform};
use tributary_protocol::Millis;
use tributary_protocol::job::Packed;
use tributary_protocol::limits::MAX_BLOB;
use tributary_protocol::message::PeerKind;
use tributary_protocol::view::Phase;
use tributary_swarm::MemoryStore;

use crate::config::{At, Train};
use crate::files;
use crate::identity;
use crate::signals::Signals;
use page::{Packing, Page, Wish};
use progress::Progress;

/// Bytes of weights, steps and shards in memory: the largest snapshot and the updates beside it.
const STORE: u64 = 3 * MAX_BLOB;

/// How long the driver may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// Runs until it is told to stop, has done its rounds, or cannot go on.
pub(crate) fn run(config: Train) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let result = runtime.block_on(train(&config));
    // The trainer's thread may be in the midst of a step; nothing waits for its result any more.
    runtime.shutdown_background();
    result
}

async fn train(config: &Train) -> anyhow::Result<()> {
    let identity = identity::load_or_create(&config.state)?;
    let mut progress = Progress::new(identity.id());
    let coordinator = config.coordinator.clone();
    let found = tokio::task::spawn_blocking(move || find::find(&coordinator)).await??;
    if found.addr.to_string().ends_with(&format!("/p2p/{}", identity.id())) {
        bail!(
            "{} is the coordinator's own state folder, so this would be the coordinator itself; name another folder with --state",
            config.state.display()
        );
    }
    progress.joining(&found);
    let store = Arc::new(MemoryStore::new(STORE));
    let agent = concat!("tributary/", env!("CARGO_PKG_VERSION")).to_owned();
    let swarm = tributary_swarm::Config {
        stun: found.stun.into_iter().collect(),
        ..tributary_swarm::Config::contributor(identity.secret(), &agent)
    };
    let (handle, events, node) = tributary_swarm::node(swarm, store.clone())?;
    tokio::spawn(node);
    let options = Options {
        identity,
        coordinator: found.addr,
        kind: PeerKind::Native,
        agent,
        device: config.device,
        run: found.run,
        links: true,
        upload_limit: config.upload_limit,
    };
    let packing = Packing::default();
    let mut page = match config.page {
        At::Off => None,
        At::Usual => match &config.www {
            Some(www) => {
                let page = Page::serve(None, www, &config.state, packing.clone()).await;
                page.inspect_err(|why| progress.no_page(why)).ok()
            }
            None => None,
        },
        At::Here(at) => {
            let www = config.www.as_ref().context("there is no page to serve; build it, or leave --page out")?;
            Some(Page::serve(Some(at), www, &config.state, packing.clone()).await?)
        }
    };
    if let Some(page) = &page {
        progress.page(&page.url);
    }
    let trainer = trainer_thread::start(config.state.clone()).context("cannot start the trainer's thread")?;
    let (mut control, mut snapshots, driver) = tributary_peer::contributor(
        options,
        Tokio { began: Instant::now(), state: config.state.clone(), packing },
        trainer,
        handle,
        events,
        store,
    )?;
    let mut driver = pin!(driver);
    control.start();

    // Whoever stops by the page can start there again; by the terminal, the program ends.
    let (mut begun, mut finishing, mut by_page, mut idle) = (false, false, false, false);
    let mut signals = Signals::new()?;
    let result = loop {
        tokio::select! {
            () = &mut driver => bail!("the contributor has ended by itself; start it again"),
            snapshot = snapshots.next() => {
                let Some(snapshot) = snapshot else { continue };
                progress.show(&snapshot);
                idle = snapshot.phase == Phase::Idle;
                if let Some(page) = &page {
                    page.show.send_replace(Some(snapshot.clone()));
                }
                match &snapshot.phase {
                    Phase::Failed { why } => break Err(anyhow::anyhow!("{why}")),
                    Phase::Idle if begun && !by_page => break Ok(()),
                    Phase::Idle => {}
                    _ => begun = true,
                }
                if config.rounds.is_some_and(|rounds| progress.credited() >= rounds) {
                    break Ok(());
                }
            }
            wish = next_wish(&mut page) => {
                match &wish {
                    Wish::Stop | Wish::Finish => by_page = true,
                    Wish::Start => (begun, by_page) = (false, false),
                    _ => {}
                }
                wish.fulfil(&mut control);
            }
            result = signals.next() => {
                result?;
                if finishing || (by_page && idle) {
                    break Ok(());
                }
                (finishing, by_page) = (true, false);
                progress.finishing();
                control.finish();
            }
        }
    };
    quit(&mut control, driver).await;
    if let Some(page) = page {
        page.end(GOODBYE).await;
    }
    progress.end();
    result
}

/// The next thing that is asked on the page; never, where there is none.
async fn next_wish(page: &mut Option<Page>) -> Wish {
    if let Some(page) = page
        && let Some(wish) = page.wishes.recv().await
    {
        return wish;
    }
    std::future::pending().await
}

async fn quit(control: &mut Control, driver: Pin<&mut impl Future<Output = ()>>) {
    control.quit();
    // What is not said by then is found out by the coordinator itself.
    let _ = tokio::time::timeout(GOODBYE, driver).await;
}

/// The platform of a native peer.
struct Tokio {
    began: Instant,
    state: PathBuf,
    packing: Packing,
}

impl Platform for Tokio {
    type Sleep = tokio::time::Sleep;

    fn now(&self) -> Millis {
        self.began.elapsed().as_millis() as Millis
    }

    fn sleep(&self, ms: u64) -> Self::Sleep {
        tokio::time::sleep(Duration::from_millis(ms))
    }

    fn random(&self) -> u64 {
        // Only spreads reconnections; without a source every contributor waits equally long.
        getrandom::u64().unwrap_or_default()
    }

    fn remembered(&self) -> Option<Bytes> {
        std::fs::read(self.state.join(REMEMBERED)).ok().map(Bytes::from)
    }

    fn packed(&self, part: Packed) {
        self.packing.part(part);
    }

    fn remember(&self, bytes: Bytes) {
        if let Err(error) = files::write(&self.state.join(REMEMBERED), &bytes) {
            tracing::warn!("the ledger's newest checkpoint can't be kept for the next start: {error}");
        }
    }
}

/// The file with the newest checkpoint of the ledger.
const REMEMBERED: &str = "checkpoint";
