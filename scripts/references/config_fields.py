"""Configurations of every supported family: the fields that their classes in transformers have, and what each does.

`fields.json`: the fields of each class with their defaults, and the names that are read beside them. Per family a tiny
random model, one config.json and the changes to it, each with the log-probabilities that transformers gives under it.

    python -m scripts.references config_fields
    python -m scripts.references.config_fields --check     # do the fields still agree with the installed transformers?
    python -m scripts.references.config_fields --program build/release/longlora    # compares `longlora score`
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM, GenerationConfig

from scripts.references.common import GOLDENS, open_folder, save_json
from scripts.references.families import randomize

FOLDER = GOLDENS / "config_fields"
IDS = [1, 5, 17, 3, 42, 7, 33, 21, 8, 13, 24, 2, 47, 30, 11, 44]
SIZES = dict(vocab_size=48, hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2,
             max_position_embeddings=64, bos_token_id=1, eos_token_id=2, torch_dtype="float32")
GROUPED = dict(SIZES, num_key_value_heads=1)
# model_type -> config.json, in the older form: without rope_parameters
FAMILIES = {
    "llama": dict(GROUPED, architectures=["LlamaForCausalLM"], head_dim=8),
    "mistral": dict(GROUPED, architectures=["MistralForCausalLM"], head_dim=8, sliding_window=None),
    "ministral": dict(GROUPED, architectures=["MinistralForCausalLM"], head_dim=8, sliding_window=5,
                      layer_types=["full_attention", "sliding_attention"]),
    "qwen2": dict(GROUPED, architectures=["Qwen2ForCausalLM"]),
    "qwen3": dict(GROUPED, architectures=["Qwen3ForCausalLM"], head_dim=8),
    "phi3": dict(GROUPED, architectures=["Phi3ForCausalLM"], pad_token_id=None),
    "gpt_neox": dict(SIZES, architectures=["GPTNeoXForCausalLM"], rotary_pct=0.5),
    "stablelm": dict(GROUPED, architectures=["StableLmForCausalLM"], partial_rotary_factor=0.5),
}
# Names outside the classes that transformers takes from a configuration: older spellings and switches of all models.
BESIDE = ["torch_dtype", "num_labels", "rope_scaling", "rope_theta", "partial_rotary_factor", "rotary_emb_base",
          "rotary_pct", "original_max_position_embeddings", "name_or_path", "_commit_hash", "output_attentions",
          "attn_implementation", "experts_implementation", "per_layer_config", "is_causal", "transformers_weights",
          "configuration_files", "text_config", "quantization_config", "head_dim", "sliding_window", "layer_types"]

LINEAR = {"rope_type": "linear", "factor": 2.0}
DYNAMIC = {"rope_type": "dynamic", "factor": 2.0}
YARN = {"rope_type": "yarn", "factor": 4.0}
YARN_16 = dict(YARN, original_max_position_embeddings=16)
LLAMA3 = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
WINDOWS = ["full_attention", "sliding_attention"]


def longrope(config, **values):
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    pairs = int(head_dim * config.get("rotary_pct", config.get("partial_rotary_factor", 1.0))) // 2
    return {"rope_type": "longrope", "short_factor": [1.0 + 0.1 * i for i in range(pairs)],
            "long_factor": [1.5 + 0.4 * i for i in range(pairs)], **values}


def rope_changes(config):
    """How positions are rotated: both spellings, old and new names, and what stands in which of them."""
    default = {"rope_type": "default", "rope_theta": 500.0}
    scaling = [LINEAR, DYNAMIC, YARN, YARN_16, dict(LLAMA3, original_max_position_embeddings=16), longrope(config, factor=2.0),
               longrope(config, original_max_position_embeddings=8),
               longrope(config, original_max_position_embeddings=8, factor=3.0, attention_factor=1.5),
               dict(LINEAR, original_max_position_embeddings=16), dict(DYNAMIC, original_max_position_embeddings=4),
               dict(YARN_16, beta_fast=4, beta_slow=2), dict(YARN_16, beta_fast=0, beta_slow=None),
               dict(YARN_16, truncate=False), dict(YARN_16, truncate=None), dict(YARN_16, attention_factor=1.25),
               dict(YARN_16, mscale=0.7, mscale_all_dim=1.3), dict(YARN_16, mscale=0.7), dict(YARN_16, factor=None),
               dict(YARN_16, finetuned=True), dict(YARN_16, rope_theta=500.0),
               {"type": "linear", "factor": 2.0}, {"type": "linear", "rope_type": "dynamic", "factor": 2.0},
               {"type": "default", "factor": 2.0}, {"factor": 2.0}, {"type": "su", "factor": 2.0},
               {"rope_type": "proportional", "partial_rotary_factor": 0.5}]
    for value in scaling:
        yield {"rope_scaling": value}
        yield {"rope_parameters": dict(default, **value)}
        yield {"rope_theta": 500.0, "rope_scaling": value, "original_max_position_embeddings": 8}
    for factor in (0.5, 0.9):
        yield {"partial_rotary_factor": factor}
        yield {"rotary_pct": factor}
        yield {"rope_parameters": dict(default, partial_rotary_factor=factor)}
        for value in (LINEAR, YARN_16, dict(DYNAMIC, partial_rotary_factor=factor)):
            yield {"partial_rotary_factor": factor, "rope_scaling": value}
    yield from [
        {"rope_theta": 500.0}, {"rope_theta": 500}, {"rope_theta": None}, {"rotary_emb_base": 500.0},
        {"rope_theta": 500.0, "rotary_emb_base": 77.0}, {"rope_parameters": None}, {"rope_parameters": {}},
        {"rope_parameters": {"rope_theta": 500.0}}, {"rope_parameters": default, "rope_theta": 77.0},
        {"rope_parameters": {"rope_type": "default"}, "rope_theta": 77.0},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}, "rope_scaling": YARN_16},
        {"rope_parameters": dict(YARN_16, rope_theta=10000.0), "rope_scaling": LINEAR},
        {"rope_parameters": dict(YARN_16, rope_theta=10000.0), "rope_scaling": {"rope_type": "default"}},
        {"rope_parameters": dict(LINEAR, rope_theta=500.0), "rope_scaling": {}},
        {"rope_parameters": dict(LINEAR, rope_theta=500.0), "rope_scaling": None},
        {"rope_parameters": {"full_attention": default, "sliding_attention": default}},
        {"rope_theta": 500.0, "max_position_embeddings": 8, "rope_scaling": YARN},
        {"rope_theta": 500.0, "max_position_embeddings": 8, "rope_scaling": DYNAMIC},
        {"max_position_embeddings": 8},
    ]


def changes(family, config):
    """All changes to a family's config.json: (members that are set, members that are taken out)."""
    for field in dataclasses.fields(CONFIG_MAPPING[family]):
        yield {field.name: None}, []
        if field.name in config:
            yield {}, [field.name]
    for change in rope_changes(config):
        yield change, []
    for window in (4, None):
        yield {"sliding_window": window}, []
        yield {"sliding_window": window, "layer_types": WINDOWS}, []
        yield {"sliding_window": window, "layer_types": ["full_attention"] * 2}, []
        yield {"sliding_window": window, "layer_types": ["attention", "sliding_attention"]}, []
        yield {"sliding_window": window, "layer_types": None}, []
        for first in (0, 1, 2):
            yield {"use_sliding_window": True, "sliding_window": window, "max_window_layers": first}, []
        yield {"use_sliding_window": True, "sliding_window": window, "layer_types": WINDOWS[::-1]}, []
        yield {"use_sliding_window": False, "sliding_window": window, "layer_types": WINDOWS}, []
    yield {"use_sliding_window": True, "max_window_layers": 1}, []
    yield {"sliding_window": 4, "layer_types": ["full_attention", "chunked_attention"]}, []
    yield {"attention_chunk_size": 4}, []
    yield {"layer_types": WINDOWS}, ["sliding_window"]
    for name in ("silu", "swish", "gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_python", "gelu_python_tanh",
                 "gelu_accurate", "gelu_10", "quick_gelu", "relu", "relu2", "tanh", "linear", "mish"):
        yield {"hidden_act": name}, []
    for name in (None, [], ["LLaMAForCausalLM"], ["MistralForCausalLM"], ["LlamaModel"], ["Other"]):
        yield {"architectures": name}, []
    for name in ("attention_dropout", "hidden_dropout", "resid_pdrop", "embd_pdrop", "classifier_dropout"):
        yield {name: 0.5}, []
    for name in ("rms_norm_eps", "layer_norm_eps"):
        yield {name: 0.01}, []
        yield {name: 1}, []
    for name in ("use_parallel_residual", "is_decoder", "is_encoder_decoder", "add_cross_attention", "output_attentions",
                 "output_hidden_states", "torchscript", "tie_encoder_decoder", "attention_bias", "mlp_bias", "use_qkv_bias",
                 "qk_layernorm", "qkv_bias", "scale_embedding", "use_cache", "is_causal", "tie_word_embeddings",
                 "tie_last_hidden_states", "gradient_checkpointing"):
        yield {name: True}, []
        yield {name: False}, []
    for change in ({"pretraining_tp": 2}, {"head_dim": 4}, {"head_dim": 8}, {"num_key_value_heads": 2}, {"dtype": "bfloat16"},
                   {"chunk_size_feed_forward": 3}, {"per_layer_config": {}}, {"per_layer_config": {"1": {"sliding_window": 4}}},
                   {"per_layer_config": {"0": {"rms_norm_eps": 0.1}}}, {"pruned_heads": {"0": [1]}}, {"pad_token_id": 0},
                   {"pad_token_id": -1}, {"problem_type": "regression"}, {"id2label": {"0": "a"}}, {"num_labels": 3},
                   {"logit_scale": 0.5}, {"embedding_multiplier": 3.0}, {"initializer_range": 0.5}, {"unknown": "x"},
                   {"transformers_weights": "other.safetensors"}, {"text_config": {"hidden_size": 3}},
                   {"_name_or_path": "x", "auto_map": {"AutoModelForCausalLM": "x.Y"}, "transformers_version": "4.31.0"}):
        yield change, []


