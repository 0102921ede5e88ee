//! The cheats: what each sends in place of its work, and what it says of how it got there.
//!
//! Each knows everything that there is to know: the honest updates of its round, which it sees before it promises its
//! own, and how to tell of any number of steps so that its account holds together.

use serde::{Deserialize, Serialize};
use tributary_protocol::fold::norm;
use tributary_protocol::spec::RunSpec;
use tributary_protocol::update::{self, Update, compress, encode};

use crate::worker::Work;

/// Part of the rounds after which those cheat that begin honestly: 20 of 50.
const HONEST: (u64, u64) = (2, 5);

/// Rounds after which an update is sent again as new: longer than the coordinator remembers its sketch.
const FORGOTTEN: u64 = 5;

/// Identities of one contributor that is split.
pub(crate) const SPLIT: usize = 50;

/// Part of the colluders' updates that is noise, in norms, so that no two are copies of each other.
const UNLIKE: f32 = 0.5;

/// What is wrong with somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Cheat {
    /// Nobody cheats: what others are compared with.
    Nobody,
    /// Nothing: one who does as much work as all of `Split`.
    Whole,
    /// Nothing: fifty identities, each with a fiftieth of the work.
    Split,
    /// Sends next to nothing.
    Nothing,
    /// Sends noise of an honest update's norm.
    Noise,
    /// Sends dense noise of three norms.
    Random,
    /// Sends what another has sent.
    Copied,
    /// Sends what another has sent, with noise of half its norm.
    Noisy,
    /// Sends the mean of what all others have sent.
    Blended,
    /// Trains, and sends five times what came out.
    Scaled,
    /// Trains, and sends the opposite.
    Flipped,
    /// Sends what another has sent a round before.
    Stale,
    /// Trains for five rounds and sends its five updates again and again.
    Replayed,
    /// Trains another model and sends that.
    Foreign,
    /// Sends what is no number.
    NotANumber,
    /// Trains, and claims twice the steps.
    TwiceTheTokens,
    /// Trains, and claims ten times the steps.
    TenfoldTokens,
    /// Trains on text of its own choice, always the same.
    OwnData,
    /// Trains a quarter of the steps, makes four times as much of it and claims all.
    Quarter,
    /// Blends, and does not answer when it is asked how it got there.
    Silent,
    /// Blends, and says that it has nothing to show.
    Mute,
    /// Trains for two fifths of the rounds, then blends.
    Turned,
    /// The same, and does not answer from then on.
    TurnedSilent,
    /// Trains, and adds the same direction of 0.3 norms each round.
    Poisoned,
    /// A new identity in every round, with dense noise and a thousand times the steps, that never answers.
    Hopping,
    /// Three who do the work of one: each sends it with other noise.
    Colluding,
}

/// What a cheat sees.
pub(crate) struct Seen<'a> {
    pub(crate) spec: &'a RunSpec,
    /// Of all rounds and of this one.
    pub(crate) rounds: u64,
    pub(crate) round: u64,
    /// Which of its crew it is.
    pub(crate) nth: u64,
    /// What honest contributors sent in this round, and the first of them in the one before.
    pub(crate) others: &'a [Update],
    pub(crate) before: Option<&'a Update>,
    /// Its own true work of all rounds so far, this one's last.
    pub(crate) own: &'a [Work],
}

impl Cheat {
    /// How many identities it has.
    pub(crate) fn crew(self, rounds: u64) -> usize {
        match self {
            Cheat::Nobody => 0,
            Cheat::Split => SPLIT,
            Cheat::Colluding => 3,
            Cheat::Hopping => rounds as usize,
            _ => 1,
        }
    }

    /// Whether each of its identities has a trainer, or the first one's work serves all.
    pub(crate) fn trains(self, nth: usize) -> bool {
        nth == 0 || !matches!(self, Cheat::Colluding | Cheat::Hopping)
    }

    /// Whether one of its identities sends something in a round.
    pub(crate) fn sends(self, nth: u64, round: u64) -> bool {
        self != Cheat::Hopping || nth == round
    }

    /// Steps that each of its trainers does while honest ones do `steps`.
    pub(crate) fn steps(self, steps: u64) -> u64 {
        match self {
            Cheat::Whole => SPLIT as u64,
            Cheat::Split => 1,
            Cheat::Quarter => (steps / 4).max(1),
            _ => steps,
        }
    }

    /// What an honest contributor would have been paid for what it really did, in its rate over all rounds, where
    /// that is not nothing.
    pub(crate) fn deserved(self, rounds: u64) -> f64 {
        let of = |part: u64| part.min(rounds) as f64 / rounds as f64;
        match self {
            Cheat::Turned | Cheat::TurnedSilent => of(turn(rounds)),
            Cheat::Replayed => of(FORGOTTEN),
            Cheat::Colluding => 1.0,
            _ => 0.0,
        }
    }

    /// Whether it answers when it is asked about a round's work: with a dossier, that there is none, or not at all.
    pub(crate) fn answers(self, round: u64, rounds: u64) -> Option<bool> {
        match self {
            Cheat::Silent | Cheat::Hopping => None,
            Cheat::TurnedSilent if round >= turn(rounds) => None,
            Cheat::Mute => Some(false),
            _ => Some(true),
        }
    }

