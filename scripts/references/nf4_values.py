"""Weights in 4-bit NormalFloat by bitsandbytes on the CPU, with one thread: codes, scales and values.

goldens/nf4/values.safetensors; the cases have whole and partial last blocks, odd sizes, blocks of zeros and of the
smallest and largest numbers, with and without double quantisation.
"""

import json

import bitsandbytes.functional as bnb
import torch
from bitsandbytes.backends.default.ops import _dequantize_4bit_compute

from scripts.references.common import GOLDENS, save_tensors

FOLDER = GOLDENS / "nf4"
CASES = {"float32": (torch.float32, (64, 320), 64, True), "bfloat16": (torch.bfloat16, (64, 320), 64, True),
         "float16": (torch.float16, (16, 256), 256, True), "wide_blocks": (torch.bfloat16, (4, 2048), 1024, False),
         "odd": (torch.float32, (7, 45), 64, False), "odd_nested": (torch.bfloat16, (5, 33), 32, True),
         "zeros": (torch.float32, (3, 50), 64, False), "extremes": (torch.float32, (6, 64), 64, True), "many_scales": (torch.bfloat16, (256, 256), 32, True)}


def weight_of(name, dtype, shape, generator):
    weight = torch.randn(shape, generator=generator) * (0.2 + torch.rand(shape[0], 1, generator=generator))
    if name == "zeros":
        weight.view(-1)[:64] = 0.0
        weight.view(-1)[128:] = 0.0
    if name == "extremes":
        weight *= torch.tensor([1e-42, 1e-38, 1e-20, 1.0, 1e20, 1e37])[:, None]
    return weight.to(dtype)


def main():
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(120)
    tensors = {"dynamic_map": bnb.create_dynamic_map()}
    for name, (dtype, shape, block, nested) in CASES.items():
        weight = weight_of(name, dtype, shape, generator)
        codes, state = bnb.quantize_4bit(weight, blocksize=block, compress_statistics=nested, quant_type="nf4")
        absmax = state.absmax
        if nested:
            absmax = bnb.dequantize_blockwise(state.absmax, state.state2) + state.offset
            tensors |= {f"{name}.nested_absmax": state.state2.absmax, f"{name}.nested_offset": state.offset.view(1)}
        # Its vector code takes rows for whole blocks: where they are not, the plain one counts.
        values = _dequantize_4bit_compute(codes.view(-1), absmax, state.code, block, weight.shape, torch.float32)
        if shape[1] % block == 0:
            for out in (torch.float32, torch.bfloat16, torch.float16):
                state.dtype = out
                assert torch.equal(bnb.dequantize_4bit(codes, state), values.to(out)), (name, out)
        tensors |= {f"{name}.weight": weight, f"{name}.codes": codes.view(-1), f"{name}.absmax": state.absmax,
                    f"{name}.scales": absmax}
        if name != "many_scales":  # there only the scales are new
            tensors[f"{name}.values"] = values
    metadata = {name: json.dumps({"block_size": block, "double_quant": nested})
                for name, (_, _, block, nested) in CASES.items()}
    save_tensors(FOLDER / "values.safetensors", tensors, metadata={"format": "pt", **metadata})


if __name__ == "__main__":
    main()
