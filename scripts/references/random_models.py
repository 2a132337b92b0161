"""Random small models and adapters, as config.json and files may hold them, read by the program and by transformers and peft.

    python -m scripts.references.random_models build/release/longlora [--count 300] [--seed 1] [--only REGEX] [--keep DIR]

Case N of a seed is drawn from seed and N alone: a family, fields of its configuration in every spelling, the fields it does not
look at, ties with and without a head of its own, a layout of the files, perhaps an adapter. What transformers (and peft)
make of the very same files is the right answer. Files that they do not read, or read in part, leave two answers: a message, or
the number of the model that the files were meant to be, and the message alone where nothing says what was meant. A line per
failure says how to repeat it.

main() writes GOLDEN_CASES for the tests.
"""

import argparse
import dataclasses
import json
import random
import re
import shutil
import tempfile
from pathlib import Path

import torch

from scripts.references import comparison
from scripts.references.common import GOLDENS, checkpoint_name, open_folder, save_json
from scripts.references.comparison import Expected, NoReference, Program

# Numbers of seed 1 that the tests keep: small ones of every family and kind.
GOLDEN_CASES = (25, 32, 34, 51, 52, 54, 70, 78, 92, 96, 98, 107, 119, 152, 166, 211, 222, 235, 267, 273)
ABSENT = object()  # a field that config.json does not hold


class Draw:
    """Random choices of one case, and in `notes` what makes it special."""

    def __init__(self, seed, number):
        self.random = random.Random(f"{seed}/{number}")
        self.generator = torch.Generator().manual_seed(self.random.randrange(2**31))
        self.notes = []

    def of(self, *choices):
        return self.random.choice(choices)

    def chance(self, share):
        return self.random.random() < share

    def between(self, low, high):
        return round(self.random.uniform(low, high), 3)

    def some(self, choices, share=0.5):
        return [choice for choice in choices if self.chance(share)]

    def note(self, text):
        self.notes.append(text)


def read_json(path):
    return json.loads(path.read_text())


# --- config.json ---------------------------------------------------------------------------------------------------------

FAMILIES = {
    "llama": ("LlamaForCausalLM", "LLaMAForCausalLM", "LlamaModel"),
    "mistral": ("MistralForCausalLM", "MistralModel"),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Model"),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Model"),
    "phi3": ("Phi3ForCausalLM", "Phi3Model"),
    "gpt_neox": ("GPTNeoXForCausalLM", "GPTNeoXModel"),
    "stablelm": ("StableLmForCausalLM", "StableLMEpochForCausalLM"),
}
PARTLY_ROTATED = ("phi3", "gpt_neox", "stablelm")
ACTIVATIONS = ("silu", "swish", "gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_fast")
# Fields that another family's configuration has, or none: transformers passes over them.
FOREIGN = {
    "llama": dict(sliding_window=3, use_sliding_window=True, max_window_layers=0, partial_rotary_factor=0.5,
                  rotary_pct=0.5, rotary_emb_base=77, use_qkv_bias=True, use_parallel_residual=True, layer_norm_eps=0.3,
                  qk_layernorm=False, layer_types=["sliding_attention"]),
    "mistral": dict(attention_bias=True, mlp_bias=True, use_sliding_window=False, max_window_layers=1,
                    partial_rotary_factor=0.5, rotary_pct=0.5, layer_norm_eps=0.3, use_qkv_bias=True),
    "qwen2": dict(attention_bias=False, mlp_bias=True, partial_rotary_factor=0.25, head_dim=6, use_qkv_bias=False,
                  rms_norm=True, layer_norm_epsilon=0.2, use_mrope=False, seq_length=99),
    "qwen3": dict(mlp_bias=True, partial_rotary_factor=0.5, qk_norm=False, use_qk_norm=False, norm_topk_prob=True),
    "phi3": dict(attention_bias=True, mlp_bias=True, use_sliding_window=False, layer_norm_eps=0.3, head_dim=4,
                 rope_pct=0.25),
    "gpt_neox": dict(partial_rotary_factor=0.9, num_key_value_heads=1, head_dim=6, rope_theta=55.0, rms_norm_eps=0.5,
                     sliding_window=4, rope_scaling=None, mlp_bias=False),
    "stablelm": dict(rms_norm_eps=0.5, norm_eps=0.4, rope_pct=0.9, attention_bias=True, mlp_bias=True, sliding_window=3,
                     rotary_scaling_factor=2.0, head_dim=6),
}
HARMLESS = dict(
    _name_or_path="somewhere", transformers_version="4.31.0", use_cache=False, initializer_range=0.9, pretraining_tp=2,
    torchscript=False, gradient_checkpointing=True, output_attentions=False, rope_interleaved=False, attention_dropout=0.4,
    hidden_dropout=0.3, resid_pdrop=0.2, embd_pdrop=0.1, classifier_dropout=0.2, temperature=0.7, max_length=20,
    unsloth_fixed=True, unsloth_version="2025.1", quantization_config=None, bos_token_id=1, eos_token_id=[2, 3],
    id2label={"0": "x"},
    use_flash_attn=True, _attn_implementation="sdpa", is_decoder=True, is_llama_config=True, unk_token_id=0,
    tokenizer_class="LlamaTokenizer", architectures_note="x", model_max_length=17, max_sequence_length=19, return_dict=True)


