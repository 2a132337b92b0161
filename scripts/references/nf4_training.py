"""A model in NF4 as transformers and bitsandbytes save it, and QLoRA's loss and gradients on it by them and peft.

goldens/nf4: `base` (bfloat16), `quantized` and `plain_scales` (what save_pretrained writes of the base loaded in NF4,
with and without double quantisation), `adapter` (pairs and the trained embedding and norms), and golden.safetensors,
computed in float32.
"""

import json
import shutil

import bitsandbytes
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

from scripts.references.common import GOLDENS, next_token_loss, open_folder, randomize, save_tensors
from scripts.references.training_curves import plain_name, save_adapter

FOLDER = GOLDENS / "nf4"


def write_base():
    # Rows are whole blocks: bitsandbytes' vector code takes them for that.
    config = LlamaConfig(vocab_size=64, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
                         tie_word_embeddings=False)
    model = LlamaForCausalLM(config)
    randomize(model, torch.Generator().manual_seed(130))
    model.to(torch.bfloat16).save_pretrained(FOLDER / "base")
    open_folder(FOLDER / "base")


def load_nf4(path, dtype, double_quant=None):
    settings = {}
    if double_quant is not None:
        settings["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=double_quant,
            bnb_4bit_compute_dtype=torch.float32)
    model = AutoModelForCausalLM.from_pretrained(path, device_map="cpu", dtype=dtype, **settings)
    assert isinstance(model.model.layers[0].mlp.down_proj, bitsandbytes.nn.Linear4bit)
    return model


def main():
    torch.set_num_threads(1)
    for name in ("base", "quantized", "plain_scales", "adapter"):
        shutil.rmtree(FOLDER / name, ignore_errors=True)
    write_base()
    for name, double_quant in (("quantized", True), ("plain_scales", False)):
        load_nf4(FOLDER / "base", torch.bfloat16, double_quant).save_pretrained(FOLDER / name)
        open_folder(FOLDER / name)
        print(name, json.loads((FOLDER / name / "config.json").read_text())["quantization_config"])

    base = load_nf4(FOLDER / "base", torch.float32, True)
    ids = torch.randint(0, 64, (2, 23), generator=torch.Generator().manual_seed(131))
    golden = {"ids": ids}
    with torch.no_grad():
        golden["base_logits"] = base.train()(input_ids=ids, use_cache=False).logits
    lora = LoraConfig(r=4, lora_alpha=12, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM",
                      target_modules=["q_proj", "v_proj", "o_proj", "down_proj"])
    model = get_peft_model(base, lora).train()
    generator = torch.Generator().manual_seed(132)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
            elif "embed" in name or "norm" in name:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
                parameter.requires_grad_(True)
    save_adapter(model, FOLDER / "adapter", "nf4/base")
    logits = model(input_ids=ids, use_cache=False).logits
    loss = next_token_loss(logits, ids)
    loss.backward()
    golden |= {"logits": logits, "loss": loss}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            golden["grad." + plain_name(name)] = parameter.grad
    save_tensors(FOLDER / "golden.safetensors", golden)
    print(f"loss {loss.item():.6f}, {len(golden) - 4} gradients")


if __name__ == "__main__":
    main()
