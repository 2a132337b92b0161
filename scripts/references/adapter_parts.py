"""Every part of an adapter that peft stores, on small models whose head is tied to the embedding and on others.

cases.json lists them: the base, the settings of LoraConfig, the size of the vocabulary, and whether the head is still
the embedding afterwards. Each folder has the adapter as peft saves it and the logits that transformers + peft compute
with it beside the base, not merged (peft's own merging of a tied model changes both ends). `checkpoint`, where it is there,
is the state dict of the wrapped model in training, with everything in it.
"""

import json
import shutil
import warnings

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, GPTNeoXConfig, LlamaConfig, Qwen2Config

from scripts.references.common import GOLDENS, open_folder, randomize, save_json, save_tensors

FOLDER = GOLDENS / "adapter_parts"
ROWS = 24
SHAPE = dict(vocab_size=ROWS, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
             max_position_embeddings=32, bos_token_id=1, eos_token_id=2, pad_token_id=None)
BASES = {
    "tied": LlamaConfig(**SHAPE, num_key_value_heads=1, tie_word_embeddings=True),
    "untied": LlamaConfig(**SHAPE, num_key_value_heads=1, tie_word_embeddings=False),
    "biases": Qwen2Config(**SHAPE, num_key_value_heads=1, tie_word_embeddings=False),
    "neox": GPTNeoXConfig(**SHAPE, tie_word_embeddings=False),
    "neox_tied": GPTNeoXConfig(**SHAPE, tie_word_embeddings=True),
}
Q = ["q_proj"]
# name -> base, rows of the vocabulary, whether the head stays the embedding, settings
CASES = {
    "resized": ("tied", 27, True, dict(target_modules=Q)),
    "resized_down": ("tied", 21, True, dict(target_modules=Q)),
    "saved_embedding": ("tied", ROWS, False, dict(target_modules=Q, modules_to_save=["embed_tokens"])),
    "saved_head": ("tied", ROWS, False, dict(target_modules=Q, modules_to_save=["lm_head"])),
    "saved_both": ("tied", ROWS, False, dict(target_modules=Q, modules_to_save=["embed_tokens", "lm_head"])),
    "saved_embedding_resized": ("tied", 27, False, dict(target_modules=Q, modules_to_save=["embed_tokens"])),
    "saved_head_resized": ("tied", 27, False, dict(target_modules=Q, modules_to_save=["lm_head"])),
    "saved_tied": ("tied", ROWS, True,
                   dict(target_modules=Q, modules_to_save=["embed_tokens"], ensure_weight_tying=True)),
    "pair_embedding": ("tied", ROWS, False, dict(target_modules=[*Q, "embed_tokens"])),
    "pair_head": ("tied", ROWS, False, dict(target_modules=[*Q, "lm_head"])),
    "pair_both": ("tied", ROWS, False, dict(target_modules=[*Q, "embed_tokens", "lm_head"])),
    "pair_tied": ("tied", ROWS, True, dict(target_modules=[*Q, "embed_tokens"], ensure_weight_tying=True)),
    "pair_tied_by_head": ("tied", ROWS, True, dict(target_modules=[*Q, "lm_head"], ensure_weight_tying=True)),
    "pair_embedding_resized": ("tied", 27, False, dict(target_modules=[*Q, "embed_tokens"])),
    "pair_head_saved_embedding": ("tied", ROWS, False,
                                  dict(target_modules=[*Q, "lm_head"], modules_to_save=["embed_tokens"])),
    "rows": ("tied", ROWS, True, dict(target_modules=Q, trainable_token_indices=[3, 1, 7])),
    "rows_of_both": ("tied", ROWS, False,
                     dict(target_modules=Q, trainable_token_indices={"embed_tokens": [3, 1], "lm_head": [2]})),
    "rows_of_head": ("tied", ROWS, False, dict(target_modules=Q, trainable_token_indices={"lm_head": [3, 1]})),
    "rows_resized": ("tied", 27, True, dict(target_modules=Q, trainable_token_indices=[24, 26])),
    "rows_and_pair_head": ("tied", ROWS, False,
                           dict(target_modules=[*Q, "lm_head"], trainable_token_indices=[5, 2])),
    "untied_saved_resized": ("untied", 27, False,
                             dict(target_modules=Q, modules_to_save=["embed_tokens", "lm_head"])),
    "untied_resized_down": ("untied", 21, False, dict(target_modules=Q)),
    "untied_pairs": ("untied", ROWS, False, dict(target_modules=[*Q, "embed_tokens", "lm_head"])),
    "untied_dora": ("untied", ROWS, False,
                    dict(target_modules=[*Q, "embed_tokens", "lm_head"], use_dora=True, use_rslora=True)),
    "untied_rows": ("untied", ROWS, False, dict(target_modules=Q, trainable_token_indices=[3, 1, 7])),
    "saved_norms": ("untied", ROWS, False, dict(target_modules=Q, modules_to_save=["norm"])),
    "saved_mlp": ("untied", ROWS, False, dict(target_modules=Q, modules_to_save=["mlp"])),
    "one_layer": ("untied", ROWS, False,
                  dict(target_modules=[*Q, "v_proj"], layers_to_transform=1, layers_pattern="layers")),
    "excluded": ("untied", ROWS, False,
                 dict(target_modules=[*Q, "v_proj"], exclude_modules=["layers.0.self_attn.q_proj"])),
    "pair_bias": ("untied", ROWS, False, dict(target_modules=Q, lora_bias=True)),
    "bias_all": ("biases", ROWS, False, dict(target_modules=[*Q, "up_proj"], bias="all")),
    "bias_lora_only": ("biases", ROWS, False, dict(target_modules=[*Q, "up_proj"], bias="lora_only")),
    "biases_pair_bias": ("biases", ROWS, False, dict(target_modules=Q, lora_bias=True)),
    "neox_pair_head": ("neox", ROWS, False, dict(target_modules=["query_key_value", "embed_in", "lm_head"])),
    "neox_tied_saved": ("neox_tied", ROWS, False, dict(target_modules=["query_key_value"], modules_to_save=["embed_in"],
                                                       ensure_weight_tying=True)),
    "neox_dora_resized": ("neox_tied", 27, False,
                          dict(target_modules=["query_key_value", "embed_in"], use_dora=True)),
    "neox_saved": ("neox", ROWS, False,
                   dict(target_modules=["query_key_value"], modules_to_save=["lm_head", "layernorm"], bias="all")),
}

