"""What `longlora inspect` counts, counted here by plain means: tokens by the tokenizers library, quantiles by NumPy,
every pair of samples compared, every n-gram looked up.

`samples.jsonl` has questions and answers in several forms, some of them broken, repeated or nearly so; `held_out.jsonl`
has some of them again, whole or in part. `expected.json` is what is to be found. Words are runs of letters, marks and
digits without their case, and single letters of scripts without spaces, as unicodedata classes them.
"""

import json
import random
import unicodedata

import numpy as np
from tokenizers import Tokenizer

from scripts.references.common import DATA, GOLDENS, save_json

FOLDER = GOLDENS / "inspect"
TOKENIZER, BOS, EOS = DATA / "tokenizers" / "llama2" / "tokenizer.json", "<s>", "</s>"
LENGTHS = [64, 128, 256]
SHINGLE, SIMILAR, GRAM = 5, 0.8, 13
ALONE = ("CJK UNIFIED", "HIRAGANA", "KATAKANA", "THAI")
SCRIPTS = {"LATIN": "Latin", "CYRILLIC": "Cyrillic", "GREEK": "Greek", "CJK": "Han", "HIRAGANA": "Hiragana"}
VOCABULARY = ("the licence work of a copyright holder grants you each patent right and notice or files in any form the source "
              "naïve Ärger état слово Право мир λόγος ΑΡΧΗ 日本語 ひらがな don't 1984 x86 _under_ e-mail").split()


# Making the samples.

def words_of_text(draw, count):
    return " ".join(draw.choice(VOCABULARY) + draw.choice(["", "", "", ",", ".", "\n"]) for _ in range(count))


