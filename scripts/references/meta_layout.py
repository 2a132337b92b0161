"""Writes tests/data/stories260K_meta: llama2.c's stories260K.bin in Meta's layout.

llama2.c keeps query and key rows as Meta does, so nothing is moved: the arrays of the file get Meta's names, and its
header becomes params.json. ../stories260K_hf is the same model in Hugging Face's layout. Takes the path of
stories260K.bin (MIT, karpathy/tinyllamas; ../stories260K_hf/SOURCE.txt):

    python -m scripts.references.meta_layout stories260K.bin
"""

import json
import struct
import sys

import numpy as np
import torch

from scripts.references.common import DATA

FOLDER = DATA / "stories260K_meta"


def main(path):
    data = open(path, "rb").read()
    dim, hidden, layers, heads, kv_heads, vocabulary, window = struct.unpack("7i", data[:28])
    values = torch.from_numpy(np.frombuffer(data, np.float32, offset=28).copy())
    key_width = dim // heads * kv_heads
    position = 0

    def take(*shape):
        nonlocal position
        count = int(np.prod(shape))
        position += count
        return values[position - count:position].reshape(shape).clone()

    weights = {"tok_embeddings.weight": take(vocabulary, dim)}
    for name, shape in (("attention_norm", (dim,)), ("attention.wq", (dim, dim)), ("attention.wk", (key_width, dim)),
                        ("attention.wv", (key_width, dim)), ("attention.wo", (dim, dim)), ("ffn_norm", (dim,)),
                        ("feed_forward.w1", (hidden, dim)), ("feed_forward.w2", (dim, hidden)),
                        ("feed_forward.w3", (hidden, dim))):
        for layer, weight in enumerate(take(layers, *shape)):
            weights[f"layers.{layer}.{name}.weight"] = weight.clone()
    weights["norm.weight"] = take(dim)
    weights["rope.freqs"] = 1.0 / 10000 ** (torch.arange(0, dim // heads, 2).float() / (dim // heads))
    FOLDER.mkdir(parents=True, exist_ok=True)
    torch.save(weights, FOLDER / "consolidated.00.pth")
    params = {"dim": dim, "n_layers": layers, "n_heads": heads, "n_kv_heads": kv_heads, "vocab_size": -1,
              "multiple_of": 4, "norm_eps": 1e-05, "max_seq_len": window}
    (FOLDER / "params.json").write_text(json.dumps(params) + "\n")
    print(len(weights), "tensors,", hidden, "wide")


if __name__ == "__main__":
    main(sys.argv[1])
