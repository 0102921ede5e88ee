//! Inputs of every kind, sensible and not.

use super::*;

pub(super) fn anything_at_the_desk(desk: &mut Desk, who: &Identity, act: u8, random: &mut Random) {
    match act {
        0 => desk.hello(who),
        1 => desk.message(who, ToCoordinator::Hello(Hello { version: random.bits() as u16, ..hello() })),
        2 => desk.message(who, ToCoordinator::Pass { round: random.below(3) }),
        3 => {
            let device = "d".repeat(random.below(90) as usize);
            let status = Status { round: random.bits(), tokens: random.bits(), tokens_per_s: f32::NAN, device };
            desk.message(who, ToCoordinator::Status(status));
        }
        4 => desk.input(Input::BadFrame { from: who.id(), why: BadFrame::Malformed }),
        5 => desk.input(Input::Gone(who.id())),
        6 => desk.input(Input::Tick),
        7 | 8 if desk.journal.iter().any(|event| matches!(event, Event::Opened(_))) => {
            let mut commit = desk.commit_of(who, 1 + random.below(1000));
            match random.below(8) {
                0 => commit.round = random.below(4),
                1 => commit.tokens = random.bits(),
                2 => commit.base = Hash::of(b"else"),
                3 => commit.update.bytes = random.bits(),
                _ => {}
            }
            desk.commit(who, &commit);
        }
        9 => {
            if let Some((from, update)) = desk.fetches.pop() {
                let result = match random.below(4) {
                    0 => Err(Reason::Unavailable),
                    1 => Err(Reason::Malformed),
                    _ => Ok(examined(random)),
                };
                desk.input(Input::Fetched { from, update: update.hash, result });
            }
        }
        10 => {
            let (round, segment) = (random.below(6), random.below(5) as u8);
            let dossier = (random.below(3) > 0).then(|| BlobRef { hash: Hash::of(b"dossier"), bytes: random.bits() });
            desk.message(who, ToCoordinator::Disclosed { round, segment, dossier });
        }
        11 => {
            if let Some(order) = desk.gathers.pop() {
                let results = [Ok(random.bits()), Ok(64), Err(None), Err(Some(Finding::Missing))];
                let (who, round, dossier) = (order.who, order.commit.round, order.dossier.hash);
                let result = results[random.below(4) as usize];
                desk.input(Input::Gathered { who, round, dossier, result });
            }
            let (of, round, segment) = (who.id(), random.below(6), random.below(5) as u8);
            let finding = [None, Some(Finding::Same), Some(Finding::Different), Some(Finding::Missing)];
            let finding = finding[random.below(4) as usize];
            desk.message(who, ToCoordinator::Witnessed { who: of, round, segment, finding });
            if let Some(order) = desk.replays.pop() {
                let finding = [None, Some(Finding::Same), Some(Finding::Different), Some(Finding::Missing)];
                let finding = finding[random.below(4) as usize];
                let (who, round, segment) = (order.who, order.commit.round, order.segment);
                desk.input(Input::Replayed { who, round, segment, tokens: random.bits(), finding });
            }
        }
        12 => {
            let blob = |n: u64| BlobRef { hash: Hash::of(&n.to_le_bytes()), bytes: 2160 };
            let round = desk.plan.as_ref().map_or(random.below(3), |plan| plan.round);
            let [step, next, momentum] = [random.bits(), random.bits(), random.bits()].map(blob);
            desk.input(Input::Folded { round, step, next, momentum });
        }
        _ => {
            let round = desk.plan.as_ref().map_or(0, |plan| plan.round);
            let age = random.below(4) as u8;
            desk.input(Input::FoldFailed { round, peer: who.id(), age, why: Reason::Malformed });
        }
    }
}

/// Of the simulated run's 11 tensors; now and then of fewer, or no numbers.
fn norms(random: &mut Random) -> Vec<f64> {
    let tensors = if random.below(8) == 0 { random.below(12) } else { 11 };
    (0..tensors).map(|_| if random.below(50) == 0 { f64::NAN } else { random.below(100) as f64 / 50.0 }).collect()
}

