"""The program beside transformers and peft: what lora_matrix.py and random_models.py share.

A case is a model on disk, perhaps with an adapter. `transformers_logprobs` and `peft_logprobs` say what the references make
of these files; `faults_of` runs `longlora score`, with an adapter also `longlora merge`, and lists what is wrong.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from scripts.references.check_outputs import logprobs_of
from scripts.references.common import open_folder, save_json

TOLERANCE = 1e-4  # of log-probabilities down to -10, and in proportion of lower ones: float32 has seven digits
REFUSED = (2, 3)  # the exit codes of a message to the user


class NoReference(Exception):
    """The references themselves make no number of these files."""


@dataclass
class Expected:
    """What the program may answer: one of these log-probabilities, or a message where `may_refuse` says why."""

    logprobs: list = field(default_factory=list)
    may_refuse: str = ""
    merges: bool = True  # False: peft itself cannot merge such an adapter, and the program need not either
    undefined: bool = False  # the files leave rows open that count: any number will do, the same one each way


def quietly(call, *arguments, **options):
    """The result of a call, and what it warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call(*arguments, **options)
    return result, [str(warning.message) for warning in caught]


def load_reference(folder):
    """AutoModelForCausalLM of a folder in float32. A weight that the files lack would be random: NoReference."""
    from transformers import AutoModelForCausalLM

    try:
        model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager",
                                                           output_loading_info=True)
    except Exception as error:  # whatever transformers does not like
        raise NoReference(f"transformers: {type(error).__name__}: {error}") from error
    for kind in ("missing_keys", "mismatched_keys"):
        if info[kind]:
            raise NoReference(f"transformers: {kind} {sorted(map(str, info[kind]))[:3]}")
    return model.eval()


def reference_logprobs(model, ids):
    try:
        found = logprobs_of(model, ids)
    except Exception as error:  # a configuration whose sizes do not fit each other
        raise NoReference(f"{type(error).__name__}: {error}") from error
    if not found.isfinite().all():
        raise NoReference("log-probabilities that are not finite")
    return found.tolist()


def transformers_logprobs(folder, ids):
    return reference_logprobs(load_reference(folder), ids)


def embedding_rows(adapter):
    """Rows of the embedding or head that an adapter was made for, 0 where it does not say."""
    rows = [0]
    for name, tensor in adapter_tensors(adapter).items():
        place = re.search(r"(?:^|\.)(embed_tokens|embed_in|lm_head|embed_out)\.(.*)$", name)
        if not place or tensor.dim() != 2:
            continue
        module, part = place.groups()
        if part.startswith("lora_embedding_A"):
            rows.append(tensor.shape[1])
        is_weight = part.endswith("weight") and "lora_" not in part
        if is_weight or part.startswith("lora_B") and module in ("lm_head", "embed_out"):
            rows.append(tensor.shape[0])
    return max(rows)


def adapter_tensors(adapter):
    from safetensors.torch import load_file

    file = Path(adapter) / "adapter_model.safetensors"
    if file.exists():
        return load_file(file)
    return torch.load(file.with_suffix(".bin"), weights_only=True)


def load_with_peft(base, adapter):
    """The adapter on its base as peft reads both; the base grows first where the adapter has more rows, as users do it."""
    from peft import PeftModel

    model = load_reference(base)
    if (rows := embedding_rows(adapter)) > model.config.vocab_size:
        model.resize_token_embeddings(rows, mean_resizing=False)
    try:
        model, warned = quietly(PeftModel.from_pretrained, model, adapter)
    except Exception as error:
        raise NoReference(f"peft: {type(error).__name__}: {error}") from error
    for message in warned:
        if "missing adapter keys" in message:
            raise NoReference(f"peft: {message[:200]}")
    return model.eval()


def peft_logprobs(base, adapter, ids):
    return reference_logprobs(load_with_peft(base, adapter), ids)


def can_merge(model):
    """Whether peft merges this adapter; the model is of no use afterwards."""
    try:
        quietly(model.merge_and_unload)
    except Exception:
        return False
    return True


def expected_with_adapter(base, adapter, ids, trained, may_refuse=""):
    """What peft reads in a file that it wrote for the model `trained`. Where that is another number, a message will do as well;
    where peft cannot read it, so will the number of what was trained."""
    in_memory = reference_logprobs(trained, ids)
    merges = can_merge(trained)
    try:
        torch.manual_seed(1)
        read = peft_logprobs(base, adapter, ids)
        torch.manual_seed(2)
        again = peft_logprobs(base, adapter, ids)
    except NoReference as reason:
        return Expected([in_memory], str(reason), merges)
    if distance(read, again) > TOLERANCE:
        return Expected([], "new rows that no file holds", merges, undefined=True)
    if distance(read, in_memory) > TOLERANCE:
        may_refuse = may_refuse or "peft reads its own file otherwise than it was trained"
    return Expected([read], may_refuse, merges)


@dataclass
class Answer:
    """How a run of the program ended."""

    exit_code: int
    message: str
    logprobs: list = None

    @property
    def refused(self):
        return self.exit_code in REFUSED and bool(self.message)


