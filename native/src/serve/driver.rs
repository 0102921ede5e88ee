//! The coordinator's loop: the round's machine between the swarm, the disk and the clock.
//!
//! Enters: swarm events, finished work, time, the wish to stop. Leaves: frames, journal entries, work,
//! and the board. What the machine wants journaled is on the disk before anything else it wants is
//! done, so a killed coordinator goes on where it was.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::{Stream, StreamExt};
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tributary_protocol::check::{Finding, ReplayOrder};
use tributary_protocol::coordinator::{Coordinator, Event, Examined, FoldPlan, Input, Output as Want, Probe};
use tributary_protocol::limits::MAX_AGE;
use tributary_protocol::message::{Evaluation, Message, Reason, ToContributor, ToCoordinator};
use tributary_protocol::sketch::Sketch;
use tributary_protocol::spec::RunSpec;
use tributary_protocol::{BlobRef, Hash, Id, Millis, update};
use tributary_swarm::{Event as SwarmEvent, FetchError, Handle, SendError};
use tributary_trainer::{Judgement, Look};

use super::board::Board;
use super::examine::Examiner;
use super::fold::fold as fold_blobs;
use super::history::Settled;
use super::journal::Journal;
use super::link::{Ask, Taken};
use super::newest::Newest;
use super::retention::Retention;
use super::store::DiskStore;
use crate::output::Output;

/// Updates that are decoded at a time: each holds a whole model's worth of values.
const DECODED_AT_ONCE: usize = 4;

/// The loop, and what it counts on top of its parts.
pub(super) struct Driver {
    parts: Parts,
    work: JoinSet<anyhow::Result<Done>>,
    decoding: Arc<Semaphore>,
    now: Millis,
}

/// Work that has ended.
enum Done {
    Input(Input),
    Folded(Input, Duration),
    Deleted,
}

/// What a driver is made of.
pub(super) struct Parts {
    /// Restored from the journal.
    pub(super) machine: Coordinator,
    /// Where its events go.
    pub(super) journal: Journal,
    /// Where blobs are.
    pub(super) store: Arc<DiskStore>,
    /// The swarm.
    pub(super) handle: Handle,
    /// What HTTP shows.
    pub(super) board: Board,
    /// Which blobs stay.
    pub(super) retention: Retention,
    /// Who measures and runs again.
    pub(super) examiner: Examiner,
    /// What HTTP asks for.
    pub(super) asked: mpsc::Receiver<Ask>,
    /// The state folder.
    pub(super) state: PathBuf,
    /// Where events for people and scripts go.
    pub(super) output: Output,
}

impl Driver {
    /// A loop that has not begun.
    pub(super) fn new(parts: Parts) -> Self {
        Self { parts, work: JoinSet::new(), decoding: Arc::new(Semaphore::new(DECODED_AT_ONCE)), now: 0 }
    }

    /// Runs until the swarm ends or an error that this process cannot go on with.
    pub(super) async fn run(
        mut self,
        mut events: impl Stream<Item = SwarmEvent> + Unpin,
        mut measured: mpsc::Receiver<Evaluation>,
    ) -> anyhow::Result<()> {
        self.step(Input::Tick)?;
        loop {
            let now = self.now();
            let wake = self.parts.machine.wake_at(now).map(|at| Duration::from_millis(at.saturating_sub(now)));
            let input = tokio::select! {
                event = events.next() => match event {
                    None => anyhow::bail!("the network has ended; start again"),
                    Some(event) => self.swarm_event(event),
                },
                Some(done) = self.work.join_next() => match done.map_err(|e| anyhow::anyhow!("a worker of this program failed: {e}"))?? {
                    Done::Input(input) => Some(input),
                    Done::Folded(input, took) => {
                        let mut board = self.parts.board.lock();
                        board.folds = (board.folds.0 + 1, board.folds.1 + took);
                        Some(input)
                    }
                    Done::Deleted => None,
                },
                Some(ask) = self.parts.asked.recv() => {
                    self.answer(ask)?;
                    None
                }
                Some(evaluation) = measured.recv() => Some(Input::Evaluated(evaluation)),
                () = tokio::time::sleep(wake.unwrap_or(Duration::MAX)), if wake.is_some() => Some(Input::Tick),
            };
            if let Some(input) = input {
                self.step(input)?;
            }
        }
    }

