"""GGUF files written with the Python package `gguf`, and what it and transformers read in them.

Files below tests/data/gguf: `blocks.gguf` with a tensor of every type and `blocks.safetensors` with the values of
gguf.dequantize; `quantised.gguf` with numbers and what gguf.quantize makes of them; `MODEL.gguf`, models of tests/data/goldens/families as llama.cpp's converter would write them;
`split-0000N-of-00003.gguf`, one of them in three parts; `stories260K.gguf`, a model that
writes, with the log-probabilities of transformers; `tokenizers/NAME.gguf`, vocabularies of tests/data/tokenizers
without weights, with the ids that transformers gives in `tokenizers/NAME.json`.

Needs gguf, transformers, accelerate, safetensors, numpy.
"""
import json
import math
import shutil

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from safetensors.torch import load_file
from sentencepiece import SentencePieceProcessor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from scripts.references.common import DATA, GOLDENS, save_json, save_tensors
from scripts.references.tokenizers_pipeline import TEXTS

OUTPUT = DATA / "gguf"
TYPES = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS"]
# Where the half-precision scales of a block lie.
SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2],
          "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0]}

NAMES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "phi3": "phi3", "gpt_neox": "gptneox",
         "stablelm": "stablelm"}
MODELS = ["llama_biases", "llama_head_dim", "llama_llama3", "mistral", "mistral_linear", "qwen2", "qwen2_yarn", "qwen3", "phi3",
          "phi3_longrope", "phi3_partial", "neox", "neox_sequential", "neox_odd_heads", "stablelm", "stablelm_parallel"]
OUTER = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output", "embed_in": "token_embd",
         "final_layer_norm": "output_norm", "embed_out": "output"}
INNER = {"input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.qkv_proj": "attn_qkv", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
         "self_attn.k_norm": "attn_k_norm", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate",
         "mlp.up_proj": "ffn_up", "mlp.gate_up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
         "attention.query_key_value": "attn_qkv", "attention.dense": "attn_output", "mlp.dense_h_to_4h": "ffn_up",
         "mlp.dense_4h_to_h": "ffn_down"}


def random_blocks(type_name, rows, row_elements, generator):
    """Blocks of random bytes with scales that are numbers."""
    elements, size = gguf.GGML_QUANT_SIZES[Type[type_name]]
    count = row_elements // elements
    blocks = generator.integers(0, 256, (rows * count, size), dtype=np.uint8)
    for offset in SCALES[type_name]:
        scales = (generator.standard_normal(rows * count) * 0.02).astype(np.float16)
        blocks[:, offset:offset + 2] = scales.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(rows, count * size)


def encoded(values, type_name, generator):
    """A matrix in a type: the package's quantisation where it has one, else random blocks of the shape."""
    if type_name in SCALES and Type[type_name] not in (Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0):
        return random_blocks(type_name, values.shape[0], values.shape[1], generator)
    return gguf.quantize(values.astype(np.float32), Type[type_name])


def make_blocks():
    generator = np.random.default_rng(7)
    writer = gguf.GGUFWriter(OUTPUT / "blocks.gguf", "llama")
    expected = {}
    for name in TYPES:
        if name in SCALES:
            data = random_blocks(name, 2, 512 if gguf.GGML_QUANT_SIZES[Type[name]][0] == 256 else 96, generator)
        else:
            data = gguf.quantize(generator.standard_normal((2, 96)).astype(np.float32), Type[name])
        if name == "Q8_0":  # scales below the normal numbers of half precision, zero and minus zero
            data[:, 0:2] = np.array([[1, 0], [255, 131]], np.uint8)
            data[:, 34:36] = np.array([[0, 0], [0, 128]], np.uint8)
        writer.add_tensor(name, data, raw_dtype=Type[name])
        expected[name] = torch.from_numpy(gguf.dequantize(data, Type[name]).copy())
    finish(writer)
    save_tensors(OUTPUT / "blocks.safetensors", expected)