def sizes(draw, family):
    heads = draw.of(2, 4, 8)
    width = heads * (draw.of(8, 12, 16) if family in PARTLY_ROTATED else draw.of(4, 6, 8))
    config = dict(vocab_size=draw.of(37, 40, 48), hidden_size=width, intermediate_size=draw.of(20, 27, 40),
                  num_hidden_layers=draw.of(1, 2, 3), num_attention_heads=heads,
                  max_position_embeddings=draw.of(12, 16, 32, 64))
    if family != "gpt_neox":
        divisors = [count for count in (1, 2, 4, 8) if heads % count == 0]
        config["num_key_value_heads"] = draw.of(*divisors)
        if draw.chance(0.15):
            config["num_key_value_heads"] = draw.of(None, ABSENT)
    if family in ("llama", "mistral", "qwen3"):
        config["head_dim"] = draw.of(4, 6, 8, 10, 12) if draw.chance(0.5) or family == "qwen3" else draw.of(None, ABSENT)
    if draw.chance(0.05):
        config["max_position_embeddings"] = ABSENT
    return config


def switches(draw, family):
    """What a family's blocks may have or not."""
    config = {}
    norm = "layer_norm_eps" if family in ("gpt_neox", "stablelm") else "rms_norm_eps"
    config[norm] = draw.of(1e-5, 1e-6, 1e-3, 0.1, ABSENT)
    config["hidden_act"] = draw.of(ABSENT, ABSENT, "silu", *ACTIVATIONS)
    if family == "llama":
        config["attention_bias"] = draw.of(True, False, False, ABSENT)
        config["mlp_bias"] = draw.of(True, False, False, ABSENT)
    if family in ("qwen3", "gpt_neox"):
        config["attention_bias"] = draw.of(True, False, ABSENT)
    if family == "gpt_neox":
        config["use_parallel_residual"] = draw.of(True, False, ABSENT)
    if family == "stablelm":
        config.update(use_qkv_bias=draw.of(True, False, ABSENT), use_parallel_residual=draw.of(True, False, ABSENT),
                      qk_layernorm=draw.of(False, ABSENT))
    if family == "phi3":
        config["pad_token_id"] = draw.of(None, 0, 5)
    return config


def windows(draw, family, layers):
    config = {}
    if family in ("mistral", "phi3"):
        config["sliding_window"] = draw.of(3, 7, 100, None, ABSENT)
    if family in ("qwen2", "qwen3"):
        config.update(use_sliding_window=draw.of(True, True, False, ABSENT), sliding_window=draw.of(3, 6, 50, None),
                      max_window_layers=draw.of(0, 1, 2, ABSENT))
    types = [draw.of("full_attention", "sliding_attention") for _ in range(layers)]
    if family in ("qwen2", "qwen3", "mistral") and draw.chance(0.3):
        config["layer_types"] = types if config["sliding_window"] not in (None, ABSENT) else ["full_attention"] * layers
        draw.note("layer_types")
    return config


