"""GGUF files of longlora in llama.cpp (the Python package `xllamacpp`), beside transformers and the program itself.

    python -m scripts.references.llama_cpp build/release/longlora                        # random models of every family; minutes
    python -m scripts.references.llama_cpp build/release/longlora --model models/smollm2 # a real model; --type bf16
    python -m scripts.references.llama_cpp build/release/longlora --passkey MODEL [--adapter ADAPTER] --context_size 4096

The first writes small models with transformers, converts each with `longlora convert --type f32`, lets llama.cpp write 64 tokens
greedily, below and beyond the original window of scaled models, and compares the ids with transformers' and each
log-probability with `longlora score`. The second does so with a model of one's own and texts, whose ids are compared, too. The
third takes an extended model, or a base and an adapter that extends it (`longlora merge --save_path X.gguf`), and asks for pass keys
beyond the base's window, here and there.

A line per case; the exit code is 1 where one fails. Needs xllamacpp, transformers, torch; never the program.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
import xllamacpp
from transformers import AutoModelForCausalLM

from scripts.references.common import DATA
from scripts.references.passkey_prompts import make_prompt

NEW_TOKENS = 64
VOCABULARY = DATA / "tokenizers" / "gpt2"
# Of log-probabilities. llama.cpp rounds activations to the type of the weights, which for bfloat16 moves its own results by 0.04
# from what it computes of the same weights in float32; our numbers are those of float32 throughout.
MODEL_TOLERANCE = {"f32": 0.02, "f16": 0.02, "bf16": 0.05}
RANDOM_TOLERANCE = 0.02  # the same in float32 throughout, but for tables of half precision in llama.cpp
TEXTS = ["The old man looked at the sea and said:", "It's 12345 o'clock, café, naïve – 你好!\n\n  Two  spaces.",
         "def add(a, b):\n    return a + b\n\nprint(add(1, 20))", "Once upon a time, in a house by the sea, there lived"]


class LlamaCpp:
    """A model in llama.cpp; keys and values in float32."""

    def __init__(self, path, context, rounded=False):
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(path)
        parameters.n_ctx = context
        parameters.n_parallel = 1
        parameters.warmup = False
        parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = int(os.environ.get("OMP_NUM_THREADS", 2))
        parameters.verbosity = -1
        if not rounded:
            parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        self.server = xllamacpp.Server(parameters)

    def post(self, path, body):
        request = urllib.request.Request(self.server.listening_address + path, json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        return json.load(urllib.request.urlopen(request))

    def tokenize(self, text):
        return self.post("/tokenize", {"content": text, "add_special": True, "parse_special": True})["tokens"]

    def write(self, prompt, count):
        """Ids that are the likeliest, and their log-probabilities; `prompt` is a text or ids."""
        answer = self.post("/completion", {"prompt": prompt, "n_predict": count, "temperature": 0.0, "n_probs": 1,
                                           "cache_prompt": False, "return_tokens": True, "top_k": 0, "top_p": 1.0,
                                           "min_p": 0.0, "repeat_penalty": 1.0})
        found = iter(answer["completion_probabilities"])
        entry, logprobs = next(found, None), []
        for token in answer["tokens"]:  # those that end in the middle of a character have no entry
            matches = entry is not None and entry["id"] == token
            logprobs.append(entry["logprob"] if matches else None)
            entry = next(found, None) if matches else entry
        return answer["content"], answer["tokens"], logprobs


class Longlora:
    def __init__(self, program, folder):
        self.program, self.folder = str(program), folder

    def run(self, *words):
        done = subprocess.run([self.program, *map(str, words)], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"longlora {words[0]}: {done.stderr[-600:]}")
        return done.stdout

    def logprobs(self, model, ids):
        path = self.folder / "score.json"
        self.run("score", "--base_model", model, "--ids", ",".join(map(str, ids)), "--dtype", "float32", "--json", path)
        return json.loads(path.read_text())["logprobs"]

    def tokenize(self, model, text):
        (self.folder / "text.txt").write_text(text, encoding="utf-8", newline="")
        path = self.folder / "score.json"
        self.run("score", "--base_model", model, "--file", self.folder / "text.txt", "--json", path)
        return json.loads(path.read_text())["ids"]


def furthest(ours, theirs):
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True) if b is not None)


def compare(name, program, model, gguf, prompt, context, tolerance):
    """Whether llama.cpp writes what transformers writes, with the log-probabilities of `score`."""
    reference = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        wanted = reference.generate(torch.tensor([prompt]), max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0)
    wanted = wanted[0, len(prompt):].tolist()
    _, ids, theirs = LlamaCpp(gguf, context).write(prompt, NEW_TOKENS)
    ours = program.logprobs(model, prompt + ids)[len(prompt) - 1:]
    own = program.logprobs(gguf, prompt + ids)[len(prompt) - 1:]
    distance, distance_of_file = furthest(ours, theirs), furthest(own, theirs)
    same = sum(a == b for a, b in zip(ids, wanted))
    # The first id that differs may be one of two that are equally likely; then the rest of the texts differs, too.
    fork = next((i for i, (a, b) in enumerate(zip(ids, wanted)) if a != b), None)
    is_tie = fork is not None and abs(program.logprobs(model, prompt + wanted[:fork + 1])[-1] - ours[fork]) <= 2 * tolerance
    good = (fork is None or is_tie) and max(distance, distance_of_file) <= tolerance
    print(f"{'ok  ' if good else 'FAIL'} {name:34} prompt {len(prompt):5}: {same} of {len(wanted)} ids equal{' up to a tie' if is_tie else ''}, log-probabilities "
          f"within {max(distance, distance_of_file):.1e}", flush=True)
    return good


# Random models.

def configurations():
    """Families with what GGUF says of them, and lengths of prompts."""
    count = len(json.loads((VOCABULARY / "tokenizer.json").read_text())["model"]["vocab"])
    base = {"vocab_size": count, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 3,
            "num_attention_heads": 4, "max_position_embeddings": 256, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}
    grouped = {**base, "num_key_value_heads": 2}
    theta = {"rope_theta": 10000.0}
    linear = {**theta, "rope_type": "linear", "factor": 4.0}
    yarn = {**theta, "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
    llama3 = {**theta, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
              "original_max_position_embeddings": 64}
    factors = {"short_factor": [1.0 + 0.01 * i for i in range(16)], "long_factor": [1.0 + 0.5 * i for i in range(16)]}
    longrope = {**theta, "rope_type": "longrope", "factor": 4.0, "original_max_position_embeddings": 64, **factors}
    t = transformers
    short, long = (24,), (24, 150)
    yield "llama", t.LlamaConfig(**grouped), short
    yield "llama, tied, biases, wide heads", t.LlamaConfig(**grouped, tie_word_embeddings=True, attention_bias=True, mlp_bias=True,
                                                          head_dim=64), short
    yield "llama, linear", t.LlamaConfig(**{**grouped, "max_position_embeddings": 64}, rope_parameters=linear), long
    yield "llama, yarn", t.LlamaConfig(**grouped, rope_parameters=yarn), long
    yield "llama, yarn with a factor", t.LlamaConfig(**grouped, rope_parameters={**yarn, "attention_factor": 1.3, "beta_fast": 16.0}), long
    yield "llama, llama3", t.LlamaConfig(**grouped, rope_parameters=llama3), long
    yield "llama, longrope", t.LlamaConfig(**grouped, rope_parameters=longrope), (150,)
    yield "mistral", t.MistralConfig(**grouped, sliding_window=None), short
    yield "qwen2", t.Qwen2Config(**grouped), short
    yield "qwen2, yarn", t.Qwen2Config(**grouped, rope_parameters=yarn), long
    yield "qwen2, linear, tied", t.Qwen2Config(**{**grouped, "max_position_embeddings": 64}, rope_parameters=linear,
                                               tie_word_embeddings=True), long
    yield "qwen3", t.Qwen3Config(**grouped, head_dim=64), short
    yield "qwen3, yarn", t.Qwen3Config(**grouped, head_dim=32, rope_parameters=yarn), long
    yield "phi3", t.Phi3Config(**grouped), short
    yield "phi3, longrope", t.Phi3Config(**grouped, original_max_position_embeddings=64, rope_parameters={
        **theta, "rope_type": "longrope", **factors}), (150,)
    yield "gpt_neox", t.GPTNeoXConfig(**base, rotary_pct=0.25), short
    yield "gpt_neox, sequential, yarn", t.GPTNeoXConfig(**base, use_parallel_residual=False, rope_parameters={
        **yarn, "partial_rotary_factor": 1.0}), long
    yield "gpt_neox, tied", t.GPTNeoXConfig(**base, tie_word_embeddings=True), short
    yield "stablelm", t.StableLmConfig(**grouped), short
    yield "stablelm, parallel, biases", t.StableLmConfig(**grouped, use_parallel_residual=True, use_qkv_bias=True), short


def write_random(folder, config, seed):
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():  # far enough from zero that tokens differ
            scale = 0.12 if parameter.dim() == 2 else 0.1
            parameter.copy_(scale * torch.randn_like(parameter) + (parameter.dim() == 1 and parameter.mean().item() > 0.5))
    model.save_pretrained(folder)
    for path in VOCABULARY.glob("tokenizer*"):
        (folder / path.name).write_bytes(path.read_bytes())


def try_random_models(program, folder, only):
    good = True
    for number, (name, config, lengths) in enumerate(configurations()):
        if only not in name:
            continue
        model, gguf = folder / f"model{number}", folder / f"model{number}.gguf"
        write_random(model, config, number)
        try:
            program.run("convert", "--input", model, "--output", gguf, "--type", "f32")
            generator = torch.Generator().manual_seed(number)
            for length in lengths:
                prompt = torch.randint(1, config.vocab_size, (length,), generator=generator).tolist()
                good &= compare(name, program, model, gguf, prompt, 256, RANDOM_TOLERANCE)
        except Exception as error:
            print(f"FAIL {name}: {type(error).__name__}: {error}", flush=True)
            good = False
    return good


# Models of one's own.

def try_model(program, folder, model, kind):
    good = True
    gguf = folder / "model.gguf"
    program.run("convert", "--input", model, "--output", gguf, "--type", kind)
    server = LlamaCpp(gguf, 512)
    for text in TEXTS:
        ours, theirs = program.tokenize(model, text), server.tokenize(text)
        equal = ours == theirs == program.tokenize(gguf, text)
        good &= equal
        print(f"{'ok  ' if equal else 'FAIL'} {len(ours)} ids of {text[:40]!r}" + ("" if equal else f": {ours} {theirs}"), flush=True)
    del server
    for text in TEXTS:
        good &= compare(f"{Path(model).name}, {kind}", program, model, gguf, program.tokenize(model, text), 512,
                        MODEL_TOLERANCE.get(kind, math.inf))
    return good


def try_passkey(program, folder, model, adapter, context, trials):
    gguf = folder / "extended.gguf"
    if adapter:
        program.run("merge", "--base_model", model, "--peft_model", adapter, "--save_path", gguf, "--type", "bf16")
    else:
        program.run("convert", "--input", model, "--output", gguf, "--type", "bf16")
    server = LlamaCpp(gguf, context)
    right = {"llama.cpp": 0, "longlora": 0}
    for seed in range(trials):
        text, key, _ = make_prompt(int(3.2 * context), seed)
        question = folder / "question.txt"
        question.write_text(text)
        ours = program.run("inference", "--base_model", gguf, "--prompt", "none", "--temperature", 0, "--max_gen_len", 8,
                           "--question", text)
        theirs, _, _ = server.write(text, 8)
        print(f"key {key}: llama.cpp {theirs!r}, longlora {ours.strip()!r}", flush=True)
        right["llama.cpp"] += str(key) in theirs
        right["longlora"] += str(key) in ours
    print(f"{trials} pass keys in {len(server.tokenize(text))} tokens: {right}")
    return right["llama.cpp"] >= right["longlora"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("longlora")
    parser.add_argument("--model")
    parser.add_argument("--type", default="bf16")
    parser.add_argument("--passkey", metavar="MODEL")
    parser.add_argument("--adapter")
    parser.add_argument("--context_size", type=int, default=4096)
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 2)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = Longlora(Path(arguments.longlora).resolve(), folder)
        if arguments.passkey:
            good = try_passkey(program, folder, arguments.passkey, arguments.adapter, arguments.context_size, arguments.trials)
        elif arguments.model:
            good = try_model(program, folder, arguments.model, arguments.type)
        else:
            good = try_random_models(program, folder, arguments.only)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
