//! The trainer as its driver sees it: jobs in, reports out, training in between.
//!
//! Jobs are done in the order they come; between steps, its own and those of another's work that it runs again, the
//! worker looks for the next one without waiting. Steps are queued ahead on a GPU only for as long as a Stop may take to answer.
//! Where somebody asked for a text, training and writing take turns.

mod asked;

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use futures::channel::mpsc;
use futures::future::{Either, LocalBoxFuture, select};
use futures::{FutureExt, SinkExt, StreamExt};
use tributary_protocol::check::ReplayOrder;
use tributary_protocol::job::{DeviceChoice, End, Job, Progress, Report};
use tributary_protocol::spec::RunSpec;
use tributary_protocol::{Hash, Id};

use crate::answer::Answer;
use crate::device::{self, Opened};
use crate::judge::{Evidence, Judgement, Look};
use crate::pace::Pace;
use crate::replay::Replayer;
use crate::session::{Cut, Session, Settled};

/// What the worker needs of the program that it runs in.
pub trait Host {
    /// Milliseconds on any clock that doesn't go back.
    fn now_ms(&self) -> u64;
    /// Lets the event loop run, so that a message that waits gets in. Natively ready at once.
    fn breathe(&self) -> LocalBoxFuture<'static, ()>;
    /// Leaves the device alone for so many milliseconds, or fewer: the worker asks again until the time is over,
    /// and looks for jobs in between. A host without timers breathes.
    fn rest(&self, _ms: u64) -> LocalBoxFuture<'static, ()> {
        self.breathe()
    }
    /// Keeps bytes under a name, in place of what was there, over restarts if there is a place for that.
    fn keep(&self, name: &str, bytes: Vec<u8>) -> LocalBoxFuture<'static, ()>;
    /// What was kept under a name, if it still is.
    fn recall(&self, name: &str) -> LocalBoxFuture<'static, Option<Vec<u8>>>;
}

/// Milliseconds between reports of progress: four a second.
const PROGRESS_MS: u64 = 250;

/// Under which name the host keeps what the coding of updates has left out so far.
const REST: &str = "error-feedback";

/// Losses of a device in a row after which it isn't opened again.
const MOST_LOSSES: u32 = 3;

/// The reports' receiver is gone, so there is nobody to work for.
struct Gone;

/// Runs the trainer until the jobs end or nobody reads the reports.
pub async fn run(host: impl Host, mut jobs: mpsc::Receiver<Job>, reports: mpsc::Sender<Report>) {
    let mut worker = Worker {
        host,
        reports,
        session: None,
        manifest: Bytes::new(),
        replay: None,
        answer: None,
        pace: Pace::default(),
        reported_ms: 0,
    };
    loop {
        let job = if let Some(replay) = &mut worker.replay {
            match select(jobs.next(), replay).await {
                Either::Left((job, _)) => job,
                Either::Right((report, _)) => {
                    worker.replay = None;
                    if worker.report(report).await.is_err() {
                        return;
                    }
                    continue;
                }
            }
        } else if worker.trains() || worker.answer.is_some() {
            match jobs.next().now_or_never() {
                Some(job) => job,
                None => {
                    if worker.turn().await.is_err() {
                        return;
                    }
                    continue;
                }
            }
        } else {
            jobs.next().await
        };
        let Some(job) = job else { return };
        if worker.take(job).await.is_err() {
            return;
        }
    }
}

struct Worker<H> {
    host: H,
    reports: mpsc::Sender<Report>,
    session: Option<Session>,
    /// The data manifest that the session was made with.
    manifest: Bytes,
    /// Another's work that is run again. Somebody waits for it and it is short, so training waits for it.
    replay: Option<LocalBoxFuture<'static, Report>>,
    /// What somebody asked the model to write.
    answer: Option<Answer>,
    pace: Pace,
    reported_ms: u64,
}

impl<H: Host> Worker<H> {
    async fn report(&mut self, report: Report) -> Result<(), Gone> {
        self.reports.send(report).await.map_err(|_| Gone)
    }

    async fn trouble(&mut self, what: String, fatal: bool) -> Result<(), Gone> {
        self.report(Report::Trouble { what, fatal }).await
    }

