"""Small tokenizers trained with Hugging Face's `tokenizers`, one for each rule, and what they give for a list of texts.

Files: tests/data/tokenizers/NAME/tokenizer.json (with tokenizer_config.json where transformers' AutoTokenizer opened
it) and golden.json; tests/data/tokenizers/tiktoken/tokenizer.model and golden.json by the `tiktoken` package.

Needs tokenizers, transformers and tiktoken.
"""
import base64
import json
import shutil

import tiktoken
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers.pre_tokenizers import ByteLevel, Digits, Metaspace, Split
from transformers import AutoTokenizer

from .common import DATA, ROOT

OUTPUT = DATA / "tokenizers"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN = LLAMA3.replace("{1,3}", "")
MARK = "\u2581"

TEXTS = [
    "", " ", "  ", "   ", "\n", "\n\n", "\t\n", "a", "Hello world", " Hello", "  Hello", "Hello  world ", "Hello\n\n  world\n",
    "one\r\ntwo\r\n\r\n three \r four", " \n \n  x", "\t\ttabs\tand spaces   \n", "don't DON'T we'll y'all'S 'tis ''s x'\u017fy",
    "1 22 333 4444 55555 3.14159 \u0661\u0662\u0663 \u00bd \u2167 x2y3", "!!! ... ?! (a) [b] {c} <d> ++i; a->b::c &&&",
    "na\u00efve caf\u00e9 e\u0301 \u212b \u0344 a\u0323\u0301 \u1100\u1161\u11a8 \u0061\u08d3\u0323 \u09c7\u09be",
    "\u65e5\u672c\u8a9e\u30c6\u30ad\u30b9\u30c8 \u4e2d\u6587\u3002 \ud55c\uad6d\uc5b4",
    "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd \u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645 \u0939\u093f\u0928\u094d\u0926\u0940",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f3f3\ufe0f\u200d\U0001f308 \U0001f1e9\U0001f1ea \U0001f999", "z\u0337\u0322\u031ba\u0338l\u0335g\u0337o\u0336",
    "\ufeffBOM \u00a0nbsp\u3000wide\u2028line\u0085nel \u200bzero\x00byte\x1f", "\u1c89\U0001e030\U00010d40 new in later versions",
    "\u2581mark x\u2581 \u2581\u2581y \u0120\u010a <0x0A> <unk>", "<s>Hello</s> world<s>", "a <s> b </s>  c", "<s", "<<s>>", "<|endoftext|>x <|endoftext|>",
    "<|begin_of_text|>text<|eot_id|>", "left  <mask>  right<mask>", "a<word>b <word> c\u0301<word>", "caf\u00e9 cafe\u0301 CAFE", "<lower> <LOWER>",
    "There is an important info hidden inside a lot of irrelevant text. The pass key is 71432. Remember it.",
    "\\begin{equation} \\int_0^1 f(x)\\,dx = \\frac{1}{2} \\end{equation}", "for (int i = 0; i < 10; ++i) {\n    sum += a[i];\n}\n",
    "x" * 200, "ab" * 150, " " * 300, "\n" * 90, "the " * 60, "supercalifragilisticexpialidocious antidisestablishmentarianism",
]


def save_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False) + "\n", encoding="utf-8")


def corpus():
    files = [ROOT / "LICENSE", DATA / "llama2_tokenizer/texts.txt"]  # texts that stay
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines(keepends=True)]
    return lines + [text for text in TEXTS if "<" not in text] * 3


def trained(pre_tokenizer, normalizer=None, vocab_size=600, special=(), byte_level=True, alphabet=None, **model):
    tokenizer = Tokenizer(models.BPE(**model))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    letters = ByteLevel.alphabet() if byte_level else alphabet or []
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=list(special), initial_alphabet=letters,
                                  limit_alphabet=256 if byte_level else 120, show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    if byte_level:
        tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def gpt2():
    tokenizer = trained(ByteLevel(add_prefix_space=False), special=["<|endoftext|>"])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def gpt2_prefix():
    return trained(ByteLevel(add_prefix_space=True), special=["<s>", "</s>"])


def neox():
    tokenizer = trained(ByteLevel(add_prefix_space=False), normalizers.NFC(), special=["<|endoftext|>"])
    tokenizer.add_tokens([AddedToken(" " * n, normalized=True) for n in (8, 4, 3, 2)] +
                         [AddedToken("caf\u00e9", normalized=True)])
    return tokenizer


def llama3():
    pre_tokenizer = pre_tokenizers.Sequence([Split(Regex(LLAMA3), "isolated"), ByteLevel(False, use_regex=False)])
    tokenizer = trained(pre_tokenizer, ignore_merges=True)
    tokenizer.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"])
    bos = "<|begin_of_text|>"
    template = processors.TemplateProcessing(single=f"{bos} $A", pair=f"{bos} $A {bos} $B:1",
                                             special_tokens=[(bos, tokenizer.token_to_id(bos))])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return tokenizer


