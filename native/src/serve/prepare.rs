//! From settings and the state folder to a machine that can go on. Blocking.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use tributary_protocol::coordinator::{Coordinator, Event};
use tributary_protocol::data::DataManifest;
use tributary_protocol::spec::RunSpec;
use tributary_protocol::{BlobRef, Identity, fold};
use tributary_swarm::BlobStore;

use super::fold::put;
use super::history::{self, Settled};
use super::journal::Journal;
use super::newest::Newest;
use super::retention::Retention;
use super::store::DiskStore;
use crate::config::Serve;
use crate::{data, identity, runfile};

/// Everything that is ready before the network is.
pub(super) struct Prepared {
    pub(super) identity: Identity,
    pub(super) machine: Coordinator,
    pub(super) journal: Journal,
    pub(super) store: Arc<DiskStore>,
    pub(super) retention: Retention,
    /// What there is to train and to evaluate on.
    pub(super) manifest: DataManifest,
    /// Rounds that settled before.
    pub(super) settled: Vec<Settled>,
}

/// Opens the state folder, begins the run or goes on with it.
pub(super) fn prepare(config: &Serve) -> anyhow::Result<Prepared> {
    let identity = identity::load_or_create(&config.state)?;
    let journal = Journal::open(&config.state, config.log.as_ref())?;
    let (spec, folder) = choose(config, &journal)?;
    let store = DiskStore::open(config.state.join("blobs"), folder.join(data::BLOBS))?;
    let manifest = check_data(&spec, &folder, &store)?;
    let mut events = journal.events()?;
    if events.is_empty() {
        let weights = tributary_trainer::initial_weights(&spec);
        let base = put(&store, fold::f32_to_le(&weights).into())?;
        events.push(Event::Genesis { run: spec.id(), base });
        journal.begin(&spec, &folder)?;
        journal.append(&events.iter().collect::<Vec<_>>(), &[])?;
    } else {
        journal.begin(&spec, &folder)?;
    }
    let me = identity.id();
    let mut retention = Retention::new(&spec);
    retention.pin(spec.data.hash);
    let (mut settled, mut genesis) = (Vec::new(), None);
    for event in &events {
        let done = Settled::of(event, &me);
        retention.event(settled.len() as u64, event, done.as_ref());
        settled.extend(done);
        if let Event::Genesis { base, .. } = event {
            genesis = Some(*base);
        }
    }
    let machine = Coordinator::restore(identity.clone(), spec.clone(), events, journal.entries()?)
        .with_context(|| format!("the state folder {} cannot be gone on with", config.state.display()))?;
    let genesis = genesis.context("the journal does not begin with a run; put back a copy of the state folder")?;
    history::restore(&store, &spec, genesis, &settled)?;
    // Before anyone is told that the run is there: who then asks for its weights must find them.
    let (round, base) = machine.head();
    Newest { round, base, spec: spec.clone() }.write(&config.state)?;
    // What a killed process had written and not yet journaled, or journaled and not yet deleted.
    store.retain(|hash| retention.wants(hash)).context("cannot delete old blobs in the state folder")?;
    Ok(Prepared { identity, machine, journal, store: Arc::new(store), retention, manifest, settled })
}

/// The run and its data folder: the journal's where it has one, and then the run file must agree.
fn choose(config: &Serve, journal: &Journal) -> anyhow::Result<(RunSpec, PathBuf)> {
    let Some((spec, folder)) = journal.run()? else {
        let run = runfile::load(config.run.as_deref(), config.data.as_deref())?;
        return Ok((run.spec, absolute(&run.data)));
    };
    if let Some(path) = &config.run {
        let run = runfile::load(Some(path), config.data.as_deref())?;
        if run.spec.id() != spec.id() {
            bail!(
                "the state folder {} belongs to run {} ({}), and {} now describes another run ({}); name another folder with --state, or put the run file and its data back as they were",
                config.state.display(),
                spec.name,
                spec.id().short(),
                path.display(),
                run.spec.id().short()
            );
        }
        return Ok((spec, absolute(&run.data)));
    }
    Ok((spec, config.data.as_deref().map_or(folder, absolute)))
}

/// The data that the run names, with every shard in its place.
fn check_data(spec: &RunSpec, folder: &Path, store: &DiskStore) -> anyhow::Result<DataManifest> {
    let path = folder.join(data::MANIFEST);
    let (_, manifest, bytes) = data::load_manifest(&path)?;
    if BlobRef::of(&bytes) != spec.data {
        bail!(
            "{} is not the data of this run any more; name the right folder with --data, import the same files again, or begin another run with another --state",
            path.display()
        );
    }
    if store.len(&spec.data.hash).is_none() {
        put(store, bytes.into())?;
    }
    let shards = manifest.train.iter().chain(&manifest.heldout);
    let missing = shards.filter(|shard| !folder.join(data::BLOBS).join(shard.hash.to_string()).is_file()).count();
    if missing > 0 {
        bail!("{missing} shards are missing in {}; import the same files again", folder.join(data::BLOBS).display());
    }
    Ok(manifest)
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}
