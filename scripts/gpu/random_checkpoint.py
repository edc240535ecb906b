#!/usr/bin/env python3
"""Writes a checkpoint of random weights, to time a model of a size that nobody wants in a repository.

    random_checkpoint.py DIR [--layers N] [--hidden N --intermediate N --heads N --kv-heads N --vocab N]

The default is the shape of Llama-3.1-8B. Linear layers are int4, symmetric, groups of 128, in the layout of compressed-tensors;
embedding, lm_head and norms are bf16. Codes are uniform, scales such that activations stay of the order of 1. Needs nothing but
Python; the same arguments give the same bytes."""
import argparse
import json
import pathlib
import random
import struct

GROUP = 128
BLOCK = 1 << 24  # bytes of randomness, from which every tensor takes its own stretch


class Noise:
    """Bytes of random codes, and of random bf16 numbers of a known size."""

    def __init__(self):
        draw = random.Random(1)
        self.draw = draw
        self.codes = draw.randbytes(BLOCK)
        low = draw.randbytes(BLOCK // 2)
        signed, positive = bytearray(BLOCK), bytearray(BLOCK)
        signed[::2], positive[::2] = low, low
        signed[1::2] = draw.randbytes(BLOCK // 2).translate(bytes(0x3C | (b & 0x80) for b in range(256)))  # +-0.008 to 0.03
        positive[1::2] = b"\x3b" * (BLOCK // 2)  # 0.002 to 0.008
        self.signed, self.positive = bytes(signed), bytes(positive)

    def write(self, file, kind, size):
        source = getattr(self, kind)
        at = self.draw.randrange(BLOCK // 2) * 2
        while size > 0:
            part = source[at:at + size]
            file.write(part)
            size -= len(part)
            at = 0


def tensors(options):
    """(name, dtype, shape, kind of bytes) in file order."""
    hidden, inner = options.hidden, options.intermediate
    head = hidden // options.heads
    kv = options.kv_heads * head

    def linear(name, n, k):
        return [(f"{name}.weight_packed", "I32", [n, k // 8], "codes"), (f"{name}.weight_scale", "BF16", [n, k // GROUP], "positive"),
                (f"{name}.weight_shape", "I64", [2], (n, k))]

    found = [("model.embed_tokens.weight", "BF16", [options.vocab, hidden], "signed")]
    for i in range(options.layers):
        layer = f"model.layers.{i}"
        found.append((f"{layer}.input_layernorm.weight", "BF16", [hidden], "one"))
        found += linear(f"{layer}.self_attn.q_proj", hidden, hidden)
        found += linear(f"{layer}.self_attn.k_proj", kv, hidden)
        found += linear(f"{layer}.self_attn.v_proj", kv, hidden)
        found += linear(f"{layer}.self_attn.o_proj", hidden, hidden)
        found.append((f"{layer}.post_attention_layernorm.weight", "BF16", [hidden], "one"))
        found += linear(f"{layer}.mlp.gate_proj", inner, hidden)
        found += linear(f"{layer}.mlp.up_proj", inner, hidden)
        found += linear(f"{layer}.mlp.down_proj", hidden, inner)
    found.append(("model.norm.weight", "BF16", [hidden], "one"))
    found.append(("lm_head.weight", "BF16", [options.vocab, hidden], "signed"))
    return found


def config(options):
    weights = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": GROUP, "dynamic": False}
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": options.hidden,
            "intermediate_size": options.intermediate, "num_hidden_layers": options.layers, "num_attention_heads": options.heads,
            "num_key_value_heads": options.kv_heads, "vocab_size": options.vocab, "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "hidden_act": "silu", "tie_word_embeddings": False, "torch_dtype": "bfloat16",
            "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                             "original_max_position_embeddings": 8192},
            "quantization_config": {"quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ["lm_head"],
                                    "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="DIR")
    for name, value in [("layers", 32), ("hidden", 4096), ("intermediate", 14336), ("heads", 32), ("kv-heads", 8), ("vocab", 128256)]:
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    for name in ("hidden", "intermediate"):
        if getattr(options, name) % GROUP:
            parser.error(f"--{name} is {getattr(options, name)}; allowed: multiples of {GROUP}")
    folder = pathlib.Path(options.folder)
    folder.mkdir(parents=True)
    header, sizes, offset = {}, [], 0
    for name, dtype, shape, kind in tensors(options):
        size = {"I32": 4, "BF16": 2, "I64": 8}[dtype]
        for extent in shape:
            size *= extent
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        sizes.append((kind, size))
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    noise = Noise()
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for kind, size in sizes:
            if kind == "one":
                file.write(b"\x80\x3f" * (size // 2))
            elif isinstance(kind, tuple):
                file.write(struct.pack("<qq", *kind))
            else:
                noise.write(file, kind, size)
    (folder / "config.json").write_text(json.dumps(config(options), indent=1) + "\n")
    print(f"{folder}: {offset / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
