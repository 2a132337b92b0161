"""Every option of peft's LoraConfig on small models of four families, read by the program and by peft.

    python -m scripts.references.lora_matrix build/release/longlora [--only REGEX] [--keep DIR] [--list]

A case is family/tied or untied/resized or not/option/form, with random nonzero values in everything that would have
been trained. peft writes it, peft reads it again: that number counts. The program must give it at run time, and merged, and
the merged folder in transformers must give it too, each log-probability within 1e-4; or the option is one that the program may
refuse, with the reason below, and then it ends with a message. Forms are what other programs make of the names in such files.
A field of LoraConfig that no option sets and that NOT_TRIED does not explain ends the script.

main() writes GOLDEN_CASES for the tests.
"""

import argparse
import dataclasses
import importlib
import json
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from scripts.references import comparison
from scripts.references.common import GOLDENS, open_folder, save_json
from scripts.references.comparison import NoReference, Program

ADDED = 3  # rows by which a resized vocabulary grows


@dataclass(frozen=True)
class Family:
    """Names of a family's modules in transformers, and its configuration."""

    config: str
    query: str
    value: str
    output: str
    down: str
    embedding: str
    head: str
    norm: str
    block_norm: str
    root: str
    changes: dict


LLAMA = Family("LlamaConfig", "q_proj", "v_proj", "o_proj", "down_proj", "embed_tokens", "lm_head", "norm",
               "input_layernorm", "model", {})
FAMILIES = {
    "llama": dataclasses.replace(LLAMA, changes=dict(attention_bias=True, num_key_value_heads=2)),
    "qwen3": dataclasses.replace(LLAMA, config="Qwen3Config", changes=dict(num_key_value_heads=2, head_dim=6)),
    "gpt_neox": Family("GPTNeoXConfig", "query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h", "embed_in", "lm_head",
                       "final_layer_norm", "input_layernorm", "gpt_neox", {}),
    "phi3": dataclasses.replace(LLAMA, config="Phi3Config", query="qkv_proj", value="o_proj", output="gate_up_proj",
                                changes=dict(num_key_value_heads=2, pad_token_id=None)),
}
SIZES = dict(vocab_size=40, hidden_size=16, intermediate_size=20, num_hidden_layers=3, num_attention_heads=4,
             max_position_embeddings=64, bos_token_id=1, eos_token_id=2)


@dataclass(frozen=True)
class Option:
    """Settings of LoraConfig for one family, and what else is done to the adapter."""

    settings: object  # a dictionary, or a function from Family to one
    may_refuse: str = ""
    initialise: str = ""  # data-driven initialisations: eva, corda, lora_ga
    save: dict = dataclasses.field(default_factory=dict)  # options of save_pretrained
    edit: object = None  # changes adapter_config.json as it lies on disk
    only: str = ""  # a family
    tied: object = None  # True or False: only there


def on(*parts, **settings):
    """Plain LoRA on these parts of a family, with settings whose values may name parts too: "@embedding"."""

    def resolve(value, family):
        if isinstance(value, str):
            return re.sub(r"@(\w+)", lambda part: getattr(family, part[1]), value)
        if isinstance(value, list):
            return [resolve(entry, family) for entry in value]
        if isinstance(value, dict):
            return {resolve(key, family): resolve(entry, family) for key, entry in value.items()}
        return value

    return lambda family: resolve({"r": 4, "lora_alpha": 10, "target_modules": ["@" + part for part in parts], **settings},
                                  family)


ATTENTION = ("query", "value")
CHANGES_BASE = "the initialisation takes a part out of the base's weights"
OTHER_FORWARD = "the layer computes something else than B·A·x"


def sub_config(name, **values):
    return getattr(importlib.import_module("peft.tuners.lora.config"), name)(**values)


def old_form(config):
    """adapter_config.json of peft 0.3."""
    kept = ("base_model_name_or_path", "bias", "fan_in_fan_out", "inference_mode", "lora_alpha", "lora_dropout",
            "modules_to_save", "peft_type", "r", "target_modules", "task_type")
    config = {key: config[key] for key in kept}
    return {**config, "enable_lora": None, "merge_weights": False, "init_lora_weights": True}


