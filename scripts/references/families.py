"""Random models of every family and rotary scaling: logits, loss, gradients and greedy generation of transformers.

Full attention inside the model's own sliding window, float32. Sequences lie beyond the model's original window (16) and
below it.
"""

import json

import torch
from transformers import AutoModelForCausalLM
from transformers import (GPTNeoXConfig, LlamaConfig, MinistralConfig, MistralConfig, Phi3Config, Qwen2Config, Qwen3Config,
                          StableLmConfig)

from scripts.references.common import GOLDENS, checkpoint_name, next_token_loss, open_folder, save_tensors

FOLDER = GOLDENS / "families"
WINDOW = 16
LONG, SHORT, PROMPT, NEW = 23, 11, 9, 14

BASE = dict(vocab_size=48, hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=WINDOW, bos_token_id=1, eos_token_id=None, pad_token_id=None)
GROUPED = dict(num_key_value_heads=2)


def rope(kind, **values):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 100.0, **values}}


def long_rope(pairs, **values):
    return rope("longrope", short_factor=[1.0 + 0.1 * i for i in range(pairs)],
                long_factor=[1.5 + 0.4 * i for i in range(pairs)], **values)


# name -> (configuration class, changes, dtype on disk, config.json in the older form)
VARIANTS = {
    "llama_biases": (LlamaConfig, dict(attention_bias=True, mlp_bias=True, tie_word_embeddings=True), "float32", True),
    "llama_head_dim": (LlamaConfig, dict(**GROUPED, head_dim=6), "float16", False),
    "llama_gelu": (LlamaConfig, dict(hidden_act="gelu_pytorch_tanh"), "bfloat16", False),
    "llama_dynamic": (LlamaConfig, dict(**GROUPED, head_dim=8, **rope("dynamic", factor=3.0)), "float32", True),
    "llama_longrope": (LlamaConfig, dict(head_dim=8, **long_rope(4, factor=4.0, original_max_position_embeddings=16)),
                       "float32", True),
    "llama_llama3": (LlamaConfig, dict(head_dim=8, max_position_embeddings=64, **rope(
        "llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)),
        "float32", False),
    "mistral": (MistralConfig, dict(**GROUPED, sliding_window=5), "float32", False),
    "mistral_no_window": (MistralConfig, dict(num_key_value_heads=1, sliding_window=None, head_dim=10), "bfloat16",
                          True),
    "mistral_linear": (MistralConfig, dict(**GROUPED, sliding_window=12, **rope("linear", factor=2.0)), "float32", True),
    "qwen2": (Qwen2Config, dict(**GROUPED, tie_word_embeddings=True), "bfloat16", True),
    "qwen2_window": (Qwen2Config, dict(**GROUPED, num_hidden_layers=3, use_sliding_window=True, sliding_window=4,
                                       max_window_layers=1), "float32", False),
    "qwen2_yarn": (Qwen2Config, dict(**GROUPED, head_dim=8, **rope(
        "yarn", factor=4.0, original_max_position_embeddings=16)), "float32", True),
    "qwen3": (Qwen3Config, dict(**GROUPED, head_dim=6), "float32", False),
    "qwen3_biases": (Qwen3Config, dict(num_key_value_heads=4, head_dim=8, attention_bias=True, use_sliding_window=True,
                                       sliding_window=7, max_window_layers=1), "float16", True),
    "neox": (GPTNeoXConfig, dict(), "float16", True),
    "neox_sequential": (GPTNeoXConfig, dict(use_parallel_residual=False, tie_word_embeddings=True), "float32", False),
    "neox_odd_heads": (GPTNeoXConfig, dict(hidden_size=28, num_attention_heads=4, attention_bias=False, hidden_act="gelu_new",
                                           **rope("default", partial_rotary_factor=0.5)), "float32", False),
    "neox_odd_rotary": (GPTNeoXConfig, dict(hidden_size=40, num_attention_heads=4, num_hidden_layers=1,
                                            **rope("linear", factor=2.0, partial_rotary_factor=0.5)), "float32", True),
    "neox_dynamic": (GPTNeoXConfig, dict(**rope("dynamic", factor=2.0, partial_rotary_factor=1.0)), "float32", True),
    "phi3": (Phi3Config, dict(**GROUPED), "bfloat16", True),
    "phi3_longrope": (Phi3Config, dict(max_position_embeddings=64, original_max_position_embeddings=16, **long_rope(2)),
                      "float32", True),
    "phi3_partial": (Phi3Config, dict(**GROUPED, hidden_size=32, max_position_embeddings=64, sliding_window=6,
                                      tie_word_embeddings=True, original_max_position_embeddings=16,
                                      **long_rope(3, partial_rotary_factor=0.75)), "float32", False),
    "stablelm": (StableLmConfig, dict(**GROUPED, hidden_size=32, use_qkv_bias=True), "bfloat16", True),
    "stablelm_parallel": (StableLmConfig, dict(num_key_value_heads=4, use_parallel_residual=True, tie_word_embeddings=True,
                                               **rope("yarn", factor=4.0, original_max_position_embeddings=16,
                                                      partial_rotary_factor=0.5)), "float32", False),
    "ministral": (MinistralConfig, dict(**GROUPED, head_dim=6, num_hidden_layers=3, sliding_window=5, layer_types=[
        "full_attention", "sliding_attention", "full_attention"]), "float32", False),
}


def randomize(model, generator):
    """Weights far enough from zero that every part of the model shows in the result."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith(".bias"):
                parameter.copy_(0.3 * noise)
            elif parameter.dim() == 1:
                parameter.copy_(1.0 + 0.2 * noise)
            else:
                tied = model.config.tie_word_embeddings
                parameter.copy_((0.3 if tied and "embed" in name else 0.6 if "embed" in name else 0.3) * noise)


def to_older_config(folder):
    """config.json as transformers before 5 wrote it."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    parameters = config.pop("rope_parameters")
    neox = config["model_type"] == "gpt_neox"
    config["rotary_emb_base" if neox else "rope_theta"] = parameters.pop("rope_theta")
    fraction = parameters.pop("partial_rotary_factor", None)
    if fraction is not None:
        config["rotary_pct" if neox else "partial_rotary_factor"] = fraction
    kind = parameters.pop("rope_type")
    if config["model_type"] == "phi3":
        parameters.pop("original_max_position_embeddings", None)
    config["rope_scaling"] = None if kind == "default" else {"type": kind, **parameters}
    config["torch_dtype"] = config.pop("dtype")
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def make_model(folder, config, dtype, older, seed):
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    randomize(model, torch.Generator().manual_seed(seed))
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*"):
        old.unlink()
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    if older:
        to_older_config(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    open_folder(folder)


def load(folder):
    """A fresh one each time: the angles of dynamic scaling depend on what a model has seen."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def golden_of(folder, seed):
    model = load(folder)
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, model.config.vocab_size, (2, LONG), generator=generator)
    logits = model(input_ids=ids, use_cache=False).logits
    loss = next_token_loss(logits, ids)
    loss.backward()
    result = {"ids": ids, "logits": logits, "loss": loss}
    for name, parameter in model.named_parameters():
        result["grad." + checkpoint_name(model, name)] = parameter.grad
    with torch.no_grad():
        result["below.logits"] = load(folder)(input_ids=ids[:, :SHORT], use_cache=False).logits
        # From inside the original window to beyond it.
        result["generated"] = load(folder).generate(ids[:1, :PROMPT], attention_mask=torch.ones(1, PROMPT, dtype=torch.long),
                                                    do_sample=False, max_new_tokens=NEW)[0]
    return result


def main():
    for seed, (name, (kind, changes, dtype, older)) in enumerate(VARIANTS.items()):
        config = kind(**{**BASE, **rope("default"), **changes})
        make_model(FOLDER / name, config, dtype, older, 300 + seed)
        golden = golden_of(FOLDER / name, 400 + seed)
        save_tensors(FOLDER / name / "golden.safetensors", golden)
        print(f"{name}: loss {golden['loss'].item():.6f}, generated {golden['generated'].tolist()}")


if __name__ == "__main__":
    main()
