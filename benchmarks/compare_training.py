#!/usr/bin/env python3
"""The work of compare_training.sh: runs this program and a peer on the same cases in turn.

Every measurement is one JSON line in RESULTS/training.jsonl; what is there already is not run again.
RESULTS/training.md is written anew from all lines at the end and after every case.
"""
import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile

from make_model import SHAPES

# shape, tokens, attention, training; the first are the quick ones.
CASES = [
    ("15m", 1024, "s2", "lora"),
    ("110m", 2048, "s2", "lora"),
    ("110m", 4096, "s2", "lora"),
    ("110m", 8192, "s2", "lora"),
    ("110m", 16384, "s2", "lora"),
    ("1b", 4096, "s2", "lora"),
    ("7b-2layers", 4096, "s2", "lora"),
    ("110m", 8192, "full", "lora"),
    ("110m", 16384, "full", "lora"),
    ("110m", 8192, "s2", "full"),
    ("1b", 8192, "s2", "lora"),
    ("7b-2layers", 8192, "s2", "lora"),
]
QUICK = CASES[:2]
# The working points: fast may take the peer's memory, small a share of it.
SMALL_SHARE = {"1b": 1 / 3}


def matmul_weights(shape):
    """Elements of the layers' matrices and of the head."""
    hidden, inter, layers, heads, kv_heads, vocab = SHAPES[shape]
    key = hidden // heads * kv_heads
    return layers * (2 * hidden * hidden + 2 * hidden * key + 3 * hidden * inter), vocab * hidden


