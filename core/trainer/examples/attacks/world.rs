//! A run from its first round to its last, with the cheat's crew beside honest contributors.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tributary_ledger::{Code, Entry, Finding, Verdict};
use tributary_protocol::coordinator::{Coordinator, Event, Input, Output};
use tributary_protocol::fold::f32_to_le;
use tributary_protocol::message::{Commit, FoldManifest, Hello, PeerKind, RoundManifest, ToContributor, ToCoordinator};
use tributary_protocol::spec::RunSpec;
use tributary_protocol::update::Update;
use tributary_protocol::{Hash, Id, Identity, Millis, PROTOCOL_VERSION, Signed};
use tributary_trainer::{Judgement, initial_weights};

use crate::account::{Account, Reading};
use crate::cheat::{Cheat, Seen, decode};
use crate::desk::Desk;
use crate::order::{Order, Text};
use crate::worker::{Work, Worker};

/// Accounts that are kept: a segment is asked for while its round is judged.
const KEPT: u64 = 3;

/// Rounds over which the loss in the end is taken: that of one goes up and down by more than most cheats matter.
const LAST: u64 = 10;

/// Any time since 1970; not 0, so that differences and times can't be mixed up.
const BEGIN: Millis = 1_700_000_000_000;

struct Member {
    identity: Identity,
    /// The cheat's crew: which of it.
    crew: Option<u64>,
    /// Colluders have one between them.
    worker: Option<Worker>,
    /// What it said of its work, by round.
    accounts: BTreeMap<u64, Account>,
    /// The true work of all rounds of a cheat.
    works: Vec<Work>,
    gone: bool,
}

struct World {
    order: Order,
    spec: RunSpec,
    text: Text,
    desk: Desk,
    machine: Coordinator,
    coordinator: Id,
    now: Millis,
    inputs: VecDeque<Input>,
    open: Option<RoundManifest>,
    folded: Option<FoldManifest>,
    members: Vec<Member>,
    /// What the first honest contributor sent in the round before.
    before: Option<Update>,
    tally: Tally,
}

/// What the log says.
#[derive(Default)]
struct Tally {
    /// Of honest contributors: promises, and what was refused or found wrong, by reason.
    promised: u64,
    wronged: BTreeMap<String, u64>,
    /// Of the crew: rounds that counted, what was refused by reason, findings.
    counted: u64,
    refused: BTreeMap<String, u64>,
    findings: BTreeMap<String, u64>,
    /// By how much the folds that had the crew in them left the loss higher than they would have without.
    harm: f64,
    /// Tokens that were trained.
    trained: u64,
}

/// Runs an order.
pub(crate) fn run(file: &Path, data: &Path) -> Result<Value, String> {
    let bytes = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let order: Order = serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", file.display()))?;
    World::new(order, Text::load(data)?)?.play()
}

fn identity(seed: u64, who: &str, nth: usize) -> Identity {
    Identity::from_secret(Hash::of(format!("{seed} {who} {nth}").as_bytes()).0)
}

impl World {
    fn new(order: Order, text: Text) -> Result<Self, String> {
        let spec = order.spec(&text.bytes)?;
        let mut desk = Desk::new(&spec, &text)?;
        let weights = initial_weights(&spec);
        let base = desk.put(f32_to_le(&weights).into());
        let keys = identity(order.seed, "coordinator", 0);
        let (coordinator, genesis) = (keys.id(), Event::Genesis { run: spec.id(), base });
        let machine = Coordinator::restore(keys, spec.clone(), [genesis], []).map_err(|error| error.to_string())?;
        let mut members = Vec::new();
        for nth in 0..order.honest {
            let identity = identity(order.seed, "honest", nth);
            let worker = Some(Worker::start(&spec, &text, identity.id(), 0, &weights)?);
            members.push(Member::new(identity, None, worker));
        }
        for nth in 0..order.cheat.crew(order.rounds) {
            let identity = identity(order.seed, "crew", nth);
            let worker = match order.cheat {
                cheat if !cheat.trains(nth) => None,
                Cheat::OwnData => Some(Worker::start(&spec, &text.easier()?, identity.id(), 0, &weights)?),
                Cheat::Foreign => Some(Worker::start(&spec, &text, identity.id(), 0, &foreign(&spec))?),
                _ => Some(Worker::start(&spec, &text, identity.id(), 0, &weights)?),
            };
            members.push(Member::new(identity, Some(nth as u64), worker));
        }
        let mut world = Self {
            order,
            spec,
            text,
            desk,
            machine,
            coordinator,
            now: BEGIN,
            inputs: VecDeque::new(),
            open: None,
            folded: None,
            members,
            before: None,
            tally: Tally::default(),
        };
        world.drain()?;
        for at in 0..world.members.len() {
            let hello = Hello {
                version: PROTOCOL_VERSION,
                run: None,
                kind: PeerKind::Native,
                agent: "attacks".to_owned(),
                links: false,
                witness: true,
                seen: None,
            };
            world.say(at, ToCoordinator::Hello(hello))?;
        }
        Ok(world)
    }

