//! Text from a model: it reads a prompt once, keeps the keys and values of what it read, and writes a byte at a time.
//!
//! Enters: weights, and an [`Ask`], whose seed is all that draws depend on. Leaves: bytes, and why there are no more.
//! Refuses, in words: no prompt, one that leaves no room for an answer, a temperature that is none, and weights that
//! are no numbers. All it does comes in turns of one short computation, so that whoever trains on the same device can
//! do so in between. Every computation has one of two shapes, a piece of the prompt or a single byte, over room for
//! the whole text: a GPU prepares each once.

use burn::tensor::{Device, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use tributary_protocol::job::{Ask, End};
use tributary_protocol::limits::MAX_WRITTEN;
use tributary_protocol::spec::ModelSpec;

use crate::error::TrainerError;
use crate::eval::upload;
use crate::model::{Dims, KeysAndValues, Model, mask, rotary};
use crate::params::{Params, blocks};

/// Bytes of a prompt that are read in one turn: few enough for a turn to be short where a processor computes.
const PIECE: usize = 16;

/// The highest temperature: from there on draws are as good as blind.
const HOTTEST: f32 = 10.0;

/// What came of a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// A piece of the prompt was read.
    Read,
    /// This byte was written.
    Wrote(u8),
    /// There is no more. From then on every turn says so.
    Ended(End),
}

/// A model that writes on from a prompt.
pub struct Generator {
    params: Params,
    context: Context,
    /// The prompt and what was written.
    text: Vec<u8>,
    /// How much of `text` may be there in the end.
    most: usize,
    /// Why it ends there.
    end: End,
    temperature: f32,
    draws: ChaCha8Rng,
    /// `[1, vocab]`: what may follow all of `text`, once all of it was read.
    logits: Option<Tensor<2>>,
}

impl Generator {
    /// Uploads `weights` to a device, to write with them. Reads no prompt yet.
    pub fn new(spec: &ModelSpec, weights: &[f32], device: Device, ask: &Ask) -> Result<Self, TrainerError> {
        TrainerError::check_weights(spec.params(), weights.len())?;
        let (got, most) = (ask.prompt.len(), MAX_WRITTEN.min(spec.context as usize));
        if got == 0 {
            return Err(TrainerError::NoPrompt);
        }
        if got >= most {
            return Err(TrainerError::LongPrompt { got, most });
        }
        if !(0.0..=HOTTEST).contains(&ask.temperature) {
            return Err(TrainerError::Temperature(ask.temperature));
        }
        if weights.iter().any(|weight| !weight.is_finite()) {
            return Err(TrainerError::NotNumbers);
        }
        let wanted = got.saturating_add(ask.tokens as usize);
        let mut text = Vec::with_capacity(most);
        text.extend_from_slice(ask.prompt.as_bytes());
        Ok(Self {
            params: Params::upload(&blocks(spec), weights, &device),
            context: Context::new(spec, most, device),
            text,
            most: wanted.min(most),
            end: if wanted > most { End::Full } else { End::Length },
            temperature: ask.temperature,
            draws: ChaCha8Rng::seed_from_u64(ask.seed),
            logits: None,
        })
    }

    /// The next turn. Waits for the device where a byte is written.
    pub async fn turn(&mut self) -> Result<Turn, TrainerError> {
        let Some(logits) = self.logits.take() else {
            let logits = self.read();
            if self.context.known == self.text.len() {
                self.logits = Some(logits);
            }
            return Ok(Turn::Read);
        };
        if self.text.len() >= self.most {
            return Ok(Turn::Ended(self.end(logits)));
        }
        let data =
            logits.clone().into_data_async().await.map_err(|error| TrainerError::Execution(error.to_string()))?;
        let values = data.try_into_vec::<f32>().map_err(|error| TrainerError::Execution(error.to_string()))?;
        if values.iter().any(|value| !value.is_finite()) {
            return Err(TrainerError::NotNumbers);
        }
        match pick(&values, self.temperature, &mut self.draws) {
            // It stands between texts.
            0 => {
                self.end = End::Text;
                self.most = self.text.len();
                Ok(Turn::Ended(self.end(logits)))
            }
            byte => {
                self.text.push(byte);
                self.logits = Some(if self.text.len() < self.most { self.read() } else { logits });
                Ok(Turn::Wrote(byte))
            }
        }
    }

    /// The end, which is the end of the next turn too.
    fn end(&mut self, logits: Tensor<2>) -> End {
        self.logits = Some(logits);
        self.end.clone()
    }