def make_samples():
    draw = random.Random(7)
    samples = []
    for i in range(48):
        question, answer = words_of_text(draw, draw.randint(3, 60)), words_of_text(draw, draw.randint(1, 40))
        kind = i % 4
        if kind == 0:
            samples.append({"instruction": question, "output": answer, "source": "made"})
        elif kind == 1:
            samples.append({"instruction": "Sum it up.", "input": question, "output": answer, "id": i})
        elif kind == 2:
            samples.append({"messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": question},
                                         {"role": "assistant", "content": answer}, {"role": "user", "content": "Why?"},
                                         {"role": "assistant", "content": words_of_text(draw, 6)}]})
        else:
            samples.append({"conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]})
    long_text, other_answer = words_of_text(draw, 400), words_of_text(draw, 30)
    long_answer = words_of_text(draw, 40)
    samples += [samples[0], samples[5], dict(samples[5], id=1),  # "id" is not read: exact, too
                {"instruction": samples[8]["instruction"], "output": "Another answer altogether."},
                {"instruction": long_text, "output": long_answer},
                {"instruction": long_text.replace("licence", "license", 1), "output": long_answer},
                {"instruction": long_text + " Why?", "output": other_answer},
                {"instruction": "No answer"}, {"instruction": "Two", "response": "A", "output": "B"}, {"text": "A text."}]
    return samples


def make_held_out(samples):
    draw = random.Random(8)
    question = samples[52]["instruction"]
    half = " ".join(question.split(" ")[:100]) + " " + words_of_text(draw, 100)
    return [samples[4], samples[52], {"instruction": half, "output": words_of_text(draw, 20)},
            {"instruction": samples[8]["instruction"], "output": "A third answer."},
            {"instruction": words_of_text(draw, 80), "output": samples[52]["output"]},
            {"instruction": words_of_text(draw, 80), "output": words_of_text(draw, 20)},
            {"instruction": "Short one?", "output": "Yes."}, {"instruction": "Broken"}]


# Counting them.

def turns_of(sample):
    """[(role, text, input)]; None for a broken sample."""
    if "instruction" in sample:
        answers = [sample[name] for name in ("output", "response") if name in sample]
        if len(answers) != 1:
            return None
        return [("user", sample["instruction"], sample.get("input", "")), ("assistant", answers[0], "")]
    messages = sample.get("messages") or sample.get("conversations")
    if not messages:
        return None
    roles = {"human": "user", "gpt": "assistant"}
    return [(roles.get(m.get("from"), m.get("role")), m.get("content", m.get("value")), "") for m in messages]


def form_of(sample):
    for name in ("messages", "conversations"):
        if name in sample:
            return name
    return "question and answer" if {"instruction", "output", "response"} & set(sample) else "unknown"


def words(text):
    found, current = [], ""
    for letter in text + " ":
        is_part = unicodedata.category(letter)[0] in "LMN"
        alone = is_part and unicodedata.name(letter, "").startswith(ALONE)
        if current and (not is_part or alone):
            found.append(current)
            current = ""
        if alone:
            found.append(letter)
        elif is_part:
            current += letter.lower()
    return found


def shingles(all_words, size, short_ones=True):
    if len(all_words) < size:
        return {tuple(all_words)} if all_words and short_ones else set()
    return {tuple(all_words[i:i + size]) for i in range(len(all_words) - size + 1)}


def words_by_role(turns):
    everything, answers, prompt = [], [], []
    for role, text, material in turns:
        own = words(text) + words(material)
        everything += own
        (answers if role == "assistant" else prompt).extend(own)
    return everything, answers, prompt


def jaccard(a, b):
    return len(a & b) / len(a | b) if a | b else 1.0


def lengths_of(tokenizer, turns):
    """Tokens of a sample in Alpaca's form: (all, the longest text of the user, answers with EOS)."""
    ids, longest, answers = 0, 0, 0
    system = turns[0][1] if turns[0][0] == "system" else None
    pairs = turns[1:] if system else turns
    for i, ((_, question, material), (_, answer, _)) in enumerate(zip(pairs[::2], pairs[1::2])):
        prompt = ""
        if i == 0:
            ids += tokenizer.encode("", add_special_tokens=True).ids[:1] == [tokenizer.token_to_id(BOS)]
            prompt = system or ("Below is an instruction that describes a task" +
                                (", paired with an input that provides further context" if material else "") +
                                ". Write a response that appropriately completes the request.")
        prompt += "\n\n### Instruction:\n"
        begin = len(prompt)
        prompt += question
        if material:
            prompt += "\n\n### Input:\n"
            begin = len(prompt)
            prompt += material
        end = len(prompt)
        prompt += "\n\n### Response:"
        encoding = tokenizer.encode(prompt + answer, add_special_tokens=False)
        ids += len(encoding.ids) + 1
        inside = [first >= begin and last <= end and first < last for first, last in encoding.offsets]
        longest = max(longest, sum(inside))
        answers += sum(last > len(prompt) for _, last in encoding.offsets) + 1
    return ids, longest, answers


def quantiles(values):
    at = lambda share: int(np.quantile(values, share, method="inverted_cdf"))
    return {"min": min(values), "p5": at(0.05), "median": at(0.5), "p95": at(0.95), "max": max(values),
            "mean": float(np.mean(values)), "sum": sum(values)}


def fits(lengths, longest):
    """What --truncate middle does at each length."""
    rows = []
    for limit in LENGTHS:
        row = {"model_max_length": limit, "whole": 0, "cut": 0, "tokens_cut": 0, "too_long": 0, "without_answer": 0}
        for length, material in zip(lengths, longest):
            excess = length - limit
            if excess <= 0:
                row["whole"] += 1
            elif excess < material:
                row["cut"] += 1
                row["tokens_cut"] += excess
            else:
                row["too_long"] += 1
        rows.append(row)
    return rows


class Groups:
    def __init__(self, count):
        self.parent = list(range(count))

    def root(self, i):
        while self.parent[i] != i:
            i = self.parent[i]
        return i

    def join(self, i, j):
        self.parent[max(self.root(i), self.root(j))] = min(self.root(i), self.root(j))

    def joined(self):
        return sum(self.root(i) != i for i in range(len(self.parent)))


def duplicates(all_turns):
    first, unique = {}, []
    for i, turns in enumerate(all_turns):
        if first.setdefault(json.dumps(turns), i) == i:
            unique.append(turns)
    questions = [json.dumps(turns[:-1]) for turns in unique]
    sets = [tuple(shingles(part, SHINGLE) for part in words_by_role(turns)[:2]) for turns in unique]
    near, either, closest = Groups(len(unique)), Groups(len(unique)), 0.0
    for j in range(len(unique)):
        for i in range(j):
            similarity = jaccard(sets[i][0], sets[j][0])
            if similarity < SIMILAR:
                continue
            either.join(i, j)
            if jaccard(sets[i][1], sets[j][1]) >= SIMILAR:
                near.join(i, j)
                closest = max(closest, similarity)
    return {"compared": len(all_turns), "exact": len(all_turns) - len(unique),
            "same_question": len(questions) - len(set(questions)), "near": near.joined(),
            "same_material": either.joined() - near.joined(), "most_similar": closest}


def overlap(all_turns, held_out):
    have, exact, questions = set(), set(), set()
    for turns in all_turns:
        _, answers, prompt = words_by_role(turns)
        have |= shingles(answers, GRAM, False) | shingles(prompt, GRAM, False)
        exact.add(json.dumps(turns))
        questions.add(json.dumps(turns[:-1]))
    counts = {"samples": len(held_out), "broken": 0, "exact": 0, "same_question": 0, "short": 0, "any": 0,
              "at_least_20_percent": 0, "at_least_50_percent": 0, "at_least_80_percent": 0}
    shares = []
    for turns in held_out:
        if turns is None:
            counts["broken"] += 1
            continue
        _, answers, prompt = words_by_role(turns)
        grams = [*shingles(answers, GRAM, False), *shingles(prompt, GRAM, False)]
        is_exact = json.dumps(turns) in exact
        share = sum(gram in have for gram in grams) / len(grams) if grams else 0.0
        share = 1.0 if is_exact else share
        counts["exact"] += is_exact
        counts["same_question"] += not is_exact and json.dumps(turns[:-1]) in questions
        counts["short"] += not grams
        counts["any"] += share > 0
        for percent in (20, 50, 80):
            counts[f"at_least_{percent}_percent"] += share >= percent / 100
        shares.append(share)
    counts["contained"] = sorted((share for share in shares if share > 0), reverse=True)[:5]
    return counts


def scripts_of(all_turns):
    counts = {}
    for turns in all_turns:
        for letter in "".join(text + material for _, text, material in turns):
            if unicodedata.category(letter)[0] == "L":
                script = SCRIPTS[unicodedata.name(letter).split()[0]]
                counts[script] = counts.get(script, 0) + 1
    return counts


def main():
    samples = make_samples()
    held_out = make_held_out(samples)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, lines in (("samples.jsonl", samples), ("held_out.jsonl", held_out)):
        (FOLDER / name).write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    all_turns = [turns for turns in map(turns_of, samples) if turns is not None]
    whole, longest, answers = zip(*(lengths_of(tokenizer, turns) for turns in all_turns))
    other = [w - m - a for w, m, a in zip(whole, longest, answers)]
    word_lengths = [len(words_by_role(turns)[0]) for turns in all_turns]
    forms = {}
    for sample in samples:
        forms[form_of(sample)] = forms.get(form_of(sample), 0) + 1
    fields = {}
    for name in (name for sample in samples for name in sample):
        fields[name] = fields.get(name, 0) + 1
    expected = {
        "samples": len(samples), "broken": len(samples) - len(all_turns), "forms": forms, "fields": fields,
        "scripts": scripts_of(all_turns),
        "lengths": {"whole sample": quantiles(whole), "longest user text": quantiles(longest),
                    "other prompt text": quantiles(other), "answers": quantiles(answers)},
        "words": quantiles(word_lengths), "fits": fits(whole, longest), "duplicates": duplicates(all_turns),
        "overlap": overlap(all_turns, [turns_of(sample) for sample in held_out])}
    save_json(FOLDER / "expected.json", expected)
    print("samples", len(samples), expected["duplicates"], expected["overlap"])


if __name__ == "__main__":
    main()
