"""Rotary frequencies and attention factors of transformers' ROPE_INIT_FUNCTIONS: linear and YaRN."""

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


def main():
    tensors, described = {}, {}
    for name, head_dim, window, theta, scaling in cases():
        rope = {**scaling, "rope_theta": theta}
        if scaling["rope_type"] == "yarn":
            rope["original_max_position_embeddings"] = window
        config = LlamaConfig(hidden_size=head_dim * 2, num_attention_heads=2, head_dim=head_dim,
                             max_position_embeddings=window, rope_parameters=rope)
        inv_freq, attention_factor = ROPE_INIT_FUNCTIONS[scaling["rope_type"]](config, torch.device("cpu"))
        tensors[name] = inv_freq
        described[name] = {"head_dim": head_dim, "max_position_embeddings": window, "rope_theta": theta,
                           "rope_scaling": {k: v for k, v in rope.items() if k != "rope_theta"},
                           "attention_factor": attention_factor}
    save_tensors(GOLDENS / "rotary" / "inv_freq.safetensors", tensors)
    save_json(GOLDENS / "rotary" / "cases.json", described)


if __name__ == "__main__":
    main()