CHECKPOINTS = ["saved_embedding", "pair_both", "rows", "saved_norms", "bias_all"]


def write_base(name, config, generator):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    randomize(model, generator)
    model.save_pretrained(FOLDER / "bases" / name)
    (FOLDER / "bases" / name / "generation_config.json").unlink(missing_ok=True)
    open_folder(FOLDER / "bases" / name)


def load_base(name, rows):
    model = AutoModelForCausalLM.from_pretrained(FOLDER / "bases" / name, dtype=torch.float32,
                                                 attn_implementation="eager")
    if rows != ROWS:
        model.resize_token_embeddings(rows, mean_resizing=False)
    return model


def write_case(name, base, rows, settings, generator):
    folder = FOLDER / name
    lora = LoraConfig(r=2, lora_alpha=6, lora_dropout=0.0, task_type="CAUSAL_LM", **settings)
    model = get_peft_model(load_base(base, rows), lora)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    model.peft_config["default"].base_model_name_or_path = str(FOLDER / "bases" / base)
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    again = PeftModel.from_pretrained(load_base(base, rows), folder).eval()
    ids = torch.randint(0, min(rows, ROWS), (1, 9), generator=generator)
    if rows > ROWS:
        ids[0, 4] = rows - 1
    elif "trainable_token_indices" in settings:
        ids[0, 4:6] = torch.tensor([1, 3])
    with torch.no_grad():
        save_tensors(folder / "golden.safetensors", {"ids": ids, "logits": again(input_ids=ids).logits})
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = f"bases/{base}"
    config["target_modules"] = sorted(config["target_modules"])
    save_json(folder / "adapter_config.json", config)
    open_folder(folder)
    if name in CHECKPOINTS:
        save_tensors(folder / "checkpoint" / "model.safetensors", model.state_dict())
        shutil.copy(folder / "adapter_config.json", folder / "checkpoint")


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    warnings.simplefilter("ignore")
    generator = torch.Generator().manual_seed(90)
    for name, config in BASES.items():
        write_base(name, config, generator)
    for name, (base, rows, tied, settings) in CASES.items():
        write_case(name, base, rows, settings, generator)
    save_json(FOLDER / "cases.json", {name: {"base": base, "rows": rows, "tied": tied}
                                      for name, (base, rows, tied, _) in CASES.items()})


if __name__ == "__main__":
    main()
