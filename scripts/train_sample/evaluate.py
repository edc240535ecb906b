#!/usr/bin/env python3
"""Bits per byte of the sample model on a text, computed with NumPy alone in f32 from the committed bf16 weights.

    evaluate.py --model models/sample --text models/sample/held_out.txt [--limit BYTES]

Shares no code with train.py, so it checks the checkpoint itself: names, shapes, rotation, normalisation. A byte is scored once, with at
least 512 bytes before it where there are as many; a window begins with NUL only at the start of the text."""
import argparse
import json
import math
import pathlib
import struct

import numpy


def load(path):
    """safetensors of bf16 -> {name: f32 array}."""
    data = path.read_bytes()
    length = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8 : 8 + length])
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            assert entry["dtype"] == "BF16", entry
            first, last = entry["data_offsets"]
            words = numpy.frombuffer(data, "<u2", (last - first) // 2, 8 + length + first).astype(numpy.uint32) << 16
            tensors[name] = words.view(numpy.float32).reshape(entry["shape"])
    return tensors


def logits(config, w, ids):
    """ids [T] -> logits [T, vocab]."""
    size, heads, kv_heads = config["head_dim"], config["num_attention_heads"], config["num_key_value_heads"]
    length = len(ids)
    frequency = config["rope_theta"] ** (-numpy.arange(0, size, 2) / size)
    angle = numpy.arange(length)[:, None] * frequency
    cos, sin = numpy.cos(angle).astype(numpy.float32), numpy.sin(angle).astype(numpy.float32)
    mask = numpy.triu(numpy.full((length, length), -numpy.inf, numpy.float32), 1)

    def norm(x, weight):
        return x / numpy.sqrt((x * x).mean(-1, keepdims=True) + config["rms_norm_eps"]) * weight

    def rotate(x):
        low, high = x[..., : size // 2], x[..., size // 2 :]
        return numpy.concatenate((low * cos - high * sin, high * cos + low * sin), -1)

    x = w["model.embed_tokens.weight"][ids]
    for layer in range(config["num_hidden_layers"]):
        p = f"model.layers.{layer}."
        y = norm(x, w[p + "input_layernorm.weight"])
        q, k, v = (
            (y @ w[p + f"self_attn.{n}_proj.weight"].T).reshape(length, -1, size).transpose(1, 0, 2) for n in "qkv"
        )
        q, k = rotate(q), rotate(k)
        out = numpy.empty((length, heads * size), numpy.float32)
        for head in range(heads):
            kv = head * kv_heads // heads
            scores = q[head] @ k[kv].T / math.sqrt(size) + mask
            scores = numpy.exp(scores - scores.max(-1, keepdims=True))
            out[:, head * size : (head + 1) * size] = scores @ v[kv] / scores.sum(-1, keepdims=True)
        x = x + out @ w[p + "self_attn.o_proj.weight"].T
        y = norm(x, w[p + "post_attention_layernorm.weight"])
        gate = y @ w[p + "mlp.gate_proj.weight"].T
        gate = gate / (1 + numpy.exp(-gate)) * (y @ w[p + "mlp.up_proj.weight"].T)
        x = x + gate @ w[p + "mlp.down_proj.weight"].T
    return norm(x, w["model.norm.weight"]) @ w["model.embed_tokens.weight"].T


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--text", type=pathlib.Path, required=True)
    parser.add_argument("--limit", type=int, help="score only the first BYTES")
    options = parser.parse_args()
    config = json.loads((options.model / "config.json").read_text())
    weights = load(options.model / "model.safetensors")
    text = options.text.read_bytes()[: options.limit]
    ids = numpy.frombuffer(b"\0" + text, numpy.uint8)
    window, stride = config["max_position_embeddings"], config["max_position_embeddings"] // 2
    losses = []
    for start in range(0, max(len(text) - window, 0) + stride, stride):
        row = ids[start : start + window + 1]
        first = 0 if start == 0 else window - stride
        if len(row) - 1 <= first:
            break
        out = logits(config, weights, row[:-1]).astype(numpy.float64)
        out -= out.max(-1, keepdims=True)
        out -= numpy.log(numpy.exp(out).sum(-1, keepdims=True))
        losses.extend(-out[numpy.arange(len(row) - 1), row[1:]][first:] / math.log(2))
    losses = numpy.array(losses)
    assert len(losses) == len(text)
    print(f"{losses.mean():.4f} bits per byte over {len(text)} bytes (standard error {losses.std() / math.sqrt(len(text)):.4f})")


if __name__ == "__main__":
    main()
