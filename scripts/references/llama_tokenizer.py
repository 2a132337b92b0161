"""Writes what Hugging Face's SentencePiece-backed LlamaTokenizer gives for a list of texts.

Files: tests/data/novels_tokenizer/golden.json (legacy false), golden_legacy.json (legacy true) and
golden_added.json (added tokens), tests/data/stories260K_tokenizer/golden.json. The tokenizer of the first is trained
here where it is missing, on the two novels that lie in models/tiny-novels/data, with the options of Llama's.

Needs transformers 4.57 (version 5 no longer has the SentencePiece-backed class), sentencepiece and protobuf.
Run from the repository root: python3 scripts/references/llama_tokenizer.py
"""
import io
import json
import pathlib
import shutil
import tempfile

import sentencepiece
import transformers
from transformers import LlamaTokenizer

DATA = pathlib.Path("tests/data")
NOVELS = sorted(pathlib.Path("models/tiny-novels/data").glob("heldout-*.txt"))
PIECES = 8000
SEPARATOR = "\n__ggml_vocab_test__\n"

EXTRA = [
    "", " ", "  ", "a", "<s>", "</s>", "<s>Hello</s>world", "a <s> b</s> c", "<s> x", " <s>", "  <s> x", "Hello\n<unk>x",
    "</s></s>", "<s", "<<s>>", "</s >", "▁x", "x▁ y", " ▁x", "a▁ ▁b", "a\u0000b", "ﬁ e\u0301 \u00a0x\u3000y",
    "one\ttwo\n\nthree\r\nfour", "trailing ", "trailing\n", "  two  spaces  inside  ", "\ufeffBOM", "\U0001f999\U0001f469\u200d\U0001f680",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "There is an important info hidden inside a lot of irrelevant text. The pass key is 71432. Remember it. 71432 is the pass key.",
    "word " * 40, "x" * 20 + " " * 20 + "y", "[PAD]", "a [PAD]  b", "left  <mask>  right", "<mask>", "ab<word>cd <word> ef",
    "<extra>plain</extra>", "Wörter, naïve café — “quotes” … 日本語テキスト العربية हिन्दी",
]


def texts():
    samples = (DATA / "llama2_tokenizer/texts.txt").read_text(encoding="utf-8").split(SEPARATOR)
    return samples + EXTRA


def encode_all(tokenizer, decode=True):
    entries = []
    for text in texts():
        ids = tokenizer(text).input_ids
        entries.append({"text": text, "ids": ids})
    return {"transformers": transformers.__version__, "vocab_size": len(tokenizer), "encodings": entries}


def write(model, config, path, extra_files=None):
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(model, folder)
        files = {"tokenizer_config.json": config, **(extra_files or {})}
        for name, content in files.items():
            (pathlib.Path(folder) / name).write_text(json.dumps(content))
        golden = encode_all(LlamaTokenizer.from_pretrained(folder))
    golden["files"] = files
    path.write_text(json.dumps(golden, ensure_ascii=False) + "\n", encoding="utf-8")


def train(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [line for novel in NOVELS for line in novel.read_text(encoding="utf-8").splitlines()]
    model = io.BytesIO()  # and not a file, whose name the model would keep
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, model_type="bpe", vocab_size=PIECES, byte_fallback=True,
        split_digits=True, character_coverage=0.99995, normalization_rule_name="identity", add_dummy_prefix=True,
        remove_extra_whitespaces=False, allow_whitespace_only_pieces=True, max_sentence_length=100000, unk_id=0, bos_id=1,
        eos_id=2, pad_id=-1, num_threads=1, minloglevel=1)
    path.write_bytes(model.getvalue())


def main():
    novels = DATA / "novels_tokenizer/tokenizer.model"
    stories = DATA / "stories260K_tokenizer/tokenizer.model"
    if not novels.exists():
        train(novels)
    write(novels, {"tokenizer_class": "LlamaTokenizer", "legacy": True}, novels.parent / "golden_legacy.json")
    write(novels, {"tokenizer_class": "LlamaTokenizer", "legacy": False, "add_eos_token": True},
          novels.parent / "golden.json")
    added = {
        "0": {"content": "<unk>", "special": True}, "1": {"content": "<s>", "special": True},
        "2": {"content": "</s>", "special": True}, str(PIECES): {"content": "[PAD]", "special": True},
        str(PIECES + 1): {"content": "<mask>", "special": True, "lstrip": True, "rstrip": True},
        str(PIECES + 2): {"content": "<extra>", "special": False},
    }
    for token in added.values():
        for flag in ("lstrip", "rstrip", "single_word", "normalized"):
            token.setdefault(flag, False)
    write(novels, {"tokenizer_class": "LlamaTokenizer", "legacy": False, "add_bos_token": False, "pad_token": "[PAD]",
                   "additional_special_tokens": ["</extra>"], "added_tokens_decoder": added},
          novels.parent / "golden_added.json")
    write(novels, {"tokenizer_class": "LlamaTokenizer", "legacy": True},
          novels.parent / "golden_old_files.json",
          {"added_tokens.json": {"[PAD]": PIECES},
           "special_tokens_map.json": {"bos_token": {"content": "<s>", "lstrip": False, "rstrip": False,
                                                     "single_word": False, "normalized": True},
                                       "pad_token": "[PAD]"}})
    write(stories, json.loads((stories.parent / "tokenizer_config.json").read_text()), stories.parent / "golden.json")


if __name__ == "__main__":
    main()
