"""Writes tests/data/numpy_random/golden.json: what numpy.random.seed and randint give.

Needs numpy. Run from the repository root: python3 scripts/references/numpy_random.py
"""
import json
import pathlib

import numpy as np

SEEDS = [0, 1, 42, 5489, 2**32 - 1]
RANGES = [(0, 10), (1, 50000), (0, 1), (-5, 6), (0, 2**31), (0, 2**32), (0, 2**32 + 1), (-(2**62), 2**62), (7, 8),
          (0, 61), (0, 2**63 - 1), (-(2**63), 2**63 - 1)]


def seed_entry(seed):
    random = np.random.RandomState(seed)
    # 1300 outputs cross two refills of the 624-word state.
    return {"seed": seed, "first_u32": [int(x) for x in random.randint(0, 2**32, size=1300, dtype=np.uint32)]}


def randint_entry(seed):
    np.random.seed(seed)
    draws = [[low, high, int(np.random.randint(low, high))] for _ in range(20) for low, high in RANGES]
    return {"seed": seed, "draws": draws}


def main():
    out = pathlib.Path("tests/data/numpy_random/golden.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    golden = {"numpy": np.__version__, "seeds": [seed_entry(s) for s in SEEDS[:2]],
              "randint": [randint_entry(s) for s in SEEDS]}
    out.write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
