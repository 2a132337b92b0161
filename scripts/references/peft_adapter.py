"""A LoRA+ adapter written by peft, and the logits that transformers + peft compute with it."""

import shutil

import torch
from peft import LoraConfig, get_peft_model

from scripts.references.common import GOLDENS, load_model, save_tensors
from scripts.references.training_curves import save_adapter

BASE = "tiny_models/gqa_untied"
FOLDER = GOLDENS / "peft_adapter"


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    lora = LoraConfig(r=4, lora_alpha=12, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM",
                      target_modules=["q_proj", "v_proj", "down_proj"])
    model = get_peft_model(load_model(GOLDENS / BASE), lora).eval()
    generator = torch.Generator().manual_seed(31)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
            elif "embed" in name or "norm" in name:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
                parameter.requires_grad_(True)
    save_adapter(model, FOLDER, BASE)
    ids = torch.randint(0, 96, (2, 23), generator=generator)
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits
    save_tensors(FOLDER / "golden.safetensors", {"ids": ids, "logits": logits})


if __name__ == "__main__":
    main()
