#!/usr/bin/env python3
"""Makes the embedded model `tiny-novels` again: tokenizer, training data, two training stages.

    models/tiny-novels/make.py --novels DIR            everything, into build/tiny-novels
    models/tiny-novels/make.py --novels DIR data       only some of the steps, in this order:
        tokenizer   trains tokenizer.model on the training novels
        data        writes the rows of both stages
        quickstart  writes the extension data, its control and the held-out text
        train       runs `longlora fine-tune` for both stages; goes on where it was stopped
        install     copies weights, tokenizer and quickstart data to models/tiny-novels

DIR holds the Project Gutenberg files named in README.md. Needs Python 3.9 with the package
sentencepiece, and spm_train (Debian: python3-sentencepiece, sentencepiece). Everything is a
function of the seed and of spm_train, of which another version than Debian 12's (0.1.97) cuts
another tokenizer: `--tokenizer committed` takes the one beside this script instead.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))

from recipe import datasets, novels, rows  # noqa: E402
from recipe.documents import Codec  # noqa: E402

STEPS = ("tokenizer", "data", "quickstart", "train", "install")
TOKENIZER_FILES = ("tokenizer.model", "tokenizer_config.json", "special_tokens_map.json")
WINDOW_TOKENS = 512

# Stage 1 keeps its learning rate to the end (copying appears suddenly, and late); stage 2 decays.
TRAINING = {
    1: ["--model_max_length", "128", "--per_device_train_batch_size", "16",
        "--learning_rate", "1.5e-3", "--lr_scheduler_type", "constant_with_warmup",
        "--warmup_steps", "50"],
    2: ["--model_max_length", "512", "--per_device_train_batch_size", "8",
        "--learning_rate", "1e-3", "--lr_scheduler_type", "cosine", "--warmup_steps", "50"],
}
FROM_NOTHING = ["--init", "random", "--attention_init", "mimetic", "--config", HERE / "config.json"]
COMMON = ["--low_rank_training", "False", "--attention", "full", "--adam_beta2", "0.95",
          "--weight_decay", "0.1", "--bf16", "True", "--shuffle", "True",
          "--save_steps", "200", "--save_total_limit", "2"]


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="*", default=[], metavar="STEP",
                        help="steps to run (default: all)")
    parser.add_argument("--novels", type=Path, required=True, help="folder of the novels")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "tiny-novels",
                        help="folder for everything made on the way (default: %(default)s)")
    parser.add_argument("--longlora", type=Path,
                        default=ROOT / "build" / "release" / "longlora",
                        help="the program that trains (default: %(default)s)")
    parser.add_argument("--tokenizer", choices=("new", "committed"), default="new",
                        help="train a tokenizer, or take the one beside this script")
    parser.add_argument("--steps1", type=int, default=1400, help="optimizer steps of stage 1")
    parser.add_argument("--steps2", type=int, default=2000, help="optimizer steps of stage 2")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dry_run", action="store_true",
                        help="print the training commands instead of running them")
    options = parser.parse_args()
    unknown = [step for step in options.steps if step not in STEPS]
    if unknown:
        parser.error(f"unknown steps {unknown}; the steps are {', '.join(STEPS)}")
    options.steps = [step for step in STEPS if not options.steps or step in options.steps]
    return options


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_tokenizer(options, training):
    """tokenizer.model and its configuration, as Llama's, in the work folder."""
    folder = options.work / "tokenizer"
    folder.mkdir(parents=True, exist_ok=True)
    if options.tokenizer == "committed":
        for name in TOKENIZER_FILES:
            shutil.copyfile(HERE / name, folder / name)
        return
    text = folder / "novels.txt"
    text.write_text("".join(body for _, body in training.values()), encoding="utf-8")
    # Plain names and not paths: the file keeps a record of its options.
    subprocess.run(
        ["spm_train", "--input=novels.txt", "--model_prefix=tokenizer", "--model_type=bpe",
         "--vocab_size=4096", "--byte_fallback=true", "--split_digits=true",
         "--character_coverage=0.99995", "--required_chars=0123456789",
         "--normalization_rule_name=identity", "--add_dummy_prefix=true",
         "--remove_extra_whitespaces=false", "--allow_whitespace_only_pieces=true",
         "--max_sentence_length=100000", "--unk_id=0", "--bos_id=1", "--eos_id=2", "--pad_id=-1",
         "--num_threads=1", "--minloglevel=1"], cwd=folder, check=True)
    (folder / "tokenizer.vocab").unlink()
    text.unlink()
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    config = dict(special, add_bos_token=True, add_eos_token=False, legacy=False,
                  clean_up_tokenization_spaces=False, model_max_length=WINDOW_TOKENS,
                  sp_model_kwargs={}, tokenizer_class="LlamaTokenizer")
    for name, content in (("tokenizer_config.json", config), ("special_tokens_map.json", special)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")
    print(f"tokenizer.model: sha256 {sha256(folder / 'tokenizer.model')}")


def open_codec(options):
    import sentencepiece
    path = options.work / "tokenizer" / "tokenizer.model"
    if not path.is_file():
        raise SystemExit(f"{path}: not there; run the step 'tokenizer' first")
    return Codec(sentencepiece.SentencePieceProcessor(model_file=str(path))), fingerprint(options)


def fingerprint(options):
    """The program's own hash of the tokenizer, as `tokenize` writes it: data that carries it is
    refused with any other tokenizer."""
    sample = options.work / "sample.txt"
    sample.write_text("A sample.\n")
    output = options.work / "sample.bin"
    about = output.with_name("sample.bin.json")
    try:
        subprocess.run([str(options.longlora), "tokenize", "--tokenizer",
                        str(options.work / "tokenizer"), "--input", str(sample),
                        "--output", str(output)], capture_output=True, text=True, check=True)
        return json.loads(about.read_text())["tokenizer"]["fingerprint"]
    except FileNotFoundError:
        raise SystemExit(f"{options.longlora}: not there; build it first, for it gives the data "
                         "the fingerprint of their tokenizer") from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"`longlora tokenize` failed:\n{error.stderr}") from None
    finally:
        for path in (sample, output, about):
            path.unlink(missing_ok=True)