    async fn take(&mut self, job: Job) -> Result<(), Gone> {
        let job = match job {
            Job::Start { spec, data, me, device } => return self.start(*spec, data, me, device).await,
            Job::Pace { percent } => {
                self.pace.set(percent);
                return Ok(());
            }
            Job::Generate(ask) => return self.answer(&ask).await,
            Job::Hush => return self.hush(End::Stopped).await,
            Job::Pack => return self.pack().await,
            job => job,
        };
        let Some(session) = &mut self.session else {
            // The driver has been told why there is no device; what was under way is void.
            return Ok(());
        };
        match job {
            Job::Start { .. } | Job::Pace { .. } | Job::Generate(_) | Job::Hush | Job::Pack => Ok(()),
            Job::Base { round, hash, weights } => {
                let now = self.host.now_ms();
                let report = match attempt_async(session.rebase(now, round, hash, &weights)).await {
                    Ok(Ok(report)) => report,
                    Ok(Err(what)) => {
                        self.trouble(what, false).await?;
                        Report::Mismatch { round, got: None }
                    }
                    Err(why) => {
                        self.lost(why).await?;
                        Report::Based { round, hash }
                    }
                };
                self.report(report).await
            }
            Job::Train { round, seed } => {
                session.train(round, seed);
                self.ask().await
            }
            Job::Shard { hash, bytes } => match session.shard(hash, bytes) {
                Ok(()) => self.ask().await,
                Err(what) => self.trouble(format!("A piece of training data was put aside: {what}."), false).await,
            },
            Job::Cut { round } => self.cut(round).await,
            Job::Disclose { round, segment } => {
                let dossier = session.dossier(round, segment);
                self.report(Report::Dossier { round, segment, dossier }).await
            }
            Job::Fold { round, step, next } => {
                let report = match attempt_async(session.fold(round, &step, next)).await {
                    Ok(report) => report,
                    Err(why) => {
                        self.lost(why).await?;
                        Report::Based { round: round + 1, hash: next }
                    }
                };
                self.report(report).await
            }
            Job::Replay { order, blobs } => {
                let replayer = session.replayer(self.manifest.clone());
                self.replay = Some(replay(replayer, order, blobs).boxed_local());
                self.settle().await
            }
            Job::Pause => {
                session.pause();
                self.replay = None;
                self.settle().await
            }
        }
    }

    async fn start(&mut self, spec: RunSpec, data: Bytes, me: Id, choice: DeviceChoice) -> Result<(), Gone> {
        if let Some(session) = self.session.as_ref().filter(|session| session.is_for(&spec, me, choice)) {
            let info = session.info().clone();
            return self.report(Report::Ready(info)).await;
        }
        self.hush(End::Stopped).await?;
        (self.session, self.replay) = (None, None);
        let opened = match spec.check().map_err(|error| error.to_string()) {
            Ok(()) => device::open(choice).await,
            Err(why) => Err(format!("The run can't be trained: {why}. Its operator must correct it.")),
        };
        let session = opened.and_then(|opened| Session::new(spec, &data, me, choice, opened));
        match session {
            Ok(mut session) => {
                if let Some(bytes) = self.host.recall(REST).await {
                    session.recall(&bytes);
                }
                let info = session.info().clone();
                (self.session, self.manifest) = (Some(session), data);
                self.report(Report::Ready(info)).await
            }
            Err(what) => self.trouble(what, true).await,
        }
    }

    /// Asks for the shards that are wanted now or soon.
    async fn ask(&mut self) -> Result<(), Gone> {
        let now = self.host.now_ms();
        let wants = self.session.as_mut().map(|session| session.wants(now)).unwrap_or_default();
        for want in wants {
            self.report(Report::Need(want)).await?;
        }
        Ok(())
    }

    fn trains(&self) -> bool {
        self.session.as_ref().is_some_and(Session::can_step)
    }

    /// A little of what there is to do: of a text, of a rest, or of training.
    async fn turn(&mut self) -> Result<(), Gone> {
        let quiet = self.session.as_ref().is_none_or(Session::is_quiet);
        if self.answer.as_ref().is_some_and(|answer| !self.trains() || quiet && answer.is_due()) {
            self.write().await?;
        } else if let Some(rest) = self.rest() {
            rest.await;
            return Ok(());
        } else if self.answer.is_some() {
            let begun = self.host.now_ms();
            self.step().await?;
            let took = self.host.now_ms().saturating_sub(begun);
            self.answer.iter_mut().for_each(|answer| answer.trained(took));
        } else {
            self.step().await?;
        }
        self.host.breathe().await;
        Ok(())
    }

