//! Honest rounds of several lengths, and cheats: dossiers whose end some cheaper way led to.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use tributary_protocol::check::Check;
use tributary_protocol::data::DataManifest;
use tributary_protocol::job::DeviceChoice;
use tributary_protocol::spec::{
    FEEDBACK, Inner, ModelSpec, Optimizer, Outer, Reward, RoundRule, RunSpec, Tokenizer, UPDATE_STEPS, UpdateFormat,
};
use tributary_protocol::update::{compress, decode, encode};
use tributary_protocol::{BlobRef, Hash, Id};
use tributary_trainer::{Dossier, WEIGHTS, initial_weights};

use crate::play::{Driver, Sent, World, play, seconds, seed};
use crate::{Record, Shown};

/// Steps of the rounds that are recorded.
const STEPS: [u64; 8] = [1, 3, 10, 20, 50, 100, 400, 1200];
/// Steps of the rounds that are cheated in, which are one segment each.
const CHEATED: [u64; 3] = [20, 100, 300];
/// Steps before: of a model whose weights are still the first ones every batch says the same.
const BEFORE: u64 = 60;
const ME: Id = Id([7; 32]);

pub(crate) fn record(folder: &Path, device: DeviceChoice) -> Result<Record, String> {
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path).map(Bytes::from).map_err(|error| format!("{}: {error}", path.display()))
    };
    let manifest = read("manifest.json")?;
    let data: DataManifest = serde_json::from_slice(&manifest).map_err(|error| error.to_string())?;
    let shards: Result<BTreeMap<Hash, Bytes>, String> =
        data.train.iter().map(|blob| Ok((blob.hash, read(&format!("blobs/{}", blob.hash))?))).collect();
    let shards = shards?;
    let spec = spec(BlobRef::of(&manifest))?;
    let mut world = World { base: initial_weights(&spec), spec, manifest, shards: &shards, me: ME, device };
    let mut record = Record {
        spec: world.spec.clone(),
        manifest: world.manifest.clone(),
        shards: shards.clone().into_iter().collect(),
        bases: Vec::new(),
        backend: String::new(),
        shown: Vec::new(),
    };
    world.spec.update = UpdateFormat::F32;
    world.spec.first = UpdateFormat::F32;
    world.spec.step = UpdateFormat::F32;
    world.base = play(&world, async |driver| {
        driver.train(0, seed(1000), BEFORE).await?;
        let sent = driver.cut(0).await?;
        let update = decode(&[UpdateFormat::F32], &sent.update, driver.base.len() as u64).map_err(|e| e.to_string())?;
        driver.base.iter_mut().zip(update.values()).for_each(|(base, delta)| *base -= delta);
        record.backend = driver.backend.clone();
        Ok(driver.base.clone())
    })?;
    let (update, first, step) = (record.spec.update, record.spec.first, record.spec.step);
    (world.spec.update, world.spec.first, world.spec.step) = (update, first, step);
    honest(&mut world, &mut record)?;
    cheats(&mut world, &mut record)?;
    Ok(record)
}

/// One contributor's rounds, one after the other. A segment between two cuts has ten steps, about.
fn honest(world: &mut World<'_>, record: &mut Record) -> Result<(), String> {
    world.spec.round.seconds = seconds(10 * u64::from(world.spec.check.segments));
    play(world, async |driver| {
        let mut known = None;
        for (round, &steps) in (0..).zip(&STEPS) {
            // A part of the work is done before the fold of the last round arrives.
            if round > 0 {
                let sent: &Sent = known.as_ref().ok_or("a round was not cut")?;
                driver.train(round - 1, seed(round - 1), steps / 4).await?;
                let update = decode(&record.spec.sent_formats(), &sent.update, driver.base.len() as u64);
                let values: Vec<f32> = update.map_err(|e| e.to_string())?.values().iter().map(|v| -v).collect();
                driver.fold(round - 1, &compress(&values, record.spec.step)).await?;
            }
            record.bases.push(driver.base.clone());
            driver.train(round, seed(round), steps).await?;
            let sent = driver.cut(round).await?;
            for segment in 0..sent.trace.segments {
                let dossier = driver.disclose(round, segment).await?;
                record.shown.push(Shown {
                    name: "honest".to_owned(),
                    steps,
                    peer: ME,
                    round,
                    tokens: sent.tokens,
                    update: sent.update.clone(),
                    trace: sent.trace,
                    known: known.as_ref().map(|sent| sent.trace.hash),
                    segment,
                    dossier,
                });
            }
            known = Some(sent);
        }
        Ok(())
    })
}

