#!/usr/bin/env python3
"""Products with weights in NF4: ours against bitsandbytes' path for CPUs, in turn, on the same shapes and threads.

    compare_nf4.py --python PYTHON [--threads 2] [--rounds 5]

PYTHON has torch and bitsandbytes. Each round runs build/release/benchmarks/ops/ops_benchmark and then the peer, a
process each; a figure is the median of the rounds, in milliseconds of wall-clock time. The peer is a Linear4bit
(bfloat16, double quantisation) in inference mode, where it repacks its weights for the processor once, before the
measurement; `gradient` is the product of its backward. One JSON line a case goes to RESULTS/nf4.jsonl.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHAPES = [(4096, 4096), (4096, 11008)]

PEER = r"""
import json, sys, time, torch, bitsandbytes as bnb
threads, shapes, rows = int(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
torch.set_num_threads(threads)
torch.manual_seed(0)

def seconds(body):
    body()
    count, start = 0, time.perf_counter()
    while True:
        body()
        count += 1
        spent = time.perf_counter() - start
        if spent > 0.3:
            return spent / count

found = {}
for k, n in shapes:
    layer = bnb.nn.Linear4bit(k, n, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4", compress_statistics=True)
    layer.weight = bnb.nn.Params4bit((0.5 * torch.randn(n, k)).bfloat16(), requires_grad=False, quant_type="nf4",
                                     compress_statistics=True)
    layer = layer.to("cpu")
    for m in rows:
        if m >= 512:  # training: before the layer is repacked for inference
            x = (0.5 * torch.randn(m, k)).bfloat16().requires_grad_(True)
            y = layer.train()(x)
            grad = torch.ones_like(y)
            found[f"gradient {m} {k} {n}"] = seconds(lambda: torch.autograd.grad(y, x, grad, retain_graph=True))
            with torch.no_grad():
                found[f"training {m} {k} {n}"] = seconds(lambda: layer(x))
    layer.eval()
    with torch.inference_mode():
        for m in rows:
            x = (0.5 * torch.randn(m, k)).bfloat16()
            found[f"forward {m} {k} {n}"] = seconds(lambda: layer(x))
print(json.dumps(found))
"""


def run_ours(environment, rows):
    names = "|".join(f"M:{m}/" for m in rows)
    command = [ROOT / "build/release/benchmarks/ops/ops_benchmark", "--benchmark_format=json", "--benchmark_min_time=0.3",
               f"--benchmark_filter=product/nf4(_input_gradient)?/({names})"]
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=True)
    found = {}
    for case in json.loads(done.stdout)["benchmarks"]:
        parts = dict(part.split(":") for part in case["name"].split("/") if ":" in part)
        kind = "gradient" if "input_gradient" in case["name"] else "forward"
        found[f"{kind} {parts['M']} {parts['K']} {parts['N']}"] = case["real_time"] / 1e3
    return found


def run_peer(python, environment, threads, rows):
    done = subprocess.run([python, "-c", PEER, str(threads), json.dumps(SHAPES), json.dumps(rows)], env=environment,
                          capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"[compare_nf4] {python} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 4, 16, 512, 4096])
    parser.add_argument("--results", type=pathlib.Path, default=ROOT / "benchmarks/results")
    arguments = parser.parse_args()
    environment = {**os.environ, "OMP_NUM_THREADS": str(arguments.threads)}
    ours, theirs = {}, {}
    for _ in range(arguments.rounds):
        for name, seconds in run_ours(environment, arguments.rows).items():
            ours.setdefault(name, []).append(seconds)
        for name, seconds in run_peer(arguments.python, environment, arguments.threads, arguments.rows).items():
            theirs.setdefault(name, []).append(seconds)
    lines = []
    for name in theirs:
        kind, m, k, n = name.split()
        own = ours.get(name) or ours[f"forward {m} {k} {n}"]
        line = {"kind": kind, "rows": int(m), "in": int(k), "out": int(n), "threads": arguments.threads,
                "ours_ms": round(1e3 * statistics.median(own), 3),
                "bitsandbytes_ms": round(1e3 * statistics.median(theirs[name]), 3)}
        line["ratio"] = round(line["bitsandbytes_ms"] / line["ours_ms"], 2)
        print(line)
        lines.append(json.dumps(line))
    (arguments.results / "nf4.jsonl").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