def make_data(options, training, codec, tokenizer_hash):
    for number, plan in datasets.STAGES.items():
        store = rows.Novels(training, codec, options.seed + 100 * number)
        made, documents = datasets.stage(number, codec, store, options.seed)
        rows.write(options.work / f"stage{number}.bin", made, plan["row_tokens"], documents,
                   sorted(training), tokenizer_hash,
                   f"training rows of stage {number}; {store.num_tokens} ids of novels to draw on")


def make_quickstart(options, training, held_out, codec, tokenizer_hash):
    folder = options.work / "data"
    store = rows.Novels(training, codec, options.seed + 1000)
    long_rows, documents, novel_rows = datasets.extension(codec, store, options.seed)
    rows.write(folder / "extend-4096.bin", long_rows, datasets.EXTEND_TOKENS, documents,
               sorted(training), tokenizer_hash,
               f"the first {datasets.SPARSE_ROWS} rows are for sparse, the last "
               f"{datasets.FULL_ROWS} for full attention: keep their order")
    short_rows, documents = datasets.control(codec, store, novel_rows, options.seed)
    rows.write(folder / "extend-512.bin", short_rows, datasets.CONTROL_TOKENS, documents,
               sorted(training), tokenizer_hash,
               "control of extend-4096.bin: as many ids, the same novel text, in rows of 512")
    for name, (title, text) in held_out.items():
        (folder / novels.HELD_OUT[name]).write_text(text, encoding="utf-8")
        print(f"{novels.HELD_OUT[name]}: {title}, {len(text)} characters, "
              f"{len(codec.encode(text))} ids")


def train(options):
    """Both stages; a stage with a finished output is skipped, a begun one resumed."""
    tokenizer = options.work / "tokenizer"
    for number, steps in ((1, options.steps1), (2, options.steps2)):
        output = options.work / f"stage{number}"
        start = FROM_NOTHING if number == 1 else ["--model_name_or_path", options.work / "stage1"]
        command = [options.longlora, "fine-tune", *start, "--tokenizer", tokenizer,
                   "--data_path", options.work / f"stage{number}.bin", "--output_dir", output,
                   "--max_steps", steps, *TRAINING[number], *COMMON]
        if output.is_dir():
            command.append("--resume")
        command = [str(word) for word in command]
        print(" ".join(command), flush=True)
        if options.dry_run:
            continue
        if (output / "model.safetensors").is_file():
            print(f"{output} is finished: skipped")
            continue
        if subprocess.run(command, check=False).returncode != 0:
            raise SystemExit(f"stage {number} stopped; run the same command again to go on")
        if not (output / "model.safetensors").is_file():
            raise SystemExit(f"stage {number} was interrupted; run the same command again to go on")


def install(options):
    """Copies what the repository holds; weights only when stage 2 has finished."""
    for name in TOKENIZER_FILES:
        shutil.copyfile(options.work / "tokenizer" / name, HERE / name)
    if (options.work / "data").is_dir():
        (HERE / "data").mkdir(exist_ok=True)
        for path in sorted((options.work / "data").iterdir()):
            shutil.copyfile(path, HERE / "data" / path.name)
    weights = options.work / "stage2" / "model.safetensors"
    if weights.is_file():
        shutil.copyfile(weights, HERE / "model.safetensors")
        print(f"model.safetensors: {weights.stat().st_size} bytes, sha256 {sha256(weights)}")
    else:
        print(f"no {weights}: weights not installed")


def main():
    options = parse_arguments()
    training, held_out = novels.load(options.novels)
    if "tokenizer" in options.steps:
        make_tokenizer(options, training)
    if "data" in options.steps or "quickstart" in options.steps:
        codec, tokenizer_hash = open_codec(options)
        if "data" in options.steps:
            make_data(options, training, codec, tokenizer_hash)
        if "quickstart" in options.steps:
            make_quickstart(options, training, held_out, codec, tokenizer_hash)
    if "train" in options.steps:
        train(options)
    if "install" in options.steps:
        install(options)


if __name__ == "__main__":
    main()