@torch.no_grad()
def logprobs_under(folder, config):
    """Of IDS[1:], by a fresh model; nothing where transformers refuses, or makes weights up that the file lacks."""
    with tempfile.TemporaryDirectory() as temporary:
        (Path(temporary) / "config.json").write_text(json.dumps(config))
        os.symlink(folder / "model.safetensors", Path(temporary) / "model.safetensors")
        try:
            model, loading = AutoModelForCausalLM.from_pretrained(temporary, dtype=torch.float32, attn_implementation="eager",
                                                                  output_loading_info=True)
            if loading["missing_keys"]:
                return None
            logits = model.eval()(input_ids=torch.tensor([IDS])).logits[0, :-1].double()
        except Exception:  # whatever it is: this configuration has no right values
            return None
    return [round(x, 6) for x in logits.log_softmax(-1).gather(1, torch.tensor(IDS[1:])[:, None])[:, 0].tolist()]


def changed(config, change, removed):
    return {key: value for key, value in {**config, **change}.items() if key not in removed}


def write_cases(path, plain, results, cases):
    """One case a line."""
    lines = ",\n".join("  " + json.dumps(case, ensure_ascii=False) for case in cases)
    numbers = ",\n".join("  " + json.dumps(result) for result in results)
    path.write_text(f'{{"ids": {IDS},\n "logprobs": {plain},\n "others": [\n{numbers}],\n "cases": [\n{lines}]}}\n')


