#!/usr/bin/env python3
"""Makes samples as long as those of LongAlpaca-12k, out of texts, to try tools for data on.

    scripts/long_alpaca_like.py --output samples.json NOVEL...

Of 12,000 samples 9,000 have material of 3,000 to 16,000 words, put together of passages of the texts, and a question about
it, three to a material; the other 3,000 are a question of some dozens of words. Answers are words of the texts in random
order. --exact of the samples are
others again, and --near are long ones again with one word changed in material and answer. With the default --count the file
has some 500 MB, as the released one has. What is made is a function of the texts and the seed.
"""

import argparse
import json
import pathlib
import random


def answer(draw, words, least, most):
    return " ".join(draw.choice(words) for _ in range(draw.randint(least, most))) + "."


def long_sample(draw, words, stretch, number):
    question = f"What is told of {draw.choice(words)} and {draw.choice(words)} in part {number}?"
    return {"instruction": f"Below is a part of a book. Memorize it and answer my question after it.\n{stretch}\n"
                           f"Now the part ends. {question}", "output": answer(draw, words, 40, 250)}


def material(draw, words, num_words):
    passage = 100
    starts = [draw.randrange(len(words) - passage) for _ in range(num_words // passage)]
    return " ".join(word for start in starts for word in words[start:start + passage])


def with_one_word_changed(sample, draw):
    return {name: text.replace(f" {draw.choice(text.split()[10:-10])} ", " otherwise ", 1) for name, text in sample.items()}


def samples_of(draw, words, arguments):
    num_long = arguments.count * 3 // 4 - arguments.near
    num_short = arguments.count - arguments.count * 3 // 4
    samples = []
    for i in range(num_long):
        if i % 3 == 0:
            stretch = material(draw, words, draw.randint(3000, 16000))
        samples.append(long_sample(draw, words, stretch, i))
    samples += [with_one_word_changed(sample, draw) for sample in draw.sample(samples, arguments.near)]
    short = [{"instruction": answer(draw, words, 6, 60), "output": answer(draw, words, 10, 120)}
             for _ in range(num_short - arguments.exact)]
    samples += short + draw.sample(short, arguments.exact)
    draw.shuffle(samples)
    return samples


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+", type=pathlib.Path)
    parser.add_argument("--output", required=True, type=pathlib.Path)
    parser.add_argument("--count", type=int, default=12000)
    parser.add_argument("--exact", type=int, default=60)
    parser.add_argument("--near", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    text = "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in arguments.texts)
    samples = samples_of(random.Random(arguments.seed), text.split(" "), arguments)
    with arguments.output.open("w", encoding="utf-8") as file:
        file.write("[\n" + ",\n".join(json.dumps(sample, ensure_ascii=False) for sample in samples) + "\n]\n")


if __name__ == "__main__":
    main()