/// A round of one segment from the first base, and what it led to.
fn alone(world: &World<'_>, steps: u64, seed: Hash) -> Result<Shown, String> {
    play(world, async |driver: &mut Driver<'_>| {
        driver.train(0, seed, steps).await?;
        let sent = driver.cut(0).await?;
        let dossier = driver.disclose(0, 0).await?;
        let (peer, update, trace) = (ME, sent.update, sent.trace);
        let name = String::new();
        Ok(Shown { name, steps, peer, round: 0, tokens: sent.tokens, update, trace, known: None, segment: 0, dossier })
    })
}

fn cheats(world: &mut World<'_>, record: &mut Record) -> Result<(), String> {
    world.spec.check.segments = 1;
    for steps in CHEATED {
        let true_one = alone(world, steps, seed(0))?;
        let mut add = |name: &str, scale: f32, by: Option<Shown>| -> Result<(), String> {
            let mut dossier: Dossier = postcard::from_bytes(&true_one.dossier).map_err(|e| e.to_string())?;
            if let Some(by) = by {
                let by: Dossier = postcard::from_bytes(&by.dossier).map_err(|e| e.to_string())?;
                (dossier.end, dossier.rest) = (by.end, by.rest);
                dossier.trace.rest = by.trace.rest;
            }
            if scale != 1.0
                && let Some(bytes) = &dossier.end.weights
            {
                let way = decode(&[WEIGHTS], bytes, world.base.len() as u64).map_err(|e| e.to_string())?;
                let way: Vec<f32> = way.values().iter().map(|value| value * scale).collect();
                dossier.end.weights = Some(encode(&compress(&way, WEIGHTS)));
            }
            let end = &mut dossier.trace.segments[0].end;
            (end.weights, end.moments) = dossier.end.hashes();
            let (trace, bytes) = (dossier.trace.named(), postcard::to_stdvec(&dossier).map_err(|e| e.to_string())?);
            let (name, update) = (name.to_owned(), true_one.update.clone());
            let dossier = bytes.into();
            let tokens = true_one.tokens;
            let known = None;
            record.shown.push(Shown {
                name,
                steps,
                peer: ME,
                round: 0,
                tokens,
                update,
                trace,
                known,
                segment: 0,
                dossier,
            });
            Ok(())
        };
        add("honest", 1.0, None)?;
        add("no training", 0.0, None)?;
        add("scaled by 1.5", 1.5, None)?;
        add("scaled by 3", 3.0, None)?;
        add("sign flipped", -1.0, None)?;
        let fewer = |part: f64| alone(world, (steps as f64 * part) as u64, seed(0));
        add("three quarters of the steps", 1.0, Some(fewer(0.75)?))?;
        add("half of the steps", 1.0, Some(fewer(0.5)?))?;
        add("half of the steps, scaled by 2", 2.0, Some(fewer(0.5)?))?;
        add("a quarter of the steps, scaled by 4", 4.0, Some(fewer(0.25)?))?;
        add("other data", 1.0, Some(alone(world, steps, seed(77))?))?;
        let mut small = World {
            spec: world.spec.clone(),
            manifest: world.manifest.clone(),
            shards: world.shards,
            base: world.base.clone(),
            me: ME,
            device: world.device,
        };
        small.spec.inner.batch /= 2;
        add("half of each batch", 1.0, Some(alone(&small, steps, seed(0))?))?;
        small.spec.inner.batch /= 2;
        add("a quarter of each batch", 1.0, Some(alone(&small, steps, seed(0))?))?;
        small.spec.inner.batch = world.spec.inner.batch;
        small.spec.inner.seq /= 2;
        add("half of each sequence", 1.0, Some(alone(&small, steps, seed(0))?))?;
    }
    Ok(())
}

fn spec(data: BlobRef) -> Result<RunSpec, String> {
    Ok(RunSpec {
        name: "calibration".to_owned(),
        seed: 1,
        model: ModelSpec::preset("tiny").ok_or("there is no preset tiny")?,
        tokenizer: Tokenizer::Bytes,
        data,
        inner: Inner {
            optimizer: Optimizer::AdamW,
            lr: 3e-3,
            warmup: 20,
            beta1: 0.9,
            beta2: 0.95,
            weight_decay: 0.1,
            clip: 1.0,
            batch: 8,
            seq: 64,
        },
        outer: Outer::default(),
        round: RoundRule { seconds: 60, grace: 20, quorum: 1, stale: 0.5 },
        update: UpdateFormat::UPDATE,
        first: UpdateFormat::FIRST,
        step: UpdateFormat::STEP,
        update_steps: UPDATE_STEPS,
        feedback: FEEDBACK,
        reward: Reward { pool: 1 },
        check: Check::default(),
    })
}
