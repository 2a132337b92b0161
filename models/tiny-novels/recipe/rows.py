"""Rows of exactly T ids for the two training stages and for the context extension."""

import array
import hashlib
import json
import random
import sys

from . import documents


class Novels:
    """The training novels as text and as ids."""

    def __init__(self, novels, codec, seed):
        self.texts = [text for _, text in novels.values()]
        self.ids = [[codec.bos] + codec.encode(text) + [codec.eos] for text in self.texts]
        self.weights = [len(ids) for ids in self.ids]
        self.rng = random.Random(seed)
        self.num_tokens = sum(self.weights)

    def some_ids(self, count):
        """`count` consecutive ids from anywhere, without BOS and EOS."""
        ids = self.rng.choices(self.ids, self.weights)[0]
        at = self.rng.randrange(1, len(ids) - 1 - count)
        return ids[at:at + count]

    def some_text(self, num_characters):
        """About `num_characters` characters from the start of a word."""
        if num_characters < 8:
            return ""
        text = self.rng.choices(self.texts, self.weights)[0]
        at = text.index(" ", self.rng.randrange(len(text) - num_characters - 200)) + 1
        return text[at:at + num_characters].strip()

    def rows(self, num_tokens):
        """Consecutive rows of all novels in random order, for ever; each round cuts elsewhere."""
        while True:
            starts = []
            for novel, ids in enumerate(self.ids):
                first = self.rng.randrange(min(num_tokens, len(ids) - num_tokens))
                starts += [(novel, at) for at in range(first, len(ids) - num_tokens, num_tokens)]
            self.rng.shuffle(starts)
            for novel, at in starts:
                yield self.ids[novel][at:at + num_tokens]


class RowMaker:
    """Makes one row of each kind; `T` ids in every row."""

    def __init__(self, codec, novels, num_tokens, seed):
        self.codec, self.novels, self.T = codec, novels, num_tokens
        self.rng = random.Random(seed)
        self.novel_rows = novels.rows(num_tokens)
        self.num_documents = 0

    def novel(self):
        self.num_documents += 1
        row = next(self.novel_rows)
        if self.rng.random() < 0.15:  # prompts start with BOS, so text may too
            row = [self.codec.bos] + row[:-1]
        return row

    def spans(self):
        self.num_documents += 1
        far = max(16, self.T // 4)
        near = self.rng.random() < 0.6
        return documents.repeated_spans(self.rng, self.codec, self.T, self.novels.some_ids,
                                        40 if near else far, 12 if near else far)

    def key_values(self):
        self.num_documents += 1
        return documents.key_values(self.rng, self.codec, self.T, self.novels.some_ids,
                                    self.rng.choice((2, 8, 8, max(8, self.T // 16))))

    def passkey_document(self, room, shares):
        """One document of at most `room` ids; `shares` weighs garbage, distractors, novel,
        lookup, short."""
        kind = self.rng.choices(("garbage", "distractors", "novel", "lookup", "short"), shares)[0]
        text = self.novels.some_text
        if kind == "lookup":
            return documents.lookup(self.rng, self.codec, room, text)
        if kind == "short":
            return documents.short_passkey(self.rng, self.codec, room, text)
        return documents.passkey(self.rng, self.codec, room, text, kind)

    def retrieval(self, shares, sizes):
        """Documents one after another, none cut off; what is left over is novel text, in front
        or at the end. `sizes`: lower and upper bound of a document's ids."""
        parts, room = [], self.T
        while room >= sizes[0] or not parts:
            size = min(room, self.rng.randint(sizes[0], min(sizes[1], self.T)))
            if room - size < sizes[0]:  # no further document: let the last one fill the row
                size = min(room, sizes[1])
            ids = self.passkey_document(size, shares)
            if not ids:
                break
            parts.append(ids)
            self.num_documents += 1
            room -= len(ids)
        if room > 0 and self.rng.random() < 0.5:
            self.num_documents += 1
            parts.insert(0, (self.novels.some_ids(room - 1) + [self.codec.eos])[-room:])
        elif room > 0:
            self.num_documents += 1
            parts.append(([self.codec.bos] + self.novels.some_ids(room - 1))[:room])
        return [i for part in parts for i in part]


def write(path, rows, num_tokens, num_documents, sources, tokenizer_fingerprint, note):
    """Rows to a flat little-endian uint16 file with its JSON beside it (docs/data-formats.md, and
    two fields more: the length of a row and a note); returns the hash."""
    flat = array.array("H")
    for row in rows:
        assert len(row) == num_tokens, (path, len(row))
        flat.extend(row)
    if sys.byteorder == "big":
        flat.byteswap()
    data = flat.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    about = {"format": "longlora token file", "version": 1, "dtype": "uint16", "vocab_size": 4096,
             "num_documents": num_documents, "num_tokens": len(flat), "eos_id": 2, "add_bos": False,
             "tokenizer": {"path": "models/tiny-novels", "fingerprint": tokenizer_fingerprint},
             "sources": [{"path": name} for name in sources],
             "row_tokens": num_tokens, "note": note}
    path.with_name(path.name + ".json").write_text(json.dumps(about, indent=2) + "\n")
    digest = hashlib.sha256(data).hexdigest()
    print(f"{path.name}: {len(rows)} rows of {num_tokens}, {len(flat)} ids, sha256 {digest[:16]}")
    return digest


def stage_rows(maker, shares, num_rows):
    """`num_rows` rows in random order; `shares`: row function -> share."""
    rows = []
    for make, share in shares:
        rows += [make() for _ in range(round(num_rows * share))]
    while len(rows) < num_rows:
        rows.append(maker.novel())
    maker.rng.shuffle(rows)
    return rows[:num_rows]
