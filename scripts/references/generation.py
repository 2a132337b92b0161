"""What transformers' generate() writes under a generation_config.json, and what its warpers leave to be drawn."""

import torch
from transformers import GenerationConfig
from transformers.generation.logits_process import (LogitsProcessorList, MinPLogitsWarper, TemperatureLogitsWarper,
                                                    TopKLogitsWarper, TopPLogitsWarper)

from scripts.references.common import DATA, GOLDENS, load_model, save_json

MODEL = "stories260K_hf"
PROMPT = [1, 403, 407, 261, 378]
SETTINGS = [{}, {"eos_token_id": [2, 395]}, {"repetition_penalty": 2.0}, {"repetition_penalty": 0.8},
            {"do_sample": False, "temperature": 0.3, "repetition_penalty": 1.1}]
WARPERS = [dict(temperature=0.7, top_k=20, top_p=0.8), dict(top_k=3), dict(top_k=4, top_p=0.5), dict(min_p=0.3),
           dict(temperature=1.5, top_k=10, top_p=0.9, min_p=0.2)]


def written(model, settings):
    config = GenerationConfig(**settings, max_new_tokens=40, pad_token_id=0)
    prompt = torch.tensor([PROMPT])
    out = model.generate(prompt, attention_mask=torch.ones_like(prompt), generation_config=config)
    return out[0, len(PROMPT):].tolist()


def drawn(logits, options):
    warpers = LogitsProcessorList([TemperatureLogitsWarper(options.get("temperature", 1.0))])
    for name, warper in (("top_k", TopKLogitsWarper), ("top_p", TopPLogitsWarper), ("min_p", MinPLogitsWarper)):
        if name in options:
            warpers.append(warper(options[name]))
    return warpers(None, logits[None].clone())[0].softmax(-1).tolist()


def main():
    model = load_model(DATA / MODEL)
    cases = [dict(generation_config=settings, ids=written(model, settings)) for settings in SETTINGS]
    logits = torch.randn(40, generator=torch.Generator().manual_seed(7)).round(decimals=3)
    order = logits.argsort(descending=True)
    logits[order[3]] = logits[order[2]]  # a pair of equals at the border of top_k 3
    warped = [dict(options=options, probabilities=drawn(logits, options)) for options in WARPERS]
    save_json(GOLDENS / "generation.json", dict(model=MODEL, prompt=PROMPT, cases=cases, logits=logits.tolist(),
                                                warped=warped))


if __name__ == "__main__":
    main()
