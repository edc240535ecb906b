#!/usr/bin/env python3
"""Trains the byte-level sample model (Llama architecture) and writes it as a Hugging Face checkpoint.

    train.py --text DIR --out DIR [--steps N --dropout P --device cuda]

A token is a byte; id 0 (NUL) separates documents and begins a sequence. Needs PyTorch only. On one H200 the
8000 steps of the committed model take under four minutes. Text and split: prepare_text.py. Check of what is written: evaluate.py.

Recipe: AdamW (0.9, 0.95), weight decay 0.1 on matrices, linear warm-up and cosine decay to 2 %, gradient norm clipped to 1,
dropout on embeddings and on both residual branches, bf16 autocast over f32 master weights. The schedule runs on the share of steps
done or of --max-seconds spent, whichever is larger, so a slow machine still ends with a finished schedule."""
import argparse
import json
import math
import pathlib
import struct
import time

import torch
import torch.nn.functional as F
from torch import nn

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 7,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "vocab_size": 256,
    "max_position_embeddings": 1024,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "attention_bias": False,
    "mlp_bias": False,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": None,
    "initializer_range": 0.02,
    "use_cache": True,
    "torch_dtype": "bfloat16",
}


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(CONFIG["hidden_size"]))

    def forward(self, x):
        y = x.float()
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + CONFIG["rms_norm_eps"])
        return y.to(x.dtype) * self.weight.to(x.dtype)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        hidden, size = CONFIG["hidden_size"], CONFIG["head_dim"]
        self.heads, self.kv_heads, self.size = CONFIG["num_attention_heads"], CONFIG["num_key_value_heads"], size
        self.q_proj = nn.Linear(hidden, self.heads * size, bias=False)
        self.k_proj = nn.Linear(hidden, self.kv_heads * size, bias=False)
        self.v_proj = nn.Linear(hidden, self.kv_heads * size, bias=False)
        self.o_proj = nn.Linear(self.heads * size, hidden, bias=False)

    def forward(self, x, cos, sin):
        batch, length, _ = x.shape

        def split(projection, heads):
            return projection(x).view(batch, length, heads, self.size).transpose(1, 2)

        def rotate(t):
            low, high = t.chunk(2, -1)
            return torch.cat((low * cos - high * sin, high * cos + low * sin), -1).to(t.dtype)

        q, k, v = rotate(split(self.q_proj, self.heads)), rotate(split(self.k_proj, self.kv_heads)), split(self.v_proj, self.kv_heads)
        k, v = (t.repeat_interleave(self.heads // self.kv_heads, 1) for t in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, -1))


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        hidden, inner = CONFIG["hidden_size"], CONFIG["intermediate_size"]
        self.gate_proj = nn.Linear(hidden, inner, bias=False)
        self.up_proj = nn.Linear(hidden, inner, bias=False)
        self.down_proj = nn.Linear(inner, hidden, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, dropout):
        super().__init__()
        self.input_layernorm, self.self_attn = Norm(), Attention()
        self.post_attention_layernorm, self.mlp = Norm(), Mlp()
        self.drop = nn.Dropout(dropout)

    def forward(self, x, cos, sin):
        x = x + self.drop(self.self_attn(self.input_layernorm(x), cos, sin))
        return x + self.drop(self.mlp(self.post_attention_layernorm(x)))


class Model(nn.Module):
    """Parameter names below `model.` are those of the Hugging Face checkpoint."""

    def __init__(self, dropout):
        super().__init__()
        self.embed_tokens = nn.Embedding(CONFIG["vocab_size"], CONFIG["hidden_size"])
        self.layers = nn.ModuleList(Layer(dropout) for _ in range(CONFIG["num_hidden_layers"]))
        self.norm = Norm()
        self.drop = nn.Dropout(dropout)
        size = CONFIG["head_dim"]
        frequency = CONFIG["rope_theta"] ** (-torch.arange(0, size, 2).float() / size)
        angle = torch.arange(CONFIG["max_position_embeddings"]).float()[:, None] * frequency
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                scale = 1 / math.sqrt(2 * CONFIG["num_hidden_layers"]) if residual else 1
                nn.init.normal_(parameter, std=CONFIG["initializer_range"] * scale)

    def forward(self, ids):
        """ids [batch, length] -> logits [batch, length, vocab]."""
        x = self.drop(self.embed_tokens(ids))
        cos, sin = self.cos[: ids.shape[1]], self.sin[: ids.shape[1]]
        for layer in self.layers:
            x = layer(x, cos, sin)
        return F.linear(self.norm(x), self.embed_tokens.weight)


@torch.no_grad()
def bits_per_byte(model, text, device, window=1024, stride=512, batch=32):
    """Each byte is scored once, seeing at least `stride` bytes before it where there are as many; NUL comes first."""
    ids = torch.tensor(list(b"\0" + text))
    starts = list(range(0, max(len(text) - window, 0) + stride, stride)) or [0]
    total, counted = 0.0, 0
    model.eval()
    for group in range(0, len(starts), batch):
        rows = [ids[s : s + window + 1] for s in starts[group : group + batch]]
        padded = torch.stack([F.pad(r, (0, window + 1 - len(r))) for r in rows]).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = model(padded[:, :-1])
        loss = F.cross_entropy(logits.float().flatten(0, 1), padded[:, 1:].flatten(), reduction="none").view(len(rows), window)
        for row, start in enumerate(starts[group : group + batch]):
            first = 0 if start == 0 else window - stride
            last = min(window, len(text) - start)
            total += loss[row, first:last].double().sum().item()
            counted += max(last - first, 0)
    model.train()
    assert counted == len(text), (counted, len(text))
    return total / counted / math.log(2)


def write_safetensors(path, tensors):
    """{name: bf16 tensor} -> a safetensors file, data aligned to 64 bytes."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, tensor in tensors.items():
        size = 2 * tensor.numel()
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % 64)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            file.write(tensor.contiguous().view(torch.int16).cpu().numpy().tobytes())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=pathlib.Path, required=True, help="folder that prepare_text.py wrote")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--max-seconds", type=float, default=float("inf"))
    parser.add_argument("--batch", type=int, default=64, help="sequences of 1024 bytes a step")
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=torch.cuda.is_available())
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    log = open(options.out / "train.log", "w")

    def say(line):
        print(line, flush=True)
        print(line, file=log, flush=True)

    device = torch.device(options.device)
    torch.manual_seed(options.seed)
    torch.set_float32_matmul_precision("high")
    text = torch.tensor(list((options.text / "train.bin").read_bytes()), dtype=torch.uint8).to(device)
    validation = (options.text / "validation.bin").read_bytes()
    held_out = (options.text / "held_out.txt").read_bytes()
    model = Model(options.dropout).to(device)
    count = sum(p.numel() for p in model.parameters())
    say(f"torch {torch.__version__}, {torch.cuda.get_device_name() if device.type == 'cuda' else 'cpu'}; {count} parameters; "
        f"{len(text)} bytes of training text; steps {options.steps}, batch {options.batch} x {options.length}, rate {options.rate}, "
        f"dropout {options.dropout}, seed {options.seed}")
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
                                  lr=options.rate, betas=(0.9, 0.95), fused=device.type == "cuda")
    run = torch.compile(model) if options.compile else model
    span = torch.arange(options.length + 1, device=device)
    started, progress, step, mean = None, 0.0, 0, None
    while progress < 1:
        progress = (step + 1) / options.steps
        if started is not None:
            progress = max(progress, (time.time() - started) / options.max_seconds)
        rate = options.rate * min((step + 1) / 200, 0.02 + 0.98 * (1 + math.cos(math.pi * min(progress, 1))) / 2)
        for group in optimizer.param_groups:
            group["lr"] = rate
        start = torch.randint(len(text) - options.length - 1, (options.batch, 1), device=device)
        rows = text[start + span].long()
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = run(rows[:, :-1])
            loss = F.cross_entropy(logits.float().flatten(0, 1), rows[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        if started is None:
            loss.item()
            started = time.time()
        if step % 100 == 0 or progress >= 1:
            value = loss.item() / math.log(2)
            mean = value if mean is None else 0.8 * mean + 0.2 * value
            note = ""
            if step % 500 == 0 or progress >= 1:
                note = f", validation {bits_per_byte(model, validation, device):.4f}"
            say(f"step {step:5d}, {time.time() - started:6.1f} s, rate {rate:.2e}, training {mean:.4f} bits per byte{note}")

    with torch.no_grad():
        tensors = {"model." + name: p.detach().to(torch.bfloat16) for name, p in model.named_parameters()}
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors["model." + name])  # what is written is what is measured
    say(f"bf16 weights: validation {bits_per_byte(model, validation, device):.4f}, "
        f"held out {bits_per_byte(model, held_out, device):.4f} bits per byte")
    write_safetensors(options.out / "model.safetensors", tensors)
    (options.out / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")


if __name__ == "__main__":
    main()