def qwen():
    pre_tokenizer = pre_tokenizers.Sequence([Split(Regex(QWEN), "isolated"), ByteLevel(False, use_regex=False)])
    tokenizer = trained(pre_tokenizer, normalizers.NFC())
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    return tokenizer


def bytes_vocabulary():
    return {token: i for i, token in enumerate(["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)])}


def with_bytes(tokenizer, unk_token="<unk>", fuse_unk=True):
    """The same merges behind Llama's first 259 tokens, with byte fallback."""
    file = json.loads(tokenizer.to_str())
    vocab = bytes_vocabulary()
    for token in sorted(file["model"]["vocab"], key=file["model"]["vocab"].get):
        vocab.setdefault(token, len(vocab))
    file["model"].update(vocab=vocab, byte_fallback=True, fuse_unk=fuse_unk, unk_token=unk_token)
    return Tokenizer.from_str(json.dumps(file))


def llama2():
    normalizer = normalizers.Sequence([normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)])
    # Trained word by word, used on whole texts: no token reaches over the space, as in Llama.
    tokenizer = trained(Metaspace(MARK, "always", True), None, byte_level=False, alphabet=[MARK])
    tokenizer = with_bytes(tokenizer)
    tokenizer.pre_tokenizer = None
    tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.Sequence([decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> <s> $B </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    return tokenizer


def joined_words():
    """Tokens that reach over spaces and newlines: the text cannot be cut."""
    normalizer = normalizers.Replace(" ", MARK)
    tokenizer = with_bytes(trained(None, normalizer, byte_level=False, alphabet=[MARK]))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(MARK, "never")])
    return tokenizer


def metaspace_first():
    tokenizer = trained(Metaspace(MARK, "first", True), None, byte_level=False, alphabet=[MARK], unk_token="<unk>",
                        special=["<unk>", "<s>", "</s>"])
    tokenizer.decoder = decoders.Metaspace(MARK, "first")
    return tokenizer


def unknown_fused():
    tokenizer = trained(Metaspace(MARK, "always", False), normalizers.NFKC(), byte_level=False, alphabet=[MARK],
                        unk_token="<unk>", fuse_unk=True, special=["<unk>"])
    tokenizer.decoder = decoders.Metaspace(MARK, "always")
    return tokenizer


def odd_rules():
    """What no known model does: expressions for PCRE2, every behaviour, digits one by one, lower case."""
    normalizer = normalizers.Sequence([normalizers.Strip(), normalizers.Lowercase(),
                                       normalizers.Replace(Regex(r"[ \t]{3,}"), "  ")])
    pre_tokenizer = pre_tokenizers.Sequence([
        Split(Regex(r"\n+"), "merged_with_previous"), Split("--", "removed"), Split(Regex(r"[aeiou]"), "merged_with_next"),
        Split(Regex(r"\p{P}"), "contiguous"), Split(Regex(r"\S+"), "isolated", invert=True), Digits(True), ByteLevel(True)])
    return trained(pre_tokenizer, normalizer)


def added_tokens():
    tokenizer = trained(ByteLevel(add_prefix_space=False), normalizers.Lowercase(), special=["<s>", "</s>"])
    tokenizer.add_tokens([AddedToken("<lower>", normalized=True), AddedToken("<word>", single_word=True, normalized=False)])
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, rstrip=True), "<|endoftext|>", "Hello",
                                  AddedToken("CAFE", normalized=True)])
    return tokenizer


def no_decoder():
    tokenizer = trained(Split(Regex(r"\w+|[^\w\s]+"), "isolated"), normalizers.NFD(), byte_level=False, unk_token="[UNK]",
                        special=["[UNK]"])
    return tokenizer


TOKENIZERS = [gpt2, gpt2_prefix, neox, llama3, qwen, llama2, joined_words, metaspace_first, unknown_fused, odd_rules,
              added_tokens, no_decoder]
STREAMED = {"gpt2", "llama3", "llama2"}
OLD_MERGES = {"gpt2", "neox", "llama2"}  # written as one text each, as files before 2024


def encode_all(encode, decode):
    entries = []
    for text in TEXTS:
        ids = encode(text)
        entries.append({"text": text, "ids": ids, "decoded": decode(ids, True), "decoded_all": decode(ids, False)})
    return {"encodings": entries}


def streams(tokenizer):
    """What DecodeStream gives, id by id; nothing is written as an empty text."""
    entries = []
    for text in TEXTS:
        ids = tokenizer.encode(text).ids
        if not 1 < len(ids) < 80:
            continue
        stream = decoders.DecodeStream(skip_special_tokens=True)
        entries.append({"ids": ids, "pieces": [stream.step(tokenizer, id) or "" for id in ids]})
    return entries


