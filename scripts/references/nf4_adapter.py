"""An adapter that peft trained on a base in NF4 (QLoRA), and what it computes on the full-precision base.

The base is a random Llama whose linear layers bitsandbytes keeps in NF4 while the pairs, the embedding and the norms
train for some steps. The pairs are saved as peft saves them, the rest as LongLoRA's trainable_params.bin.
"""

import shutil

import bitsandbytes
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

from scripts.references.common import GOLDENS, load_model, open_folder, randomize, save_tensors

FOLDER = GOLDENS / "nf4_adapter"
NUM_STEPS = 6


def write_base(generator):
    config = LlamaConfig(vocab_size=64, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
                         tie_word_embeddings=False)
    model = LlamaForCausalLM(config)
    randomize(model, generator)
    model.to(torch.bfloat16).save_pretrained(FOLDER / "base")
    open_folder(FOLDER / "base")


def is_trained(name):
    return "lora_" in name or "embed" in name or "norm" in name


def train(generator):
    nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
    base = AutoModelForCausalLM.from_pretrained(FOLDER / "base", quantization_config=nf4, device_map="cpu",
                                                dtype=torch.float32)
    layer = base.model.layers[0].self_attn.q_proj
    assert isinstance(layer, bitsandbytes.nn.Linear4bit) and layer.weight.dtype == torch.uint8
    torch.manual_seed(91)
    model = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM",
                                            target_modules=["q_proj", "k_proj", "v_proj", "o_proj"]))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(is_trained(name))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2, weight_decay=0.0)
    for step in range(NUM_STEPS):
        ids = torch.randint(0, 64, (2, 24), generator=generator)
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"step {step} loss {loss.item():.4f}")
    adapter = FOLDER / "adapter"
    model.peft_config["default"].base_model_name_or_path = "nf4_adapter/base"
    model.save_pretrained(adapter)
    (adapter / "README.md").unlink(missing_ok=True)
    prefix = "base_model.model."
    torch.save({name.removeprefix(prefix): parameter.detach().float().clone()
                for name, parameter in model.named_parameters() if is_trained(name) and "lora_" not in name},
               adapter / "trainable_params.bin")
    open_folder(adapter)


def write_golden(generator):
    """peft's own merge of both files onto the base in full precision."""
    model = load_model(FOLDER / "base")
    model.load_state_dict(torch.load(FOLDER / "adapter" / "trainable_params.bin", weights_only=True), strict=False)
    merged = PeftModel.from_pretrained(model, FOLDER / "adapter").merge_and_unload().eval()
    ids = torch.randint(0, 64, (2, 21), generator=generator)
    with torch.no_grad():
        logits = merged(input_ids=ids, use_cache=False).logits
    names = ("model.layers.0.self_attn.q_proj.weight", "model.layers.1.self_attn.v_proj.weight")
    weights = {f"weight.{name}": merged.state_dict()[name] for name in names}
    save_tensors(FOLDER / "golden.safetensors", {"ids": ids, "logits": logits, **weights})


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    generator = torch.Generator().manual_seed(90)
    write_base(generator)
    train(generator)
    write_golden(generator)


if __name__ == "__main__":
    main()
