"""Compares the folder that `examples/reference.rs` wrote with PyTorch and transformers.

Usage: reference.py FOLDER. Prints one JSON line with the largest differences; exits with 1 where one is
over its bound.
"""

import json
import sys

import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, LlamaForCausalLM

# Largest difference of a logit, and of a tensor's gradient relative to that gradient's norm.
LOGITS, GRADIENTS = 1e-4, 1e-4

TEXTS = [
    "",
    "Call me Ishmael.",
    "  two  spaces , and a comma\n\n\ttab\r\n",
    "Ā ġ Ġ <s> </s> [UNK] <|endoftext|>",
    "naïve façade — 漢字かな 🦀👩‍👩‍👧 \u0000 end",
]


def main(folder):
    reference = load_file(f"{folder}/reference.safetensors")
    model, info = LlamaForCausalLM.from_pretrained(folder, output_loading_info=True, use_safetensors=True)
    model.eval()
    problems = [f"{key}: {value}" for key, value in info.items() if value]

    with torch.no_grad():
        logits = model(reference["prompts"].long()).logits
    logits_diff = (logits - reference["logits"]).abs().max().item()

    logits = model(reference["tokens"].long()).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), reference["targets"].long().flatten())
    loss.backward()
    loss_diff = abs(loss.item() - reference["loss"].item())
    gradients = {}
    for name, parameter in model.named_parameters():
        difference = (parameter.grad - reference[f"grad.{name}"]).norm() / parameter.grad.norm()
        gradients[name] = difference.item()
    worst = max(gradients, key=gradients.get)

    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text in TEXTS:
        ids = tokenizer(text)["input_ids"]
        if ids != list(text.encode()) or tokenizer.decode(ids) != text:
            problems.append(f"tokenizer: {text!r} became {ids} and {tokenizer.decode(ids)!r}")

    print(
        json.dumps(
            {
                "logits_max_abs": logits_diff,
                "loss_abs": loss_diff,
                "grad_max_rel": gradients[worst],
                "grad_worst": worst,
                "tensors": len(gradients),
                "problems": problems,
            }
        )
    )
    # Written so that NaN fails.
    good = logits_diff <= LOGITS and gradients[worst] <= GRADIENTS and loss_diff <= 1e-5 and not problems
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
