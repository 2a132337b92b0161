"""Files of torch.save: writes tests/data/torch_save/made, and what every file there and beside it holds.

expected.json: per file the tensors that torch.load finds, by the keys that lead to them (dtype, shape, SHA-256 of the
contiguous bytes), or the global for which a reader that runs nothing must refuse it. SOURCE.txt names the origin of the
files that are not made here.
"""

import collections
import hashlib
import pickle
import shutil

import torch
from torch import nn

from scripts.references.common import DATA, save_json

FOLDER = DATA / "torch_save"
MADE = FOLDER / "made"
DTYPES = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "uint64",
          "uint32", "uint16", "float8_e4m3fn", "float8_e5m2", "complex64", "complex128"]


class Stranger:
    """Pickles as a call of os.system."""

    def __reduce__(self):
        import os

        return os.system, ("echo this must never run",)


def every_dtype():
    base = torch.tensor([[0.0, 1.0, 2.5], [3.0, 100.0, 7.0]])
    tensors = {name: base.to(getattr(torch, name)) for name in DTYPES}
    return {**tensors, "scalar": torch.tensor(2.5), "empty": torch.zeros(3, 0, 2)}


def views():
    base = torch.arange(60, dtype=torch.float32).reshape(6, 10)
    return {
        "base": base,
        "transposed": base.t(),
        "columns": base[:, 3:5],
        "every_other_row": base[1::2],
        "row": base[4],
        "diagonal": torch.diagonal(base),
        "expanded": base[2].expand(4, 10),
        "permuted": base.reshape(2, 3, 10).permute(2, 0, 1),
        "halves": torch.arange(12).to(torch.bfloat16).reshape(3, 4).t(),
        "flags": torch.tensor([[True, False, True], [False, False, True]]).t(),
    }


def nested():
    shared = torch.arange(4, dtype=torch.float32)
    return {
        "model": collections.OrderedDict([("a.weight", shared), ("b.weight", shared[1:])]),
        "list": [torch.tensor([1]), (torch.tensor([2]), {"deep": torch.tensor([3])})],
        7: {"exp_avg": torch.tensor([0.5])},
        "step": 12, "rate": 2e-5, "name": "run", "none": None, "flag": True, "large": 2**70, "negative": -5,
        "set": {1, 2}, "size": torch.Size([2, 3]), "device": torch.device("cpu"), "dtype": torch.bfloat16,
        "bytes": [True, False, 3.5, -70000, 70000, 2**40],
    }


def module():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))


def write_made():
    shutil.rmtree(MADE, ignore_errors=True)
    MADE.mkdir(parents=True)
    torch.save(every_dtype(), MADE / "every_dtype.pt")
    torch.save(views(), MADE / "views.pt")
    torch.save(nested(), MADE / "nested.pt")
    torch.save(module().state_dict(), MADE / "state_dict.pt")
    torch.save(dict(module().named_parameters()), MADE / "parameters.pt")
    torch.save([torch.ones(2), torch.zeros(1)], MADE / "list.pt")
    torch.save(torch.arange(3), MADE / "bare.pt")
    for protocol in (3, 4, 5):
        torch.save(views(), MADE / f"protocol_{protocol}.pt", pickle_protocol=protocol)
    old = {"_use_new_zipfile_serialization": False}
    torch.save(views(), MADE / "legacy_views.pt", **old)
    torch.save(nested(), MADE / "legacy_nested.pt", **old)
    torch.save(module().state_dict(), MADE / "legacy_state_dict.pt", **old)
    torch.save({"a": torch.ones(2), "b": Stranger()}, MADE / "refused_system.pt")
    torch.save({"a": Stranger()}, MADE / "legacy_refused_system.pt", **old)
    torch.save(module(), MADE / "refused_module.pt")
    torch.save({"a": torch.eye(2).to_sparse()}, MADE / "refused_sparse.pt")
    torch.save({"a": torch.tensor([1 + 2j, 3j]).conj()}, MADE / "refused_conjugate.pt")
    (MADE / "refused_plain_pickle.pt").write_bytes(pickle.dumps({"a": [1, 2]}, protocol=2))
    for path in MADE.iterdir():
        path.chmod(0o644)


REFUSED = {
    "made/refused_system.pt": "posix.system",
    "made/legacy_refused_system.pt": "posix.system",
    "made/refused_module.pt": "torch.nn.modules.container.Sequential",
    "made/refused_sparse.pt": "torch._utils._rebuild_sparse_tensor",
    "made/refused_conjugate.pt": "conjugated",
    "made/refused_plain_pickle.pt": "another pickle",
    "src__pytorch__tests__reader__test_data__broken.pt": "safetensors",
}


def flatten(value, name, result):
    if isinstance(value, torch.Tensor):
        data = value.detach().resolve_conj().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        result[name or "tensor"] = {"dtype": str(value.dtype).removeprefix("torch."), "shape": list(value.shape),
                                    "sha256": hashlib.sha256(data).hexdigest()}
    elif isinstance(value, dict):
        for key, part in value.items():
            flatten(part, f"{name}.{key}" if name else str(key), result)
    elif isinstance(value, (list, tuple)):
        for index, part in enumerate(value):
            flatten(part, f"{name}.{index}" if name else str(index), result)
    return result


def main():
    write_made()
    expected = {}
    for path in sorted(FOLDER.rglob("*.pt")):
        name = str(path.relative_to(FOLDER))
        if name not in REFUSED:
            expected[name] = flatten(torch.load(path, weights_only=path.parent != MADE, map_location="cpu"), "", {})
    save_json(FOLDER / "expected.json", {"tensors": expected, "refused": REFUSED})
    print(len(expected), "files,", sum(map(len, expected.values())), "tensors")


if __name__ == "__main__":
    main()