    /// Queues the next piece of the text that was not read; what may follow it.
    fn read(&mut self) -> Tensor<2> {
        let unread = &self.text[self.context.known..];
        let piece = &unread[..if unread.len() < PIECE { 1 } else { PIECE }];
        self.context.read(&self.params, piece)
    }
}

/// What a model remembers of a text: every layer's keys and values, with room for all of it.
struct Context {
    device: Device,
    /// For a text that fills all the room.
    dims: Dims,
    /// Rotary positions, as [`Model`] has them.
    tables: [Tensor<5>; 2],
    /// `[1, kv_heads, room, head]` each, zeros where nothing was read yet.
    layers: Vec<Option<KeysAndValues>>,
    /// Tokens that were read.
    known: usize,
}

impl Context {
    fn new(spec: &ModelSpec, room: usize, device: Device) -> Self {
        let dims = Dims::new(spec, 1, room);
        let empty = || Tensor::zeros([1, dims.kv_heads, room, dims.head], &device);
        Self {
            tables: rotary(spec, &dims, &device),
            layers: (0..dims.layers).map(|_| Some([empty(), empty()])).collect(),
            dims,
            device,
            known: 0,
        }
    }

    /// Queues the reading of `piece`, for which there must be room; `[1, vocab]`: what may follow it.
    fn read(&mut self, params: &Params, piece: &[u8]) -> Tensor<2> {
        let (first, count) = (self.known, piece.len());
        let dims = Dims { seq: count, ..self.dims };
        let [cos, sin] = self.tables.clone().map(|table| table.narrow(1, first, count));
        // Keys from `first + count` on are nobody's yet, and later than any query.
        let model = Model { dims, cos, sin, mask: mask(&dims, first, self.dims.seq, &self.device) };
        let tokens = upload(piece.iter().map(|&byte| i32::from(byte)).collect(), &self.device);
        let place = [0..1, 0..dims.kv_heads, first..first + count, 0..dims.head];
        let (logits, _) = model.forward_among(params, tokens, false, |layer, [key, value]| {
            let Some([keys, values]) = self.layers[layer].take() else { unreachable!("a layer is read once a piece") };
            let all = [keys.slice_assign(place.clone(), key), values.slice_assign(place.clone(), value)];
            self.layers[layer] = Some(all.clone());
            all
        });
        self.known += count;
        logits.narrow(0, count - 1, 1)
    }
}