def rope_values(draw, family, config):
    """The fields of one rotary scaling, without its type's name."""
    window = config["max_position_embeddings"] if isinstance(config["max_position_embeddings"], int) else 32
    original = draw.of(8, 12, window)
    kind = draw.of("default", "default", "longrope") if family == "phi3" else draw.of(
        "default", "default", "linear", "dynamic", "yarn", "yarn", "llama3", "longrope")
    values = {}
    if kind not in ("default", "longrope"):
        values["factor"] = draw.of(2.0, 4.0, 3, 2.5, 8.0)
    if kind in ("yarn", "llama3", "longrope") and family != "phi3" and draw.chance(0.8):
        values["original_max_position_embeddings"] = original
    if kind == "yarn":
        values.update(draw.random.choice([{}, {}, dict(beta_fast=16, beta_slow=2), dict(attention_factor=0.8),
                                          dict(mscale=0.7, mscale_all_dim=1.2), dict(mscale=1.0), dict(truncate=False),
                                          dict(beta_fast=4.0, beta_slow=1.0, truncate=False)]))
    if kind == "llama3":
        values.update(low_freq_factor=1.0, high_freq_factor=draw.of(4.0, 2.0))
    if kind == "longrope":
        values["long_rope"] = True
        if draw.chance(0.5) and family != "phi3":
            values["factor"] = draw.of(2.0, 4.0)
        if draw.chance(0.2):
            values["attention_factor"] = 1.3
    return kind, values


def head_size(family, config):
    stated = config.get("head_dim") if family in ("llama", "mistral", "qwen3") else None
    return stated if isinstance(stated, int) else config["hidden_size"] // config["num_attention_heads"]


def with_factors(draw, values, family, config, fraction):
    if not values.pop("long_rope", False):
        return values
    pairs = (int(head_size(family, config) * fraction) + 1) // 2
    return {**values, "short_factor": [draw.between(1, 1.5) for _ in range(pairs)],
            "long_factor": [draw.between(1.5, 5) for _ in range(pairs)]}


def rotary(draw, family, config):
    """Theta, rotated share and scaling, in one of their spellings."""
    theta = draw.of(10000.0, 500.0, 100, 1000000)
    fraction = draw.of(0.25, 0.5, 1.0) if family in PARTLY_ROTATED else 1.0
    kind, values = rope_values(draw, family, config)
    values = with_factors(draw, values, family, config, fraction)
    if family == "phi3" and kind == "longrope":
        config["original_max_position_embeddings"] = draw.of(8, 12)
    theta_key, fraction_key = ("rotary_emb_base", "rotary_pct") if family == "gpt_neox" else ("rope_theta",
                                                                                             "partial_rotary_factor")
    names = draw.of(("rope_type",), ("type",), ("rope_type", "type"))
    scaling = {**{name: kind for name in names}, **values}
    if family == "phi3" and kind == "longrope" and draw.chance(0.3):
        scaling = {"type": draw.of("su", "longrope"), **values}
    form = draw.of("new", "old", "old", "both", "new theta outside", "both equal", "two thetas")
    if kind != "default":
        draw.note(f"{kind} in form {form}")
    parameters = {"rope_theta": theta, **({"partial_rotary_factor": fraction} if fraction != 1.0 else {})}
    outside = {theta_key: theta, **({fraction_key: fraction} if fraction != 1.0 else {})}
    old = scaling if kind != "default" else draw.of(None, None, {"rope_type": "default"}, {"type": "default"})
    new_names = {name: kind for name in draw.of(("rope_type",), ("rope_type", "type"), ("type",))}
    if form == "new":
        config["rope_parameters"] = {**new_names, **values, **parameters}
    elif form == "old":
        config.update(outside, rope_scaling=old)
    elif form == "both":
        config.update(outside, rope_parameters={"rope_type": "default", **parameters}, rope_scaling=old)
    elif form == "new theta outside":
        config.update(outside, rope_parameters={**new_names, **values})
    elif form == "both equal":
        config.update(outside, rope_parameters={**scaling, **parameters}, rope_scaling=old)
    else:
        config.update({**outside, theta_key: 33.0}, rope_parameters={**scaling, **parameters})
    # As in a file that says nothing of it. Beside rope_scaling the theta of rope_parameters alone would then be left, which
    # transformers passes over; the program takes it, and says so.
    if draw.chance(0.1) and not form.startswith("both"):
        for key in (theta_key, fraction_key):
            config.pop(key, None)


