"""Measures PyTorch's training step of the same model: step.py JSON [SECONDS].

JSON is what `examples/step.rs` prints; its sizes, batch, sequence length and threads are used. Two more
keys may be set: `device` to `cuda` (default cpu) and `compile` to true (default eager). Prints one JSON
object with `step_ms`, `tokens_per_s` and `loss`.

The model is written as one would for speed: fused projections, scaled_dot_product_attention where this
PyTorch has it, AdamW in its fused or for-each form, gradients clipped by their global norm.
"""

import json
import math
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

WARM_UP, GROUP = 3, 4
SDPA = getattr(F, "scaled_dot_product_attention", None)


class Norm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.gain


def rotate(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-b, a), dim=-1) * sin


class Layer(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.heads, self.kv, self.head = s["heads"], s["kv_heads"], s["width"] // s["heads"]
        self.norm1, self.norm2 = Norm(s["width"]), Norm(s["width"])
        self.qkv = nn.Linear(s["width"], (self.heads + 2 * self.kv) * self.head, bias=False)
        self.out = nn.Linear(s["width"], s["width"], bias=False)
        self.gate_up = nn.Linear(s["width"], 2 * s["hidden"], bias=False)
        self.down = nn.Linear(s["hidden"], s["width"], bias=False)

    def forward(self, x, cos, sin, mask):
        batch, seq, width = x.shape
        fused = self.qkv(self.norm1(x)).view(batch, seq, -1, self.head).transpose(1, 2)
        q, k, v = fused.split([self.heads, self.kv, self.kv], dim=1)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        group = self.heads // self.kv
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        if SDPA:
            y = SDPA(q, k, v, is_causal=True)
        else:
            y = F.softmax(q @ k.transpose(2, 3) / math.sqrt(self.head) + mask, dim=-1) @ v
        x = x + self.out(y.transpose(1, 2).reshape(batch, seq, width))
        gate, up = self.gate_up(self.norm2(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


class Model(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.embed = nn.Embedding(s["vocab"], s["width"])
        self.layers = nn.ModuleList(Layer(s) for _ in range(s["layers"]))
        self.norm = Norm(s["width"])
        head = s["width"] // s["heads"]
        angles = torch.arange(s["seq"])[:, None] * 10000.0 ** (-torch.arange(0, head, 2) / head)
        angles = torch.cat((angles, angles), dim=-1)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())
        self.register_buffer("mask", torch.full((s["seq"], s["seq"]), -1e9).triu(1))
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens, targets):
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin, self.mask)
        logits = F.linear(self.norm(x), self.embed.weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def optimiser(model, device):
    decayed = [p for p in model.parameters() if p.dim() > 1]
    norms = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": norms, "weight_decay": 0.0}]
    options = {"lr": 1e-3, "betas": (0.9, 0.95)}
    if device == "cuda":
        return torch.optim.AdamW(groups, fused=True, **options)
    return torch.optim.AdamW(groups, foreach=True, **options)


def main(s, seconds):
    torch.manual_seed(1)
    device = s.get("device", "cpu") if s.get("device") == "cuda" else "cpu"
    torch.set_num_threads(s.get("threads", 1))
    model = Model(s).to(device)
    run = torch.compile(model) if s.get("compile") else model
    optim = optimiser(model, device)
    count = s["batch"] * s["seq"]
    index = torch.arange(count)

    def step(n):
        tokens = ((index * 7 + index // 5 + n) % 256).view(s["batch"], s["seq"]).to(device)
        loss = run(tokens, (tokens + 7) % 256)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optim.step()
        optim.zero_grad(set_to_none=True)
        return loss.detach()

    for n in range(WARM_UP):
        step(n).item()
    began, times, loss = time.perf_counter(), [], float("nan")
    while time.perf_counter() - began < seconds or len(times) < 3:
        group = time.perf_counter()
        for n in range(GROUP):
            last = step(n)
        loss = last.item()
        times.append((time.perf_counter() - group) / GROUP)
    median = sorted(times)[len(times) // 2]
    print(
        json.dumps(
            {
                "step_ms": median * 1000,
                "tokens_per_s": count / median,
                "loss": loss,
                "torch": torch.__version__,
                "device": device,
                "compile": bool(s.get("compile")),
                "threads": torch.get_num_threads(),
            }
        )
    )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 10.0)
