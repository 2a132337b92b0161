#!/usr/bin/env python3
"""Writes a Llama of a given shape with random bfloat16 weights, and random token ids to train on.

    make_model.py --shape 110m --output DIR

DIR gets config.json, model.safetensors and random.bin (uint16 ids). Needs numpy alone. The shapes are
those of the peer program that compare_training.sh runs against.
"""
import argparse
import json
import pathlib

import numpy

SHAPES = {  # hidden, intermediate, layers, heads, kv_heads, vocab
    "15m": (288, 768, 6, 6, 6, 32000),
    "110m": (768, 2048, 12, 12, 12, 32000),
    "1b": (2048, 5632, 22, 32, 4, 32000),
    "7b-2layers": (4096, 11008, 2, 32, 32, 32000),
    "7b": (4096, 11008, 32, 32, 32, 32000),
    "novels": (256, 704, 6, 4, 4, 4096),  # the embedded model's shape; tied
}


def tensor_shapes(shape):
    """(name, sizes) of every tensor, in the order of the file."""
    hidden, inter, layers, heads, kv_heads, vocab = SHAPES[shape]
    key = hidden // heads * kv_heads
    yield "model.embed_tokens.weight", (vocab, hidden)
    for i in range(layers):
        prefix = f"model.layers.{i}."
        yield prefix + "input_layernorm.weight", (hidden,)
        yield prefix + "self_attn.q_proj.weight", (hidden, hidden)
        yield prefix + "self_attn.k_proj.weight", (key, hidden)
        yield prefix + "self_attn.v_proj.weight", (key, hidden)
        yield prefix + "self_attn.o_proj.weight", (hidden, hidden)
        yield prefix + "post_attention_layernorm.weight", (hidden,)
        yield prefix + "mlp.gate_proj.weight", (inter, hidden)
        yield prefix + "mlp.up_proj.weight", (inter, hidden)
        yield prefix + "mlp.down_proj.weight", (hidden, inter)
    yield "model.norm.weight", (hidden,)
    if shape != "novels":
        yield "lm_head.weight", (vocab, hidden)


def write_weights(shape, path):
    """A safetensors file, written tensor by tensor."""
    header, place = {}, 0
    for name, sizes in tensor_shapes(shape):
        size = 2 * int(numpy.prod(sizes))
        header[name] = {"dtype": "BF16", "shape": list(sizes), "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    # One block of noise serves all: only its statistics matter.
    noise = (numpy.random.default_rng(0).standard_normal(1 << 20, numpy.float32) * 0.02).view(numpy.uint32)
    noise = ((noise + 0x8000) >> 16).astype(numpy.uint16)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, sizes in tensor_shapes(shape):
            count = int(numpy.prod(sizes))
            if len(sizes) == 1:
                file.write(numpy.full(count, 0x3F80, numpy.uint16).tobytes())
                continue
            start = sum(sizes) % 4096
            while count > 0:
                part = noise[start:start + count]
                file.write(part.tobytes())
                count -= len(part)
                start = 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", choices=SHAPES, required=True)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    hidden, inter, layers, heads, kv_heads, vocab = SHAPES[arguments.shape]
    arguments.output.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": hidden, "intermediate_size": inter, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "vocab_size": vocab,
        "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "bos_token_id": 1, "eos_token_id": 2,
        "tie_word_embeddings": arguments.shape == "novels", "torch_dtype": "bfloat16",
    }
    (arguments.output / "config.json").write_text(json.dumps(config, indent=2))
    ids = numpy.random.default_rng(1).integers(0, vocab, 1 << 20)
    ids.astype(numpy.uint16).tofile(arguments.output / "random.bin")
    # Last: a directory with weights is complete.
    write_weights(arguments.shape, arguments.output / "model.safetensors.part")
    (arguments.output / "model.safetensors.part").rename(arguments.output / "model.safetensors")


if __name__ == "__main__":
    main()