def make_family(family, seed):
    """cases.json: "logprobs" under the configuration as it is; each case what is "set" or taken out, and its "result":
    "same", "none" where transformers refuses, or the place of its log-probabilities in "others"."""
    folder = FOLDER / family
    config = dict(model_type=family, **FAMILIES[family])
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
    randomize(model, torch.Generator().manual_seed(seed))
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    open_folder(folder)
    plain, others, cases = logprobs_under(folder, config), [], []
    for change, removed in changes(family, config):
        found = logprobs_under(folder, changed(config, change, removed))
        if found not in (None, plain) and found not in others:
            others.append(found)
        result = "none" if found is None else "same" if found == plain else others.index(found)
        cases.append({**({"set": change} if change else {}), **({"without": removed[0]} if removed else {}), "result": result})
    write_cases(folder / "cases.json", plain, others, cases)
    print(f"{family}: {len(cases)} changes, {sum(case['result'] == 'none' for case in cases)} of them refused by transformers")


def fields_of(family):
    simple = (bool, int, float, str, type(None))
    return {field.name: field.default if isinstance(field.default, simple) else "?"
            for field in dataclasses.fields(CONFIG_MAPPING[family])}


def all_fields():
    return {"transformers": transformers.__version__, "beside": BESIDE,
            "generation": list(GenerationConfig._get_default_generation_params()),
            "families": {family: fields_of(family) for family in FAMILIES}}