def flops_per_token(shape, tokens, attention, training):
    """Model FLOPs: forward, and the gradients of what needs them; nothing for recomputation."""
    hidden, layers = SHAPES[shape][0], SHAPES[shape][2]
    layer_weights, head = matmul_weights(shape)
    if attention == "full":
        seen = (tokens + 1) / 2
    else:  # half the heads in T/G segments of G, half in T/G - 1 and two of G/2
        group = tokens // 4
        shifted = ((tokens // group - 1) * group * (group + 1) + group * (group // 2 + 1)) / 2
        seen = ((group + 1) / 2 + shifted / tokens) / 2
    attending = 4 * hidden * seen * layers
    weight_gradients = 2 * (layer_weights + head) if training == "full" else 0
    return 4 * (layer_weights + head) + 3 * attending + weight_gradients


class Comparison:
    def __init__(self, arguments):
        self.arguments = arguments
        self.results = arguments.results
        self.results.mkdir(parents=True, exist_ok=True)
        self.lines_path = self.results / "training.jsonl"
        self.lines = [json.loads(line) for line in self.lines_path.read_text().splitlines()] \
            if self.lines_path.exists() else []
        self.environment = dict(os.environ, OMP_NUM_THREADS=str(arguments.threads))

    def find(self, **key):
        key["threads"] = self.arguments.threads
        for line in self.lines:
            if all(line.get(name) == value for name, value in key.items()):
                return line
        return None

    def record(self, line):
        line["threads"] = self.arguments.threads
        line["machine"] = self.arguments.machine
        self.lines.append(line)
        with open(self.lines_path, "a") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)

    def matrix_rate(self):
        """The machine's bfloat16 matrix rate through the library that both programs use, FLOP/s."""
        script = ("import time, torch\n"
                  "a = torch.randn(4096, 4096).bfloat16(); b = torch.randn(4096, 4096).bfloat16()\n"
                  "best = 0\n"
                  "for _ in range(4):\n"
                  "    start = time.perf_counter(); torch.nn.functional.linear(a, b)\n"
                  "    best = max(best, 2 * 4096**3 / (time.perf_counter() - start))\n"
                  "print(best)")
        out = subprocess.run([self.arguments.python, "-c", script], check=True, capture_output=True,
                             text=True, env=self.environment)
        return float(out.stdout)

    def peer(self, case):
        shape, tokens, attention, training = case
        key = dict(who="peer", shape=shape, tokens=tokens, attention=attention, training=training)
        found = self.find(**key)
        if found:
            return found
        command = [self.arguments.python, self.arguments.peer, "--shape", shape, "--seq_len", str(tokens),
                   "--steps", str(self.arguments.steps)]
        command += ["--full_attention"] if attention == "full" else []
        command += ["--full_finetune"] if training == "full" else []
        out = subprocess.run(command, capture_output=True, text=True, env=self.environment)
        if out.returncode != 0:
            self.record({**key, "failed": out.stderr.strip().splitlines()[-1:] or ["killed"]})
            return self.lines[-1]
        printed = json.loads(out.stdout.strip().splitlines()[-1])
        self.record({**key, "tokens_per_s": printed["tokens_per_s"], "peak_gib": printed["peak_gib"],
                     "losses": printed["losses"], "matrix_flops": self.matrix_rate()})
        return self.lines[-1]

    def model(self, shape):
        directory = self.arguments.models / shape
        if not (directory / "model.safetensors").exists():
            subprocess.run([self.arguments.python, pathlib.Path(__file__).parent / "make_model.py", "--shape",
                            shape, "--output", directory], check=True)
        return directory

    def planned_tokens_per_s(self, case, budget_gib):
        """What `plan` expects of the run, from a few seconds of measurement right before it."""
        shape, tokens, attention, training = case
        with tempfile.TemporaryDirectory(dir=self.arguments.models) as folder:
            written = pathlib.Path(folder) / "plan.json"
            out = subprocess.run(list(map(str, [
                self.arguments.program, "plan", "--model_name_or_path", self.model(shape), "--model_max_length",
                tokens, "--attention", attention, "--low_rank_training", training == "lora", "--memory_budget",
                f"{budget_gib:.3f}", "--json", written])), capture_output=True, env=self.environment)
            # A run that does not fit says so itself.
            return out.returncode == 0 and json.loads(written.read_text())["tokens_per_second"]

    def ours(self, case, point, budget_gib):
        shape, tokens, attention, training = case
        key = dict(who="longlora", shape=shape, tokens=tokens, attention=attention, training=training,
                   point=point)
        if self.find(**key):
            return
        model = self.model(shape)
        with tempfile.TemporaryDirectory(dir=self.arguments.models) as folder:
            run = pathlib.Path(folder) / "run"
            planned = self.planned_tokens_per_s(case, budget_gib)
            rate_before = self.matrix_rate()
            command = [self.arguments.program, "fine-tune", "--model_name_or_path", model, "--data_path",
                       model / "random.bin", "--output_dir", run, "--model_max_length", str(tokens),
                       "--attention", attention, "--max_steps", str(self.arguments.steps + 1),
                       "--save_steps", "0", "--low_rank_training", str(training == "lora"),
                       "--memory_budget", f"{budget_gib:.3f}", "--json", run / "result.json"]
            out = subprocess.run(list(map(str, command)), capture_output=True, text=True,
                                 env=self.environment)
            if out.returncode != 0:
                self.record({**key, "budget_gib": round(budget_gib, 3),
                             "failed": out.stderr.strip().splitlines()[-1:]})
                return
            steps = [json.loads(line) for line in (run / "train_log.jsonl").read_text().splitlines()]
            result = json.loads((run / "result.json").read_text())
        seconds = sorted(b["seconds"] - a["seconds"] for a, b in zip(steps, steps[1:]))
        median = seconds[len(seconds) // 2]
        # The rate of some machines falls under load: the better of before and after.
        rate = max(rate_before, self.matrix_rate())
        flops = flops_per_token(*case)
        self.record({**key, "tokens_per_s": round(tokens / median, 2), "budget_gib": round(budget_gib, 3),
                     "peak_gib": round(result["peak_memory_bytes"] / 2**30, 3),
                     "predicted_gib": round(result["predicted_memory_bytes"] / 2**30, 3),
                     "planned_tokens_per_s": round(planned, 2),
                     "losses": [round(step["loss"], 4) for step in steps], "matrix_flops": rate,
                     "share_of_matrix_rate": round(flops * tokens / median / rate, 3)})

    def run(self, case):
        peer = self.peer(case)
        if "failed" not in peer:
            self.ours(case, "fast", peer["peak_gib"])
            self.ours(case, "small", peer["peak_gib"] * SMALL_SHARE.get(case[0], 1 / 4))
        self.write_table()

    def write_table(self):
        rows = ["# Training on a CPU against transformers and peft", "",
                f"`{self.arguments.command}`, {self.arguments.machine}, {self.arguments.threads} threads; bfloat16; "
                "fast: with no more memory than the peer's peak; small: within a quarter of it (1b: a third). "
                "MFU: model FLOPs without recomputation as a share of the machine's matrix rate measured "
                "beside each run.", "",
                "| shape | T | attention | training | peer tokens/s | peer GiB | point | tokens/s | ratio | GiB | "
                "of peer's | planned GiB | planned tokens/s | MFU |", "|" + "---|" * 14]
        for peer in (line for line in self.lines if line["who"] == "peer" and line["threads"] == self.arguments.threads):
            key = {name: peer[name] for name in ("shape", "tokens", "attention", "training")}
            head = f"| {peer['shape']} | {peer['tokens']} | {peer['attention']} | {peer['training']} "
            if "failed" in peer:
                rows.append(head + f"| {peer['failed'][0][:60]} |" + " |" * 9)
                continue
            head += f"| {peer['tokens_per_s']} | {peer['peak_gib']} "
            for point in ("fast", "small"):
                ours = self.find(who="longlora", point=point, **key)
                if not ours:
                    continue
                if "failed" in ours:
                    rows.append(head + f"| {point} | does not fit in {ours['budget_gib']} GiB |" + " |" * 6)
                    continue
                rows.append(head + f"| {point} | {ours['tokens_per_s']} "
                            f"| {ours['tokens_per_s'] / peer['tokens_per_s']:.2f} | {ours['peak_gib']} "
                            f"| {ours['peak_gib'] / peer['peak_gib']:.2f} | {ours['predicted_gib']} "
                            f"| {ours.get('planned_tokens_per_s', '')} | {100 * ours['share_of_matrix_rate']:.0f} % |")
        (self.results / "training.md").write_text("\n".join(rows) + "\n")


def machine_name():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def parse_case(text):
    shape, tokens, attention, training = text.split(",")
    return shape, int(tokens), attention, training


def main():
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(prog="compare_training.sh", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=pathlib.Path, default=here.parent.parent / "shared/peers/hf_peft_longlora.py",
                        help="the peer program (default: %(default)s)")
    parser.add_argument("--python", default=sys.executable, help="a Python with torch, transformers and peft")
    parser.add_argument("--program", type=pathlib.Path, default=here.parent / "build/release/longlora")
    parser.add_argument("--models", type=pathlib.Path, default=here.parent / "build/benchmark-models",
                        help="where models with random weights are made (default: %(default)s)")
    parser.add_argument("--results", type=pathlib.Path, default=here / "results")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--steps", type=int, default=3, help="counted steps, after one to warm up")
    parser.add_argument("--machine", default=machine_name())
    parser.add_argument("--quick", action="store_true", help="the smallest cases alone")
    parser.add_argument("--case", type=parse_case, action="append", metavar="SHAPE,T,s2|full,lora|full",
                        help="this case alone; may be repeated")
    arguments = parser.parse_args()
    arguments.command = "benchmarks/compare_training.sh"
    for path in (arguments.peer, arguments.program):
        if not path.exists():
            sys.exit(f"[compare_training] expected {path}, found nothing; see --help")
    comparison = Comparison(arguments)
    for case in arguments.case or (QUICK if arguments.quick else CASES):
        comparison.run(case)
    comparison.write_table()
    print((comparison.results / "training.md").read_text())


if __name__ == "__main__":
    main()
