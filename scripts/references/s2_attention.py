"""S² attention of random q, k, v in float64 as a dense masked computation: output and gradients."""

import torch

from scripts.references.common import GOLDENS, masked_attention, s2_mask, save_json, save_tensors

# name: rows, tokens, group, query heads, key/value heads, head size, document starts in the row
CASES = {
    "even": (1, 16, 8, 4, 4, 8, [0]),
    "last_segment_short": (1, 21, 8, 4, 2, 4, [0]),
    "odd_tokens_and_group": (1, 23, 7, 4, 2, 6, [0]),
    "one_group": (1, 9, 9, 2, 2, 4, [0]),
    "fewer_tokens_than_group": (1, 5, 8, 4, 2, 4, [0]),
    "fewer_tokens_than_half_a_group": (1, 3, 8, 4, 2, 4, [0]),
    "group_of_two": (1, 7, 2, 2, 1, 4, [0]),
    "odd_key_value_heads": (1, 19, 6, 6, 3, 4, [0]),
    "one_key_value_head": (1, 19, 6, 4, 1, 4, [0]),
    "two_rows": (2, 13, 4, 4, 2, 4, [0]),
    "packed_documents": (1, 29, 8, 4, 2, 4, [0, 5, 6, 19]),
    "two_rows_packed": (2, 17, 6, 4, 2, 4, [0, 10]),
}


def main():
    tensors, cases = {}, {}
    for seed, (name, (rows, tokens, group, heads, kv_heads, size, documents)) in enumerate(CASES.items()):
        generator = torch.Generator().manual_seed(300 + seed)

        def random(count):
            return torch.randn(rows, tokens, count, size, generator=generator, dtype=torch.float64)

        q, k, v = (random(count).requires_grad_() for count in (heads, kv_heads, kv_heads))
        out_grad = random(heads)
        mask = s2_mask(heads, tokens, group, documents)
        out = masked_attention(*(x.transpose(1, 2) for x in (q, k, v)), mask).transpose(1, 2)
        out.backward(out_grad)
        for key, value in dict(q=q, k=k, v=v, out=out, grad_out=out_grad, grad_q=q.grad, grad_k=k.grad,
                               grad_v=v.grad).items():
            tensors[f"{name}.{key}"] = value
        cases[name] = dict(rows=rows, tokens=tokens, group=group, heads=heads, kv_heads=kv_heads, head_dim=size,
                           document_starts=documents)
    save_tensors(GOLDENS / "s2_attention" / "golden.safetensors", tensors)
    save_json(GOLDENS / "s2_attention" / "cases.json", cases)


if __name__ == "__main__":
    main()
