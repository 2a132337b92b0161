"""eval (perplexity and accuracy, both window modes) and score, computed with transformers in float32."""

import math

import numpy
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from scripts.references.common import DATA, GOLDENS, load_model, save_json

FOLDER = GOLDENS / "evaluation"
STEP = 256  # tokens between the starts of two windows
# name: model, data, seq_len, context_size
CASES = {
    "inside_the_window": ("goldens/tiny_models/gqa_untied", "walk", 48, 64),
    # window 64, no rope_scaling: linear scaling by ceil(320 / 64)
    "scaled_by_five": ("goldens/tiny_models/gqa_untied", "walk", 320, 320),
    # has rope_scaling: is not scaled again
    "carries_rope_scaling": ("goldens/tiny_models/linear_x4", "walk", 300, 512),
    "trained_model": ("stories260K_hf", "stories", 256, 512),
    "trained_model_long_windows": ("stories260K_hf", "stories", 400, 512),
}


def write_walk():
    random = numpy.random.RandomState(7)
    return numpy.cumsum(random.choice([1, 1, 2, 11], size=1700)) % 96


@torch.no_grad()
def write_stories():
    """Stories that the model tells itself, a little at random, each behind a beginning-of-text id."""
    torch.manual_seed(5)
    model = load_model(DATA / "stories260K_hf")
    rows = model.generate(torch.ones(5, 1, dtype=torch.long), do_sample=True, temperature=0.9, top_k=None,
                          max_new_tokens=349, eos_token_id=None, pad_token_id=0)
    return rows.flatten().numpy()


def write_ids():
    FOLDER.mkdir(parents=True, exist_ok=True)
    data = {"walk": write_walk(), "stories": write_stories()}
    for name, ids in data.items():
        ids.astype("<u2").tofile(FOLDER / f"{name}.bin")
    return {name: ids.astype("int64") for name, ids in data.items()}


def load_for(folder, context_size):
    config = LlamaConfig.from_pretrained(folder)
    factor = math.ceil(context_size / config.max_position_embeddings)
    if config.rope_parameters["rope_type"] == "default" and factor > 1:
        config.rope_parameters = {"rope_type": "linear", "factor": float(factor), "rope_theta": 10000.0}
    return LlamaForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32, attn_implementation="eager")


@torch.no_grad()
def evaluate(model, data, seq_len):
    """The released evaluation window by window, and beside it the true sliding window."""
    starts = list(range(0, len(data) - seq_len, STEP))
    starts.pop()
    losses, hits, last_losses, last_hits = [], [], [], []
    for start in starts:
        ids = torch.from_numpy(data[start:start + seq_len])
        targets = torch.from_numpy(data[start + 1:start + seq_len + 1])
        logits = model(input_ids=ids[None], use_cache=False).logits[0]
        hit = (logits.argmax(-1) == targets).double()
        loss = torch.nn.functional.cross_entropy(logits[:-1], ids[1:], reduction="none").double()
        losses.append(loss.mean().item())
        hits.append(hit.mean().item())
        counted = slice(0, None) if start == 0 else slice(max(0, seq_len - 1 - STEP), None)
        last_losses.append(loss[counted])
        last_hits.append(hit[:-1][counted])
    val_loss = float(numpy.mean(losses))
    last_loss = torch.cat(last_losses).mean().item()
    return {
        "windows": len(starts),
        "whole": {"val_loss": val_loss, "val_perplexity": math.exp(val_loss), "val_acc": float(numpy.mean(hits)),
                  "window_losses": losses},
        "last": {"val_loss": last_loss, "val_perplexity": math.exp(last_loss),
                 "val_acc": torch.cat(last_hits).mean().item(), "tokens": torch.cat(last_losses).numel()},
    }


@torch.no_grad()
def score(name, ids):
    model = load_model(DATA / name)
    logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    chosen = logits[:-1].double().log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    return {"model": name, "ids": ids, "logprobs": chosen.tolist()}


def main():
    data = write_ids()
    results = {}
    for name, (model, source, seq_len, context_size) in CASES.items():
        results[name] = {"model": model, "data": f"goldens/evaluation/{source}.bin", "seq_len": seq_len,
                         "context_size": context_size,
                         **evaluate(load_for(DATA / model, context_size), data[source], seq_len)}
        print(name, results[name]["whole"]["val_loss"], results[name]["whole"]["val_acc"])
    save_json(FOLDER / "eval.json", results)
    walk, stories = data["walk"].tolist(), data["stories"].tolist()
    save_json(FOLDER / "score.json", [score("goldens/tiny_models/mha_tied", walk[:40]),
                                      score("goldens/tiny_models/yarn_x8", walk[40:101]),
                                      score("stories260K_hf", stories[:80])])


if __name__ == "__main__":
    main()
