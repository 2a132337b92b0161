#!/usr/bin/env python3
"""Whether two builds of the program compute the same, to the bit: for changes that are meant to move code alone.

    scripts/same_results.py OLD_PROGRAM NEW_PROGRAM [--only REGEX] [--steps 4] [--keep DIR]

Trainings in every placement of memory, evaluation, scoring, generation, merging and quantising run with both programs on the
embedded model and on the small models of the tests. All files that they write are compared: weights byte by byte, logs and
results but for times, memory and paths. A line per case; exit 1 where one differs.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BASE = ROOT / "models" / "tiny-novels"
FAMILIES = ROOT / "tests" / "data" / "goldens" / "families"
ROWS_4096 = BASE / "data" / "extend-4096.bin"
NOVEL = BASE / "data" / "heldout-dorian-gray.txt"
PAGES = ROOT / "docs" / "sft.md"

# Fields that may differ between two runs of one program, and folders, which do.
VARYING = re.compile(r"seconds|memory|bytes|_rss|rate_|per_second|gflops|time|date|path|output|folder|version|threads|command"
                     r"|scratch|identity|fingerprint|sha256|peft_model|model_name|label")
COPIED = {"tokenizer.model", "tokenizer.json", "README.md"}


def train(*flags, model=BASE, length=4096, data=ROWS_4096):
    return ["fine-tune", "--model_name_or_path", model, "--output_dir", "{out}/run", "--data_path", data, "--model_max_length",
            length, "--learning_rate", "8e-4", "--warmup_steps", "1", "--shuffle", "False", "--save_steps", "2",
            "--max_steps", "{steps}", *flags]


def cases():
    """Name to the commands that run one after the other in an empty folder {out}."""
    adapted = train("--max_steps", 2, length=1024)
    every = {
        "train/s2": [train("--rope_scaling", "yarn")],
        "train/full attention, batches": [train("--attention", "full", "--per_device_train_batch_size", 2,
                                                "--gradient_accumulation_steps", 2, length=1024)],
        "train/float32": [train("--fp32", "True", length=1024)],
        "train/every weight": [train("--low_rank_training", "False", "--weight_decay", "0.1", length=1024)],
        "train/8-bit moments": [train("--low_rank_training", "False", "--optim", "adamw_8bit", length=1024)],
        "train/plain LoRA": [train("--trainable_params", "none", "--lora_target_modules", "all-linear", length=1024)],
        "train/DoRA, dropout, LoRA+, noise": [train("--use_dora", "True", "--lora_dropout", "0.1", "--loraplus_lr_ratio", 4,
                                                    "--neftune_noise_alpha", 5, length=1024)],
        "train/nf4": [train("--quantize", "nf4", "--quantize_block", 32, length=1024)],
        "train/held-out data": [("ids", "{out}/held-out.bin", 512),
                                train("--eval_data_path", "{out}/held-out.bin", "--eval_steps", 2, length=512)],
        "train/goes on": [train("--max_steps", 2, length=1024), train("--max_steps", 4, "--resume", "True", length=1024)],
        "train/another adapter": [adapted, train("--peft_model", "{out}/run", "--output_dir", "{out}/second", length=1024)],
        "score": [["score", "--base_model", BASE, "--file", PAGES, "--context_size", 8192, "--json", "{out}/score.json"]],
        "score/nf4, bfloat16": [["score", "--base_model", BASE, "--file", PAGES, "--context_size", 8192, "--dtype", "bfloat16",
                                 "--quantize", "nf4", "--quantize_block", 32, "--json", "{out}/score.json"]],
        "adapter/eval": [adapted, ["eval", "--base_model", BASE, "--peft_model", "{out}/run", "--data_path", NOVEL, "--seq_len",
                                   512, 1024, "--window", "same-targets", "--max_windows", 4, "--json", "{out}/eval.json"]],
        "adapter/merge, quantize": [adapted, ["merge", "--base_model", BASE, "--peft_model", "{out}/run", "--save_path",
                                              "{out}/merged"],
                                    ["quantize", "--model_name_or_path", "{out}/merged", "--output_dir", "{out}/nf4",
                                     "--quantize_block", 32]],
        "adapter/inference": [adapted, ["inference", "--base_model", BASE, "--peft_model", "{out}/run", "--question",
                                        "The morning was", "--prompt", "none", "--max_gen_len", 60, "--temperature", 0]],
        "inference/sampled": [["inference", "--base_model", BASE, "--question", "It was a dark night and", "--prompt", "none",
                               "--max_gen_len", 60, "--temperature", 0.8, "--seed", 3, "--dtype", "float32"]],
        "inference/material": [["inference", "--base_model", BASE, "--question", "Who speaks?", "--material", PAGES, "--prompt",
                                "llama2", "--max_gen_len", 20, "--temperature", 0, "--context_size", 8192]],
        "eval/windows": [["eval", "--base_model", BASE, "--data_path", NOVEL, "--seq_len", 512, "--max_windows", 6, "--dtype",
                          "bfloat16", "--json", "{out}/eval.json"]],
        "eval/last, nf4": [["eval", "--base_model", BASE, "--data_path", NOVEL, "--seq_len", 512, "--window", "last",
                            "--max_windows", 6, "--quantize", "nf4", "--quantize_block", 32, "--json", "{out}/eval.json"]],
        "eval/extended": [["eval", "--base_model", BASE, "--data_path", NOVEL, "--seq_len", 2048, "--max_windows", 2,
                           "--rope_scaling", "dynamic", "--context_size", 2048, "--json", "{out}/eval.json"]],
        "passkey": [["passkey", "--base_model", BASE, "--lengths", "512,1024", "--context_size", 1024, "--num_tests", 2,
                     "--json", "{out}/passkey.json"]],
    }
    for gib in (0.29, 0.31, 0.35, 0.6):
        every[f"memory/{gib} GiB"] = [train("--memory_budget", gib, "--per_device_train_batch_size", 2)]
        every[f"memory/{gib} GiB, every weight"] = [train("--memory_budget", gib, "--low_rank_training", "False")]
    for folder in sorted(FAMILIES.iterdir()):
        if not (folder / "config.json").exists():
            continue
        vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
        ids = f"{{out}}/ids-{vocabulary}.bin"
        run = train("--lora_target_modules", "all-linear", model=folder, length=64, data=ids)
        every[f"family/{folder.name}"] = [("ids", ids, vocabulary), run,
                                          ["score", "--base_model", folder, "--peft_model", "{out}/run", "--ids",
                                           *[(7 * i * i + 3) % vocabulary for i in range(40)], "--json", "{out}/score.json"]]
    return every


def write_ids(path, vocabulary):
    """Rows of repeatable ids, 16 bits each."""
    import array

    ids = array.array("H", ((31 * i * i + 17 * i) % 251 % vocabulary for i in range(64 * 64)))
    Path(path).write_bytes(ids.tobytes())


def run_case(program, commands, out, options):
    """Runs the commands; what the last one prints on standard output."""
    out.mkdir(parents=True)
    text = ""
    for command in commands:
        words = [str(word).format(out=out, steps=options.steps) for word in command]
        if words[0] == "ids":
            write_ids(words[1], int(words[2]))
            continue
        command = [program, *without_repeated_flags(words)]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_WAIT_POLICY": "passive"})
        if done.returncode:
            return f"exit {done.returncode}: " + done.stderr.strip()[-400:].replace(str(out), "")
        text = done.stdout.replace(str(out), "")
    return text


def without_repeated_flags(words):
    """The last of two values of one flag counts."""
    flags, kept, at = {}, [words[0]], 1
    while at < len(words):
        end = at + 1
        while end < len(words) and not words[end].startswith("--"):
            end += 1
        flags[words[at]] = words[at:end]
        at = end
    for value in flags.values():
        kept += value
    return kept


def comparable(value, folder):
    if isinstance(value, dict):
        return {key: comparable(item, folder) for key, item in value.items() if not VARYING.search(key)}
    if isinstance(value, list):
        return [comparable(item, folder) for item in value]
    return value.replace(str(folder), "") if isinstance(value, str) else value


def contents(folder):
    """What is compared of every file in a folder, by its path there."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not path.is_file() or path.name in COPIED or path.name.startswith((".longlora", "events.out")):
            continue
        if path.suffix == ".json":
            found[name] = comparable(json.loads(path.read_text()), folder)
        elif path.suffix == ".jsonl":
            found[name] = [comparable(json.loads(line), folder) for line in path.read_text().splitlines()]
        else:
            found[name] = path.read_bytes()
    return found