OPTIONS = {
    # r, lora_alpha, lora_dropout, scaling
    "plain": Option(on(*ATTENTION)),
    "rank_1": Option(on(*ATTENTION, r=1, lora_alpha=1)),
    "rank_above_width": Option(on(*ATTENTION, r=24, lora_alpha=3)),
    "dropout": Option(on(*ATTENTION, lora_dropout=0.4)),
    "rslora": Option(on(*ATTENTION, use_rslora=True)),
    "fractional_alpha": Option(on(*ATTENTION), edit=lambda config: {**config, "lora_alpha": 2.5}),
    # target_modules, exclude_modules, layers
    "targets_everything_linear": Option(on("query", "value", "output", "down")),
    "targets_all_linear": Option(on(target_modules="all-linear")),
    "targets_regex": Option(on(target_modules=r".*\.[02]\..*(@query|@down)")),
    "targets_regex_alternatives": Option(on(target_modules=r"(.*\.@value)|(.*\.1\..*\.@output)")),
    "targets_full_names": Option(on(target_modules=["layers.1.mlp.@down", "@query"])),
    "targets_embedding": Option(on("query", "embedding")),
    "targets_embedding_alone": Option(on("embedding")),
    "targets_head": Option(on("query", "head")),
    "targets_head_alone": Option(on("head")),
    "targets_embedding_and_head": Option(on("embedding", "head", "down")),
    "targets_regex_embedding": Option(on(target_modules=r".*(@query|@embedding)")),
    "embedding_rslora_pattern": Option(on("query", "embedding", use_rslora=True, rank_pattern={"@embedding": 2},
                                          alpha_pattern={"@embedding": 7})),
    "excludes_list": Option(on("query", "value", "down", exclude_modules=["layers.1.mlp.@down", "@value"])),
    "excludes_regex": Option(on(target_modules="all-linear", exclude_modules=r".*\.0\..*")),
    "layers_list": Option(on(*ATTENTION, layers_to_transform=[0, 2])),
    "layers_one": Option(on("query", "down", layers_to_transform=1)),
    "layers_pattern": Option(on(*ATTENTION, layers_to_transform=[1], layers_pattern="layers")),
    "layers_pattern_list": Option(on(*ATTENTION, layers_to_transform=[1, 2], layers_pattern=["layers"])),
    # patterns of rank and alpha
    "rank_pattern": Option(on("query", "value", "down", rank_pattern={"@down": 6, "layers.1.*@query": 2})),
    "alpha_pattern": Option(on("query", "value", "down", alpha_pattern={"@value": 3, r"^@root\.layers\.2\..*@query": 5})),
    "patterns_rslora_dora": Option(on(*ATTENTION, use_rslora=True, use_dora=True, rank_pattern={"@query": 3},
                                      alpha_pattern={"@query": 2})),
    # DoRA
    "dora": Option(on(*ATTENTION, use_dora=True)),
    "dora_all_linear": Option(on(target_modules="all-linear", use_dora=True)),
    "dora_embedding": Option(on("query", "embedding", use_dora=True)),
    "dora_head": Option(on("query", "head", use_dora=True)),
    "dora_alpha_negative": Option(on(*ATTENTION, use_dora=True, lora_alpha=-3)),
    # biases
    "bias_all": Option(on(*ATTENTION, bias="all")),
    "bias_lora_only": Option(on("query", "down", bias="lora_only")),
    "bias_all_modules_to_save": Option(on("query", bias="all", modules_to_save=["@norm"])),
    "lora_bias": Option(on(*ATTENTION, lora_bias=True)),
    "lora_bias_head": Option(on("query", "head", lora_bias=True), may_refuse="no family here has a head with a bias"),
    "lora_bias_rslora_patterns": Option(on("query", "down", lora_bias=True, use_rslora=True, alpha_pattern={"@down": 3})),
    # modules trained whole
    "saves_embedding": Option(on(*ATTENTION, modules_to_save=["@embedding"])),
    "saves_head": Option(on(*ATTENTION, modules_to_save=["@head"])),
    "saves_embedding_and_head": Option(on(*ATTENTION, modules_to_save=["@embedding", "@head"])),
    "saves_norm": Option(on(*ATTENTION, modules_to_save=["@norm"])),
    "saves_block_norm": Option(on(*ATTENTION, modules_to_save=["@block_norm"])),
    "saves_linear": Option(on("query", modules_to_save=["@down"])),
    "saves_full_name": Option(on("query", modules_to_save=["@root.layers.1.mlp.@down", "@root.@norm"])),
    "saves_mlp": Option(on("query", modules_to_save=["mlp"])),
    "saves_block": Option(on("query", layers_to_transform=[0], modules_to_save=["layers.2"]),
                          may_refuse="transformers asks a block for what peft's wrapper hides"),
    "saves_dora": Option(on(*ATTENTION, use_dora=True, modules_to_save=["@embedding", "@norm"])),
    "saves_embeddings_asked": Option(on(*ATTENTION), save=dict(save_embedding_layers=True)),
    "targets_embedding_not_saved": Option(on("query", "embedding"), save=dict(save_embedding_layers=False)),
    # rows of embeddings
    "rows_list": Option(on(*ATTENTION, trainable_token_indices=[1, 5, 39])),
    "rows_by_name": Option(on(*ATTENTION, trainable_token_indices={"@embedding": [0, 7]})),
    "rows_of_head": Option(on(*ATTENTION, trainable_token_indices={"@head": [3, 4]})),
    "rows_of_both": Option(on(*ATTENTION, trainable_token_indices={"@embedding": [2, 9], "@head": [2, 11]})),
    "rows_tied": Option(on(*ATTENTION, trainable_token_indices=[1, 5], ensure_weight_tying=True), tied=True),
    "rows_and_norm": Option(on(*ATTENTION, trainable_token_indices=[8], modules_to_save=["@norm"])),
    # ties
    "ties_saved_embedding": Option(on(*ATTENTION, modules_to_save=["@embedding"], ensure_weight_tying=True), tied=True),
    "ties_saved_head": Option(on(*ATTENTION, modules_to_save=["@head"], ensure_weight_tying=True), tied=True),
    "ties_target_embedding": Option(on("query", "embedding", ensure_weight_tying=True), tied=True),
    "ties_target_head": Option(on("query", "head", ensure_weight_tying=True), tied=True),
    "ties_untied": Option(on("query", modules_to_save=["@embedding"], ensure_weight_tying=True), tied=False),
    # initialisations
    "init_gaussian": Option(on(*ATTENTION, init_lora_weights="gaussian")),
    "init_false": Option(on(*ATTENTION, init_lora_weights=False)),
    "init_orthogonal": Option(on(*ATTENTION, init_lora_weights="orthogonal")),
    "init_mica": Option(on(*ATTENTION, init_lora_weights="mica")),
    "init_eva": Option(on(*ATTENTION, init_lora_weights="eva", r=3), initialise="eva"),
    "init_pissa": Option(on(*ATTENTION, init_lora_weights="pissa"), may_refuse=CHANGES_BASE),
    "init_pissa_niter": Option(on(*ATTENTION, init_lora_weights="pissa_niter_4"), may_refuse=CHANGES_BASE),
    "init_pissa_converted": Option(on(*ATTENTION, init_lora_weights="pissa"), save=dict(convert=True)),
    "init_olora": Option(on(*ATTENTION, init_lora_weights="olora"), may_refuse=CHANGES_BASE),
    "init_olora_converted": Option(on(*ATTENTION, init_lora_weights="olora"), save=dict(convert=True)),
    "init_corda": Option(on(*ATTENTION, init_lora_weights="corda"), initialise="corda", may_refuse=CHANGES_BASE),
    "init_lora_ga": Option(on(*ATTENTION, init_lora_weights="lora_ga"), initialise="lora_ga", may_refuse=CHANGES_BASE),
    # parameters instead of modules
    "parameters": Option(on(target_modules=[], target_parameters=["@query.weight", "@down.weight"]),
                         may_refuse="pairs on bare parameters are meant for experts, which no family here has"),
    # other layers than LoRA's
    "alora": Option(on(*ATTENTION, alora_invocation_tokens=[3, 4]), may_refuse=OTHER_FORWARD),
    "velora": Option(on(*ATTENTION, velora_config="VeloraConfig"), may_refuse="only its backward pass is another"),
    "kasa": Option(on(*ATTENTION, kasa_config="KasaConfig"), may_refuse=OTHER_FORWARD),
    "monteclora": Option(on(*ATTENTION, monteclora_config="MontecloraConfig"), may_refuse=OTHER_FORWARD),
    "bdlora": Option(on("query", use_bdlora="BdLoraConfig"), may_refuse=OTHER_FORWARD),
    "qalora": Option(on(*ATTENTION, use_qalora=True, qalora_group_size=4), may_refuse="meant for GPTQ alone"),
    "layer_replication": Option(on(*ATTENTION, layer_replication=[[0, 2], [1, 3]]), only="llama",
                                may_refuse="the model has other layers than its base"),
    # fields without effect on the numbers
    "fan_in_fan_out": Option(on(*ATTENTION, fan_in_fan_out=True)),
    "fan_in_fan_out_on_disk": Option(on(*ATTENTION), edit=lambda config: {**config, "fan_in_fan_out": True}),
    "megatron_core": Option(on(*ATTENTION, megatron_core="other.core")),
    "task_type_absent": Option(on(*ATTENTION, task_type=None)),
    "revision": Option(on(*ATTENTION, revision="main")),
    "old_config": Option(on(*ATTENTION), edit=old_form),
    "auto_mapping": Option(on(*ATTENTION), edit=lambda config: {**config, "auto_mapping": {
        "base_model_class": "LlamaForCausalLM", "parent_library": "transformers.models.llama.modeling_llama"}}),
}

