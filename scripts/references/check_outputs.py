"""Compares what longlora computed or wrote with transformers and peft.

    longlora score --base_model DIR --ids 1,2,3 --json ours.json
    python -m scripts.references.check_outputs model DIR --ours ours.json
    python -m scripts.references.check_outputs adapter BASE ADAPTER --ours ours.json

`model` loads a Hugging Face directory (for one that `longlora merge` wrote). `adapter` loads BASE with the rope settings
of ADAPTER/config.json where there is one, then ADAPTER with peft, then ADAPTER/trainable_params.safetensors. Without
--ours, --ids gives the ids and the log-probabilities are printed as JSON. Ends with 1 when they differ by more than
--tolerance.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from scripts.references.common import checkpoint_name


def load_base(path, config_folder):
    config = AutoConfig.from_pretrained(config_folder)
    return AutoModelForCausalLM.from_pretrained(path, config=config, dtype=torch.float32, attn_implementation="eager")


def load_adapter(base, adapter):
    from peft import PeftModel

    has_config = (adapter / "config.json").exists()
    model = load_base(base, adapter if has_config else base)
    model = PeftModel.from_pretrained(model, str(adapter))
    others = adapter / "trainable_params.safetensors"
    if others.exists():
        base = model.base_model.model
        named = {checkpoint_name(base, name): parameter for name, parameter in base.named_parameters()}
        for name, value in load_file(str(others)).items():
            if name not in named:
                sys.exit(f"[{others}] expected names of the model's parameters, got {name}")
            with torch.no_grad():
                named[name].copy_(value)
    return model


@torch.no_grad()
def logprobs_of(model, ids):
    logits = model.eval()(input_ids=torch.tensor([ids]), use_cache=False).logits[0, :-1].double()
    return logits.log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]


def read_ours(path):
    """ids and logprobs of `longlora score --json`; a first entry for the first id, which has none, is dropped."""
    ours = json.loads(Path(path).read_text())
    ids, logprobs = ours["ids"], ours["logprobs"]
    if len(logprobs) == len(ids):
        logprobs = logprobs[1:]
    if len(logprobs) != len(ids) - 1:
        sys.exit(f"[{path}] expected {len(ids) - 1} logprobs for {len(ids)} ids, got {len(logprobs)}")
    return ids, torch.tensor(logprobs, dtype=torch.float64)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    model_parser = kinds.add_parser("model")
    adapter_parser = kinds.add_parser("adapter")
    model_parser.add_argument("directory", type=Path)
    adapter_parser.add_argument("directory", type=Path, metavar="BASE")
    adapter_parser.add_argument("adapter", type=Path)
    for sub in (model_parser, adapter_parser):
        sub.add_argument("--ids", help="1,2,3")
        sub.add_argument("--ours", help="JSON of longlora score")
        sub.add_argument("--tolerance", type=float, default=1e-4)
    arguments = parser.parse_args()
    if bool(arguments.ids) == bool(arguments.ours):
        parser.error("expected one of --ids and --ours")

    directory = arguments.directory.resolve()
    if arguments.kind == "model":
        model = load_base(directory, directory)
    else:
        model = load_adapter(directory, arguments.adapter.resolve())
    if arguments.ids:
        ids = [int(part) for part in arguments.ids.split(",")]
        print(json.dumps({"ids": ids, "logprobs": logprobs_of(model, ids).tolist()}))
        return
    ids, ours = read_ours(arguments.ours)
    difference = (logprobs_of(model, ids) - ours).abs().max().item()
    print(f"{len(ids)} ids, largest difference of a log-probability {difference:.2e}")
    if not difference <= arguments.tolerance:
        sys.exit(f"expected at most {arguments.tolerance:g}")


if __name__ == "__main__":
    main()
