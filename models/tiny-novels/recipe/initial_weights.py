"""The weights that training starts from, made with torch and transformers.

Random, but for what mimetic initialisation (Trockman and Kolter 2023, arXiv 2305.09828) does to
attention: queries and keys of a layer share most of their weights, and the output projection is
the transpose of the values'. So a head begins by attending to its own token and passing it on,
and copying is learned within the tokens that a CPU can afford.
"""

import json


def make(config_file, folder):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    values = json.loads(config_file.read_text())
    for name in ("torch_dtype", "architectures"):
        values.pop(name)
    model = LlamaForCausalLM(LlamaConfig(**values))
    width = model.config.hidden_size
    with torch.no_grad():
        torch.nn.init.normal_(model.model.embed_tokens.weight, 0, 0.08)
        for layer in model.model.layers:
            attention, mlp = layer.self_attn, layer.mlp
            shared = torch.randn(width, width) * 0.05
            attention.q_proj.weight.copy_(shared + torch.randn(width, width) * 0.02)
            attention.k_proj.weight.copy_(shared + torch.randn(width, width) * 0.02)
            values = torch.randn(width, width) * 0.03
            attention.v_proj.weight.copy_(values)
            attention.o_proj.weight.copy_(values.t())
            torch.nn.init.normal_(mlp.gate_proj.weight, 0, 0.02)
            torch.nn.init.normal_(mlp.up_proj.weight, 0, 0.02)
            torch.nn.init.normal_(mlp.down_proj.weight, 0, 0.01)
    model.float().save_pretrained(folder)
