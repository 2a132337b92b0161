#!/usr/bin/env python3
"""Speed of reading prompts and of writing against llama.cpp, on the same weights.

    compare_inference.py --llama_bench BUILD/bin/llama-bench --model models/smollm2 --depths 16,6144,16384,32768

Both programs run in turn, in processes of their own, with the same threads: `longlora bench` and `llama-bench -d DEPTH`. Ours
computes in bfloat16, and with NF4 weights beside llama.cpp's Q4_0. The memory's read bandwidth is measured by `longlora bench` in
the same run. One JSON line a case goes to RESULTS/inference.jsonl, and a table to standard output.

llama-bench is best built natively from the sources that the Python package llama-cpp-python carries:

    pip download --no-binary llama-cpp-python --no-deps llama-cpp-python && tar xf llama_cpp_python-*.tar.gz
    cmake -B BUILD -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON llama_cpp_python-*/vendor/llama.cpp
    cmake --build BUILD --target llama-bench
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile


def run(command, environment):
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"[compare_inference] {command[0]} failed: {done.stderr[-2000:]}")
    return done.stdout


def ours(arguments, kind, environment, folder):
    """Rates by depth: (prompt tokens/s, tokens/s, share of bandwidth), and the bandwidth."""
    result = folder / "speed.json"
    command = [arguments.program, "bench", "--base_model", arguments.model, "--dtype", "bfloat16", "--prompt_tokens",
               arguments.depths, "--new_tokens", arguments.new_tokens, "--repeat", arguments.repeat, "--json", result]
    if kind == "4-bit":
        command += ["--quantize", "nf4"]
    run(command, environment)
    speed = json.loads(result.read_text())
    rows = {row["prompt_tokens"]: row for row in speed["results"]}
    return rows, speed["read_bandwidth_bytes_per_second"]


def theirs(arguments, kind, environment, folder):
    gguf = folder / f"{kind}.gguf"
    if not gguf.exists():
        run([arguments.program, "convert", "--input", arguments.model, "--output", gguf, "--type",
             "bf16" if kind == "bf16" else "q4_0"], environment)
    common = [arguments.llama_bench, "-m", gguf, "-t", arguments.threads, "-r", arguments.repeat, "-o", "json"]
    rows = {}
    for depth in map(int, arguments.depths.split(",")):
        # A prompt of the depth is read before each run, so that the rate of reading comes from a run of its own.
        wrote = json.loads(run([*common, "-p", 0, "-n", arguments.new_tokens, "-d", depth], environment))
        read = json.loads(run([*common, "-p", depth, "-n", 0], environment)) if depth >= 512 else None
        rows[depth] = {"tokens_per_second": max(wrote[0]["samples_ts"]),
                       "prompt_tokens_per_second": max(read[0]["samples_ts"]) if read else None}
    return rows


def main():
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama_bench", type=pathlib.Path, required=True)
    parser.add_argument("--program", type=pathlib.Path, default=here.parent / "build/release/longlora")
    parser.add_argument("--model", type=pathlib.Path, required=True, help="a Hugging Face directory")
    parser.add_argument("--name", help="of the model in the results (default: the directory's)")
    parser.add_argument("--depths", default="16,6144")
    parser.add_argument("--kinds", nargs="+", default=["bf16", "4-bit"], choices=["bf16", "4-bit"])
    parser.add_argument("--new_tokens", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--results", type=pathlib.Path, default=here / "results")
    arguments = parser.parse_args()
    environment = dict(os.environ, OMP_NUM_THREADS=str(arguments.threads))
    name = arguments.name or arguments.model.name

    print("| model | weights | tokens before | write: ours | llama.cpp | ratio | of bandwidth | read: ours | llama.cpp | ratio |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, open(arguments.results / "inference.jsonl", "a") as log:
        for kind in arguments.kinds:
            our_rows, bandwidth = ours(arguments, kind, environment, pathlib.Path(folder))
            their_rows = theirs(arguments, kind, environment, pathlib.Path(folder))
            for depth, mine in our_rows.items():
                peer = their_rows[depth]
                log.write(json.dumps({"model": name, "weights": kind, "threads": arguments.threads, "depth": depth,
                                      "read_bandwidth": bandwidth, "ours": mine, "llama.cpp": peer}) + "\n")
                read = peer["prompt_tokens_per_second"]
                reading = (f"{mine['prompt_tokens_per_second']:.0f} | {read:.0f} | {mine['prompt_tokens_per_second'] / read:.2f}"
                           if read else "– | – | –")
                print(f"| {name} | {kind} | {depth} | {mine['tokens_per_second']:.1f} | {peer['tokens_per_second']:.1f} | "
                      f"{mine['tokens_per_second'] / peer['tokens_per_second']:.2f} | "
                      f"{100 * mine['share_of_read_bandwidth']:.0f} % | {reading} |", flush=True)


if __name__ == "__main__":
    main()