def first_difference(old, new):
    for name in sorted(old.keys() | new.keys()):
        if name not in old or name not in new:
            return f"{name} is written by {'the new' if name in new else 'the old'} program alone"
        if old[name] == new[name]:
            continue
        if isinstance(old[name], bytes):
            return f"{name} differs"
        return f"{name}: {shown(old[name], new[name])}"
    return ""


def shown(old, new, place=""):
    """Where two JSON values differ first."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key) or (key in old) != (key in new):
                return shown(old.get(key), new.get(key), f"{place}.{key}")
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (left, right) in enumerate(zip(old, new)):
            if left != right:
                return shown(left, right, f"{place}[{index}]")
    return f"{place} was {str(old)[:200]}, is {str(new)[:200]}"


def compare_case(name, commands, options, work):
    folders = [work / side / re.sub(r"[^\w.]+", "-", name) for side in ("old", "new")]
    texts = [run_case(program, commands, folder, options)
             for program, folder in zip((options.old, options.new), folders)]
    difference = first_difference(*[contents(folder) for folder in folders])
    if texts[0] != texts[1]:
        difference = difference or f"printed {texts[0][-300:]!r}, prints {texts[1][-300:]!r}"
    failed = texts[0].startswith("exit ")
    if not options.keep:
        for folder in folders:
            shutil.rmtree(folder)
    print(f"{'DIFFERS' if difference else 'fails alike' if failed else 'same':12}{name}"
          + (f": {difference}" if difference else f": {texts[0]}" if failed else ""), flush=True)
    return not difference


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--only", default="", help="regular expression for names of cases")
    parser.add_argument("--steps", type=int, default=4, help="updates of a training")
    parser.add_argument("--keep", help="folder for what the programs write")
    options = parser.parse_args()
    work = Path(options.keep or tempfile.mkdtemp(prefix="same-results-")).resolve()
    chosen = {name: commands for name, commands in cases().items() if re.search(options.only, name)}
    same = [compare_case(name, commands, options, work) for name, commands in chosen.items()]
    if not options.keep:
        shutil.rmtree(work)
    print(f"{sum(same)} of {len(same)} the same")
    sys.exit(0 if all(same) and same else 1)


if __name__ == "__main__":
    main()
