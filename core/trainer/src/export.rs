//! The model as a folder that Hugging Face transformers loads unchanged.
//!
//! Leaves: `model.safetensors`, `config.json` and `generation_config.json` for `LlamaForCausalLM` with
//! tied embeddings, `tokenizer.json` and `tokenizer_config.json` for `PreTrainedTokenizerFast`.

use std::collections::HashMap;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Map, Value, json};
use tributary_protocol::fold::f32_to_le;
use tributary_protocol::spec::{ModelSpec, Tokenizer};

use crate::error::TrainerError;

/// Writes the model's files into `dir`, which is made if it isn't there. Existing files of these
/// names are replaced.
pub fn export(spec: &ModelSpec, tokenizer: Tokenizer, weights: &[f32], dir: &Path) -> Result<(), TrainerError> {
    TrainerError::check_weights(spec.params(), weights.len())?;
    std::fs::create_dir_all(dir).map_err(|error| write_error(dir, error))?;
    let Tokenizer::Bytes = tokenizer;
    let bytes = f32_to_le(weights);
    let mut tensors = Vec::new();
    for tensor in spec.layout() {
        let range = tensor.range();
        let shape = tensor.shape.iter().map(|&n| n as usize).collect();
        let view = TensorView::new(Dtype::F32, shape, &bytes[range.start * 4..range.end * 4]);
        tensors.push((tensor.name, view.map_err(|error| write_error(dir, error))?));
    }
    let path = dir.join("model.safetensors");
    // Transformers refuses a file that doesn't say which framework's layout it has.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let file = safetensors::serialize(tensors, Some(metadata)).map_err(|error| write_error(&path, error))?;
    std::fs::write(&path, file).map_err(|error| write_error(&path, error))?;
    for (name, value) in [
        ("config.json", config(spec)),
        ("generation_config.json", json!({ "bos_token_id": 0, "eos_token_id": 0 })),
        ("tokenizer.json", tokenizer_json()),
        ("tokenizer_config.json", tokenizer_config(spec)),
    ] {
        let path = dir.join(name);
        std::fs::write(&path, format!("{value:#}\n")).map_err(|error| write_error(&path, error))?;
    }
    Ok(())
}

fn write_error(path: &Path, error: impl ToString) -> TrainerError {
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
    fn numbers_keep_their_short_form() {
        assert_eq!((decimal(1e-5), decimal(10_000.0)), (1e-5, 10_000.0));
    }
}
