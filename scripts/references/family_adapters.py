"""LoRA+ adapters of peft on models with fused projections and biases: logits, loss and the gradient of all that trains."""

import shutil

import torch
from peft import LoraConfig, get_peft_model

from scripts.references import families
from scripts.references.common import GOLDENS, checkpoint_name, next_token_loss, save_tensors
from scripts.references.training_curves import plain_name, save_adapter

# name -> (base model, target modules)
CASES = {
    "neox": ("families/neox", ["query_key_value", "dense"]),
    "phi3": ("families/phi3", ["qkv_proj", "o_proj", "gate_up_proj"]),
    "qwen2": ("families/qwen2", ["q_proj", "k_proj", "v_proj", "o_proj"]),
}


def make(name, base, targets, seed):
    folder = GOLDENS / "family_adapters" / name
    shutil.rmtree(folder, ignore_errors=True)
    lora = LoraConfig(r=4, lora_alpha=12, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM", target_modules=targets)
    model = get_peft_model(families.load(GOLDENS / base), lora).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            parameter_name = checkpoint_name(model, plain_name(parameter_name))
            if "lora_" in parameter_name:
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
            elif "embed" in parameter_name or "norm" in parameter_name:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
                parameter.requires_grad_(True)
    save_adapter(model, folder, base)
    ids = torch.randint(0, 48, (2, 23), generator=generator)
    logits = model(input_ids=ids, use_cache=False).logits
    loss = next_token_loss(logits, ids)
    loss.backward()
    golden = {"ids": ids, "logits": logits, "loss": loss}
    for parameter_name, parameter in model.named_parameters():
        if parameter.requires_grad:
            golden["grad." + checkpoint_name(model, plain_name(parameter_name))] = parameter.grad
    save_tensors(folder / "golden.safetensors", golden)
    print(f"{name}: loss {loss.item():.6f}, {len(golden) - 3} gradients")


def main():
    for seed, (name, (base, targets)) in enumerate(CASES.items()):
        make(name, base, targets, 500 + seed)


if __name__ == "__main__":
    main()