    fn play(mut self) -> Result<Value, String> {
        let (rounds, steps) = (self.order.rounds, self.order.steps);
        let mut losses = Vec::new();
        for round in 0..rounds {
            self.round(round, steps)?;
            if round + LAST >= rounds {
                losses.push(self.desk.loss(&self.machine.head().1.hash)?);
            }
        }
        let loss = losses.iter().sum::<f64>() / losses.len() as f64;
        let rate = self.mean(|member| member.crew.is_none());
        let trained = self.tally.trained;
        let train: Duration = self.members.iter().filter_map(|member| Some(member.worker.as_ref()?.spent)).sum();
        let (scoring, scored) = (self.desk.scoring.as_secs_f64(), self.desk.scored());
        let (replaying, replayed) = (self.desk.replaying.as_secs_f64(), self.desk.replayed);
        // The crew leaves; what was asked of it ends.
        for at in 0..self.members.len() {
            if self.members[at].crew.is_some() {
                self.leave(at)?;
            }
        }
        for round in rounds..=rounds + u64::from(self.spec.check.settle) {
            self.round(round, 1)?;
        }
        let balances: Vec<_> = self.crew().iter().map(|id| self.machine.book().ledger().balance(&id.0)).collect();
        let sum = |part: fn(&tributary_ledger::Balance) -> u64| balances.iter().map(part).sum::<u64>() as f64 / rate;
        Ok(json!({
            "cheat": self.order.cheat, "seed": self.order.seed, "rounds": rounds, "honest": self.order.honest,
            "steps": steps, "loss": loss, "harm": self.tally.harm / loss,
            "kept": sum(|balance| balance.held()), "paid": sum(|balance| balance.paid()),
            "final": sum(|balance| balance.r#final), "deserved": self.order.cheat.deserved(rounds),
            "honest_paid": rate * self.order.honest as f64 / (self.spec.reward.pool * rounds) as f64,
            "promised": self.tally.promised, "wronged": self.tally.wronged,
            "counted": self.tally.counted, "refused": self.tally.refused, "findings": self.tally.findings,
            "seconds": { "train": train.as_secs_f64(), "score": scoring, "replay": replaying },
            "tokens": { "train": trained, "score": scored, "replay": replayed },
        }))
    }

    /// What each of some was paid and holds, on average.
    fn mean(&self, of: impl Fn(&Member) -> bool) -> f64 {
        let ids: Vec<_> = self.members.iter().filter(|member| of(member)).map(|member| member.identity.id()).collect();
        let held: u64 = ids.iter().map(|id| self.machine.book().ledger().balance(&id.0).held()).sum();
        held as f64 / ids.len().max(1) as f64
    }

    /// One round: everybody trains, honest ones promise first, and the round folds.
    fn round(&mut self, round: u64, steps: u64) -> Result<(), String> {
        self.feed(Input::Tick)?;
        let open = self.open.clone().filter(|open| open.round == round);
        let open = open.ok_or_else(|| format!("round {round} is not open"))?;
        let mut others = Vec::new();
        let mut commits = Vec::new();
        for at in 0..self.members.len() {
            let member = &mut self.members[at];
            if member.gone {
                continue;
            }
            let steps = if member.crew.is_some() { self.order.cheat.steps(steps) } else { steps };
            if let Some(worker) = &mut member.worker {
                if self.order.cheat == Cheat::Foreign && member.crew.is_some() {
                    worker.rebase(round, &foreign(&self.spec))?;
                }
                let work = worker.work(round, open.seed, steps)?;
                self.tally.trained += work.tokens;
                member.works.push(work);
            }
            let work = match member.crew {
                None => {
                    let work = member.works.pop().ok_or("an honest contributor without a trainer")?;
                    others.push(decode(&self.spec, &work.update)?);
                    work
                }
                Some(nth) if !self.order.cheat.sends(nth, round) => continue,
                Some(nth) => self.forge(at, nth, round, &others)?,
            };
            commits.push((at, work));
        }
        self.now = open.deadline_ms;
        for (at, work) in commits {
            self.promise(at, &open, work)?;
        }
        self.now += Millis::from(self.spec.round.grace) * 1000;
        self.feed(Input::Tick)?;
        self.before = others.into_iter().next();
        let manifest = self.folded.take().filter(|folded| folded.round == round);
        let manifest = manifest.ok_or_else(|| format!("round {round} did not fold"))?;
        let step = self.desk.get(&manifest.step.hash).ok_or("the step is gone")?.clone();
        for member in self.members.iter_mut().filter(|member| !member.gone) {
            let is_foreign = self.order.cheat == Cheat::Foreign && member.crew.is_some();
            if let Some(worker) = member.worker.as_mut().filter(|_| !is_foreign) {
                worker.fold(round, step.clone(), manifest.next.hash)?;
            }
        }
        Ok(())
    }

    /// What one of the crew sends, with an account that holds together.
    fn forge(&mut self, at: usize, nth: u64, round: u64, others: &[Update]) -> Result<Work, String> {
        let first = self.members.iter().find(|member| member.crew == Some(0)).ok_or("no crew")?;
        let own = if self.members[at].worker.is_some() { &self.members[at].works } else { &first.works };
        let (spec, rounds, before) = (&self.spec, self.order.rounds, self.before.as_ref());
        let mut work = self.order.cheat.forge(&Seen { spec, rounds, round, nth, others, before, own })?;
        let reading = Reading {
            me: self.members[at].identity.id(),
            train: &self.text.manifest.train,
            batch: spec.inner.batch.into(),
            seq: spec.inner.seq.into(),
        };
        let before = round.checked_sub(1).and_then(|before| self.members[at].accounts.get(&before));
        work.account = work.account.after(before, &reading);
        Ok(work)
    }

    fn promise(&mut self, at: usize, open: &RoundManifest, work: Work) -> Result<(), String> {
        let update = self.desk.put(work.update);
        let [loss_first, loss_last] = work.losses;
        let (run, round, base, tokens, trace) =
            (open.run, open.round, open.base, work.tokens, work.account.trace.named());
        let commit = Commit { run, round, base, update, tokens, loss_first, loss_last, trace };
        let member = &mut self.members[at];
        member.accounts.insert(round, work.account);
        member.accounts.retain(|kept, _| kept + KEPT > round);
        let signed = Signed::new(&member.identity, &commit);
        self.say(at, ToCoordinator::Commit(signed))
    }

    fn leave(&mut self, at: usize) -> Result<(), String> {
        self.members[at].gone = true;
        self.feed(Input::Gone(self.members[at].identity.id()))
    }

    fn say(&mut self, at: usize, message: ToCoordinator) -> Result<(), String> {
        let from = self.members[at].identity.id();
        self.feed(Input::Message { from, message })
    }

    fn feed(&mut self, input: Input) -> Result<(), String> {
        self.inputs.push_back(input);
        while let Some(input) = self.inputs.pop_front() {
            self.machine.handle(self.now, input);
            self.drain()?;
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<(), String> {
        while let Some(output) = self.machine.poll() {
            match output {
                Output::Journal { entries, .. } => self.read(&entries),
                Output::Send { to, message } => self.hear(&to, *message)?,
                Output::Drop(id) => self.inputs.push_back(Input::Gone(id)),
                Output::Fetch { from, update, probe } => {
                    let result = self.desk.examine(from, update, &probe);
                    self.inputs.push_back(Input::Fetched { from, update: update.hash, result });
                }
                Output::Gather(order) => self.inputs.push_back(self.desk.gather(&order)),
                Output::Replay(order) => {
                    let Judgement { tokens, finding, .. } = self.desk.replay(&order);
                    let (who, round, segment) = (order.who, order.commit.round, order.segment);
                    self.inputs.push_back(Input::Replayed { who, round, segment, tokens, finding });
                }
                // Blobs cost nothing here.
                Output::Discard(_) => {}
                Output::Fold(plan) => {
                    let (folded, harm) = self.desk.fold(&plan, &self.crew())?;
                    self.tally.harm += harm;
                    self.inputs.push_back(folded);
                }
                // Nobody names a wallet here.
                Output::Evaluate { .. } | Output::Unlinked { .. } => {}
            }
        }
        Ok(())
    }

    fn hear(&mut self, to: &[Id], message: ToContributor) -> Result<(), String> {
        match message {
            ToContributor::Open(open) => {
                self.open = Some(open.manifest.open(&self.coordinator).map_err(|error| error.to_string())?);
            }
            ToContributor::Folded(fold) => {
                self.folded = Some(fold.open(&self.coordinator).map_err(|error| error.to_string())?);
            }
            ToContributor::Disclose { round, segment } => {
                let found = self.members.iter().find(|member| to.contains(&member.identity.id()) && !member.gone);
                let Some(member) = found else { return Ok(()) };
                let answers =
                    if member.crew.is_some() { self.order.cheat.answers(round, self.order.rounds) } else { Some(true) };
                let Some(shows) = answers else { return Ok(()) };
                let dossier = member.accounts.get(&round).filter(|_| shows).and_then(|of| of.dossier(segment));
                let from = member.identity.id();
                let dossier = dossier.map(|bytes| self.desk.put(bytes));
                let message = ToCoordinator::Disclosed { round, segment, dossier };
                self.inputs.push_back(Input::Message { from, message });
            }
            ToContributor::Witness(order) => {
                let order = order.open(&self.coordinator).map_err(|error| error.to_string())?;
                let found = self.members.iter().find(|member| to.contains(&member.identity.id()) && !member.gone);
                let Some(member) = found else { return Ok(()) };
                let from = member.identity.id();
                // A crew vouches for its own, and does no work for others.
                let finding = match member.crew {
                    Some(_) => self.crew().contains(&order.who).then_some(Finding::Same),
                    None => self.desk.replay(&order).finding,
                };
                let (who, round, segment) = (order.who, order.commit.round, order.segment);
                let message = ToCoordinator::Witnessed { who, round, segment, finding };
                self.inputs.push_back(Input::Message { from, message });
            }
            _ => {}
        }
        Ok(())
    }

    /// The cheat's identities.
    fn crew(&self) -> BTreeSet<Id> {
        self.members.iter().filter(|member| member.crew.is_some()).map(|member| member.identity.id()).collect()
    }

    /// Counts what the log says.
    fn read(&mut self, entries: &[Entry]) {
        let crew: BTreeSet<_> = self.crew().into_iter().map(|id| id.0).collect();
        let tally = &mut self.tally;
        for entry in entries {
            match entry {
                Entry::Submitted { who, .. } if !crew.contains(who) => tally.promised += 1,
                Entry::Judged { who, verdict: Verdict::Refused(code), .. } if crew.contains(who) => {
                    *tally.refused.entry(format!("{code:?}").to_lowercase()).or_default() += 1;
                }
                Entry::Judged { verdict: Verdict::Refused(code), .. } => {
                    *tally.wronged.entry(format!("{code:?}").to_lowercase()).or_default() += 1;
                }
                Entry::Judged { who, .. } if crew.contains(who) => tally.counted += 1,
                Entry::Replayed { who, finding, .. } if crew.contains(who) => {
                    *tally.findings.entry(format!("{finding:?}").to_lowercase()).or_default() += 1;
                }
                Entry::Replayed { finding, .. } if *finding != Finding::Same => {
                    *tally.wronged.entry(format!("{finding:?}").to_lowercase()).or_default() += 1;
                }
                // Whoever was found out has nothing more to gain.
                Entry::Forfeited { who, code: Code::Different, .. } => {
                    let found = self.members.iter_mut().find(|member| member.identity.id().0 == *who);
                    if let Some(member) = found.filter(|member| !member.gone && member.crew.is_some()) {
                        member.gone = true;
                        self.inputs.push_back(Input::Gone(member.identity.id()));
                    }
                }
                _ => {}
            }
        }
    }
}

/// The first weights of another run.
fn foreign(spec: &RunSpec) -> Vec<f32> {
    let seed = spec.seed + 1_000_000;
    initial_weights(&RunSpec { seed, ..spec.clone() })
}

impl Member {
    fn new(identity: Identity, crew: Option<u64>, worker: Option<Worker>) -> Self {
        Self { identity, crew, worker, accounts: BTreeMap::new(), works: Vec::new(), gone: false }
    }
}
