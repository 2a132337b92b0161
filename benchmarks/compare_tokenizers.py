#!/usr/bin/env python3
"""Our tokenizer against Hugging Face's `tokenizers` (Rust) on one core and one text, in turn.

    benchmarks/compare_tokenizers.py --longlora build/release/tokenizer_benchmark --text novel.txt TOKENIZER...

TOKENIZER is a tokenizer.json. Both encode the whole text in one call, several times; best and median are given. Times are
processor time of the process, so that a busy machine does not tell in them; both run one thread. Start it on one core:
taskset -c 0 …. Needs the Python package tokenizers.
"""
import argparse
import os
import statistics
import subprocess
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

import tokenizers  # noqa: E402


def time_rust(path, text, repeats):
    tokenizer = tokenizers.Tokenizer.from_file(path)
    tokenizer.no_truncation()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        encoding = tokenizer.encode_batch_fast([text])[0]  # without offsets
        times.append(time.process_time() - start)
    return times, encoding.ids


def time_ours(binary, path, text_path, repeats):
    out = subprocess.run([binary, path, text_path, str(repeats)], check=True, capture_output=True, text=True).stdout
    lines = out.splitlines()
    return [float(word) for word in lines[0].split()], [int(word) for word in lines[1].split()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizers", nargs="+", metavar="TOKENIZER")
    parser.add_argument("--longlora", default="build/release/tokenizer_benchmark", help="the program of benchmarks/")
    parser.add_argument("--text", required=True, help="a UTF-8 text file, encoded whole")
    parser.add_argument("--repeats", type=int, default=7, help="calls per round (default 7)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, each side in turn (default 3)")
    arguments = parser.parse_args()
    with open(arguments.text, encoding="utf-8", newline="") as file:
        text = file.read()
    size = len(text.encode())
    print(f"tokenizers {tokenizers.__version__}, {os.path.basename(arguments.text)}: {size:,} bytes, "
          f"{arguments.rounds} x {arguments.repeats} calls each")
    print("| tokenizer | ids | Rust best / median, MB/s | ours first / best / median, MB/s | ratio of medians |")
    print("|---|---|---|---|---|")
    for path in arguments.tokenizers:
        rust, ours, first = [], [], []
        for _ in range(arguments.rounds):
            times, rust_ids = time_rust(path, text, arguments.repeats)
            rust += times
            times, our_ids = time_ours(arguments.longlora, path, arguments.text, arguments.repeats)
            ours += times
            first.append(times[0])
            if rust_ids != our_ids:
                raise SystemExit(f"[{path}] expected the same ids from both, got different ones")
        name = "/".join(path.split("/")[-2:])
        rate = lambda seconds: size / seconds / 1e6
        ratio = statistics.median(rust) / statistics.median(ours)
        print(f"| {name} | {len(our_ids):,} | {rate(min(rust)):.1f} / {rate(statistics.median(rust)):.1f} | "
              f"{rate(min(first)):.1f} / {rate(min(ours)):.1f} / {rate(statistics.median(ours)):.1f} | {ratio:.1f} |")


if __name__ == "__main__":
    main()
