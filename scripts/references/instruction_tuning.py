"""Supervised fine-tuning by transformers, peft and tokenizers: which tokens are learned, and the loss and gradients.

`tokens.json`: conversations in every prompt form through the small tokenizers of tests/data/tokenizers, each piece
encoded as one text; a token is learned when its offsets reach into an answer. The forms are written out here once more,
independently of the program; ChatML comes from transformers' own chat template.

`*/golden.safetensors`: three samples of different lengths padded to one batch, LoRA by peft; the loss is the mean over
all learned tokens. `loraplus`: three steps with the parameter groups of peft's create_loraplus_optimizer.
"""

import json
import shutil

import torch
from peft import LoraConfig, get_peft_model
from peft.optimizers import create_loraplus_optimizer
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from scripts.references.common import DATA, GOLDENS, register_s2, save_tensors
from scripts.references.training_curves import plain_name, save_adapter

FOLDER = GOLDENS / "instruction_tuning"
BASE = GOLDENS / "tiny_models" / "gqa_untied"
TOKENIZERS = {"gpt2": "<|endoftext|>", "llama2": "</s>", "qwen": "<|im_end|>", "neox": "<|endoftext|>"}
IGNORE = -100

CHATML = ("{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + "
          "'\n' }}{% endfor %}")

CONVERSATIONS = [
    {"instruction": "What is a licence?", "output": "A permission."},
    {"instruction": "Name it.", "input": "the Work and Derivative Works", "output": " distribution\nof the Work"},
    {"instruction": "Straße, naïve — 日本?", "output": "né à Zürich 🙂"},
    {"messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "One?"},
                  {"role": "assistant", "content": "1"}, {"role": "user", "content": "Two? "},
                  {"role": "assistant", "content": "2 and\n\nmore"}]},
    {"conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "hello"}]},
]


def turns_of(sample):
    """(system, [(question, input, answer), …])"""
    if "instruction" in sample:
        return None, [(sample["instruction"], sample.get("input", ""), sample["output"])]
    messages = sample.get("messages") or [
        {"role": {"human": "user", "gpt": "assistant"}[m["from"]], "content": m["value"]} for m in sample["conversations"]]
    system = messages[0]["content"] if messages[0]["role"] == "system" else None
    rest = messages[1:] if system is not None else messages
    return system, [(q["content"], "", a["content"]) for q, a in zip(rest[::2], rest[1::2])]


def alpaca(system, turns):
    for i, (question, material, answer) in enumerate(turns):
        task = "Below is an instruction that describes a task"
        if material:
            task += ", paired with an input that provides further context"
        task += ". Write a response that appropriately completes the request."
        prompt = (system or task) if i == 0 else ""
        prompt += f"\n\n### Instruction:\n{question}\n\n"
        if material:
            prompt += f"### Input:\n{material}\n\n"
        yield i == 0, [(prompt + "### Response:", False), (answer, True)], True


def plain(system, turns):
    for i, (question, material, answer) in enumerate(turns):
        prompt = (system or "") if i == 0 else ""
        yield i == 0, [(prompt + question + ("\n" + material if material else ""), False), (answer, True)], True


def llama2(system, turns):
    for i, (question, material, answer) in enumerate(turns):
        if i == 0 and system is not None:
            prompt = f"[INST] <<SYS>>\n{system}\n<</SYS>> \n\n {question} [/INST]"
        else:
            assert not material, "the words of Llama 2's system prompt are compared in prompt_form_test.cpp"
            prompt = f"[INST]{question}[/INST]"
        yield True, [(prompt, False), (answer, True)], True


def chatml(system, turns, template, eos):
    messages = [{"role": "system", "content": system}] if system is not None else []
    for question, material, answer in turns:
        messages += [{"role": "user", "content": question + ("\n" + material if material else "")},
                     {"role": "assistant", "content": answer}]
    text = template.apply_chat_template(messages, tokenize=False).rstrip("\n")
    parts, done = [], 0
    for message in messages:
        if message["role"] != "assistant":
            continue
        marked = f"<|im_start|>assistant\n{message['content']}<|im_end|>"
        start = text.index(marked, done) + len("<|im_start|>assistant\n")
        parts += [(text[done:start], False), (text[start:start + len(message["content"]) + len("<|im_end|>")], True)]
        done = start + len(message["content"]) + len("<|im_end|>")
    assert done == len(text)
    yield True, parts, eos != "<|im_end|>"


def encode(tokenizer, pieces, eos):
    """ids and, for each, whether it is learned; offsets by the tokenizers library."""
    bos = tokenizer.encode("", add_special_tokens=True).ids[:1]
    ids, learned = [], []
    for with_bos, parts, with_eos in pieces:
        if with_bos:
            ids += bos
            learned += [False] * len(bos)
        text = "".join(part for part, _ in parts)
        answers, at = [], 0
        for part, is_answer in parts:
            if is_answer:
                answers.append((at, at + len(part)))
            at += len(part)
        encoding = tokenizer.encode(text, add_special_tokens=False)
        ids += encoding.ids
        learned += [any(begin < last and end > first for first, last in answers) for begin, end in encoding.offsets]
        if with_eos:
            ids.append(tokenizer.token_to_id(eos))
            learned.append(True)
    return ids, learned