def draw_config(draw):
    family = draw.of(*FAMILIES)
    config = {"model_type": family, **sizes(draw, family), **switches(draw, family)}
    config.update(windows(draw, family, config["num_hidden_layers"]))
    rotary(draw, family, config)
    config["tie_word_embeddings"] = draw.of(True, False, ABSENT)
    for key, value in draw.some(list(HARMLESS.items()), 0.15):
        config.setdefault(key, value)
    foreign = draw.some([item for item in FOREIGN[family].items() if item[0] not in config], 0.2) if draw.chance(0.5) else []
    for key, value in foreign:
        config[key] = value * config["num_hidden_layers"] if key == "layer_types" else value
        draw.note(f"foreign {key}")
    config["architectures"] = [FAMILIES[family][0]]
    if draw.chance(0.25):
        config["architectures"] = draw.of(ABSENT, None, [], [draw.of(*FAMILIES[family])], ["SomethingForCausalLM"])
        draw.note(f"architectures {'absent' if config['architectures'] is ABSENT else config['architectures']}")
    config[draw.of("dtype", "torch_dtype")] = draw.of("float32", "bfloat16", "float16", ABSENT)
    if family == "mistral" and "layer_types" in config and draw.chance(0.3):
        config.update(model_type="ministral", architectures=["MinistralForCausalLM"])
    return {key: value for key, value in config.items() if value is not ABSENT}


# --- weights and files ---------------------------------------------------------------------------------------------------


def draw_weights(draw, folder):
    """Tensors by their names on disk, for the configuration in `folder`."""
    from transformers import AutoConfig, AutoModelForCausalLM

    def from_config(keys_left_out=()):
        values = {key: value for key, value in read_json(folder / "config.json").items() if key not in keys_left_out}
        config = AutoConfig.for_model(**values)
        return config, AutoModelForCausalLM.from_config(config)

    try:
        config, model = from_config()
    except Exception:
        draw.note("rotary fields that transformers refuses")
        try:  # weights that the program can read, for a configuration that must end with a message
            config, model = from_config(("rope_parameters", "rope_scaling"))
        except Exception as error:
            raise NoReference(f"transformers: {type(error).__name__}: {error}") from error
    dtype = getattr(torch, draw.of("float32", "float32", "bfloat16", "float16"))
    mixed = draw.chance(0.1)
    tensors = {}
    for name, value in model.state_dict().items():
        if "inv_freq" in name:
            continue
        noise = torch.randn(value.shape, generator=draw.generator)
        if value.dim() == 1 and not name.endswith("bias"):
            noise = 1.0 + 0.2 * noise
        else:
            noise = (0.5 if "embed" in name else 0.3) * noise
        tensors[checkpoint_name(model, name)] = noise.to(torch.float32 if mixed and value.dim() == 1 else dtype)
    return tensors, bool(config.tie_word_embeddings)


def names_of(tensors):
    """Names of the embedding and of the head, None where there is none."""
    head = next((name for name in tensors if name.startswith(("lm_head.", "embed_out."))), None)
    embedding = next((name for name in tensors if re.search(r"embed_(tokens|in)\.weight$", name)), None)
    return embedding, head


def draw_ties(draw, tensors, tied):
    """The head that the file holds. The reason why the program may end with a message, or nothing."""
    embedding, head = names_of(tensors)
    if not tied:
        if draw.chance(0.06):
            draw.note("untied, equal head")
            tensors[head] = tensors[embedding].clone()
        elif draw.chance(0.06):
            draw.note("untied, no head")
            del tensors[head]
        return
    form = draw.of("no head", "no head", "equal head", "own head", "no embedding")
    draw.note(f"tied, {form}")
    if form == "no head":
        del tensors[head]
    elif form != "own head":
        tensors[head] = tensors[embedding].clone()
    if form == "no embedding":
        del tensors[embedding]


