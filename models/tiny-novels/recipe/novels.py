"""Project Gutenberg files to plain novels: one paragraph per line, no licence text.

    novels.py --novels DIR --held_out A.txt,B.txt --output DIR    DIR/training/*.txt and DIR/heldout/*.txt
"""

import argparse
import re
from pathlib import Path

# Whole novels that no training row, and not the tokenizer, ever sees. Each is the only
# book of its author in the collection.
HELD_OUT = {
    "pg768.txt": "heldout-wuthering-heights.txt",
    "pg174.txt": "heldout-dorian-gray.txt",
}

_TYPOGRAPHY = str.maketrans({
    "\u201c": '"', "\u201d": '"', "\u2018": "'", "\u2019": "'", "\u2014": "--",
    "\u2013": "-", "\u2026": "...", "\u00a0": " ", "\ufeff": "", "_": "", "\t": " ",
    "\u00ad": "",  # soft hyphen
})
_START = re.compile(r"^\*\*\* ?START OF TH.*$", re.M)
_END = re.compile(r"^(\*\*\* ?END OF TH|End of (the )?Project Gutenberg).*$", re.M | re.I)
_CREDITS = re.compile(
    r"project gutenberg|produced by|e-?text|transcribe|proof-?read|html version|"
    r"\[illustration|public domain|^by$|www\.", re.I)


def title_of(raw):
    """The title and the author that the header names."""
    fields = []
    for name in ("Title", "Author"):
        found = re.search(rf"^{name}: *(.+)$", raw, re.M)
        fields.append(found.group(1).strip() if found else "unknown")
    return ", by ".join(fields)


def read(path):
    """The file's text; UTF-8 where it is valid, else Windows-1252."""
    data = Path(path).read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def clean(raw, name):
    """Paragraphs, one per line: header and footer gone, lines joined, plain quotes and dashes."""
    start, end = _START.search(raw), None
    if start is None:
        raise SystemExit(f"{name}: expected a line '*** START OF THIS PROJECT GUTENBERG ...', "
                         "got none; is this a Project Gutenberg text file?")
    end = _END.search(raw, start.end())
    if end is None:
        raise SystemExit(f"{name}: expected a line '*** END OF THIS PROJECT GUTENBERG ...', "
                         "got none; is the file truncated?")
    body = raw[start.end():end.start()].translate(_TYPOGRAPHY)
    paragraphs = []
    for block in re.split(r"\n[ ]*\n", body):
        text = " ".join(block.split())
        front_matter = len(paragraphs) < 12
        if not text or "project gutenberg" in text.lower():
            continue
        if front_matter and _CREDITS.search(text):
            continue
        if text.lower().startswith("[illustration") or not re.search(r"\w", text):
            continue
        paragraphs.append(text)
    return "\n".join(paragraphs) + "\n"


def load(folder, held_out_names=tuple(HELD_OUT)):
    """(training, held_out): dicts file name -> (title, text), in the order of the names."""
    files = sorted(p for p in Path(folder).glob("*.txt") if p.name != "SOURCE.txt")
    if not files:
        raise SystemExit(f"--novels {folder}: expected Project Gutenberg *.txt files, got none")
    missing = [name for name in held_out_names if not (Path(folder) / name).is_file()]
    if missing:
        raise SystemExit(f"--novels {folder}: the held-out novels {missing} are not there")
    training, held_out = {}, {}
    for path in files:
        raw = read(path)
        entry = (title_of(raw), clean(raw, path.name))
        (held_out if path.name in held_out_names else training)[path.name] = entry
    return training, held_out


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--novels", type=Path, required=True, help="folder of Project Gutenberg's files")
    parser.add_argument("--held_out", required=True, help="names of files, joined by commas")
    parser.add_argument("--output", type=Path, required=True, help="gets the folders training and heldout")
    options = parser.parse_args()
    for part, texts in zip(("training", "heldout"), load(options.novels, options.held_out.split(","))):
        folder = options.output / part
        folder.mkdir(parents=True, exist_ok=True)
        for name, (title, text) in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
            print(f"{part}/{name}: {title}, {len(text)} characters")


if __name__ == "__main__":
    main()