def write_tokenizer(name, tokenizer):
    folder = OUTPUT / name
    folder.mkdir(parents=True, exist_ok=True)
    file = json.loads(tokenizer.to_str())
    if name in OLD_MERGES:
        file["model"]["merges"] = [" ".join(merge) for merge in file["model"]["merges"]]
    (folder / "tokenizer.json").write_text(json.dumps(file, ensure_ascii=False, separators=(",", ":")) + "\n")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    golden = encode_all(lambda text: tokenizer.encode(text).ids,
                        lambda ids, skip: tokenizer.decode(ids, skip_special_tokens=skip))
    if name in STREAMED:
        golden["streams"] = streams(tokenizer)
    save_json(folder / "golden.json", golden)


def write_folder(name, source, config, model_config=None):
    """What AutoTokenizer makes of a folder."""
    folder = OUTPUT / name
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(OUTPUT / source / "tokenizer.json", folder)
    save_json(folder / "tokenizer_config.json", config)
    if model_config:
        save_json(folder / "config.json", model_config)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    golden = encode_all(lambda text: tokenizer(text).input_ids,
                        lambda ids, skip: tokenizer.decode(ids, skip_special_tokens=skip))
    save_json(folder / "golden.json", golden)


def token(content, **flags):
    plain = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False, "special": True}
    return {"content": content, **plain, **flags}


def write_folders():
    write_folder("folder_llama", "llama2", {
        "tokenizer_class": "LlamaTokenizer", "legacy": False, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
        "added_tokens_decoder": {"0": token("<unk>"), "1": token("<s>"), "2": token("</s>"),
                                 "600": token("<mask>", lstrip=True, rstrip=True)}, "pad_token": "[PAD]"})
    write_folder("folder_llama_legacy", "llama2", {
        "tokenizer_class": "LlamaTokenizerFast", "legacy": True, "add_bos_token": False, "bos_token": "<s>",
        "eos_token": "</s>", "additional_special_tokens": ["<word>"]})
    write_folder("folder_mistral", "llama2", {"tokenizer_class": "LlamaTokenizer", "legacy": False, "bos_token": "<s>",
                                              "eos_token": "</s>"}, {"model_type": "mistral"})
    # Classes that take vocabulary and merges alone, over files with other rules.
    write_folder("folder_code_llama", "llama2", {"tokenizer_class": "CodeLlamaTokenizer"})
    write_folder("folder_gpt2_class", "qwen", {"tokenizer_class": "GPT2Tokenizer"})
    write_folder("folder_neox_class", "llama3", {"tokenizer_class": "GPTNeoXTokenizerFast"})
    write_folder("folder_qwen_class", "llama3", {"tokenizer_class": "PreTrainedTokenizerFast"}, {"model_type": "qwen2"})
    write_folder("folder_odd_settings", "llama3", {
        "tokenizer_class": "PreTrainedTokenizerFast", "extra_special_tokens": {"image_token": "<word>"},
        "eos_token": {"__type": "AddedToken", "content": "<mask>", "lstrip": True, "rstrip": True, "normalized": False}})
    write_folder("folder_split_special", "llama3", {"tokenizer_class": "PreTrainedTokenizerFast",
                                                    "split_special_tokens": True})
    write_folder("folder_plain", "llama3", {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin_of_text|>",
                                            "eos_token": "<|eot_id|>", "pad_token": "<mask>"})


def write_old_folder():
    """Settings as they were written before added_tokens_decoder existed."""
    folder = OUTPUT / "folder_old"
    folder.mkdir(parents=True, exist_ok=True)
    save_json(folder / "special_tokens_map.json", {"bos_token": token("<s>", normalized=True), "eos_token": "</s>",
                                                   "pad_token": "<mask>"})
    save_json(folder / "added_tokens.json", {"<mask>": 700, "<word>": 701})
    write_folder("folder_old", "llama2", {"tokenizer_class": "LlamaTokenizer", "legacy": True})


def write_tiktoken():
    file = json.loads((OUTPUT / "llama3/tokenizer.json").read_text())
    byte_of = {char: byte for byte, char in enumerate(byte_characters())}
    vocab = file["model"]["vocab"]
    tokens = sorted((bytes(byte_of[c] for c in text) for text in vocab), key=lambda t: (len(t) > 1, vocab_key(t, vocab)))
    ranks = {token: rank for rank, token in enumerate(tokens)}
    folder = OUTPUT / "tiktoken"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in ranks.items()]
    (folder / "tokenizer.model").write_text("".join(lines))
    encoding = tiktoken.Encoding("small", pat_str=LLAMA3, mergeable_ranks=ranks, special_tokens={})
    decode = lambda ids, _: encoding.decode(ids)
    save_json(folder / "golden.json", encode_all(encoding.encode_ordinary, decode))


def byte_characters():
    printable = set(range(0x21, 0x7F)) | set(range(0xA1, 0xAD)) | set(range(0xAE, 0x100))
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def vocab_key(token, vocab):
    chars = byte_characters()
    return vocab["".join(chars[byte] for byte in token)]


def main():
    for make in TOKENIZERS:
        write_tokenizer(make.__name__, make())
    write_folders()
    write_old_folder()
    write_tiktoken()


if __name__ == "__main__":
    main()
