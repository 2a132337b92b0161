"""Passkey prompts as the released script makes them (NumPy's legacy generator): hashes, lengths, keys."""

import hashlib

import numpy

from scripts.references.common import GOLDENS, save_json

TASK = ("There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. "
        "I will quiz you about the important information there.")
GARBAGE = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
QUESTION = "What is the pass key? The pass key is"
SETTINGS = [(4096, 512), (8192, 1000), (32768, 16384), (131072, 131072)]  # max_tokens, interval
NUM_TESTS = 10


def make_prompt(num_garbage, seed):
    """As released, but with as many repeats of the garbage as are needed."""
    numpy.random.seed(seed)
    num_prefix = int(numpy.random.randint(0, num_garbage))
    garbage = " ".join([GARBAGE] * (num_garbage // len(GARBAGE) + 1))
    pass_key = int(numpy.random.randint(1, 50000))
    lines = [
        TASK,
        garbage[:num_prefix],
        f"The pass key is {pass_key}. Remember it. {pass_key} is the pass key.",
        garbage[:num_garbage - num_prefix],
        QUESTION,
    ]
    return "\n".join(lines), pass_key, num_prefix


def main():
    lengths = []
    for max_tokens, interval in SETTINGS:
        for i in range(max_tokens // interval):
            num_garbage = int(3.75 * (i + 1) * interval // 1024 * 1024)
            trials = []
            for seed in range(NUM_TESTS):
                prompt, pass_key, num_prefix = make_prompt(num_garbage, seed)
                trials.append({"seed": seed, "pass_key": pass_key, "num_prefix": num_prefix, "length": len(prompt),
                               "sha256": hashlib.sha256(prompt.encode()).hexdigest()})
            lengths.append({"max_tokens": max_tokens, "interval": interval, "index": i, "num_garbage": num_garbage,
                            "trials": trials})
    first = make_prompt(lengths[0]["num_garbage"], 0)[0]
    save_json(GOLDENS / "passkey" / "prompts.json", {"first_prompt": first, "lengths": lengths})


if __name__ == "__main__":
    main()
