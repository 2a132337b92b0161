"""Ten optimizer steps of transformers (+ peft): full fine-tuning, and LoRA+ under S² attention.

Rows are consecutive ids of train.bin (uint16), two rows a micro-batch, two micro-batches a step. The loss of a step is
the mean over all supervised tokens of its four rows. Weight decay is not applied to vectors (norms), as in
transformers' Trainer.
"""

import shutil

import numpy
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, get_constant_schedule_with_warmup

from scripts.references import tiny_models
from scripts.references.common import GOLDENS, checkpoint_name, load_model, open_folder, register_s2, save_json, save_tensors

FOLDER = GOLDENS / "training"
STEPS, ROWS, ACCUMULATION = 10, 2, 2
RATE, WARMUP, CLIP = 1e-3, 3, 1.0
LORA_TOKENS, GROUP, FACTOR = 40, 16, 4.0


def write_ids(path, tokens, vocabulary, seed):
    """Ids that a model can learn something about: a noisy walk."""
    random = numpy.random.RandomState(seed)
    steps = random.choice([1, 1, 1, 5, 17], size=STEPS * ROWS * ACCUMULATION * tokens)
    ids = (numpy.cumsum(steps) % (vocabulary - 3) + 3).astype("<u2")
    path.parent.mkdir(parents=True, exist_ok=True)
    ids.tofile(path)
    return torch.from_numpy(ids.astype("int64")).reshape(STEPS, ACCUMULATION, ROWS, tokens)


def optimizer_of(model, weight_decay):
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.95), eps=1e-8)


def train(model, batches, weight_decay):
    """Per-step loss, gradient norm before clipping, and learning rate."""
    model.train()
    optimizer = optimizer_of(model, weight_decay)
    schedule = get_constant_schedule_with_warmup(optimizer, WARMUP)
    log = []
    for window in batches:
        supervised = window[:, :, 1:].numel()
        total = 0.0
        for ids in window:
            logits = model(input_ids=ids, use_cache=False).logits
            loss = torch.nn.functional.cross_entropy(
                logits[:, :-1].reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1), reduction="sum") / supervised
            loss.backward()
            total += loss.item()
        norm = torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], CLIP)
        log.append({"loss": total, "grad_norm": norm.item(), "learning_rate": schedule.get_last_lr()[0]})
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return log


def full_fine_tuning():
    base = GOLDENS / "tiny_models" / "gqa_untied"
    tokens = 32
    batches = write_ids(FOLDER / "full" / "train.bin", tokens, 96, 1)
    for name, weight_decay in (("plain", 0.0), ("weight_decay", 0.1)):
        model = load_model(base)
        log = train(model, batches, weight_decay)
        settings = dict(base="goldens/tiny_models/gqa_untied", attention="full", tokens=tokens, weight_decay=weight_decay)
        save_json(FOLDER / "full" / f"{name}.json", {"settings": {**settings, **shared_settings()}, "steps": log})
        final = {k: v for k, v in model.named_parameters()
                 if k in ("model.norm.weight", "model.layers.0.self_attn.q_proj.weight",
                          "model.layers.2.mlp.down_proj.weight", "model.layers.1.input_layernorm.weight")}
        save_tensors(FOLDER / "full" / f"{name}.safetensors", final)
        print(name, [round(step["loss"], 5) for step in log])


def shared_settings():
    return dict(rows=ROWS, accumulation=ACCUMULATION, steps=STEPS, learning_rate=RATE, warmup_steps=WARMUP,
                schedule="constant_with_warmup", beta1=0.9, beta2=0.95, epsilon=1e-8, max_grad_norm=CLIP)


def plain_name(name):
    return name.removeprefix("base_model.model.").replace(".default", "").replace(".base_layer", "")


def make_base(folder, tied, seed):
    """A base with a window of 10, so that 40 tokens are linear scaling by 4."""
    folder.mkdir(parents=True, exist_ok=True)
    changes = dict(num_key_value_heads=2, max_position_embeddings=10, tie_word_embeddings=tied)
    tiny_models.make_model(folder, changes, torch.float32, None, True, seed)


def lora_model(base, seed):
    config = LlamaConfig.from_pretrained(base)
    config.rope_parameters = {"rope_type": "linear", "factor": FACTOR, "rope_theta": 10000.0}
    model = LlamaForCausalLM.from_pretrained(base, config=config, dtype=torch.float32, attn_implementation="s2")
    lora = LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM",
                      target_modules=["q_proj", "k_proj", "v_proj", "o_proj"])
    model = get_peft_model(model, lora)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:  # B is not left at zero: then A's gradient says something too
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * (0.1 if "lora_A" in name else 0.05))
            if "embed" in name or "norm" in name:
                parameter.requires_grad_(True)
    return model


def save_adapter(model, folder, base_name):
    """adapter_model.safetensors by peft itself, and trainable_params.safetensors with the other trained ones."""
    model.peft_config["default"].base_model_name_or_path = base_name
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    others = {checkpoint_name(model, plain_name(k)): v for k, v in model.named_parameters() if v.requires_grad and "lora_" not in k}
    save_tensors(folder / "trainable_params.safetensors", others)
    open_folder(folder)


def lora_plus(name, tied, seed):
    base = FOLDER / name / "base"
    make_base(base, tied, seed)
    register_s2(GROUP)
    batches = write_ids(FOLDER / name / "train.bin", LORA_TOKENS, 96, seed)
    model = lora_model(base, seed + 1)
    shutil.rmtree(FOLDER / name / "initial_adapter", ignore_errors=True)
    save_adapter(model, FOLDER / name / "initial_adapter", "base")
    log = train(model, batches, 0.0)
    final = {plain_name(k): v for k, v in model.named_parameters() if v.requires_grad}
    save_tensors(FOLDER / name / "final.safetensors", final)
    settings = dict(base=f"goldens/training/{name}/base", attention="s2", group=GROUP, tokens=LORA_TOKENS, weight_decay=0.0,
                    rope_scaling="linear", rope_factor=FACTOR, lora_r=8, lora_alpha=16)
    save_json(FOLDER / name / "curve.json", {"settings": {**settings, **shared_settings()}, "steps": log})
    print(name, [round(step["loss"], 5) for step in log])


def main():
    full_fine_tuning()
    lora_plus("lora_plus", False, 11)
    lora_plus("lora_plus_tied", True, 21)


if __name__ == "__main__":
    main()
