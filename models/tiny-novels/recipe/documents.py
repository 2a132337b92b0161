"""Documents that can be completed only by finding something said earlier.

Every document is a list of ids: BOS, prompt, answer, EOS. Prompt and answer are encoded apart,
as the passkey evaluation does: the answer's ids are the space piece and one piece per digit.
"""

from dataclasses import dataclass

GARBAGE = ("The grass is green. The sky is blue. The sun is yellow. Here we go. "
           "There and back again.")
INTRODUCTION = ("There is an important info hidden inside a lot of irrelevant text. Find it and "
                "memorize them. I will quiz you about the important information there.")
NAMES = ("Arthur Edith Harold Clara Walter Louisa Hugh Margaret Simon Judith Philip Agnes Ralph "
         "Helen Oliver Lydia Martin Flora Edmund Sarah Gilbert Rose Stephen Hetty Roger Ellen "
         "Francis Dinah Robert Laura Mark Grace").split()
THINGS = ("house room ticket box letter coach horse bank garden street book case trunk cabin "
          "watch chest church drawer").split()


@dataclass
class Codec:
    """Text to ids with the special ids and the space piece of the tokenizer."""
    processor: object

    def __post_init__(self):
        self.bos, self.eos = self.processor.bos_id(), self.processor.eos_id()
        self.space = self.processor.piece_to_id("\u2581")
        self.newline = self.processor.piece_to_id("<0x0A>")
        self.digits = [self.processor.piece_to_id(str(d)) for d in range(10)]
        for key in ("7", "90210"):
            expected = [self.space] + [self.digits[int(c)] for c in key]
            if self.encode(key) != expected or self.encode("is " + key)[1:] != expected:
                raise SystemExit(f"tokenizer: expected '{key}' to be a space piece and one piece "
                                 "per digit, alone and inside a text, got something else")

    def encode(self, text):
        return self.processor.encode(text)

    def document(self, prompt, answer):
        return [self.bos] + self.encode(prompt) + self.encode(answer) + [self.eos]


def number(rng, max_digits=5):
    """A number without leading zero. Every third has only two different digits: those need more
    than one digit of context to be copied right, and are what a weak copier gets wrong."""
    length = min(max_digits, rng.choices((1, 2, 3, 4, 5), (5, 6, 10, 22, 57))[0])
    alphabet = "0123456789"
    if rng.random() < 1 / 3:
        alphabet = "".join(rng.sample(alphabet, 2))
    first = rng.choice(alphabet.replace("0", "") or "1")
    return first + "".join(rng.choice(alphabet) for _ in range(length - 1))


def garbage(num_characters):
    repeats = num_characters // (len(GARBAGE) + 1) + 1
    return " ".join([GARBAGE] * repeats)[:num_characters]


def passkey_prompt(key, before, after):
    """The prompt of the passkey evaluation (docs: passkey)."""
    return "\n".join((INTRODUCTION, before,
                      f"The pass key is {key}. Remember it. {key} is the pass key.", after,
                      "What is the pass key? The pass key is"))


def _distractors(rng, text, count):
    """`text` with sentences put in that state other numbers."""
    for _ in range(count):
        at = text.rfind(". ", 0, rng.randrange(len(text) + 1)) + 1
        sentence = rng.choice((
            " The {t} number is {n}.", " The number of the {t} is {n}. Remember it.",
            " {p} counted {n} of them.", " {p} is {n} years old.")).format(
                t=rng.choice(THINGS), p=rng.choice(NAMES), n=number(rng))
        text = text[:at] + sentence + text[at:]
    return text


def passkey(rng, codec, num_tokens, novel_text, filler):
    """A passkey document of at most `num_tokens` ids, and close to it.

    filler: "garbage" (the evaluation's), "distractors" (the same with other numbers in it)
    or "novel" (novel_text(n): n characters of a training novel).
    """
    key = number(rng)
    make = novel_text if filler == "novel" else garbage
    num_characters = max(0, int((num_tokens - 84) * (3.9 if filler == "novel" else 3.6)))
    depth, shorter = rng.random(), rng.randint(0, 90)  # end anywhere in the garbage
    text = make(num_characters)
    if filler != "garbage" and text:
        text = _distractors(rng, text, rng.randint(0 if filler == "novel" else 1, 4))
    while True:
        cut = int(len(text) * depth)
        ids = codec.document(passkey_prompt(key, text[:cut], text[cut:]), key)
        if len(ids) <= num_tokens:
            return ids
        if not text:
            return []
        text = text[:max(0, len(text) - 3 * (len(ids) - num_tokens) - shorter)]
        shorter = 1


