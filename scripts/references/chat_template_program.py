"""Compares the program with transformers for folders that hold a tokenizer and its chat template.

    python -m scripts.references.chat_template_program build/release/longlora FOLDER… [--templates]

For each folder a small random model of its vocabulary is made beside a copy of its files. `sft` then tokenizes conversations
(one turn, system, many turns, Unicode), and its ids and learned tokens are read from the file that it keeps beside the data:
they have to be those of apply_chat_template, and where the template has {% generation %} those of
return_assistant_tokens_mask. `answer` asks the last questions, and has to give the greedy answers that transformers gives.
--templates asks each tokenizer by the templates of chat_templates.py, too. Prints each difference, and a count.
"""

import argparse
import json
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from transformers.utils import chat_template_utils

from scripts.references import random_templates
from scripts.references.chat_template_tokens import CONVERSATIONS, turns
from scripts.references.chat_templates import TEMPLATES
from scripts.references.common import randomize

DATE = "2026-01-02"  # of random_templates.NOW
NEW_TOKENS = 6
MORE = [turns("x", "y\n\n\n", "zz " * 300, "  `code`\n\tand tab", system="你好，世界 🙂"), turns("Q", " <b> & \"quotes\" ")]


def cached_samples(path):
    """Ids and learned ranges of the samples in a FILE.KEY.tokens (longlora/data/instruction_cache.cpp)."""
    data = path.read_bytes()
    at = data.index(b"\n") + 1 + 2 * 64  # behind the key and the hash of the rest

    def number(form="<Q"):
        nonlocal at
        value = struct.unpack_from(form, data, at)[0]
        at += struct.calcsize(form)
        return value

    def text():
        nonlocal at
        size = number()
        at += size
        return data[at - size:at].decode()

    problems = [text() for _ in range(number())]
    for _ in range(number()):
        text(), number()
    samples = {}
    for _ in range(number()):
        index = number()
        number("<B")
        ids = [number("<i") for _ in range(number())]
        number(), number()
        samples[index] = (ids, [(number(), number()) for _ in range(number())])
    return samples, problems


def make_model(folder, source, template):
    """A random model for the tokenizer of `source`, asked by `template` or, for None, by the folder's own."""
    for file in source.iterdir():
        if file.is_file() and file.stat().st_size < 100e6 and file.suffix in (".json", ".jinja", ".model"):
            shutil.copy(file, folder)
    if template is not None:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(1)
    config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
                         max_position_embeddings=4096, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id)
    model = LlamaForCausalLM(config).eval()
    randomize(model, torch.Generator().manual_seed(7), scale=0.5)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    return tokenizer, model


def run(*words):
    result = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{' '.join(str(word) for word in words)}\n{result.stderr}")
    return result


def ids_of(tokenizer, messages, **more):
    return tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **more)


def takes(tokenizer, messages):
    try:
        return bool(ids_of(tokenizer, messages)["input_ids"])
    except Exception:  # the template refuses the conversation
        return False


class Comparison:
    def __init__(self, program):
        self.program, self.count, self.differences = program, 0, 0

    def compare(self, what, ours, theirs):
        self.count += 1
        if ours != theirs:
            self.differences += 1
            print(f"{what}:\n  ours   {ours}\n  theirs {theirs}")

    def samples(self, name, folder, tokenizer, conversations):
        file = folder / "data.json"
        file.write_text(json.dumps([{"messages": messages} for messages in conversations], ensure_ascii=False))
        run(self.program, "sft", "--model_name_or_path", folder, "--data_path", file, "--model_max_length", 4096, "--preview", 1, "--prompt_date", DATE)
        samples, problems = cached_samples(next(folder.glob("data.json.*.tokens")))
        self.compare(f"{name}: samples that were refused", problems, [])
        has_mask = "generation %}" in tokenizer.chat_template
        for index, messages in enumerate(conversations):
            whole = ids_of(tokenizer, messages, return_assistant_tokens_mask=has_mask)
            ids, answers = samples[index]
            if len(ids) == len(whole["input_ids"]) + 1 and ids[-1] == tokenizer.eos_token_id:
                ids = ids[:-1]  # behind an answer that no control token ends
            self.compare(f"{name}: ids of conversation {index}", ids, whole["input_ids"])
            if has_mask:
                mask = [0] * len(ids)
                for begin, end in answers:
                    mask[begin:end] = [1] * (end - begin)
                self.compare(f"{name}: learned tokens of conversation {index}", mask, whole["assistant_masks"])
            else:
                question = ids_of(tokenizer, messages[:-1], add_generation_prompt=True)["input_ids"]
                self.compare(f"{name}: what conversation {index} has in front of its answer", ids[:answers[-1][0]], question)

    def answers(self, name, folder, tokenizer, model, conversations):
        file = folder / "questions.json"
        asked = []
        for messages in conversations:
            ids = torch.tensor([ids_of(tokenizer, messages[:-1], add_generation_prompt=True)["input_ids"]])
            written = model.generate(ids, max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0)[0, ids.shape[1]:]
            answer = tokenizer.decode(written, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            if answer.strip() and "\ufffd" not in answer:
                asked.append({"messages": messages[:-1] + [{"role": "assistant", "content": answer}]})
        if not asked:
            return
        file.write_text(json.dumps(asked, ensure_ascii=False))
        run(self.program, "answer", "--base_model", folder, "--dtype", "float32", "--data_path", file, "--max_new_tokens", NEW_TOKENS,
            "--prompt_date", DATE, "--json", folder / "answers.json")
        for answer in json.loads((folder / "answers.json").read_text())["answers"]:
            self.compare(f"{name}: answer to {answer['place']}", answer["answer"], answer["expected"])


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("program", help="build/release/longlora")
    arguments.add_argument("folders", type=Path, nargs="+", help="with a tokenizer and a chat template")
    arguments.add_argument("--templates", action="store_true", help="ask by the templates of chat_templates.py, too")
    given = arguments.parse_args()
    chat_template_utils.datetime = random_templates.Clock
    comparison = Comparison(given.program)
    for source in given.folders:
        for name, template in [("its own template", None)] + list(TEMPLATES.items()) * given.templates:
            with tempfile.TemporaryDirectory() as temporary:
                folder = Path(temporary)
                tokenizer, model = make_model(folder, source, template)
                if tokenizer.chat_template is None:
                    continue
                conversations = [messages for messages in CONVERSATIONS + MORE if messages[-1]["role"] == "assistant" and takes(tokenizer, messages)]
                where = f"{source.name}, {name}"
                comparison.samples(where, folder, tokenizer, conversations)
                comparison.answers(where, folder, tokenizer, model, conversations)
                print(f"{where}: {len(conversations)} conversations")
    print(f"{comparison.count} comparisons, {comparison.differences} differences")
    sys.exit(1 if comparison.differences else 0)


if __name__ == "__main__":
    main()
