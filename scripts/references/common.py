"""What the reference generators share: where the goldens lie, tiny models, S² attention."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data"
GOLDENS = DATA / "goldens"


def save_tensors(path, tensors, metadata=None):
    """A .safetensors file that everybody may read (the library makes it private)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, str(path),
              metadata=metadata or {"format": "pt"})
    path.chmod(0o644)


def save_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def open_folder(path):
    """Lets everybody read what save_pretrained wrote."""
    for file in Path(path).iterdir():
        file.chmod(0o644)


def load_model(path, dtype=torch.float32, attention="eager"):
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(path, dtype=dtype, attn_implementation=attention)
    return model.eval()


def randomize(model, generator, scale=0.15):
    """Weights far enough from zero that every part of the model shows in the result."""
    embedding_scale = 0.2 if model.config.tie_word_embeddings else 0.6
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 1:
                parameter.copy_(1.0 + 0.1 * noise)
            else:
                parameter.copy_((embedding_scale if "embed" in name else scale) * noise)


def checkpoint_name(model, name):
    """The name of a parameter in checkpoints: transformers 5 calls GPT-NeoX's head lm_head, but not on disk."""
    if model.config.model_type == "gpt_neox" and name.startswith("lm_head."):
        return name.replace("lm_head.", "embed_out.")
    return name


def next_token_loss(logits, ids):
    """Mean over all B·(T-1) next-token losses, in float32."""
    vocabulary = logits.shape[-1]
    return torch.nn.functional.cross_entropy(logits[:, :-1].float().reshape(-1, vocabulary), ids[:, 1:].reshape(-1))


def segment_starts(num_tokens, group, shifted, documents=(0,)):
    """Starts of the segments of one head half; groups count from the start of each document."""
    starts = []
    ends = list(documents[1:]) + [num_tokens]
    for first, end in zip(documents, ends):
        starts.append(first)
        position = first + (group // 2 if shifted else group)
        while position < end:
            if position != starts[-1]:
                starts.append(position)
            position += group
    return starts


def s2_mask(num_heads, num_tokens, group, documents=(0,)):
    """Boolean [H, T, T]: may query (row) see key (column)? METHOD: S² attention without a leak."""
    causal = torch.ones(num_tokens, num_tokens, dtype=torch.bool).tril()
    halves = []
    for shifted in (False, True):
        label = torch.zeros(num_tokens, dtype=torch.long)
        for start in segment_starts(num_tokens, group, shifted, documents):
            label[start:] += 1
        halves.append(causal & (label[:, None] == label[None, :]))
    half = num_heads // 2
    return torch.stack([halves[0]] * half + [halves[1]] * (num_heads - half))


def masked_attention(q, k, v, mask):
    """Dense softmax attention. q [B, H, T, D], k and v [B, K, T, D], mask [H, T, T] or [B, H, T, T]."""
    repeats = q.shape[1] // k.shape[1]
    k = k.repeat_interleave(repeats, dim=1)
    v = v.repeat_interleave(repeats, dim=1)
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    return scores.masked_fill(~mask, float("-inf")).softmax(dim=-1) @ v


def register_s2(group):
    """Makes attn_implementation="s2" in transformers: S² attention with this group size."""
    from transformers import AttentionInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    def attend(module, query, key, value, attention_mask, scaling=None, dropout=0.0, **kwargs):
        mask = s2_mask(query.shape[1], query.shape[2], group)
        return masked_attention(query, key, value, mask).transpose(1, 2).contiguous(), None

    AttentionInterface.register("s2", attend)
    ALL_MASK_ATTENTION_FUNCTIONS.register("s2", lambda *args, **kwargs: None)