def tokens():
    cases = []
    for name, eos in TOKENIZERS.items():
        folder = DATA / "tokenizers" / name
        content = json.loads((folder / "tokenizer.json").read_text())
        if content.get("post_processor") and content["post_processor"].get("trim_offsets"):
            content["post_processor"]["trim_offsets"] = False  # spaces belong to their tokens
        tokenizer = Tokenizer.from_str(json.dumps(content))
        if tokenizer.token_to_id(eos) is None:
            eos = next(t["content"] for t in content["added_tokens"] if t["special"])
        template = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
        template.chat_template = CHATML
        for form in ("llama2", "alpaca", "chatml", "none"):
            for sample in CONVERSATIONS:
                system, turns = turns_of(sample)
                if form == "llama2" and turns[0][1]:
                    continue
                if form == "chatml":
                    pieces = chatml(system, turns, template, eos)
                else:
                    pieces = {"llama2": llama2, "alpaca": alpaca, "none": plain}[form](system, turns)
                ids, learned = encode(tokenizer, pieces, eos)
                cases.append({"tokenizer": name, "eos": eos, "form": form, "sample": sample, "ids": ids,
                              "learned": [i for i, yes in enumerate(learned) if yes]})
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    (FOLDER / "tokens.json").write_text(f"[\n{lines}\n]\n")
    print("tokens", len(cases))


def samples(generator):
    """ids and the ranges that are learned: one answer, two answers, a short one."""
    lengths, answers = [23, 31, 9], [[(15, 23)], [(8, 14), (25, 31)], [(7, 9)]]
    return [torch.randint(3, 96, (n,), generator=generator) for n in lengths], answers


def padded(rows, answers):
    width = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, IGNORE)
    for i, (row, ranges) in enumerate(zip(rows, answers)):
        ids[i, :len(row)] = row
        mask[i, :len(row)] = 1
        for begin, end in ranges:
            labels[i, begin:end] = row[begin:end]
    return ids, mask, labels


def make_model(attention, config, others, seed):
    model = LlamaForCausalLM.from_pretrained(BASE, dtype=torch.float32, attn_implementation=attention)
    model = get_peft_model(model, LoraConfig(bias="none", task_type="CAUSAL_LM", **config))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * (0.1 if "lora_A" in name else 0.05))
            elif others and ("embed" in name or "norm" in name):
                parameter.requires_grad_(True)
    return model.train()


def mean_loss(model, batch, padding):
    ids, mask, labels = batch
    logits = model(input_ids=ids, attention_mask=mask if padding else None, use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1),
                                             ignore_index=IGNORE)


def gradients(name, attention, config, group, seed):
    if group:
        register_s2(group)
    rows, answers = samples(torch.Generator().manual_seed(seed))
    model = make_model(attention, config, True, seed + 1)
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    save_adapter(model, folder, "gqa_untied")
    # Causal attention keeps what stands behind a sample from it: the S² stand-in needs no mask of the padding.
    loss = mean_loss(model, padded(rows, answers), padding=attention == "eager")
    loss.backward()
    result = {f"ids.{i}": row for i, row in enumerate(rows)}
    result.update({f"answers.{i}": torch.tensor(ranges) for i, ranges in enumerate(answers)})
    result.update({f"grad.{plain_name(k)}": p.grad for k, p in model.named_parameters() if p.requires_grad})
    save_tensors(folder / "golden.safetensors", {**result, "loss": loss.detach()})
    print(name, loss.item())


def loraplus():
    rows, answers = samples(torch.Generator().manual_seed(5))
    model = make_model("eager", dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"]), False, 6)
    folder = FOLDER / "loraplus"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    save_adapter_alone(model, folder)
    optimizer = create_loraplus_optimizer(model, torch.optim.AdamW, lr=1e-3, loraplus_lr_ratio=16, betas=(0.9, 0.999),
                                          eps=1e-8, weight_decay=0.0)
    losses = []
    for _ in range(3):
        loss = mean_loss(model, padded(rows, answers), padding=True)
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
        optimizer.zero_grad()
    result = {f"ids.{i}": row for i, row in enumerate(rows)}
    result.update({f"answers.{i}": torch.tensor(ranges) for i, ranges in enumerate(answers)})
    result.update({f"final.{plain_name(k)}": p for k, p in model.named_parameters() if p.requires_grad})
    save_tensors(folder / "golden.safetensors", {**result, "losses": torch.tensor(losses, dtype=torch.float64)})
    print("loraplus", losses)


def save_adapter_alone(model, folder):
    model.peft_config["default"].base_model_name_or_path = "gqa_untied"
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    for file in folder.iterdir():
        file.chmod(0o644)


def main():
    attention = ["q_proj", "k_proj", "v_proj", "o_proj"]
    gradients("full", "eager", dict(r=8, lora_alpha=16, target_modules=attention), 0, 1)
    gradients("s2", "s2", dict(r=8, lora_alpha=16, target_modules=attention), 8, 2)
    gradients("rslora_all_linear", "eager", dict(r=4, lora_alpha=8, use_rslora=True, target_modules="all-linear"), 0, 3)
    loraplus()
    tokens()


if __name__ == "__main__":
    main()
