//! The model as files that Hugging Face transformers loads unchanged.
//!
//! Leaves: `model.safetensors`, `config.json` and `generation_config.json` for `LlamaForCausalLM` with
//! tied embeddings, `tokenizer.json` and `tokenizer_config.json` for `PreTrainedTokenizerFast`. As a folder, or for a
//! tab, which has none, as one archive. Refuses weights of another model.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use bytes::Bytes;
use safetensors::Dtype;
use safetensors::tensor::View;
use serde_json::{Map, Value, json};
use tributary_protocol::Hash;
use tributary_protocol::fold::f32_to_le;
use tributary_protocol::job::Packed;
use tributary_protocol::spec::{ModelSpec, Tokenizer};

use crate::archive::zip;
use crate::error::TrainerError;

/// Bytes of an archive that leave at once: few messages, and little beside the weights in memory.
const PART: usize = 1024 * 1024;

/// Writes the model's files into `dir`, which is made if it isn't there. Existing files of these
/// names are replaced.
pub fn export(spec: &ModelSpec, tokenizer: Tokenizer, weights: &[f32], dir: &Path) -> Result<(), TrainerError> {
    let files = files(spec, tokenizer, weights)?;
    std::fs::create_dir_all(dir).map_err(|error| write_error(dir, &error))?;
    for (name, bytes) in files {
        let path = dir.join(name);
        std::fs::write(&path, bytes).map_err(|error| write_error(&path, &error))?;
    }
    Ok(())
}

/// The same files, in a folder that is named after the weights' `state`, as the parts of one ZIP archive.
pub(crate) fn pack(
    spec: &ModelSpec,
    tokenizer: Tokenizer,
    weights: &[f32],
    state: Hash,
) -> Result<impl Iterator<Item = Packed> + use<>, TrainerError> {
    let folder = format!("tributary-model-{}", state.short());
    let files = files(spec, tokenizer, weights)?;
    let pieces = zip(files.into_iter().map(|(name, bytes)| (format!("{folder}/{name}"), bytes)).collect())?;
    let total = pieces.iter().map(|piece| piece.len() as u64).sum();
    let parts = pieces.into_iter().flat_map(|mut piece| {
        std::iter::from_fn(move || (!piece.is_empty()).then(|| piece.split_to(piece.len().min(PART))))
    });
    let mut next = 0;
    Ok(parts.map(move |bytes: Bytes| {
        let at = next;
        next += bytes.len() as u64;
        Packed::Part { name: format!("{folder}.zip"), at, total, bytes }
    }))
}

/// Every file with its name.
fn files(
    spec: &ModelSpec,
    tokenizer: Tokenizer,
    weights: &[f32],
) -> Result<Vec<(&'static str, Vec<u8>)>, TrainerError> {
    TrainerError::check_weights(spec.params(), weights.len())?;
    let Tokenizer::Bytes = tokenizer;
    let tensors = spec.layout().into_iter().map(|tensor| {
        let shape = tensor.shape.iter().map(|&n| n as usize).collect();
        let values = &weights[tensor.range()];
        (tensor.name, Values { shape, values })
    });
    // Transformers refuses a file that doesn't say which framework's layout it has.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let model = safetensors::serialize(tensors, Some(metadata));
    let model = model.map_err(|error| TrainerError::Pack(error.to_string()))?;
    let mut files = vec![("model.safetensors", model)];
    files.extend(
        [
            ("config.json", config(spec)),
            ("generation_config.json", json!({ "bos_token_id": 0, "eos_token_id": 0 })),
            ("tokenizer.json", tokenizer_json()),
            ("tokenizer_config.json", tokenizer_config(spec)),
        ]
        .map(|(name, value)| (name, format!("{value:#}\n").into_bytes())),
    );
    Ok(files)
}

/// A tensor of the flat weights, which become bytes one after the other, so that there is only one copy of them all.
struct Values<'a> {
    shape: Vec<usize>,
    values: &'a [f32],
}

impl View for Values<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(f32_to_le(self.values))
    }

    fn data_len(&self) -> usize {
        size_of_val(self.values)
    }
}

fn write_error(path: &Path, error: &std::io::Error) -> TrainerError {
    TrainerError::Write { path: path.display().to_string(), error: error.to_string() }
}

/// Byte 0 stands between documents, so it both begins and ends one.
fn config(spec: &ModelSpec) -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": spec.vocab,
        "hidden_size": spec.width,
        "intermediate_size": spec.hidden,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "num_key_value_heads": spec.kv_heads,
        "max_position_embeddings": spec.context,
        "hidden_act": "silu",
        "rms_norm_eps": decimal(spec.norm_eps),
        "rope_theta": decimal(spec.rope_theta),
        "rope_scaling": null,
        "attention_bias": false,
        "mlp_bias": false,
        "tie_word_embeddings": true,
        "initializer_range": 0.02,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "torch_dtype": "float32",
        "use_cache": true,
    })
}

/// An f32 as the shortest decimal that names it: 0.00001 and not 9.99999974e-6.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

/// Byte-level BPE (as GPT-2 has it) without merges: a token is a byte, its id the byte's value. No
/// token is declared special, since a special token's text would no longer round-trip.
fn tokenizer_json() -> Value {
    let vocab: Map<String, Value> =
        byte_letters().into_iter().zip(0..).map(|(c, id)| (c.to_string(), json!(id))).collect();
    let byte_level =
        json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [],
        "normalizer": null,
        "pre_tokenizer": byte_level,
        "post_processor": null,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "vocab": vocab,
            "merges": [],
        },
    })
}

fn tokenizer_config(spec: &ModelSpec) -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": spec.context,
        "clean_up_tokenization_spaces": false,
    })
}

/// The letter that stands for each byte in byte-level BPE: the byte's own Latin-1 letter where that
/// is printable, else the next letter from U+0100 on.
fn byte_letters() -> Vec<char> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut spare = '\u{100}'..;
    (0..=255u8).filter_map(|byte| if printable(byte) { Some(char::from(byte)) } else { spare.next() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_gpt2s() {
        let letters = byte_letters();
        // 188 printable bytes keep their letter; the other 68 end at U+0143.
        assert_eq!((letters.len(), letters[0], letters[b' ' as usize], letters[b'a' as usize]), (256, 'Ā', 'Ġ', 'a'));
        assert_eq!((letters[0xAD], letters[0xFF]), ('\u{143}', 'ÿ'));
    }

    #[test]
    fn an_archive_holds_every_file_in_parts() {
        let spec = crate::testing::spec();
        let weights = crate::initial_weights(&spec);
        let state = Hash::of(b"state");
        let mut whole = Vec::new();
        for part in pack(&spec.model, spec.tokenizer, &weights, state).unwrap() {
            let Packed::Part { name, at, bytes, .. } = part else { panic!() };
            assert_eq!((name, at), (format!("tributary-model-{}.zip", state.short()), whole.len() as u64));
            assert!(!bytes.is_empty() && bytes.len() <= PART);
            whole.extend_from_slice(&bytes);
        }
        for (name, bytes) in files(&spec.model, spec.tokenizer, &weights).unwrap() {
            assert!(whole.windows(bytes.len()).any(|window| window == bytes), "{name}");
        }
        assert!(pack(&spec.model, spec.tokenizer, &weights[1..], state).is_err());
    }

    #[test]
    fn numbers_keep_their_short_form() {
        assert_eq!((decimal(1e-5), decimal(10_000.0)), (1e-5, 10_000.0));
    }
}