def draw_strangers(draw, tensors, layers):
    """Tensors that a file has too many or too few."""
    if draw.chance(0.08):
        draw.note("rotary_emb.inv_freq")
        block = next(filter(None, (re.match(r".*layers\.0\.(self_attn|attention)\.", name) for name in tensors)))[0]
        for layer in range(layers):
            prefix = block.replace("layers.0.", f"layers.{layer}.")
            tensors[prefix + "rotary_emb.inv_freq"] = torch.rand(4, generator=draw.generator)
    elif draw.chance(0.05):
        draw.note("unknown tensor")
        tensors[draw.of("score.weight", "model.extra.weight", "value_head.bias")] = torch.rand(3, 2, generator=draw.generator)
        return "a tensor that the model has no place for"
    elif draw.chance(0.05):
        draw.note("a layer too many")
        for name in [name for name in tensors if "layers.0." in name]:
            tensors[name.replace("layers.0.", f"layers.{layers}.")] = tensors[name].clone()
        return "a layer that the configuration does not count"
    elif draw.chance(0.05):
        name = draw.of(*[name for name in tensors if "layers." in name])
        draw.note(f"without {name}")
        del tensors[name]
    elif draw.chance(0.04):
        draw.note("rows too many")
        embedding, head = names_of(tensors)
        for name in {embedding, head} & set(tensors):
            tensors[name] = torch.cat([tensors[name], tensors[name][:3]])
    elif draw.chance(0.03):
        draw.note("a bias too many")
        name = draw.of(*[name for name in tensors if name.endswith("_proj.weight")] or ["x.weight"])
        tensors.setdefault(name.replace("weight", "bias"), torch.ones(4))
        return "a bias that the configuration does not name"
    return ""


def renamed(draw, tensors):
    """Names as other programs save them."""
    if draw.chance(0.88):
        return tensors
    form = draw.of("module.", "_orig_mod.", "model.", "without root", "base_model.model.", "checkpoint wrapper")
    draw.note(f"names: {form}")
    if form == "without root":
        return {re.sub(r"^(model|gpt_neox)\.", "", name): value for name, value in tensors.items()}
    if form == "checkpoint wrapper":
        return {re.sub(r"(layers\.\d+\.)", r"\1_checkpoint_wrapped_module.", name): value for name, value in tensors.items()}
    return {form + name: value for name, value in tensors.items()}


def shards(draw, tensors):
    names = list(tensors)
    draw.random.shuffle(names)
    count = draw.of(2, 3)
    return [{name: tensors[name] for name in names[part::count]} for part in range(count)]


def write_safetensors(tensors, path, metadata={"format": "pt"}):
    from safetensors.torch import save_file

    save_file({name: value.contiguous().clone() for name, value in tensors.items()}, path, metadata=metadata)


def as_saved(draw, tensors):
    """The same values as torch.save meets them: views, shared storages, parameters."""
    form = draw.of("tensors", "tensors", "parameters", "transposed", "cut out")
    if form == "parameters":
        return {name: torch.nn.Parameter(value) for name, value in tensors.items()}
    if form == "transposed":
        return {name: value.t().contiguous().t() if value.dim() == 2 else value for name, value in tensors.items()}
    if form == "cut out":
        flat = torch.cat([value.float().flatten() for value in tensors.values()])
        parts = flat.split([value.numel() for value in tensors.values()])
        return {name: part.view(value.shape) for (name, value), part in zip(tensors.items(), parts)}
    return tensors


