#!/usr/bin/env python3
"""Writes tiny random checkpoints of each architecture, with the logits that Hugging Face transformers computes from them in f32.

    pip install torch transformers safetensors
    scripts/model_fixtures.py        # rewrites tests/data/models/

tests/data/models/<name>/config.json, model.safetensors (bf16), expected.safetensors (ids i64 [24], logits f32 [24, vocab]). Each
uses what sets its architecture apart: rope scaling, windows shorter than the prompt, biases, head norms, soft caps, fused projections."""
import pathlib
import shutil

import torch
import transformers
from safetensors.torch import load_file, save_file

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests/data/models"
SIZES = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
             vocab_size=128, max_position_embeddings=128, bos_token_id=1, eos_token_id=2, pad_token_id=None)
PROMPT = [1, 17, 93, 4, 4, 120, 55, 8, 31, 77, 101, 2, 64, 9, 12, 126, 40, 3, 88, 19, 71, 0, 127, 50]

CASES = {
    "llama": (transformers.LlamaConfig, dict(
        attention_bias=True, mlp_bias=True, rope_theta=10000.0,
        rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16))),
    "llama_linear": (transformers.LlamaConfig, dict(tie_word_embeddings=True, rope_scaling=dict(rope_type="linear", factor=2.0))),
    "mistral": (transformers.MistralConfig, dict(sliding_window=8)),
    "qwen2": (transformers.Qwen2Config, dict(tie_word_embeddings=True, use_sliding_window=True, sliding_window=8, max_window_layers=1)),
    "qwen3": (transformers.Qwen3Config, dict(rope_theta=1000000.0,
        rope_scaling=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=32))),
    "phi3": (transformers.Phi3Config, dict(partial_rotary_factor=0.75, sliding_window=12, original_max_position_embeddings=16,
        rope_scaling=dict(type="longrope", short_factor=[1.0, 1.1, 1.2, 1.3, 1.4, 1.5], long_factor=[1.0, 1.5, 2.0, 3.0, 4.0, 6.0]))),
    "gemma2": (transformers.Gemma2Config, dict(sliding_window=8, query_pre_attn_scalar=24, attn_logit_softcapping=5.0,
        final_logit_softcapping=3.0)),
    "gemma3": (transformers.Gemma3TextConfig, dict(sliding_window=8, query_pre_attn_scalar=24,
        layer_types=["sliding_attention", "full_attention"])),
}


def main():
    for name, (kind, options) in CASES.items():
        folder = OUT / name
        shutil.rmtree(folder, ignore_errors=True)
        torch.manual_seed(sum(name.encode()))
        config = kind(**{**SIZES, **options})
        config._attn_implementation = "eager"  # the form that knows soft caps and windows everywhere
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                if parameter.dim() == 2:
                    parameter.normal_(std=0.15)
                elif "norm" in key and "gemma" not in name:
                    parameter.uniform_(0.5, 1.5)
                else:
                    parameter.uniform_(-0.4, 0.4)
                parameter.copy_(parameter.to(torch.bfloat16))
            logits = model(torch.tensor([PROMPT])).logits[0]
        model.to(torch.bfloat16).save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        save_file({"ids": torch.tensor(PROMPT), "logits": logits.contiguous()}, folder / "expected.safetensors")
        tensors = load_file(folder / "model.safetensors")
        print(f"{name}: {sum(t.numel() for t in tensors.values())} parameters, logits {logits.min():.3f} to {logits.max():.3f}, "
              f"deviation {logits.std():.3f}")


if __name__ == "__main__":
    main()
