"""What is in each file: the mix of the two training stages, the extension data and its control."""

import random

from . import documents, rows

# Kinds of a retrieval document: garbage, distractors, novel, lookup, short (RowMaker).
EVALUATION_FORM = (1, 0, 0, 0, 0)
ALL_FORMS = (25, 25, 25, 20, 5)
MOSTLY_EVALUATION = (60, 15, 15, 10, 0)

STAGES = {1: {"row_tokens": 128, "rows": 26000}, 2: {"row_tokens": 512, "rows": 40000}}
EXTEND_TOKENS = 4096
CONTROL_TOKENS = 512
SPARSE_ROWS = 120  # the first rows of the extension data, meant for the steps with S2 attention
FULL_ROWS = 80     # the last ones, meant for the steps with full attention


def stage(number, codec, novels, seed):
    """Rows of training stage 1 (learn to copy, short rows) or 2 (text and retrieval to 512)."""
    plan = STAGES[number]
    if number == 1:
        return copying_rows(codec, novels, seed)
    maker = rows.RowMaker(codec, novels, plan["row_tokens"], seed + number)
    shares = [
        (maker.novel, 0.51),
        (maker.spans, 0.08),
        (maker.key_values, 0.07),
        (lambda: maker.retrieval(EVALUATION_FORM, (200, 512)), 0.16),
        (lambda: maker.retrieval(MOSTLY_EVALUATION, (90, 250)), 0.03),
        (lambda: maker.retrieval(ALL_FORMS, (120, 512)), 0.15),
    ]
    return rows.stage_rows(maker, shares, plan["rows"]), maker.num_documents


def copying_rows(codec, novels, seed):
    """Half of the rows are one span again and again with a few random ids between, so that nearly
    every id can be copied and no fixed distance tells from where."""
    num_tokens, num_rows = STAGES[1]["row_tokens"], STAGES[1]["rows"]
    rng = random.Random(seed + 4)
    novel_rows = novels.rows(num_tokens)
    maker = rows.RowMaker(codec, novels, num_tokens, seed + 12)
    made, num_others = [], 0
    for _ in range(num_rows):
        kind = rng.random()
        if kind < 0.3:
            made.append(next(novel_rows))
        elif kind < 0.8:
            made.append(documents.one_span(rng, codec, num_tokens, novels.some_ids))
        else:
            made.append(maker.retrieval((25, 5, 10, 25, 35), (44, num_tokens)))
            continue
        num_others += 1
    return made, maker.num_documents + num_others


def extension(codec, novels, seed):
    """(rows of 4096, number of documents, the novel rows among them).

    With sparse attention a question can see its key only within a group, and training on one it
    cannot see teaches guessing. So in the first SPARSE_ROWS rows documents are short and many to
    a row; the FULL_ROWS last rows hold documents as long as the row. To profit, train in the
    order of the file (--shuffle False) with full attention at the end.
    """
    maker = rows.RowMaker(codec, novels, EXTEND_TOKENS, seed + 3)
    taken = []

    def novel():
        taken.append(maker.novel())
        return taken[-1]

    sparse = rows.stage_rows(maker, [
        (novel, 0.56),
        (lambda: maker.retrieval(MOSTLY_EVALUATION, (90, 900)), 0.44),
    ], SPARSE_ROWS)
    full = rows.stage_rows(maker, [
        (novel, 0.30),
        (lambda: maker.retrieval(EVALUATION_FORM, (3000, 4096)), 0.40),
        (lambda: maker.retrieval(MOSTLY_EVALUATION, (600, 4096)), 0.22),
        (lambda: maker.retrieval((0, 40, 40, 20, 0), (1500, 4096)), 0.08),
    ], FULL_ROWS)
    return sparse + full, maker.num_documents, taken


def control(codec, novels, novel_rows, seed):
    """The same number of tokens as the extension, the same novel text, in rows of 512 with
    retrieval documents that fit in them."""
    maker = rows.RowMaker(codec, novels, CONTROL_TOKENS, seed + 4)
    cut = [row[at:at + CONTROL_TOKENS] for row in novel_rows
           for at in range(0, EXTEND_TOKENS, CONTROL_TOKENS)]
    total = (SPARSE_ROWS + FULL_ROWS) * EXTEND_TOKENS // CONTROL_TOKENS
    for _ in range(total - len(cut)):
        cut.append(maker.retrieval(MOSTLY_EVALUATION, (90, 512)))
    maker.rng.shuffle(cut)
    return cut, maker.num_documents + len(novel_rows)