/// What a wild driver could find out.
fn examined(random: &mut Random) -> Examined {
    let wild = |random: &mut Random| f32::from_bits(random.bits() as u32);
    let values: Vec<f32> = (0..64).map(|_| random.below(1000) as f32 - 500.0).collect();
    let sketch = Sketch::of(&Update::dense(values), &Hash::default());
    let gain = Gain { mean: wild(random), error: wild(random) };
    let score = (random.below(2) == 0).then_some(Score { random: gain, own: gain });
    Examined { format: UpdateFormat::F32, norms: norms(random), sketch, score }
}

pub(super) fn anything_for_a_contributor(act: u8, coordinator: &Identity, random: &mut Random) -> ToMachine {
    let run = tiny_run(RoundRule { seconds: 10, grace: 5, quorum: 1, stale: 0.5 });
    let first = BlobRef::of(&run.weights);
    let round = random.below(4);
    let state = |n: u64| if n == 0 { first } else { BlobRef { hash: Hash::of(&n.to_le_bytes()), bytes: first.bytes } };
    let manifest = RoundManifest {
        run: run.spec.id(),
        round,
        base: state(round).hash,
        seed: Hash::of(&random.below(2).to_le_bytes()),
        deadline_ms: random.bits(),
        pool: random.bits(),
    };
    let open = Open { manifest: Signed::new(coordinator, &manifest), remaining_ms: random.bits() };
    let blobs = [BlobRef::of(&run.data), first, state(1), state(2), BlobRef::of(b"step")];
    let blob = blobs[random.below(5) as usize];
    let message = match act {
        0 => return ToMachine::Start,
        1 => return ToMachine::Finish,
        2 => return ToMachine::Stop,
        3 => return ToMachine::Connected,
        4 => return ToMachine::Disconnected { why: "gone".to_owned() },
        5 | 6 => return ToMachine::Fetched { hash: blob.hash, result: Ok(run.data) },
        7 => return ToMachine::Fetched { hash: blob.hash, result: Err("no".to_owned()) },
        8 => {
            let device = DeviceInfo { backend: Backend::Cpu, name: "é".repeat(200), note: None };
            return ToMachine::Report(Report::Ready(device));
        }
        9 => return ToMachine::Report(Report::Based { round, hash: state(round).hash }),
        10 => return ToMachine::Report(Report::Mismatch { round, got: None }),
        11 => return ToMachine::Report(Report::Need(blob)),
        12 => {
            let progress = Progress { round, steps: 1, tokens: random.below(1000), loss: f32::NAN, tokens_per_s: 1.0 };
            return ToMachine::Report(Report::Progress(progress));
        }
        13 => {
            return ToMachine::Report(Report::Update {
                round,
                base: state(round).hash,
                update: Bytes::from_static(b"update"),
                tokens: 64,
                loss_first: 1.0,
                loss_last: f32::INFINITY,
                trace: trace(round),
            });
        }
        14 => return ToMachine::Report(Report::Trouble { what: "t".to_owned(), fatal: random.below(4) == 0 }),
        15 | 16 => ToContributor::Welcome(Box::new(Welcome {
            spec: run.spec,
            round,
            base: state(round),
            open: (random.below(2) == 0).then_some(open),
            credits: random.bits(),
            evaluations: Vec::new(),
        })),
        17 => ToContributor::Open(open),
        _ => {
            let accepted = Vec::new();
            let (base, next) = (state(round).hash, state(round + 1));
            let step = BlobRef::of(b"step");
            let fold =
                FoldManifest { run: run.spec.id(), round, base, accepted, rate: 0.7, step, next, pool: 1, probe: base };
            ToContributor::Folded(Signed::new(coordinator, &fold))
        }
    };
    ToMachine::Message(message)
}
