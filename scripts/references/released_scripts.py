"""The flags of LongLoRA's released scripts, from a checkout of dvlab-research/LongLoRA:
python -m scripts.references.released_scripts CHECKOUT"""

import ast
import sys
from pathlib import Path

from scripts.references.common import GOLDENS, save_json

SCRIPTS = ["fine-tune.py", "supervised-fine-tune.py", "supervised-fine-tune-qlora.py", "eval.py", "eval_distributed.py",
           "passkey_retrivial.py", "inference.py", "inference-qlora.py", "demo.py",
           "merge_lora_weights_and_save_hf_model.py", "get_trainable_weights.py"]


def flags_of(source):
    """Names given to add_argument, and the fields of dataclasses called …Arguments."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
            names.append(node.args[0].value.lstrip("-"))
        if isinstance(node, ast.ClassDef) and node.name.endswith("Arguments"):
            names += [item.target.id for item in node.body if isinstance(item, ast.AnnAssign)]
    return names


def main():
    checkout = Path(sys.argv[1])
    save_json(GOLDENS / "released_scripts.json", {name: flags_of((checkout / name).read_text()) for name in SCRIPTS})


if __name__ == "__main__":
    main()