    /// What it sends.
    pub(crate) fn forge(self, seen: &Seen<'_>) -> Result<Work, String> {
        let own = seen.own.last().ok_or("a cheat without a trainer")?.clone();
        let true_one = decode(seen.spec, &own.update)?;
        let (values, format) = (true_one.values(), true_one.format());
        let length = norm(&values) as f32;
        let noise = |length: f32| noise(seen.spec.seed + seen.nth, 1 + seen.round, values.len(), length);
        let first = || seen.others.first().map_or_else(|| values.clone(), Update::values);
        let blend = || {
            let mut sum = vec![0.0; values.len()];
            for update in seen.others {
                update.zip(&mut sum, |sum, value| *sum += value / seen.others.len() as f32);
            }
            longer(sum, seen.others.iter().map(|of| norm(&of.values())).fold(0.0, f64::max) as f32)
        };
        // Not trained for: the account is one segment that ends where it should.
        let invented = |values: Vec<f32>, format| {
            let update = compress(&values, format);
            Work { update: encode(&update), account: own.account.clone().joined().ending(&update), ..own.clone() }
        };
        // Trained for, and then changed.
        let changed = |values: Vec<f32>| Work { update: encode(&compress(&values, format)), ..own.clone() };
        let claimed = |work: Work, times: u32| Work {
            tokens: work.tokens * u64::from(times),
            account: work.account.joined().longer(times),
            ..work
        };
        let (dense, sparse) = (seen.spec.first, seen.spec.update);
        Ok(match self {
            Cheat::Nobody | Cheat::Whole | Cheat::Split | Cheat::OwnData => own,
            Cheat::Nothing => invented(noise(1e-3 * length), format),
            Cheat::Noise => invented(noise(length), format),
            Cheat::Random => invented(noise(3.0 * length), dense),
            Cheat::Copied => invented(first(), sparse),
            Cheat::Noisy => {
                let first = first();
                let noise = noise(0.5 * norm(&first) as f32);
                invented(sum(&first, &noise), dense)
            }
            Cheat::Blended | Cheat::Silent | Cheat::Mute => invented(blend(), sparse),
            Cheat::Turned | Cheat::TurnedSilent if seen.round >= turn(seen.rounds) => invented(blend(), sparse),
            Cheat::Turned | Cheat::TurnedSilent => own,
            Cheat::Scaled => changed(values.iter().map(|value| 5.0 * value).collect()),
            Cheat::Flipped => changed(values.iter().map(|value| -value).collect()),
            Cheat::Stale => invented(seen.before.map_or_else(|| noise(length), Update::values), sparse),
            Cheat::Replayed if seen.round < FORGOTTEN => own,
            Cheat::Replayed => {
                let old = &seen.own[(seen.round % FORGOTTEN) as usize];
                invented(decode(seen.spec, &old.update)?.values(), sparse)
            }
            Cheat::Foreign => own,
            Cheat::NotANumber => Work { update: encode(&Update::dense(vec![f32::NAN; values.len()])), ..own },
            Cheat::TwiceTheTokens => claimed(own, 2),
            Cheat::TenfoldTokens => claimed(own, 10),
            Cheat::Hopping => claimed(invented(noise(3.0 * length), dense), 1000),
            Cheat::Quarter => claimed(invented(values.iter().map(|value| 4.0 * value).collect(), format), 4),
            Cheat::Poisoned => {
                let mut direction = self::noise(seen.spec.seed, 0, values.len(), 1.0);
                // So few values that the coding leaves them in.
                direction.iter_mut().enumerate().filter(|(at, _)| at % 128 != 0).for_each(|(_, value)| *value = 0.0);
                changed(sum(&values, &longer(direction, 0.3 * length)))
            }
            Cheat::Colluding if seen.nth == 0 => own,
            Cheat::Colluding => {
                Work { update: encode(&compress(&sum(&values, &noise(UNLIKE * length)), dense)), ..own }
            }
        })
    }
}

fn turn(rounds: u64) -> u64 {
    rounds * HONEST.0 / HONEST.1
}

/// What an update's bytes say.
pub(crate) fn decode(spec: &RunSpec, bytes: &[u8]) -> Result<Update, String> {
    let formats = spec.sent_formats();
    update::decode(&formats, bytes, spec.model.params()).map_err(|error| error.to_string())
}

fn sum(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// The same direction, of this norm.
fn longer(mut values: Vec<f32>, length: f32) -> Vec<f32> {
    let factor = length / (norm(&values) as f32).max(f32::MIN_POSITIVE);
    values.iter_mut().for_each(|value| *value *= factor);
    values
}

/// Noise of this norm: the same for the same words.
fn noise(seed: u64, word: u64, count: usize, length: f32) -> Vec<f32> {
    let values = (0..count.div_ceil(32)).flat_map(|block| {
        let hash = tributary_protocol::Hash::of(format!("{seed} {word} {block}").as_bytes());
        hash.0.map(|byte| f32::from(byte) - 127.5)
    });
    longer(values.take(count).collect(), length)
}
