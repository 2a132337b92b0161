#!/usr/bin/env python3
"""Speed of `eval` and of passkey prompts against transformers on the same work.

    compare_evaluation.py --python PYTHON

Both sides run in turn, in processes of their own. A rate is the difference of two runs, one with more
windows or trials than the other: loading and starting up fall out. Time is that of the processor (user and
system), which other work on the machine disturbs least; with --threads above 1 wall-clock time is what
counts, and both are written. One JSON line a case goes to RESULTS/evaluation.jsonl.
"""
import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

PEER = r"""
import sys, torch, transformers
from transformers import AutoModelForCausalLM
model_path, job, tokens, count, threads = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
torch.set_num_threads(threads)
torch.manual_seed(0)
model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.bfloat16).eval()
vocab = model.config.vocab_size
with torch.inference_mode():
    if job == "eval":  # as many windows at once as make 8192 tokens
        rows = max(1, 8192 // tokens)
        for begin in range(0, count, rows):
            ids = torch.randint(0, vocab, (min(rows, count - begin), tokens))
            logits = model(ids, use_cache=False).logits
            for row, window in zip(logits, ids):
                loss = torch.nn.functional.cross_entropy(row[:-1].float(), window[1:])
                correct = (row[:-1].argmax(-1) == window[1:]).sum()
    else:
        for _ in range(count):
            ids = torch.randint(3, vocab, (1, tokens))
            model.generate(ids, max_new_tokens=5, min_new_tokens=5, do_sample=False, pad_token_id=0)
"""


def timed(command, environment):
    """(wall, processor) seconds of a command; its output goes into the error if it fails."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        sys.exit(f"[compare_evaluation] {command[0]} failed: {done.stderr[-2000:]}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def difference(make_command, few, many, environment):
    """Seconds that (many - few) more pieces of work take: (wall, processor)."""
    short, long = timed(make_command(few), environment), timed(make_command(many), environment)
    return tuple(b - a for a, b in zip(short, long))


def main():
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="a Python with torch and transformers")
    parser.add_argument("--program", type=pathlib.Path, default=here.parent / "build/release/longlora")
    parser.add_argument("--model", type=pathlib.Path, default=here.parent / "models/tiny-novels")
    parser.add_argument("--seq_len", type=int, default=4096)
    parser.add_argument("--passkey_length", type=int, default=3840)
    parser.add_argument("--windows", type=int, nargs=2, default=(2, 10), help="of eval, the two runs")
    parser.add_argument("--trials", type=int, nargs=2, default=(1, 6), help="of passkey, the two runs")
    parser.add_argument("--results", type=pathlib.Path, default=here / "results")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    environment = dict(os.environ, OMP_NUM_THREADS=str(arguments.threads))

    with tempfile.TemporaryDirectory() as folder:
        ids, result = pathlib.Path(folder) / "ids.bin", pathlib.Path(folder) / "result.json"
        text = sorted((arguments.model / "data").glob("heldout*.txt"))
        subprocess.run([arguments.program, "tokenize", "--tokenizer", arguments.model, "--output", ids, "--input",
                        *text], check=True, capture_output=True)

        def ours(job):
            if job == "eval":
                return lambda n: [arguments.program, "eval", "--base_model", arguments.model, "--data_path", ids,
                                  "--seq_len", arguments.seq_len, "--context_size", arguments.seq_len,
                                  "--dtype", "bfloat16", "--max_windows", n]
            return lambda n: [arguments.program, "passkey", "--base_model", arguments.model, "--context_size",
                              arguments.passkey_length + 512, "--lengths", arguments.passkey_length, "--num_tests", n,
                              "--dtype", "bfloat16", "--json", result]

        for job, counts in (("eval", arguments.windows), ("passkey", arguments.trials)):
            our_seconds = difference(ours(job), *counts, environment)
            tokens = arguments.seq_len
            if job == "passkey":
                tokens = round(json.loads(result.read_text())["results"][0]["tokens"])
            peer_seconds = difference(
                lambda n: [arguments.python, "-c", PEER, arguments.model, job, tokens, n, arguments.threads], *counts,
                environment)
            work = tokens * (counts[1] - counts[0])
            line = {"job": job, "tokens": tokens, "threads": arguments.threads}
            for place, clock in enumerate(("wall", "processor")):
                line[clock] = {"longlora_tokens_per_s": round(work / our_seconds[place]),
                               "transformers_tokens_per_s": round(work / peer_seconds[place]),
                               "ratio": round(peer_seconds[place] / our_seconds[place], 2)}
            print(json.dumps(line), flush=True)
            with open(arguments.results / "evaluation.jsonl", "a") as file:
                file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
