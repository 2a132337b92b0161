"""Rotary frequencies and attention factors of transformers' ROPE_INIT_FUNCTIONS, below and beyond the window."""

import itertools

import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from scripts.references.common import GOLDENS, save_json, save_tensors

FACTORS = [2.0, 4.0, 8.0, 16.0, 32.0]
YARN_OPTIONS = {
    "truncate_off": {"truncate": False},
    "betas": {"beta_fast": 16.0, "beta_slow": 2.0},
    "attention_factor": {"attention_factor": 0.75},
    "mscale": {"mscale": 1.0, "mscale_all_dim": 0.5},
}


def cases():
    for head_dim, factor in itertools.product([64, 128], FACTORS):
        yield f"linear_d{head_dim}_x{factor:g}", head_dim, 4096, 10000.0, {"rope_type": "linear", "factor": factor}
        yield f"yarn_d{head_dim}_x{factor:g}", head_dim, 4096, 10000.0, {"rope_type": "yarn", "factor": factor}
    yield "yarn_small_window", 64, 512, 10000.0, {"rope_type": "yarn", "factor": 8.0}
    yield "yarn_large_theta", 128, 8192, 500000.0, {"rope_type": "yarn", "factor": 8.0}
    yield "yarn_tiny", 8, 8, 500.0, {"rope_type": "yarn", "factor": 8.0}
    for name, options in YARN_OPTIONS.items():
        yield f"yarn_{name}", 64, 512, 10000.0, {"rope_type": "yarn", "factor": 8.0, **options}
    for head_dim, theta in [(64, 10000.0), (128, 500000.0), (24, 10000.0)]:
        low_high = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
        yield f"llama3_d{head_dim}", head_dim, 131072, theta, {"rope_type": "llama3", "factor": 8.0, **low_high}
    for fraction in (1.0, 0.5, 0.375):
        share = {"partial_rotary_factor": fraction} if fraction != 1.0 else {}
        pairs = (int(64 * fraction) + 1) // 2
        factors = {"short_factor": [1.0 + 0.01 * i for i in range(pairs)],
                   "long_factor": [1.0 + 0.5 * i for i in range(pairs)]}
        dynamic = {"rope_type": "dynamic", "factor": 4.0, **share}
        long_rope = {"rope_type": "longrope", "original_max_position_embeddings": 4096, **factors, **share}
        for tokens in (1000, 4096, 4097, 20000):
            yield f"dynamic_{fraction:g}_at_{tokens}", 64, 4096, 10000.0, dynamic, tokens
            yield f"longrope_{fraction:g}_at_{tokens}", 64, 131072, 10000.0, long_rope, tokens
        yield f"yarn_{fraction:g}", 64, 4096, 10000.0, {"rope_type": "yarn", "factor": 8.0, **share}
        yield f"linear_{fraction:g}", 64, 4096, 10000.0, {"rope_type": "linear", "factor": 8.0, **share}
    yield "longrope_factor", 64, 131072, 10000.0, {**long_rope, "factor": 16.0}, 5000
    yield "longrope_attention_factor", 64, 131072, 10000.0, {**long_rope, "attention_factor": 1.25}, 5000


def main():
    tensors, described = {}, {}
    for name, head_dim, window, theta, scaling, *length in cases():
        rope = {**scaling, "rope_theta": theta}
        if scaling["rope_type"] == "yarn":
            rope["original_max_position_embeddings"] = window
        config = LlamaConfig(hidden_size=head_dim * 2, num_attention_heads=2, head_dim=head_dim,
                             max_position_embeddings=window, rope_parameters=rope)
        tokens = length[0] if length else None
        inv_freq, attention_factor = ROPE_INIT_FUNCTIONS[scaling["rope_type"]](config, torch.device("cpu"), seq_len=tokens)
        tensors[name] = inv_freq
        described[name] = {"head_dim": head_dim, "max_position_embeddings": window, "rope_theta": theta,
                           "rope_scaling": {k: v for k, v in rope.items() if k != "rope_theta"},
                           "sequence_tokens": tokens or 0, "attention_factor": attention_factor}
    save_tensors(GOLDENS / "rotary" / "inv_freq.safetensors", tensors)
    save_json(GOLDENS / "rotary" / "cases.json", described)


if __name__ == "__main__":
    main()
