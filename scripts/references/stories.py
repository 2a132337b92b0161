"""Logits and greedy generation of tests/data/stories260K_hf, a real trained model."""

import sentencepiece
import torch

from scripts.references.common import DATA, GOLDENS, load_model, save_json, save_tensors

FOLDER = GOLDENS / "stories260K"
NUM_TOKENS = 200


@torch.no_grad()
def greedy(model, num_tokens):
    ids = [1]
    while len(ids) <= num_tokens:
        ids.append(int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids


def main():
    folder = DATA / "stories260K_hf"
    model = load_model(folder)
    ids = greedy(model, NUM_TOKENS)
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    text = tokenizer.decode(ids)
    expected = (FOLDER / "expected_greedy_200.txt").read_text()
    if text.strip() != expected.strip():
        raise SystemExit(f"greedy text differs from expected_greedy_200.txt:\n{text!r}\n{expected!r}")
    save_json(FOLDER / "greedy.json", {"ids": ids, "text": text})
    prompt = tokenizer.encode("Once upon a time, there was a big red ball.", add_bos=True)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt]), use_cache=False).logits[0]
    save_tensors(FOLDER / "logits.safetensors", {"ids": torch.tensor(prompt), "logits": logits})
    print(len(ids), "ids;", len(prompt), "prompt ids")


if __name__ == "__main__":
    main()
