"""Random Llama models of every shape, with logits, loss and gradients (full attention, float32)."""

import json

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from scripts.references.common import GOLDENS, load_model, next_token_loss, open_folder, randomize, save_tensors

BASE = dict(
    vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=4, max_position_embeddings=64, rms_norm_eps=1e-5, tie_word_embeddings=False,
    rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, bos_token_id=1, eos_token_id=2,
)

# name -> (changes of the config, dtype on disk, largest shard, config.json in the older form)
VARIANTS = {
    "mha_tied": (dict(tie_word_embeddings=True), torch.float32, None, True),
    "gqa_untied": (dict(num_key_value_heads=2, num_hidden_layers=3), torch.float32, None, False),
    "odd_kv": (dict(num_attention_heads=6, num_key_value_heads=3, hidden_size=48, vocab_size=64), torch.float32, None,
               True),
    "mqa": (dict(num_key_value_heads=1, rms_norm_eps=1e-6), torch.float32, None, False),
    "bfloat16": (dict(num_key_value_heads=2), torch.bfloat16, None, False),
    "sharded": (dict(num_key_value_heads=2, vocab_size=100), torch.float32, "30KB", False),
    "linear_x4": (dict(num_key_value_heads=2, rope_parameters={
        "rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}), torch.float32, None, True),
    "yarn_x8": (dict(num_key_value_heads=2, tie_word_embeddings=True, rope_parameters={
        "rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 8, "rope_theta": 500.0}),
        torch.float32, None, False),
}


def to_older_config(folder):
    """config.json as transformers before 5 wrote it: rope_theta and rope_scaling apart, torch_dtype."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    kind = rope.pop("rope_type")
    config["rope_scaling"] = None if kind == "default" else {"type": kind, **rope}
    config["torch_dtype"] = config.pop("dtype")
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def make_model(folder, changes, dtype, shard, older, seed):
    generator = torch.Generator().manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**{**BASE, **changes}))
    randomize(model, generator)
    model = model.to(dtype)

    for old in folder.glob("*"):
        old.unlink()
    model.save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
    if older:
        to_older_config(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    open_folder(folder)


def golden_of(folder, seed):
    model = load_model(folder)
    ids = torch.randint(0, model.config.vocab_size, (2, 23), generator=torch.Generator().manual_seed(seed))
    logits = model(input_ids=ids, use_cache=False).logits
    loss = next_token_loss(logits, ids)
    loss.backward()
    result = {"ids": ids, "logits": logits, "loss": loss}
    for name, parameter in model.named_parameters():
        result["grad." + name] = parameter.grad
    return result


def main():
    for seed, (name, (changes, dtype, shard, older)) in enumerate(VARIANTS.items()):
        folder = GOLDENS / "tiny_models" / name
        folder.mkdir(parents=True, exist_ok=True)
        make_model(folder, changes, dtype, shard, older, 100 + seed)
        golden = golden_of(folder, 200 + seed)
        save_tensors(folder / "golden.safetensors", golden)
        print(f"{name}: loss {golden['loss'].item():.6f}")


if __name__ == "__main__":
    main()