# Fields of LoraConfig that no option sets.
NOT_TRIED = {
    "peft_type": "LORA is what this script is about",
    "inference_mode": "peft writes true whatever it was", "base_model_name_or_path": "every case has it",
    "auto_mapping": "edited on disk by the option of that name", "peft_version": "every file has it",
    "loftq_config": "peft needs a quantised base for it (init_lora_weights loftq)",
    "eva_config": "set by the option init_eva's initialisation", "corda_config": "set by init_corda",
    "lora_ga_config": "set by init_lora_ga", "runtime_config": "never written to disk",
    "megatron_config": "needs Megatron-LM", "arrow_config": "routes between several adapters: no single folder",
}

# What wrappers and older programs make of the names of a file; "plain" is peft's own.
FORMS = {
    "plain": None,
    "bin": None,
    "module": lambda name: "module." + name,
    "orig_mod": lambda name: "_orig_mod." + name,
    "orig_mod_inside": lambda name: name.replace("base_model.model.", "base_model.model._orig_mod.", 1),
    "orig_mod_layer": lambda name: re.sub(r"layers\.(\d+)\.", r"layers.\1._orig_mod.", name),
    "fsdp": lambda name: re.sub(r"layers\.(\d+)\.", r"_fsdp_wrapped_module.layers.\1._fsdp_wrapped_module.", name),
    "checkpointing": lambda name: re.sub(r"layers\.(\d+)\.", r"layers.\1._checkpoint_wrapped_module.", name),
    "doubled": lambda name: "base_model.model." + name,
    "without_prefix": lambda name: name.replace("base_model.model.", "", 1),
    "adapter_name": lambda name: re.sub(r"(lora_[AB]|lora_embedding_[AB])\b", r"\1.default", name),
}
FORMED = ("plain", "targets_embedding", "saves_embedding_and_head", "saves_block_norm", "rows_list", "dora", "lora_bias")