def write_layout(draw, tensors, folder):
    layout = draw.of("safetensors", "safetensors shards", "bin", "bin shards", "old bin", "both, bin stale")
    if draw.chance(0.12):  # what transformers does not read
        layout = draw.of("bin one level down", "bin beside an optimizer", "folder named bin")
    if layout != "safetensors":
        draw.note(layout)
    if "shards" in layout or layout == "folder named bin":
        stem, end = ("model", "safetensors") if layout.startswith("safe") else ("pytorch_model", "bin")
        target = folder / "pytorch_model.bin" if layout.startswith("folder") else folder
        target.mkdir(exist_ok=True)
        parts, index = shards(draw, tensors), {}
        for number, part in enumerate(parts, 1):
            name = f"{stem}-{number:05}-of-{len(parts):05}.{end}"
            write_safetensors(part, target / name) if end == "safetensors" else torch.save(as_saved(draw, part), target / name)
            index.update({key: name for key in part})
        save_json(target / f"{stem}.{end}.index.json", {"metadata": {"total_size": 1}, "weight_map": index})
        return
    if layout in ("safetensors", "both, bin stale"):
        write_safetensors(tensors, folder / "model.safetensors", draw.of({"format": "pt"}, {"format": "pt"}, None))
    if layout == "both, bin stale":
        torch.save({name: value + 1 for name, value in tensors.items()}, folder / "pytorch_model.bin")
    elif layout == "bin one level down":
        torch.save({draw.of("state_dict", "model", "module", "model_state_dict"): tensors}, folder / "pytorch_model.bin")
    elif layout == "bin beside an optimizer":
        state = {"state": {0: {"exp_avg": torch.ones(3), "step": 7}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
        torch.save({draw.of("model", "module", "state_dict"): tensors, "optimizer": state, "epoch": 3, "args": {"lr": 1e-3}},
                   folder / "pytorch_model.bin")
    elif layout != "safetensors":
        torch.save(as_saved(draw, tensors), folder / "pytorch_model.bin", _use_new_zipfile_serialization=layout != "old bin")


def as_meant(config):
    """The configuration in words that transformers reads, where it fails on others that its models were published with."""
    config = dict(config)
    if config["model_type"] in ("mistral", "ministral") and "layer_types" in config:
        if config.get("head_dim") is None:  # a Ministral there, which does not fill it in
            config["head_dim"] = config["hidden_size"] // config["num_attention_heads"]
        if config.get("sliding_window", 4096) is None:  # which it wants even where no layer slides
            config.update(model_type="mistral")
            del config["layer_types"]
    for key in ("rope_scaling", "rope_parameters"):  # "su" was Phi-3's word for it
        scaling = config.get(key)
        if isinstance(scaling, dict) and "su" in (scaling.get("type"), scaling.get("rope_type")):
            config[key] = {**scaling, "type": "longrope", "rope_type": "longrope"}
    return config


def make_model(draw, folder, meant):
    """Writes the model of a case as it lies on somebody's disk, and in `meant` as it was meant. A reason for a message."""
    for path in (folder, meant):
        path.mkdir(parents=True)
    config = draw_config(draw)
    save_json(folder / "config.json", config)
    save_json(meant / "config.json", as_meant(config))
    tensors, tied = draw_weights(draw, folder)
    complete = dict(tensors)
    draw_ties(draw, tensors, tied)
    embedding, head = names_of(complete)
    if embedding not in tensors:  # the one name stands for both
        complete = {**tensors, embedding: tensors[head]}
    else:
        complete = dict(tensors)
    write_safetensors(complete, meant / "model.safetensors")
    reason = draw_strangers(draw, tensors, config["num_hidden_layers"])
    if config["model_type"] == "ministral":
        reason = "a family of its own"
    if any(note.startswith(("without ", "rows too many")) for note in draw.notes):
        (meant / "model.safetensors").unlink()
    write_layout(draw, renamed(draw, tensors), folder)
    return config, reason


# --- adapters ------------------------------------------------------------------------------------------------------------


def adapter_settings(draw, model):
    """Random legal settings of LoraConfig for a model."""
    linears = sorted({name.rsplit(".", 1)[-1] for name, module in model.named_modules()
                      if isinstance(module, torch.nn.Linear)} - {"lm_head"})
    embedding = next(name.rsplit(".", 1)[-1] for name, module in model.named_modules() if isinstance(module, torch.nn.Embedding))
    layers = model.config.num_hidden_layers
    targets = draw.some(linears) or [linears[0]]
    settings = dict(r=draw.of(1, 2, 4, 7), lora_alpha=draw.of(1, 4, 9, 16), use_rslora=draw.chance(0.2),
                    use_dora=draw.chance(0.2), lora_dropout=draw.of(0.0, 0.1), task_type="CAUSAL_LM",
                    init_lora_weights=draw.of(True, True, "gaussian", "orthogonal", False))
    if settings["init_lora_weights"] == "orthogonal":
        settings["r"] = 4  # an even rank
    settings["bias"] = draw.of("none", "none", "none", "all", "lora_only")
    kind = draw.of("list", "list", "regex", "all-linear", "layers", "exclude", "full names")
    settings["target_modules"] = targets
    if kind == "regex":
        settings["target_modules"] = rf".*\.(\d*[02468])\..*\.({'|'.join(targets)})"
    elif kind == "all-linear":
        settings["target_modules"] = kind
    elif kind == "layers":
        settings["layers_to_transform"] = draw.of(0, [layers - 1], list(range(layers)))
        if draw.chance(0.4):
            settings["layers_pattern"] = draw.of("layers", ["layers"])
    elif kind == "exclude":
        excluded = draw.of([targets[0]], rf".*\.0\..*{targets[0]}")
        settings["exclude_modules"] = excluded if len(targets) > 1 else r".*\.0\.nothing"
    elif kind == "full names":
        settings["target_modules"] = [name for name, _ in model.named_modules() if name.endswith(f".{targets[0]}")]
    if kind == "list" and draw.chance(0.2):
        settings["target_modules"] = targets + draw.of([embedding], ["lm_head"], [embedding, "lm_head"])
        settings["bias"] = "none"
    saved = draw.some([embedding, "lm_head", "norm", "input_layernorm", "final_layer_norm", linears[-1]], 0.12)
    saved = [name for name in saved if name not in settings["target_modules"]]
    if saved and kind != "all-linear":
        settings["modules_to_save"] = saved
    elif draw.chance(0.15) and embedding not in settings["target_modules"]:
        settings["trainable_token_indices"] = draw.of([0, 5], {embedding: [3, 4, 11]})
    if isinstance(settings["target_modules"], list):
        if draw.chance(0.2):
            settings["rank_pattern"] = {draw.of(targets[-1], rf"layers\.0\..*{targets[-1]}"): draw.of(3, 5)}
        if draw.chance(0.2):
            settings["alpha_pattern"] = {draw.of(targets[0], rf"^.*\.0\..*{targets[0]}"): draw.of(3, 5)}
    plain_layers = not {embedding, "lm_head"} & set(settings["target_modules"])  # whose place takes a bias
    if draw.chance(0.15) and settings["init_lora_weights"] in (True, False) and plain_layers:
        settings.update(lora_bias=True, use_dora=False)
    return settings


def edit_config(draw, path):
    """adapter_config.json as other versions of peft and other programs write it."""
    config = read_json(path)
    unset = [key for key, value in config.items() if value in (None, False, [], {}) and key != "target_modules"]
    for key in draw.some(unset, 0.2):
        del config[key]
    others = dict(inference_mode=False, unsloth_version=None, future_field=None, enable_lora=None, merge_weights=False,
                  base_model_name_or_path=None)
    config.update(draw.some(list(others.items()), 0.2))
    path.write_text(json.dumps(config, indent=2))


def make_adapter(draw, base, folder):
    """Writes an adapter as peft does; the settings, and the trained model."""
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import load_file

    from scripts.references.lora_matrix import train

    torch.manual_seed(draw.random.randrange(2**31))
    model = comparison.load_reference(base)
    settings = adapter_settings(draw, model)
    old = model.config.vocab_size
    if draw.chance(0.2):
        draw.note("resized")
        model.resize_token_embeddings(old + draw.of(1, 3, 8), mean_resizing=False)
    draw.note("adapter " + ", ".join(f"{key}={value}" for key, value in settings.items()
                                     if value not in (False, None, "none", 0.0) and key not in ("task_type", "lora_dropout")))
    try:
        adapted, _ = comparison.quietly(get_peft_model, model, LoraConfig(**settings))
    except Exception as error:
        raise NoReference(f"peft: {type(error).__name__}: {error}") from error
    train(adapted, draw.generator)
    comparison.quietly(adapted.save_pretrained, folder)
    if draw.chance(0.2):
        draw.note("adapter in bfloat16")
        file = folder / "adapter_model.safetensors"
        write_safetensors({name: value.bfloat16() for name, value in load_file(file).items()}, file)
        with torch.no_grad():
            for name, parameter in adapted.named_parameters():
                if parameter.requires_grad:
                    parameter.copy_(parameter.bfloat16())
    edit_config(draw, folder / "adapter_config.json")
    (folder / "README.md").unlink(missing_ok=True)
    return adapted


def make_form(draw, folder):
    from scripts.references.lora_matrix import FORMS, into_form

    form = draw.of("plain", "plain", "plain", *FORMS)
    if form != "plain":
        draw.note(f"adapter's names: {form}")
    into_form(folder, form)


# --- a case --------------------------------------------------------------------------------------------------------------


def draw_ids(draw, vocabulary):
    return [draw.random.randrange(vocabulary) for _ in range(draw.of(10, 14, 24, 40))]


def expected_of_model(folder, meant, ids, reason):
    """What is expected of the model alone, and the folder that transformers reads."""
    try:
        return Expected([comparison.transformers_logprobs(folder, ids)], reason), folder
    except NoReference as given:
        try:
            return Expected([comparison.transformers_logprobs(meant, ids)], str(given)), meant
        except NoReference:
            return Expected([], str(given)), None


def make_case(seed, number, folder):
    """(notes, ids, expected, has an adapter). NoReference where nothing can be compared."""
    draw = Draw(seed, number)
    given, meant, adapter = folder / "base", folder / "meant", folder / "adapter"
    config, reason = make_model(draw, given, meant)
    draw.notes.insert(0, config["model_type"])
    ids = draw_ids(draw, config["vocab_size"])
    expected, readable = expected_of_model(given, meant, ids, reason)
    if draw.chance(0.5) or readable is None:
        return draw.notes, ids, expected, False
    trained = make_adapter(draw, readable, adapter)
    expected = comparison.expected_with_adapter(readable, adapter, ids, trained, expected.may_refuse)
    make_form(draw, adapter)
    return draw.notes, ids, expected, True


def compare(program, seed, numbers, options):
    only, keep = options.only, options.keep
    work = Path(keep or tempfile.mkdtemp(prefix="random-models-")).resolve()
    failed, refused, without, count = [], 0, [], 0
    for number in numbers:
        folder = work / f"{seed}-{number}"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            notes, ids, expected, adapted = make_case(seed, number, folder)
        except NoReference as reason:
            without.append((number, str(reason)))
            shutil.rmtree(folder)
            continue
        if not re.search(only, "; ".join(notes)):
            shutil.rmtree(folder)
            continue
        count += 1
        save_json(folder / "expected.json", {"notes": notes, "ids": ids, **dataclasses.asdict(expected)})
        if adapted:
            faults, was_refused = comparison.adapter_faults(program, folder / "base", folder / "adapter", ids, expected, folder)
        else:
            faults, was_refused = comparison.model_faults(program, folder / "base", ids, expected, folder)
        refused += was_refused and not faults
        if options.refusals and was_refused and not faults:
            print(f"refused: {number} [{'; '.join(notes)}]: {expected.may_refuse}")
        if faults:
            failed.append(number)
            print(f"--seed {seed} --case {number} [{'; '.join(notes)}]: " + "; ".join(faults), flush=True)
        if not (keep and faults):
            shutil.rmtree(folder)
    if not keep:
        shutil.rmtree(work)
    for number, reason in without:
        print(f"case {number} has no reference: {reason[:160]}")
    comparison.finish(count, failed, refused, len(without))


def main():
    comparison.still()
    target = GOLDENS / "random_models"
    shutil.rmtree(target, ignore_errors=True)
    for number in GOLDEN_CASES:
        folder = target / f"{number:03}"
        notes, ids, expected, _ = make_case(1, number, folder)
        shutil.rmtree(folder / "meant")
        open_folder(folder / "base")
        comparison.write_golden(folder, "base", ids, expected, "; ".join(notes))


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--case", type=int, help="this number alone")
    parser.add_argument("--only", default="", metavar="REGEX", help="cases whose notes match")
    parser.add_argument("--keep", metavar="DIR", help="leave the cases that fail here")
    parser.add_argument("--refusals", action="store_true", help="print the cases whose message is as good as a number, too")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    comparison.still()
    chosen = range(arguments.count) if arguments.case is None else [arguments.case]
    compare(Program(arguments.program), arguments.seed, chosen, arguments)