    /// Milliseconds since 1970 that never go back, as deadlines need.
    fn now(&mut self) -> Millis {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as Millis);
        self.now = self.now.max(wall);
        self.now
    }

    fn swarm_event(&mut self, event: SwarmEvent) -> Option<Input> {
        match event {
            SwarmEvent::Frame { peer, frame } => Some(match ToCoordinator::decode(&frame) {
                Ok(message) => Input::Message { from: peer, message },
                Err(why) => Input::BadFrame { from: peer, why },
            }),
            SwarmEvent::Disconnected { peer, why } => {
                tracing::info!("{peer} is gone: {why}");
                Some(Input::Gone(peer))
            }
            SwarmEvent::Connected { peer, addr } => {
                tracing::info!("{peer} connected from {addr}");
                None
            }
            // An interface that came up later.
            SwarmEvent::Listening(addr) => {
                let mut board = self.parts.board.lock();
                let addr = format!("{addr}/p2p/{}", board.run.peer);
                if !board.run.addrs.contains(&addr) {
                    board.run.addrs.push(addr);
                }
                None
            }
            // A coordinator dials nobody.
            SwarmEvent::DialFailed { .. } => None,
        }
    }

    fn step(&mut self, input: Input) -> anyhow::Result<()> {
        let now = self.now();
        self.parts.machine.handle(now, input);
        self.carry_out(now)
    }

    /// Answers HTTP; a link when it is on the disk. Whoever asked may have gone.
    fn answer(&mut self, ask: Ask) -> anyhow::Result<()> {
        match ask {
            Ask::Link { proof, only_check, answer } => {
                let (now, machine) = (self.now(), &mut self.parts.machine);
                let (round, _) = machine.head();
                let taken = if only_check { machine.check_link(now, &proof) } else { machine.link(now, &proof) };
                self.carry_out(now)?;
                let _ = answer.send(taken.map(|payee| Taken { payee, waits: payee.from > round + 1 }));
            }
            Ask::Account { who, answer } => drop(answer.send(self.parts.machine.account(&who))),
        }
        Ok(())
    }

    /// Does what the machine wants.
    fn carry_out(&mut self, now: Millis) -> anyhow::Result<()> {
        let mut wants: VecDeque<Want> = std::iter::from_fn(|| self.parts.machine.poll()).collect();
        self.keep(&wants)?;
        while let Some(want) = wants.pop_front() {
            self.act(want)?;
        }
        let mut board = self.parts.board.lock();
        board.update(&self.parts.machine, now, self.parts.handle.traffic());
        board.served = self.parts.handle.served();
        drop(board);
        Ok(())
    }

    /// Journals every event among `wants` in one transaction, a settled round together with its
    /// ledger entries, before any of the rest is done.
    fn keep(&mut self, wants: &VecDeque<Want>) -> anyhow::Result<()> {
        let journaled = wants.iter().filter_map(|want| match want {
            Want::Journal { event, entries } => Some((event, entries)),
            _ => None,
        });
        let (events, entries): (Vec<_>, Vec<_>) = journaled.unzip();
        if events.is_empty() {
            return Ok(());
        }
        let entries: Vec<_> = entries.into_iter().flatten().collect();
        // The disk's flush takes milliseconds; other tasks of this thread move to another one meanwhile.
        tokio::task::block_in_place(|| self.parts.journal.append(&events, &entries))
    }

    fn act(&mut self, want: Want) -> anyhow::Result<()> {
        match want {
            Want::Journal { event, .. } => return self.journaled(&event),
            Want::Send { to, message } => self.send(&to, &message),
            Want::Drop(peer) => self.parts.handle.disconnect(peer),
            Want::Fetch { from, update, probe } => self.fetch(from, update, probe),
            Want::Gather(order) => self.gather(order),
            Want::Replay(order) => self.replay(order),
            Want::Discard(dossier) => self.discard(dossier),
            Want::Fold(plan) => self.fold(plan),
            Want::Evaluate { round, base } => self.parts.examiner.evaluate(round, base),
            Want::Unlinked { who, why } => self.parts.output.event(
                || json!({"event": "unlinked", "peer": who, "why": why.to_string()}),
                || format!("the wallet of {who} cannot be written after all: {why}; it has to link again"),
            ),
        }
        Ok(())
    }

    /// Does what follows from an event that is on the disk.
    fn journaled(&mut self, event: &Event) -> anyhow::Result<()> {
        let me = self.parts.board.lock().run.peer;
        let (round, _) = self.parts.machine.head();
        let settled = Settled::of(event, &me);
        let gone = self.parts.retention.event(round, event, settled.as_ref());
        match event {
            Event::Opened(manifest) => {
                if let Ok(manifest) = manifest.open(&me) {
                    let (round, state) = (manifest.round, manifest.base);
                    self.parts.output.event(
                        || json!({"event": "opened", "round": round, "state": state}),
                        || format!("round {round} is open"),
                    );
                }
            }
            Event::Evaluated(evaluation) => self.evaluated(*evaluation),
            Event::Genesis { .. } | Event::Committed { .. } | Event::Settled { .. } | Event::Linked { .. } => {}
        }
        if let Some(settled) = settled {
            self.settled(&settled)?;
        }
        if !gone.is_empty() {
            self.delete(gone);
        }
        Ok(())
    }

    fn settled(&mut self, settled: &Settled) -> anyhow::Result<()> {
        let fold = &settled.fold;
        let mut board = self.parts.board.lock();
        board.settled(fold);
        board.books(&self.parts.machine);
        drop(board);
        self.newest()?;
        self.parts.output.event(
            || {
                let peers: Vec<_> = fold.accepted.iter().map(|a| a.peer).collect();
                json!({"event": "settled", "round": fold.round, "state": fold.next.hash, "accepted": peers})
            },
            || {
                format!(
                    "round {} settled: {} updates, state {}",
                    fold.round,
                    fold.accepted.len(),
                    fold.next.hash.short()
                )
            },
        );
        Ok(())
    }

    fn evaluated(&mut self, evaluation: Evaluation) {
        let Evaluation { round, bits_per_byte } = evaluation;
        self.parts.board.lock().evaluated(evaluation);
        self.parts.output.event(
            || json!({"event": "evaluated", "round": round, "bits_per_byte": bits_per_byte}),
            || format!("held-out text: {bits_per_byte:.4} bits per byte before round {round}"),
        );
    }

    fn newest(&self) -> anyhow::Result<()> {
        let (round, base) = self.parts.machine.head();
        Newest { round, base, spec: self.parts.machine.spec().clone() }.write(&self.parts.state)
    }

    fn send(&self, to: &[Id], message: &ToContributor) {
        let frame = bytes::Bytes::from(message.encode());
        for peer in to {
            match self.parts.handle.send(*peer, frame.clone()) {
                Ok(()) => {}
                // It will come back and be told where the round stands.
                Err(SendError::NotConnected) => {}
                Err(error @ (SendError::Full | SendError::TooLarge)) => {
                    tracing::warn!("{peer} is disconnected: {error}");
                    self.parts.handle.disconnect(*peer);
                }
            }
        }
    }

    fn fetch(&mut self, from: Id, update: BlobRef, probe: Probe) {
        let (handle, decoding) = (self.parts.handle.clone(), self.decoding.clone());
        let spec = self.parts.machine.spec();
        let (formats, params, layout) = (spec.sent_formats(), spec.model.params(), spec.model.ranges());
        let (run, examiner) = (spec.id(), self.parts.examiner.clone());
        // A score that takes longer than most of the grace would make the update late.
        let patience = Duration::from_secs(u64::from(spec.round.grace)).mul_f64(0.75);
        // After this it is too late in any case, if no round is void.
        let round = u64::from(spec.round.seconds) + u64::from(spec.round.grace);
        let limit = Duration::from_secs(round * (1 + u64::from(MAX_AGE)));
        self.work.spawn(async move {
            let fetched = tokio::time::timeout(limit, handle.fetch(from, update)).await;
            let result = match fetched {
                Ok(Ok(bytes)) => {
                    let _permit = decoding.acquire_owned().await;
                    let decode = move || {
                        let update = update::decode(&formats, &bytes, params).map_err(|_| Reason::Malformed)?;
                        let (norms, sketch) = (update.norms(&layout), Sketch::of(&update, &run));
                        Ok((update.format(), norms, sketch, update))
                    };
                    match tokio::task::spawn_blocking(decode).await? {
                        Ok((format, norms, sketch, update)) => {
                            let score = tokio::time::timeout(patience, examiner.score(from, update, probe)).await;
                            Ok(Examined { format, norms, sketch, score: score.ok().flatten() })
                        }
                        Err(why) => Err(why),
                    }
                }
                // Without a disk there is no next round either.
                Ok(Err(error @ FetchError::Store(_))) => anyhow::bail!("an update of {from} came, but {error}"),
                Ok(Err(error)) => {
                    tracing::info!("the update of {from} did not come: {error}");
                    Err(Reason::Unavailable)
                }
                Err(_) => Err(Reason::Unavailable),
            };
            Ok(Done::Input(Input::Fetched { from, update: update.hash, result }))
        });
    }

    /// Gets a dossier and has it looked at.
    fn gather(&mut self, order: Box<ReplayOrder>) {
        let (handle, examiner) = (self.parts.handle.clone(), self.parts.examiner.clone());
        let spec = self.parts.machine.spec();
        let (who, round, dossier) = (order.who, order.commit.round, order.dossier);
        let limit = u64::from(spec.round.seconds + spec.round.grace) * u64::from(spec.check.settle);
        let most = tributary_trainer::max_dossier_bytes(spec);
        self.work.spawn(async move {
            let ended = |result| Ok(Done::Input(Input::Gathered { who, round, dossier: dossier.hash, result }));
            if dossier.bytes > most {
                return ended(Err(Some(Finding::Different)));
            }
            let fetched = tokio::time::timeout(Duration::from_secs(limit), handle.fetch(who, dossier)).await;
            match fetched {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    tracing::info!("the dossier of {who} did not come: {error}");
                    return ended(Err(Some(Finding::Missing)));
                }
                Err(_) => return ended(Err(Some(Finding::Missing))),
            }
            ended(match examiner.look(order).await {
                Look::Telling { tokens, .. } => Ok(tokens),
                Look::Ended(Judgement { finding, .. }) => Err(finding),
            })
        });
    }

    /// Has the segment of a dossier that is here run again.
    fn replay(&mut self, order: Box<ReplayOrder>) {
        let examiner = self.parts.examiner.clone();
        let (who, round, segment) = (order.who, order.commit.round, order.segment);
        self.work.spawn(async move {
            let Judgement { tokens, finding, .. } = examiner.replay(order).await;
            Ok(Done::Input(Input::Replayed { who, round, segment, tokens, finding }))
        });
    }

    /// Deletes a dossier, unless its name is that of a blob that is needed for more than that.
    fn discard(&mut self, dossier: Hash) {
        if !self.parts.retention.wants(&dossier) {
            self.delete(vec![dossier]);
        }
    }

    fn delete(&mut self, gone: Vec<Hash>) {
        let store = self.parts.store.clone();
        self.work.spawn_blocking(move || {
            // What stays behind is swept at the next start.
            if let Err(error) = store.remove(&gone) {
                tracing::warn!("cannot delete old blobs: {error}");
            }
            Ok(Done::Deleted)
        });
    }

    fn fold(&mut self, plan: FoldPlan) {
        let (store, spec): (_, RunSpec) = (self.parts.store.clone(), self.parts.machine.spec().clone());
        self.work.spawn_blocking(move || {
            let began = Instant::now();
            let input = fold_blobs(&store, &spec, &plan)?;
            Ok(Done::Folded(input, began.elapsed()))
        });
    }
}
