"""Writes tests/data/checkpoint: a file of every dtype made by the safetensors library.

values.json holds what the C++ reader must find in it, as numbers.
"""

import json

import torch

from scripts.references.common import DATA, save_tensors

FLOATS = [0.0, -0.0, 1.0, -1.5, 0.333251953125, 65504.0, 6.103515625e-05, float("inf")]


def tensors():
    base = torch.tensor(FLOATS, dtype=torch.float64).reshape(2, 4)
    return {
        "f64": base * 1.0000000000000002,
        "f32": base.float() + 0.1,
        "f16": base.half(),
        "bf16": base.bfloat16(),
        "f8_e4m3": torch.tensor([0.5, -448.0, 0.001953125, 3.5]).to(torch.float8_e4m3fn),
        "f8_e5m2": torch.tensor([0.5, -57344.0, 1.52587890625e-05]).to(torch.float8_e5m2),
        "i64": torch.tensor([[-(2**62), 2**62]]),
        "i32": torch.tensor([-(2**31), 2**31 - 1], dtype=torch.int32),
        "i16": torch.tensor([-(2**15), 2**15 - 1], dtype=torch.int16),
        "i8": torch.tensor([-128, 127, 0], dtype=torch.int8),
        "u8": torch.tensor([0, 255], dtype=torch.uint8),
        "bool": torch.tensor([True, False, True]),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(3, 0, 2),
        "name with \"quotes\" and é": torch.tensor([7.0]),
    }


def main():
    folder = DATA / "checkpoint"
    folder.mkdir(parents=True, exist_ok=True)
    values = {
        name: {"dtype": str(t.dtype), "shape": list(t.shape), "values": [str(x) for x in t.flatten().double().tolist()]
               if t.is_floating_point() else [str(int(x)) for x in t.flatten().tolist()]}
        for name, t in tensors().items()
    }
    save_tensors(folder / "every_dtype.safetensors", tensors(), metadata={"note": "ä \"quoted\""})
    (folder / "every_dtype.json").write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