def make_quantised():
    """Numbers, and what gguf.quantize makes of them in every type that longlora writes."""
    generator = np.random.default_rng(11)
    values = generator.standard_normal((64, 64)).astype(np.float32)
    values *= 10.0 ** generator.integers(-7, 4, (64, 1)).astype(np.float32)
    values[0] = 0
    values[1, :32] = np.linspace(-1, 1, 32)
    values[1, 32:] = np.where(np.arange(32) % 2 == 0, 0.75, -0.75)  # two numbers as far from zero as each other
    values[2, :32] = np.arange(32) / 2  # halves, which are rounded to one side
    values[2, 32:] = -1
    values[3] = 0
    values[3, 5] = 3e-7  # a scale below the normal numbers of half precision
    writer = gguf.GGUFWriter(OUTPUT / "quantised.gguf", "llama")
    writer.add_tensor("values", values)
    for name in ("F16", "BF16", "Q8_0", "Q4_0", "Q4_1"):
        writer.add_tensor(name, gguf.quantize(values, Type[name]), raw_dtype=Type[name])
    writer.add_tensor("F32", values)
    finish(writer)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def interleaved(weight, heads):
    """Rows of a head from halves to pairs, as llama.cpp's converter orders those of a Llama."""
    return weight.reshape(heads, 2, -1, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def regrouped(weight, heads):
    """[heads, 3, D] to [3, heads, D], as it orders those of GPT-NeoX."""
    return weight.reshape(heads, 3, -1, *weight.shape[1:]).swapaxes(0, 1).reshape(weight.shape)


def gguf_name(name):
    module, kind = name.rsplit(".", 1)
    parts = module.split(".")
    if "layers" in parts:
        at = parts.index("layers")
        return f"blk.{parts[at + 1]}.{INNER['.'.join(parts[at + 2:])]}.{kind}"
    return f"{OUTER[parts[-1]]}.{kind}"


def add_rotary(writer, config, rotated):
    rope = config.rope_parameters
    kind = rope["rope_type"]
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_rope_dimension_count(rotated)
    original = rope.get("original_max_position_embeddings") or getattr(config, "original_max_position_embeddings", None)
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if kind == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(original)
    if kind == "llama3":
        pairs = torch.arange(0, rotated, 2, dtype=torch.float32) / rotated
        factors = []
        for frequency in (1.0 / rope["rope_theta"] ** pairs).tolist():
            share = original * frequency / (2 * math.pi)
            smooth = min(max((share - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"]), 0), 1)
            factors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
        writer.add_tensor("rope_freqs.weight", np.array(factors, np.float32))
    if kind == "longrope":
        scale = config.max_position_embeddings / original
        writer.add_rope_scaling_orig_ctx_len(original)
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(scale) / math.log(original)) if scale > 1 else 1.0)
        for length in ("long", "short"):
            writer.add_tensor(f"rope_factors_{length}.weight", np.array(rope[f"{length}_factor"], np.float32))


def write_model(folder, path, type_name=None, generator=None, vocabulary=None, **writer_options):
    """A Hugging Face model as GGUF; matrices in `type_name`, or as they are stored."""
    config = AutoConfig.from_pretrained(folder)
    name = NAMES[config.model_type]
    writer = gguf.GGUFWriter(path, name, **writer_options)
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    if head_dim * heads != config.hidden_size:
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if name in ("gptneox", "stablelm"):
        writer.add_layer_norm_eps(config.layer_norm_eps)
        writer.add_parallel_residual(config.use_parallel_residual)
    else:
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if getattr(config, "sliding_window", None) and config.model_type in ("phi3", "mistral"):
        writer.add_sliding_window(config.sliding_window)
    add_rotary(writer, config, int(head_dim * config.rope_parameters.get("partial_rotary_factor", 1.0)))
    if vocabulary is not None:
        vocabulary(writer, config)
    for tensor_name, weight in load_file(folder / "model.safetensors").items():
        if tensor_name in ("lm_head.weight", "embed_out.weight") and config.tie_word_embeddings:
            continue
        values = weight.float().numpy()
        if name == "llama" and ("q_proj" in tensor_name or "k_proj" in tensor_name):
            values = interleaved(values, heads if "q_proj" in tensor_name else kv_heads)
        if "query_key_value" in tensor_name:
            values = regrouped(values, heads)
        stored = {torch.float16: "F16", torch.bfloat16: "BF16"}.get(weight.dtype, "F32")
        kind = "F32" if values.ndim == 1 else type_name or stored
        if values.shape[-1] % gguf.GGML_QUANT_SIZES[Type[kind]][0] != 0:
            kind = "F16"  # as llama.cpp's quantiser does
        data = values if kind == "F32" else encoded(values, kind, generator)
        writer.add_tensor(gguf_name(tensor_name), data, raw_dtype=Type[kind])
    finish(writer)


def token_types(tokenizer, count):
    types = [gguf.TokenType.NORMAL] * count
    for token in tokenizer.get("added_tokens", []):
        types[token["id"]] = gguf.TokenType.CONTROL if token["special"] else gguf.TokenType.USER_DEFINED
    return types


def vocabulary_of(name):
    tokenizer = json.loads((DATA / "tokenizers" / name / "tokenizer.json").read_text())
    tokens = dict(tokenizer["model"]["vocab"])
    for token in tokenizer.get("added_tokens", []):
        tokens[token["content"]] = token["id"]
    ordered = sorted(tokens, key=tokens.get)
    assert [tokens[token] for token in ordered] == list(range(len(ordered)))
    return tokenizer, ordered


def add_byte_level(writer, name, pre, **ids):
    tokenizer, tokens = vocabulary_of(name)
    writer.add_tokenizer_model("gpt2")
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(token_types(tokenizer, len(tokens)))
    merges = tokenizer["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    for key, value in ids.items():
        getattr(writer, f"add_{key}")(tokens.index(value) if isinstance(value, str) else value)


def add_pieces(writer, path=DATA / "novels_tokenizer/tokenizer.model", count=1200, more=True, **ids):
    """SentencePiece's pieces with their scores, the first ones alone."""
    model = SentencePieceProcessor(str(path))
    pieces = range(min(count, model.vocab_size()))
    added = ["<|user|>", "<think>"] if more else []
    kind = lambda i: (gguf.TokenType.UNKNOWN if model.is_unknown(i) else gguf.TokenType.CONTROL if model.is_control(i)
                      else gguf.TokenType.BYTE if model.is_byte(i) else gguf.TokenType.NORMAL)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([model.id_to_piece(i) for i in pieces] + added)
    writer.add_token_scores([model.get_score(i) for i in pieces] + [-1000.0] * len(added))
    writer.add_token_types([kind(i) for i in pieces] + [gguf.TokenType.CONTROL, gguf.TokenType.USER_DEFINED][:len(added)])
    for key, value in {"bos_token_id": 1, "eos_token_id": 2, "unk_token_id": 0, **ids}.items():
        getattr(writer, f"add_{key}")(value)


TOKENIZERS = {
    "pieces": ("llama", lambda w: add_pieces(w)),
    "pieces_without_bos": ("llama", lambda w: add_pieces(w, add_bos_token=False, add_eos_token=True)),
    "pieces_phi3": ("phi3", lambda w: add_pieces(w)),
    "gpt2": ("llama", lambda w: add_byte_level(w, "gpt2", "gpt-2", bos_token_id="<|endoftext|>", eos_token_id="<|endoftext|>")),
    "gpt2_default": ("llama", lambda w: add_byte_level(w, "gpt2", "default", eos_token_id="<|endoftext|>", add_bos_token=False)),
    "qwen": ("qwen2", lambda w: add_byte_level(w, "qwen", "qwen2", eos_token_id="<|endoftext|>", add_bos_token=False)),
}
TEMPLATE = "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}{{ eos_token }}{% endfor %}"


def make_tokenizer(name):
    architecture, add = TOKENIZERS[name]
    path = OUTPUT / "tokenizers" / f"{name}.gguf"
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, architecture)
    for size in (writer.add_block_count, writer.add_head_count, writer.add_head_count_kv):
        size(1)
    for size in (writer.add_context_length, writer.add_embedding_length, writer.add_feed_forward_length):
        size(64)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_chat_template(TEMPLATE)
    add(writer)
    finish(writer)
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    # A file without a token of this name gets one from transformers, beyond the vocabulary of the model.
    texts = [text for text in TEXTS + ["<|user|>hi <think>so</think>"] if name.startswith("gpt2") or "<|endoftext|>" not in text]
    save_json(path.with_suffix(".json"), {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
                                          "cases": [{"text": text, "ids": tokenizer(text).input_ids,
                                                     "decoded": tokenizer.decode(tokenizer(text).input_ids,
                                                                                 skip_special_tokens=True)} for text in texts]})


def make_stories():
    """A model that writes, quantised: what transformers makes of the file."""
    def vocabulary(writer, config):
        writer.add_vocab_size(config.vocab_size)
        add_pieces(writer, DATA / "stories260K_hf/tokenizer.model", more=False)

    path = OUTPUT / "stories260K.gguf"
    write_model(DATA / "stories260K_hf", path, "Q8_0", vocabulary=vocabulary)
    tokenizer = AutoTokenizer.from_pretrained(OUTPUT, gguf_file=path.name)
    model = AutoModelForCausalLM.from_pretrained(OUTPUT, gguf_file=path.name, dtype=torch.float32).eval()
    text = "Once upon a time, there was a little girl named Lily. She had a red ball."
    ids = tokenizer(text, return_tensors="pt").input_ids
    with torch.no_grad():
        logprobs = torch.log_softmax(model(ids).logits[0, :-1].double(), -1).gather(1, ids[0, 1:, None])[:, 0]
    save_json(path.with_suffix(".json"), {"text": text, "ids": ids[0].tolist(), "logprobs": logprobs.tolist()})


def main():
    if OUTPUT.exists():
        shutil.rmtree(OUTPUT)
    OUTPUT.mkdir(parents=True)
    make_blocks()
    make_quantised()
    for name in MODELS:
        write_model(GOLDENS / "families" / name, OUTPUT / f"{name}.gguf")
    write_model(GOLDENS / "families" / "qwen3", OUTPUT / "split", split_max_tensors=12)
    make_stories()
    for name in TOKENIZERS:
        make_tokenizer(name)
    for path in OUTPUT.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


if __name__ == "__main__":
    main()
