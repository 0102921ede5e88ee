"""Compares greedy text of `tributary model generate`, or of the page, with that of transformers.

Usage: generate.py MODEL TEXTS. MODEL is a folder that was exported, or the page's archive of one; TEXTS a JSON list of
objects with a `prompt`, the `tokens` or the `text` that came of it, and optionally how many were asked for (`asked`, 40
if it isn't there). Prints one JSON line a text; exits with 1 where one differs.
"""

import json
import pathlib
import sys
import tempfile
import zipfile

import torch
from transformers import AutoTokenizer, LlamaForCausalLM


def main(model, texts):
    with tempfile.TemporaryDirectory() as scratch:
        if zipfile.is_zipfile(model):
            with zipfile.ZipFile(model) as archive:
                broken = archive.testzip()
                if broken:
                    print(f"{broken} is damaged")
                    return 1
                archive.extractall(scratch)
            model = next(pathlib.Path(scratch).iterdir())
        network = LlamaForCausalLM.from_pretrained(model, use_safetensors=True).eval()
        tokenizer = AutoTokenizer.from_pretrained(model)
    good = True
    for text in json.loads(pathlib.Path(texts).read_text()):
        ids = tokenizer(text["prompt"], return_tensors="pt")["input_ids"]
        room = min(text.get("asked", 40), network.config.max_position_embeddings - ids.shape[1])
        with torch.no_grad():
            written = network.generate(ids, max_new_tokens=room, do_sample=False, pad_token_id=0)
        written = written[0, ids.shape[1] :].tolist()
        if written[-1:] == [0]:
            written.pop()
        same = written == text["tokens"] if "tokens" in text else bytes(written).decode(errors="replace") == text["text"]
        good = good and same
        print(json.dumps({"prompt": text["prompt"], "tokens": len(written), "same": same, "theirs": bytes(written).decode(errors="replace"), "ours": text.get("text")}))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