    /// A rest, if one is due.
    fn rest(&mut self) -> Option<LocalBoxFuture<'static, ()>> {
        if self.pace.is_full() {
            return None;
        }
        let ms = self.pace.rest(self.host.now_ms());
        (ms > 0).then(|| self.host.rest(ms))
    }

    async fn step(&mut self) -> Result<(), Gone> {
        self.ask().await?;
        let now = self.host.now_ms();
        self.pace.begin(now);
        let Some(session) = &mut self.session else { return Ok(()) };
        match attempt(|| session.step(now)) {
            Ok(true) => self.settle().await,
            Ok(false) => Ok(()),
            Err(why) => self.lost(why).await,
        }
    }

    /// Waits for the steps that are under way and judges them.
    async fn settle(&mut self) -> Result<(), Gone> {
        let Some(session) = &mut self.session else { return Ok(()) };
        let settled = AssertUnwindSafe(session.settle(&self.host)).catch_unwind().await;
        let settled = settled.unwrap_or_else(|panic| Settled::Lost(words(panic)));
        if !self.pace.is_full() {
            self.pace.end(self.host.now_ms());
        }
        match settled {
            Settled::Nothing => Ok(()),
            Settled::Fine(progress) => {
                self.progress(progress)?;
                self.mark().await
            }
            Settled::Undone(what) => self.trouble(what, false).await,
            Settled::Lost(why) => self.lost(why).await,
        }
    }

    fn progress(&mut self, progress: Progress) -> Result<(), Gone> {
        let now = self.host.now_ms();
        if now.saturating_sub(self.reported_ms) < PROGRESS_MS {
            return Ok(());
        }
        self.reported_ms = now;
        // A reader who lags gets the next one.
        match self.reports.try_send(Report::Progress(progress)) {
            Err(error) if error.is_disconnected() => Err(Gone),
            _ => Ok(()),
        }
    }

    /// Ends a segment of the trace if it is time.
    async fn mark(&mut self) -> Result<(), Gone> {
        let now = self.host.now_ms();
        let Some(session) = &mut self.session else { return Ok(()) };
        match AssertUnwindSafe(session.mark(now)).catch_unwind().await.unwrap_or_else(|panic| Err(words(panic))) {
            Ok(()) => Ok(()),
            Err(why) => self.lost(why).await,
        }
    }

    async fn cut(&mut self, round: u64) -> Result<(), Gone> {
        self.settle().await?;
        let now = self.host.now_ms();
        let Some(session) = &mut self.session else { return Ok(()) };
        let cut = AssertUnwindSafe(session.cut(now, round)).catch_unwind().await;
        let report = match cut.unwrap_or_else(|panic| Cut::Lost(words(panic))) {
            Cut::Made { base, update, tokens, losses: (loss_first, loss_last), trace } => {
                Report::Update { round, base, update, tokens, loss_first, loss_last, trace }
            }
            Cut::Withheld(why) => Report::Withheld { round, why },
            Cut::Lost(why) => {
                self.lost(why).await?;
                let why = "the device was lost while the update was read".to_owned();
                Report::Withheld { round, why }
            }
        };
        self.report(report).await?;
        if let Some(session) = &self.session
            && let Some(rest) = session.rest()
        {
            self.host.keep(REST, rest).await;
        }
        Ok(())
    }

    /// Opens the device again and goes on from the last weights that are known.
    async fn lost(&mut self, why: String) -> Result<(), Gone> {
        let Some(session) = &mut self.session else { return Ok(()) };
        // A person is told what happened; the rest of it is a list of causes.
        let why = why.lines().next().unwrap_or_default();
        let (choice, losses) = session.note_loss();
        let what =
            format!("The device stopped working ({why}). The work since the last update is lost; it is opened again.");
        self.trouble(what, false).await?;
        let why = "The device stopped working meanwhile. Ask again.".to_owned();
        self.hush(End::Failed { why }).await?;
        let opened = match (losses > MOST_LOSSES, choice) {
            (false, _) => device::open(choice).await,
            (true, DeviceChoice::Auto) => device::open(DeviceChoice::Cpu).await.map(|opened| {
                let note = "The GPU failed again and again, so the processor trains.".to_owned();
                Opened { info: tributary_protocol::job::DeviceInfo { note: Some(note), ..opened.info }, ..opened }
            }),
            (true, _) => {
                Err("The device failed again and again. Try another device, or restart the program.".to_owned())
            }
        };
        let now = self.host.now_ms();
        let Some(session) = &mut self.session else { return Ok(()) };
        let resumed = opened.and_then(|opened| match attempt(|| session.resume(now, opened)) {
            Ok(()) => Ok(session.info().clone()),
            Err(why) => Err(format!("The device opened again but does not work ({why}). Restart the program.")),
        });
        match resumed {
            Ok(info) => self.report(Report::Ready(info)).await,
            Err(what) => {
                self.session = None;
                self.trouble(what, true).await
            }
        }
    }
}

/// Runs another's work again with these blobs, or says which are lacking. If the device fails nothing came out; the
/// next step notices.
async fn replay(replayer: Replayer, order: Box<ReplayOrder>, blobs: BTreeMap<Hash, Bytes>) -> Report {
    let name = order.dossier.hash;
    let judge = async {
        let evidence = Evidence::new(&order, |hash| blobs.get(hash).cloned());
        let Some(dossier) = blobs.get(&name) else {
            return Report::Lacks { dossier: name, blobs: vec![order.dossier] };
        };
        match replayer.look(dossier, &evidence) {
            Look::Ended(Judgement { tokens, finding, .. }) => Report::Replayed { dossier: name, tokens, finding },
            Look::Telling { needs, .. } => {
                let lacking: Vec<_> = needs.into_values().filter(|blob| !blobs.contains_key(&blob.hash)).collect();
                if !lacking.is_empty() {
                    return Report::Lacks { dossier: name, blobs: lacking };
                }
                let Judgement { tokens, finding, .. } = replayer.judge(dossier, &evidence).await;
                Report::Replayed { dossier: name, tokens, finding }
            }
        }
    };
    let nothing = Report::Replayed { dossier: name, tokens: 0, finding: None };
    AssertUnwindSafe(judge).catch_unwind().await.unwrap_or(nothing)
}

/// Does something that panics where the device fails, and gives the panic as words. In a browser a
/// panic ends the worker instead, which its host reports.
fn attempt<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(words)
}

/// The same for what waits for the device.
async fn attempt_async<T>(work: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(words)
}

/// What a panic said.
fn words(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast_ref::<&str>().map_or("unknown", |text| *text).to_owned(),
    }
}
