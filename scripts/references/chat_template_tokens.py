"""Conversations as ids, by transformers: tests/data/goldens/chat_templates/tokens.json.

Each template of chat_templates.py goes with small tokenizers of tests/data/tokenizers. A case holds the ids of
apply_chat_template: `ids` of a conversation that ends with an answer, with `mask` (return_assistant_tokens_mask) where the
template has {% generation %}, and `question`, those of the conversation without that answer and with
add_generation_prompt. `model` is a random model for the tokenizer qwen; `answers` are what it answers greedily to some of the
conversations, asked by templates. Run chat_templates first.
"""

import json

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

from scripts.references import random_templates
from scripts.references.chat_templates import FOLDER, TEMPLATES
from scripts.references.common import DATA, open_folder, randomize

# Settings and templates of each tokenizer. Some markers of a template are no tokens of it, and spelled in pieces.
TOKENIZERS = {
    "gpt2": ({"eos_token": "<|endoftext|>"}, ["chatml", "smollm2", "qwen25", "qwen3", "chatml_generation"]),
    "qwen": ({"eos_token": "<|im_end|>"}, ["chatml", "smollm2", "qwen25", "qwen3", "zephyr", "chatml_generation", "llama3_generation"]),
    "llama2": ({"eos_token": "</s>", "bos_token": "<s>"},
               ["llama2", "mistral", "zephyr", "vicuna", "phi3", "gemma", "chatml", "chatml_generation", "llama3_generation"]),
    "llama3": ({"eos_token": "<|end_of_text|>", "bos_token": "<|begin_of_text|>"}, ["llama3", "llama31", "llama3_generation"]),
}


def turns(*contents, system=None):
    """Users' and the assistant's turns in alternation."""
    messages = [{"role": "system", "content": system}] if system else []
    return messages + [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]


CONVERSATIONS = [
    turns("What is a licence?", "A permission."),
    turns("One?", "1", "Straße, naïve — 日本? ", "né à Zürich 🙂\n\nmore", system="Be short."),
    turns("Hello"),
    turns("\tTabs, \u00a0 and e\u0301 — ﷺ 𝕏\r\n", system="Ünï  "),
    turns("  Who ran?\n", "The dog.\n\n", "And who  sat", " A cat: \"Miau\" ", "{{ x }} {% y %}"),
]


def tokenizer_of(name):
    return PreTrainedTokenizerFast(tokenizer_file=str(DATA / "tokenizers" / name / "tokenizer.json"), **TOKENIZERS[name][0])


def ids_of(tokenizer, messages, template, **more):
    return tokenizer.apply_chat_template(messages, chat_template=TEMPLATES[template], tokenize=True, return_dict=True, **more)


def case_of(tokenizer, messages, template):
    case = {}
    question = messages[:-1] if messages[-1]["role"] == "assistant" else messages
    case["question"] = ids_of(tokenizer, question, template, add_generation_prompt=True)["input_ids"]
    if messages[-1]["role"] == "assistant":
        has_mask = "generation %}" in TEMPLATES[template]
        whole = ids_of(tokenizer, messages, template, return_assistant_tokens_mask=has_mask)
        case["ids"] = whole["input_ids"]
        if has_mask:
            case["mask"] = whole["assistant_masks"]
    return case


def cases():
    for name, (_, templates) in TOKENIZERS.items():
        tokenizer = tokenizer_of(name)
        for template in templates:
            for index, messages in enumerate(CONVERSATIONS):
                try:
                    case = case_of(tokenizer, messages, template)
                except Exception as error:  # the template refuses the conversation
                    print(name, template, index, error)
                    continue
                yield {"tokenizer": name, "template": template, "conversation": index, **case}


def random_model():
    torch.manual_seed(7)
    config = LlamaConfig(vocab_size=608, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
                         max_position_embeddings=1024, bos_token_id=None, eos_token_id=602)
    model = LlamaForCausalLM(config).eval()
    randomize(model, torch.Generator().manual_seed(7), scale=0.5)
    model.save_pretrained(FOLDER / "model")
    (FOLDER / "model" / "generation_config.json").unlink()
    open_folder(FOLDER / "model")
    return model


def answers():
    """Greedy answers of a random model, of which every id of a question decides."""
    model = random_model()
    tokenizer = tokenizer_of("qwen")
    for template in TOKENIZERS["qwen"][1]:
        for index in (2, 3, 4):
            ids = torch.tensor([ids_of(tokenizer, CONVERSATIONS[index], template, add_generation_prompt=True)["input_ids"]])
            written = model.generate(ids, max_new_tokens=8, do_sample=False, pad_token_id=0)[0, ids.shape[1]:].tolist()
            yield {"template": template, "conversation": index, "prompt_tokens": ids.shape[1], "answer_ids": written,
                   "answer": tokenizer.decode(written, skip_special_tokens=True)}


def main():
    chat_template_utils.datetime = random_templates.Clock
    golden = {"settings": {name: settings for name, (settings, _) in TOKENIZERS.items()}, "now": random_templates.NOW,
              "conversations": CONVERSATIONS, "cases": list(cases()), "answers": list(answers())}
    (FOLDER / "tokens.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n")
    print(len(golden["cases"]), "conversations,", len(golden["answers"]), "answers")


if __name__ == "__main__":
    main()