def lookup(rng, codec, num_tokens, novel_text):
    """Several facts between stretches of a novel, then questions about some of them, in any
    order: the same form of words with another subject must not be answered."""
    num_facts = rng.randint(1, max(1, min(6, num_tokens // 40)))
    subjects = [f"the {thing} of {name}" for name in rng.sample(NAMES, num_facts)
                for thing in [rng.choice(THINGS)]]
    facts = [(subject, number(rng)) for subject in subjects]
    asked = rng.sample(facts, rng.randint(1, num_facts))
    room = num_tokens - 2 - 16 * num_facts - 20 * len(asked)
    share = max(0, int(room * 3.6 / num_facts))
    while True:
        parts = []
        for subject, value in facts:
            parts.append(novel_text(share))
            parts.append(f"The number of {subject} is {value}.")
        parts.append(novel_text(share // 2))
        parts += [f"What is the number of {subject}? The number of {subject} is {value}"
                  for subject, value in asked]
        # Digits are pieces of their own, so this cuts as prompt and answer encoded apart do.
        ids = [codec.bos] + codec.encode("\n".join(part for part in parts if part)) + [codec.eos]
        if len(ids) <= num_tokens:
            return ids
        if share == 0:
            return []
        share = int(share * 0.8) if share > 8 else 0


def short_passkey(rng, codec, num_tokens, novel_text):
    """Fact and question without the introduction: fits where the whole form does not."""
    key = number(rng)
    fact = f"The pass key is {key}. Remember it. {key} is the pass key."
    question = "What is the pass key? The pass key is"
    room = int(max(0, num_tokens - 48) * 3.2)
    text = (novel_text if rng.random() < 0.5 else garbage)(rng.randint(0, room))
    cut = rng.randint(0, len(text))
    ids = codec.document("\n".join(p for p in (text[:cut], fact, text[cut:], question) if p), key)
    return ids if len(ids) <= num_tokens else []


def one_span(rng, codec, num_tokens, novel_ids):
    """Exactly `num_tokens` ids: one span of random pieces or of a novel, again and again, with a
    few random pieces between."""
    vocabulary = codec.processor.get_piece_size()
    length = rng.randint(4, 40)
    if rng.random() < 0.5:
        span = [rng.randrange(259, vocabulary) for _ in range(length)]
    else:
        span = novel_ids(length)
    ids = []
    while len(ids) < num_tokens:
        ids += span + [rng.randrange(259, vocabulary) for _ in range(rng.randint(0, 5))]
    return ids[:num_tokens]


def repeated_spans(rng, codec, num_tokens, novel_ids, max_span, max_gap):
    """Exactly `num_tokens` ids: spans that come again after a gap. A span is random pieces (only
    copying predicts them), a stretch of a novel, or digits."""
    vocabulary, ids = codec.processor.get_piece_size(), []
    while len(ids) < num_tokens:
        length = rng.randint(4, max_span)
        kind = rng.random()
        if kind < 0.45:
            span = [rng.randrange(259, vocabulary) for _ in range(length)]
        elif kind < 0.85:
            span = novel_ids(length)
        else:
            alphabet = rng.sample(codec.digits, rng.choice((2, 3, 10)))
            span = [rng.choice(alphabet) for _ in range(min(length, 12))]
        for _ in range(rng.choice((2, 2, 2, 3))):
            ids += span + novel_ids(rng.randint(0, max_gap))
    return ids[:num_tokens]


def key_values(rng, codec, num_tokens, novel_ids, max_gap):
    """Exactly `num_tokens` ids: phrases each followed by a number of its own, then the phrases
    again in another order, each followed by its number."""
    ids = []
    while len(ids) < num_tokens:
        pairs = []
        for _ in range(rng.randint(1, 5)):
            phrase = novel_ids(rng.randint(1, 4))
            value = [codec.space] + [codec.digits[int(d)] for d in number(rng)]
            pairs.append(phrase + value + novel_ids(1))
        for _ in range(2):
            for pair in pairs:
                ids += pair + novel_ids(rng.randint(0, max_gap))
            rng.shuffle(pairs)
    return ids[:num_tokens]