/// The likeliest token at temperature 0, the first of several; else a draw.
fn pick(logits: &[f32], temperature: f32, draws: &mut ChaCha8Rng) -> u8 {
    // A byte has 256 values, and so has the vocabulary.
    let logits = &logits[..logits.len().min(256)];
    let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let likeliest = logits.iter().position(|&logit| logit == best).unwrap_or(0);
    if temperature == 0.0 {
        return likeliest as u8;
    }
    let weight = |logit: f32| (f64::from(logit - best) / f64::from(temperature)).exp();
    let sum: f64 = logits.iter().map(|&logit| weight(logit)).sum();
    let mut left = f64::from(draws.next_u32()) / 2f64.powi(32) * sum;
    let drawn = logits.iter().position(|&logit| {
        left -= weight(logit);
        left < 0.0
    });
    // What rounding may leave over.
    drawn.unwrap_or(likeliest) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;

    fn ask(prompt: &str, temperature: f32, seed: u64) -> Ask {
        Ask { id: 0, prompt: prompt.to_owned(), tokens: 1000, temperature, seed }
    }

    /// Weights of a trained model's size, so that positions and heads matter; gains stay 1.
    fn weights() -> (ModelSpec, Vec<f32>) {
        let spec = crate::testing::spec();
        let large = |&weight: &f32| if weight == 1.0 { 1.0 } else { 8.0 * weight };
        let weights = crate::initial_weights(&spec).iter().map(large).collect();
        (spec.model, weights)
    }

    fn write(ask: &Ask) -> (Vec<u8>, End) {
        let (spec, weights) = weights();
        let mut generator = Generator::new(&spec, &weights, Device::flex(), ask).unwrap();
        let mut written = Vec::new();
        loop {
            match block_on(generator.turn()).unwrap() {
                Turn::Read => {}
                Turn::Wrote(byte) => written.push(byte),
                Turn::Ended(end) => {
                    assert_eq!(block_on(generator.turn()).unwrap(), Turn::Ended(end.clone()));
                    return (written, end);
                }
            }
        }
    }

    #[test]
    fn what_is_remembered_gives_the_logits_of_reading_everything() {
        let (spec, weights) = weights();
        let text: Vec<u8> = (0..spec.context).map(|i| (i * 37 % 251) as u8).collect();
        let device = Device::flex();
        let params = Params::upload(&blocks(&spec), &weights, &device);
        let whole = Model::new(&spec, 1, text.len(), &device);
        let tokens = upload(text.iter().map(|&byte| i32::from(byte)).collect(), &device);
        let expected = whole.forward(&params, tokens, false).0;
        let mut most: f32 = 0.0;
        for pieces in [&[1; 32][..], &[16, 16], &[16, 1, 1, 5, 9], &[3, 16, 13]] {
            let mut context = Context::new(&spec, text.len(), device.clone());
            for &piece in pieces {
                let (first, end) = (context.known, context.known + piece);
                let got = context.read(&params, &text[first..end]).into_data().try_into_vec::<f32>().unwrap();
                let expected = expected.clone().narrow(0, end - 1, 1).into_data().try_into_vec::<f32>().unwrap();
                let apart = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(apart < 1e-4, "{apart} at {end} by {pieces:?}");
                most = most.max(apart);
            }
        }
        println!("logits differ by {most} at most");
    }

    #[test]
    fn the_likeliest_text_is_always_the_same_and_draws_go_by_the_seed() {
        let likeliest = write(&ask("The rain in Spain", 0.0, 1));
        assert_eq!(likeliest, write(&ask("The rain in Spain", 0.0, 2)));
        let drawn = write(&ask("The rain in Spain", 1.0, 1));
        assert_eq!(drawn, write(&ask("The rain in Spain", 1.0, 1)));
        assert_ne!(drawn, write(&ask("The rain in Spain", 1.0, 2)));
        assert_ne!(drawn, likeliest);
    }

    #[test]
    fn a_text_ends_where_it_was_told_to_or_is_full() {
        let (written, end) = write(&Ask { tokens: 3, ..ask("The rain", 0.0, 1) });
        assert!(written.len() == 3 && end == End::Length || end == End::Text, "{written:?} {end:?}");
        assert_eq!(write(&Ask { tokens: 0, ..ask("The rain", 0.0, 1) }), (Vec::new(), End::Length));
        let (written, end) = write(&Ask { tokens: u32::MAX, ..ask("The rain", 0.0, 1) });
        assert!(written.len() == 32 - 8 && end == End::Full || end == End::Text, "{written:?} {end:?}");
    }

    #[test]
    fn what_cannot_be_gone_on_from_is_refused_in_words() {
        let (spec, mut weights) = weights();
        let refused = |weights: &[f32], ask: Ask, words: &str| {
            let error = Generator::new(&spec, weights, Device::flex(), &ask).err().unwrap().to_string();
            assert!(error.contains(words), "{error}");
        };
        refused(&weights, ask("", 0.0, 1), "no text");
        refused(&weights, ask(&"x".repeat(32), 0.0, 1), "32 bytes");
        for temperature in [-1.0, 11.0, f32::NAN, f32::INFINITY] {
            refused(&weights, ask("x", temperature, 1), "temperature");
        }
        refused(&weights[1..], ask("x", 0.0, 1), "weights");
        weights[7] = f32::NAN;
        refused(&weights, ask("x", 0.0, 1), "not all numbers");
        // Numbers that lead to none.
        weights.fill(1e18);
        let mut generator = Generator::new(&spec, &weights, Device::flex(), &ask("x", 0.0, 1)).unwrap();
        assert_eq!(block_on(generator.turn()).unwrap(), Turn::Read);
        assert!(matches!(block_on(generator.turn()), Err(TrainerError::NotNumbers)));
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let mut draws = ChaCha8Rng::seed_from_u64(5);
        // Probabilities 1/8, 5/8, 2/8.
        let logits = [1.0f32, 5.0, 2.0].map(f32::ln);
        let mut count = [0; 3];
        (0..8000).for_each(|_| count[usize::from(pick(&logits, 1.0, &mut draws))] += 1);
        assert!(
            count.iter().zip([1000, 5000, 2000]).all(|(got, due): (&i32, i32)| (got - due).abs() < 150),
            "{count:?}"
        );
        assert_eq!(pick(&[1.0, 3.0, 3.0], 0.0, &mut draws), 1);
        assert_eq!(pick(&[-1e30, 3e30, 1.0], 1e-3, &mut draws), 1);
    }
}