def check():
    """Do the fields that the tests know agree with the installed transformers?"""
    known, installed = json.loads((FOLDER / "fields.json").read_text()), all_fields()
    for family, fields in installed["families"].items():
        for name in sorted(fields.keys() ^ known["families"][family].keys()):
            print(f"{family}: {name} is {'new' if name in fields else 'gone'}")
    for name in sorted(set(installed["generation"]) ^ set(known["generation"])):
        print(f"generation: {name} is {'new' if name in installed['generation'] else 'gone'}")
    sys.exit(0 if {**known, "transformers": ""} == {**installed, "transformers": ""} else "fields.json and transformers differ")


def score(program, folder, config, temporary):
    """Log-probabilities of the program, or the last line of its refusal."""
    (temporary / "config.json").write_text(json.dumps(config))
    weights = temporary / "model.safetensors"
    weights.unlink(missing_ok=True)
    weights.symlink_to((folder / "model.safetensors").resolve())
    run = subprocess.run([program, "score", "--base_model", temporary, "--ids", ",".join(map(str, IDS)), "--dtype", "float32",
                          "--json", temporary / "out.json"], capture_output=True, text=True)
    if run.returncode:
        return run.stderr.strip().splitlines()[-1]
    return [x for x in json.loads((temporary / "out.json").read_text())["logprobs"] if x is not None][-len(IDS) + 1:]


def compare(program, verbose):
    """The program under every configuration: a line for each that is read otherwise, and with `verbose` for each that is
    refused or has no right values."""
    wrong = 0
    with tempfile.TemporaryDirectory() as temporary:
        for family in FAMILIES:
            golden = json.loads((FOLDER / family / "cases.json").read_text())
            config = json.loads((FOLDER / family / "config.json").read_text())
            for case in golden["cases"]:
                change, removed = case.get("set", {}), [case["without"]] if "without" in case else []
                ours = score(program, FOLDER / family, changed(config, change, removed), Path(temporary))
                what = f"{family} {json.dumps(change) if change else ''} {'without ' + removed[0] if removed else ''}"
                if case["result"] == "none" or isinstance(ours, str):
                    if verbose:
                        print(f"{what}: {'no right values' if case['result'] == 'none' else 'REFUSED'}: {str(ours)[:150]}")
                    continue
                right = golden["logprobs"] if case["result"] == "same" else golden["others"][case["result"]]
                worst = max(abs(a - b) for a, b in zip(ours, right))
                if worst > 1e-4:
                    wrong += 1
                    print(f"{what}: off by {worst:.3g}")
    sys.exit(f"{wrong} wrong" if wrong else 0)


def main():
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    transformers.logging.disable_progress_bar()
    save_json(FOLDER / "fields.json", all_fields())
    for seed, family in enumerate(FAMILIES):
        make_family(family, 900 + seed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--program")
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    if arguments.check:
        check()
    compare(arguments.program, arguments.verbose)