# Those that the tests keep.
GOLDEN_CASES = (
    "llama/tied/resized/plain/plain", "llama/tied/same/targets_embedding/plain", "llama/tied/same/saves_embedding/plain",
    "llama/tied/same/saves_head/orig_mod_inside", "llama/tied/same/layers_pattern/plain",
    "qwen3/untied/same/lora_bias/fsdp", "qwen3/untied/same/saves_block_norm/bin", "qwen3/untied/same/excludes_regex/plain",
    "gpt_neox/untied/same/targets_head/plain", "gpt_neox/untied/same/bias_all/plain", "phi3/tied/same/rows_of_both/plain",
    "phi3/tied/resized/rows_list/plain")


def check_fields():
    """Every field of LoraConfig is set by an option, or its absence has a reason."""
    from peft import LoraConfig

    tried = set()
    for option in OPTIONS.values():
        tried |= set(option.settings(FAMILIES["llama"]))
    fields = {field.name for field in dataclasses.fields(LoraConfig)}
    if unknown := fields - tried - set(NOT_TRIED):
        raise SystemExit(f"[LoraConfig] expected an option or a reason for each field, got none for {sorted(unknown)}")


def make_base(folder, family, tied, seed):
    import transformers

    config = getattr(transformers, family.config)(**{**SIZES, "tie_word_embeddings": tied, **family.changes})
    model = transformers.AutoModelForCausalLM.from_config(config)
    scatter(model.named_parameters(), torch.Generator().manual_seed(seed))
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    open_folder(folder)


