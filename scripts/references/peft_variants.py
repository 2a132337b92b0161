"""Adapters of other kinds: rank-stabilised with patterns, modules trained whole, and LongLoRA's released pairs.

Each is made with peft on tiny_models/gqa_untied, with the logits that transformers + peft compute. `released` holds what
LongLoRA's get_trainable_weights.py writes of `released_checkpoint/pytorch_model.bin`, the state dict of a training run
whose vocabulary grew by one row.
"""

import shutil

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from scripts.references.common import GOLDENS, load_model, open_folder, save_tensors

BASE = "tiny_models/gqa_untied"
FOLDER = GOLDENS / "peft_variants"


def trained(model, generator):
    """Random values in everything that a run would have trained."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
            elif "modules_to_save" in name or "embed" in name or "norm" in name:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def save_logits(model, folder, vocabulary, generator):
    ids = torch.randint(0, vocabulary, (2, 19), generator=generator)
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits
    save_tensors(folder / "golden.safetensors", {"ids": ids, "logits": logits})


def write_variant(name, seed, **settings):
    generator = torch.Generator().manual_seed(seed)
    lora = LoraConfig(lora_dropout=0.0, bias="none", task_type="CAUSAL_LM", **settings)
    model = trained(get_peft_model(load_model(GOLDENS / BASE), lora), generator)
    with torch.no_grad():  # what such an adapter does not hold stays as in the base
        base = dict(load_model(GOLDENS / BASE).named_parameters())
        for key, parameter in model.named_parameters():
            plain = key.removeprefix("base_model.model.")
            if "lora_" not in key and "modules_to_save" not in key and plain in base:
                parameter.copy_(base[plain])
    model.peft_config["default"].base_model_name_or_path = BASE
    model.save_pretrained(FOLDER / name)
    (FOLDER / name / "README.md").unlink(missing_ok=True)
    # peft sorts the patterns when it saves them and takes the first that matches: what it finds in the files counts.
    save_logits(PeftModel.from_pretrained(load_model(GOLDENS / BASE), FOLDER / name).eval(), FOLDER / name, 96, generator)
    open_folder(FOLDER / name)


def write_released():
    generator = torch.Generator().manual_seed(77)
    base = load_model(GOLDENS / BASE)
    base.resize_token_embeddings(97, mean_resizing=False)
    for weight in (base.get_input_embeddings().weight.data, base.get_output_embeddings().weight.data):
        weight[-1] = weight[:-1].mean(dim=0)
    lora = LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM",
                      target_modules=["q_proj", "k_proj", "v_proj", "o_proj"])
    model = trained(get_peft_model(base, lora), generator)
    folder, checkpoint = FOLDER / "released", FOLDER / "released_checkpoint"
    for path in (folder, checkpoint):
        path.mkdir(parents=True)
    weights = {key: value.detach().clone() for key, value in model.state_dict().items()}
    weights = {key.replace("base_layer.", ""): value for key, value in weights.items()}  # as older peft named them
    torch.save(weights, checkpoint / "pytorch_model.bin")
    # The released script, word by word but for its argument parsing.
    adapter, others = {}, {}
    for k in weights:
        if "lora" in k:
            adapter[k.replace("default.", "") if "default." in k else k] = weights[k]
        elif any(n in k for n in ("embed", "norm")):
            others[k[17:]] = weights[k]
    torch.save(adapter, folder / "adapter_model.bin")
    torch.save(others, folder / "trainable_params.bin")
    model.peft_config["default"].base_model_name_or_path = BASE
    model.peft_config["default"].inference_mode = True
    model.peft_config["default"].save_pretrained(str(folder))
    save_logits(model, folder, 97, generator)
    open_folder(folder)
    open_folder(checkpoint)


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    write_variant("rslora_patterns", 41, r=4, lora_alpha=12, use_rslora=True,
                  target_modules=["q_proj", "v_proj", "down_proj"],
                  rank_pattern={"layers.1.self_attn.q_proj": 2, "down_proj": 6},
                  alpha_pattern={"^model.layers.0.self_attn.v_proj": 5, "down_proj": 3})
    write_variant("modules_to_save", 42, r=2, lora_alpha=4, target_modules=r".*self_attn\.(q|o)_proj",
                  modules_to_save=["lm_head", "embed_tokens"])
    write_released()
    write_variant("regex_patterns", 43, r=3, lora_alpha=9,
                  target_modules=r"model\.layers\.\d+\.(self_attn\.[qkv]_proj|mlp\.(up|down)_proj)",
                  rank_pattern={r"layers\.[1-9]\d*\.self_attn\.(q|v)_proj": 2, r"model\.(?!.*attn).*down_proj": 5,
                                r"self_attn\.(?P<half>[qk])_proj": 4},
                  alpha_pattern={r"mlp\.(up|down){,1}_proj": 2, r"^model\.layers\.[02]\..*(up|down)_proj$": 7,
                                 r"self_attn\.\w_proj": 5})  # unsorted: mlp counts in training, ^model in the files


if __name__ == "__main__":
    main()