class Program:
    def __init__(self, path):
        self.path = str(Path(path).resolve())
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.runs = 0

    def run(self, *words):
        self.runs += 1
        done = subprocess.run([self.path, *map(str, words)], capture_output=True, text=True, errors="replace",
                              env=self.environment, timeout=120)
        errors = [line for line in done.stderr.splitlines() if line.startswith("error")]
        lines = errors or done.stderr.strip().splitlines()
        return Answer(done.returncode, re.sub(r"/\S*/", "", lines[-1]) if lines else "")  # names of files, not their places

    def score(self, ids, base, adapter=None, scratch=Path("/tmp")):
        out = Path(scratch) / "score.json"
        out.unlink(missing_ok=True)
        model = ["--base_model", base] + (["--peft_model", adapter] if adapter else [])
        words = ["score", *model, "--ids", ",".join(map(str, ids)), "--dtype", "float32", "--json", out]
        answer = self.run(*words)
        if "raise --context_size" in answer.message:  # transformers computes beyond the window, as it is
            answer = self.run(*words, "--context_size", len(ids), "--rope_scaling", "none")
        if answer.exit_code == 0:
            answer.logprobs = [x for x in json.loads(out.read_text())["logprobs"] if x is not None][-len(ids) + 1:]
        return answer

    def merge(self, base, adapter, target):
        shutil.rmtree(target, ignore_errors=True)
        return self.run("merge", "--base_model", base, "--peft_model", adapter, "--save_path", target, "--lora_only", "True",
                        "--dtype", "float32")


def distance(found, expected):
    if len(found) != len(expected):
        return float("inf")
    difference = (torch.tensor(found, dtype=torch.float64) - torch.tensor(expected, dtype=torch.float64)).abs().max().item()
    return difference if difference == difference else float("inf")


def fault_of(way, answer, expected):
    """What is wrong with one answer, or an empty text."""
    if answer.exit_code == 0:
        if not expected.logprobs:
            return f"{way}: a number where a message was due ({expected.may_refuse})"
        off = min(distance(answer.logprobs, right) for right in expected.logprobs)
        largest = max(abs(value) for right in expected.logprobs for value in right)
        return "" if off <= TOLERANCE * max(1, largest / 10) else f"{way}: off by {off:.2g}"
    if not answer.refused:
        return f"{way}: exit {answer.exit_code}: {answer.message}"
    if expected.may_refuse:
        return ""
    return f"{way}: refused, exit {answer.exit_code}: {answer.message}"


def transformers_answer(folder, ids):
    """What transformers makes of a folder that the program wrote, in the form of an answer."""
    try:
        return Answer(0, "", transformers_logprobs(folder, ids))
    except NoReference as reason:
        return Answer(1, str(reason))


def adapter_faults(program, base, adapter, ids, expected, scratch):
    """At run time, merged, and the merged folder in transformers: each right, and all of one mind."""
    at_run_time = program.score(ids, base, adapter, scratch)
    if expected.undefined and at_run_time.exit_code == 0:
        expected = replace(expected, logprobs=[at_run_time.logprobs])
    faults = [fault_of("at run time", at_run_time, expected)]
    merged = Path(scratch) / "merged"
    merge = program.merge(base, adapter, merged)
    if merge.exit_code == 0:
        score = program.score(ids, merged, scratch=scratch)
        faults.append(fault_of("merged", score, expected))
        if score.exit_code == 0:
            faults.append(fault_of("merged, in transformers", transformers_answer(merged, ids), expected))
    elif (merge.exit_code, merge.message) == (at_run_time.exit_code, at_run_time.message):
        faults = [fault_of("both ways", merge, expected)]
    elif expected.merges or not merge.refused:
        faults.append(fault_of("merge", merge, expected))
    merged_code = merge.exit_code or score.exit_code
    if (at_run_time.exit_code == 0) != (merged_code == 0) and (expected.merges or merged_code == 0):
        faults.append(f"merged ends with {merged_code}, run time with {at_run_time.exit_code}")
    shutil.rmtree(merged, ignore_errors=True)
    return [fault for fault in faults if fault], at_run_time.refused


def model_faults(program, base, ids, expected, scratch):
    answer = program.score(ids, base, scratch=scratch)
    fault = fault_of("score", answer, expected)
    return [fault] if fault else [], answer.refused


def write_golden(folder, base, ids, expected, notes):
    """expected.json of a case for the tests, beside its files; names of this machine's folders are left out of those."""
    if len(expected.logprobs) != 1 or expected.may_refuse:
        raise SystemExit(f"[{folder}] expected a case with one right answer, got {expected}")
    config = folder / "adapter" / "adapter_config.json"
    if config.exists():
        settings = {**json.loads(config.read_text()), "base_model_name_or_path": "base"}
        for field in ("target_modules", "exclude_modules"):  # sets in peft: in another order each time
            if isinstance(settings.get(field), list):
                settings[field] = sorted(settings[field])
        save_json(config, settings)
        open_folder(config.parent)
    golden = {"notes": notes, "base": base, "ids": ids, "logprobs": [round(value, 7) for value in expected.logprobs[0]]}
    save_json(folder / "expected.json", {**golden, "merges": expected.merges} if config.exists() else golden)


def still():
    """transformers and peft say only what goes wrong."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")


def finish(count, failed, refused, without=0):
    right = count - len(failed)
    print(f"{right} of {count} right ({refused} of them by an expected message); {without} more have no reference")
    sys.exit(bool(failed))