def scatter(parameters, generator):
    """Values far enough from zero that each shows in the result."""
    with torch.no_grad():
        for name, parameter in parameters:
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 1 and not name.endswith("bias"):
                parameter.copy_(1.0 + 0.2 * noise)
            else:
                parameter.copy_((0.5 if "embed" in name else 0.3) * noise)


def train(model, generator):
    """Random values in what a run would have trained: pairs, saved modules, rows, magnitudes, biases."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "lora_magnitude" in name:
                parameter.mul_(1.0 + 0.2 * noise)
            elif "lora_" in name:
                parameter.add_(0.2 * noise)
            elif parameter.requires_grad:
                parameter.add_(0.2 * noise)
    return model.eval()


def lora_settings(option, family):
    settings = dict(option.settings(family))
    for field, value in settings.items():
        if field.endswith("_config") or field == "use_bdlora":
            nblocks = dict(target_modules_bd_a=[family.query], nblocks=2) if field == "use_bdlora" else {}
            settings[field] = sub_config(value, **nblocks)
    return settings


def batches(vocabulary, count=4):
    generator = torch.Generator().manual_seed(9)
    ids = [torch.randint(0, vocabulary, (1, 12), generator=generator) for _ in range(count)]
    return [{"input_ids": x, "attention_mask": torch.ones_like(x), "labels": x} for x in ids]


def initialised(model, config, how):
    """A model with adapters whose first values come from data."""
    import peft

    data = batches(model.config.vocab_size)
    if how == "corda":
        sys.modules.setdefault("attr", dataclasses)  # corda takes `dataclass` from the package attrs, whose one is alike
        from peft.tuners.lora import corda

        config.corda_config = sub_config("CordaConfig")
        corda.preprocess_corda(model, config, run_model=lambda: [model(**batch) for batch in data])
    if how == "lora_ga":
        from peft.tuners.lora.loraga import preprocess_loraga

        config.lora_ga_config = sub_config("LoraGAConfig")

        def train_step():
            for batch in data:
                model(**batch).loss.backward()

        preprocess_loraga(model, config, train_step)
    adapted = peft.get_peft_model(model, config)
    if how == "eva":
        peft.initialize_lora_eva_weights(adapted, data, show_progress_bar=False)
    return adapted


def make_adapter(base, folder, family, option, resized, seed):
    """Writes the adapter as peft does; the trained model with it."""
    from peft import LoraConfig

    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = comparison.load_reference(base)
    if resized:
        model.resize_token_embeddings(SIZES["vocab_size"] + ADDED, mean_resizing=False)
        scatter_new_rows(model, generator)
    config = LoraConfig(**{"task_type": "CAUSAL_LM", **lora_settings(option, family)})
    adapted, _ = comparison.quietly(initialised, model, config, option.initialise)
    save = dict(option.save)
    if save.pop("convert", False):
        first = folder.parent / "first"
        adapted.peft_config["default"].init_lora_weights = True
        adapted.save_pretrained(first)
        adapted.peft_config["default"].init_lora_weights = config.init_lora_weights
        save["path_initial_model_for_weight_conversion"] = str(first)
    train(adapted, generator)
    comparison.quietly(adapted.save_pretrained, folder, **save)
    if option.edit:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps(option.edit(json.loads(path.read_text())), indent=2))
    (folder / "README.md").unlink(missing_ok=True)
    return adapted


def scatter_new_rows(model, generator):
    with torch.no_grad():
        for embedding in (model.get_input_embeddings(), model.get_output_embeddings()):
            rows = embedding.weight[SIZES["vocab_size"]:]
            rows.copy_(0.5 * torch.randn(rows.shape, generator=generator))


def into_form(folder, form):
    """The same adapter with the names, or in the container, of another program."""
    from safetensors.torch import load_file, save_file

    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    if form == "bin":
        torch.save(tensors, folder / "adapter_model.bin")
        file.unlink()
    elif FORMS[form]:
        save_file({FORMS[form](name): tensor for name, tensor in tensors.items()}, file, metadata={"format": "pt"})


def ids_of(vocabulary, seed, resized):
    ids = torch.randint(0, vocabulary, (20,), generator=torch.Generator().manual_seed(seed)).tolist()
    return ids + list(range(SIZES["vocab_size"], SIZES["vocab_size"] + ADDED)) + [7] if resized else ids + [5, 39, 1]


def case_names():
    for family in FAMILIES:
        for tied in (True, False):
            for resized in (False, True):
                for name, option in OPTIONS.items():
                    if option.only not in ("", family) or option.tied not in (None, tied):
                        continue
                    for form in FORMS if name in FORMED else ["plain"]:
                        yield "/".join([family, "tied" if tied else "untied", "resized" if resized else "same", name, form])


def seed_of(case):
    return sum(ord(letter) * (place + 1) for place, letter in enumerate(case.rsplit("/", 1)[0]))


def make_case(case, base, folder):
    """The adapter of a case in `folder`; its ids and what is expected. NoReference where peft makes none."""
    family_name, tied, size, name, form = case.split("/")
    family, option, resized = FAMILIES[family_name], OPTIONS[name], size == "resized"
    if not base.exists():
        make_base(base, family, tied == "tied", seed_of(family_name + tied + "/"))
    try:
        trained = make_adapter(base, folder, family, option, resized, seed_of(case))
    except Exception as error:
        raise NoReference(f"{type(error).__name__}: {error}") from error
    ids = ids_of(SIZES["vocab_size"], seed_of(case), resized)
    expected = comparison.expected_with_adapter(base, folder, ids, trained, option.may_refuse)
    if option.edit:  # what lies on disk counts, not what was trained
        expected.may_refuse = option.may_refuse
    into_form(folder, form)
    return ids, expected


def compare(program, cases, keep):
    work = Path(keep or tempfile.mkdtemp(prefix="lora-matrix-")).resolve()
    failed, refused, without = [], 0, []
    for case in cases:
        base = work / "bases" / "-".join(case.split("/")[:2])
        folder = work / "cases" / case.replace("/", "-") / "adapter"
        shutil.rmtree(folder.parent, ignore_errors=True)
        try:
            ids, expected = make_case(case, base, folder)
        except NoReference as reason:
            without.append((case, str(reason)))
            continue
        save_json(folder.parent / "expected.json", {"base": str(base), "ids": ids, **dataclasses.asdict(expected)})
        faults, was_refused = comparison.adapter_faults(program, base, folder, ids, expected, folder.parent)
        refused += was_refused and not faults
        if faults:
            failed.append(case)
            print(f"{case}: " + "; ".join(faults), flush=True)
        if not (keep and faults):
            shutil.rmtree(folder.parent, ignore_errors=True)
    if not keep:
        shutil.rmtree(work)
    for case, reason in without:
        print(f"{case}: peft makes no such adapter: {reason[:160]}")
    comparison.finish(len(cases) - len(without), failed, refused, len(without))


def main():
    comparison.still()
    check_fields()
    target = GOLDENS / "lora_matrix"
    shutil.rmtree(target, ignore_errors=True)
    for case in GOLDEN_CASES:
        base = "bases/" + "-".join(case.split("/")[:2])
        folder = target / case.replace("/", "-")
        ids, expected = make_case(case, target / base, folder / "adapter")
        comparison.write_golden(folder, "../" + base, ids, expected, case)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path)
    parser.add_argument("--only", default="", metavar="REGEX", help="cases whose names match")
    parser.add_argument("--keep", metavar="DIR", help="leave the cases that fail here")
    parser.add_argument("--list", action="store_true", help="print the names of the cases alone")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    comparison.still()
    check_fields()
    chosen = [case for case in case_names() if re.search(arguments.only, case)]
    if arguments.list:
        print(*chosen, sep="\n")
    else:
        compare(Program(arguments.program), chosen, arguments.keep)
