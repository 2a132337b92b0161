"""DoRA, LoRA dropout and 8-bit AdamW by peft and bitsandbytes.

`dora`, `dropout`, `dora_dropout`: loss and gradients of the batch of instruction_tuning.py, adapters by peft on
tiny_models/gqa_untied. With dropout peft's masks are replaced by the program's, written out here once more: they come
from a counter (SplitMix64). `dora` also has the logits, and two weights that peft has merged.

`adamw_8bit`: four steps of bitsandbytes' AdamW8bit on one parameter, with its states. Codes are bitsandbytes' nearest
ones, as its default and CUDA backends find them: its library for CPUs rounds by a coarser table.
"""

import shutil

import bitsandbytes
import bitsandbytes.backends.cpu.ops as cpu_ops
import numpy
import torch

from scripts.references.common import GOLDENS, save_tensors
from scripts.references.instruction_tuning import make_model, mean_loss, padded, samples, save_adapter_alone
from scripts.references.training_curves import plain_name

FOLDER = GOLDENS / "adapter_variants"
PROBABILITY, SEED = 0.25, 77
# The linear layers of a block in the program's order, which numbers them.
LINEARS = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj",
           "mlp.down_proj"]


def mix_bits(seed, counter):
    """Output number `counter` of SplitMix64 started at `seed`; both may be arrays."""
    with numpy.errstate(over="ignore"):
        z = numpy.uint64(seed) + (numpy.uint64(counter) + numpy.uint64(1)) * numpy.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
        return z ^ (z >> numpy.uint64(31))


def mask(place, rows, width):
    """What a layer's input [rows, width] is multiplied with."""
    threshold = round(PROBABILITY * 65536)
    key = mix_bits(SEED, place)
    row_keys = mix_bits(key, numpy.arange(rows, dtype=numpy.uint64))[:, None]
    column = numpy.arange(width, dtype=numpy.uint64)[None, :]
    draws = mix_bits(row_keys, column // numpy.uint64(4)) >> (numpy.uint64(16) * (column % numpy.uint64(4)))
    stays = (draws & numpy.uint64(0xFFFF)) >= threshold
    return torch.from_numpy(stays.astype("float32")) * (65536 / (65536 - threshold))


class GivenDropout(torch.nn.Module):
    """Multiplies x [B, T, in], samples padded at their ends, with a mask of the samples laid end to end."""

    def __init__(self, place, lengths):
        super().__init__()
        self.place, self.lengths = place, lengths

    def forward(self, x):
        flat = mask(self.place, sum(self.lengths), x.shape[-1])
        factor = torch.ones_like(x)
        for i, part in enumerate(flat.split(self.lengths)):
            factor[i, :len(part)] = part
        return x * factor


def set_dropout(model, lengths):
    for name, module in model.named_modules():
        if not hasattr(module, "lora_dropout"):
            continue
        layer, linear = name.split(".layers.")[1].split(".", 1)
        module.lora_dropout["default"] = GivenDropout(int(layer) * len(LINEARS) + LINEARS.index(linear), lengths)


def set_magnitudes(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_magnitude_vector" in name:
                parameter.mul_(1 + 0.2 * torch.randn(parameter.shape, generator=generator))


def gradients(name, config, seed):
    rows, answers = samples(torch.Generator().manual_seed(seed))
    model = make_model("eager", dict(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], **config), False, seed + 1)
    set_magnitudes(model, seed + 2)
    if config.get("lora_dropout"):
        set_dropout(model, [len(row) for row in rows])
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    save_adapter_alone(model, folder)
    loss = mean_loss(model, padded(rows, answers), padding=True)
    loss.backward()
    result = {f"ids.{i}": row for i, row in enumerate(rows)}
    result.update({f"answers.{i}": torch.tensor(ranges) for i, ranges in enumerate(answers)})
    result.update({f"grad.{plain_name(k).removesuffix('.weight') if 'magnitude' in k else plain_name(k)}": p.grad
                   for k, p in model.named_parameters() if p.requires_grad})
    save_tensors(folder / "golden.safetensors", {**result, "loss": loss.detach()})
    print(name, loss.item())
    return model.eval()


def dora():
    model = gradients("dora", dict(use_dora=True), 21)
    ids = torch.randint(0, 96, (2, 19), generator=torch.Generator().manual_seed(24))
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits
    merged = dict(model.merge_and_unload().named_parameters())
    names = ["model.layers.0.self_attn.q_proj.weight", "model.layers.2.mlp.down_proj.weight"]
    save_tensors(FOLDER / "dora" / "merged.safetensors",
                 {"ids": ids, "logits": logits, **{f"weight.{name}": merged[name] for name in names}})


def quantize_to_nearest(values, code, scales, codes, blocksize):
    # What a device without kernels of its own runs: the default backend's.
    kernel = torch.library.get_kernel("bitsandbytes::quantize_blockwise", "PrivateUse1")
    keys = torch._C._dispatch_keyset_full_after(torch._C.DispatchKey.BackendSelect)
    found, found_scales = kernel.call_boxed(keys, values, code, blocksize)
    codes.copy_(found)
    scales.copy_(found_scales)


def adamw_8bit():
    """A parameter whose last block is not whole, gradients of very different sizes, one block without any."""
    generator = torch.Generator().manual_seed(31)
    shape = (41, 101)
    size = 10 ** (2 * torch.rand(shape, generator=generator) - 4)
    weight = torch.nn.Parameter(torch.randn(shape, generator=generator).bfloat16().float())
    result = {"weight": weight.clone()}
    cpu_ops._quant_blockwise_fp32_direct = quantize_to_nearest
    optimizer = bitsandbytes.optim.AdamW8bit([weight], lr=1e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    for step in range(4):
        grad = (torch.randn(shape, generator=generator) * size).bfloat16()
        grad.view(-1)[256:512] = 0
        result[f"grad.{step}"] = grad
        weight.grad = grad.float()
        optimizer.step()
    state = optimizer.state[weight]
    result.update(final=weight, exp_avg=state["state1"], exp_avg_sq=state["state2"], exp_avg_scales=state["absmax1"],
                  exp_avg_sq_scales=state["absmax2"], signed_map=state["qmap1"], unsigned_map=state["qmap2"])
    save_tensors(FOLDER / "adamw_8bit.safetensors", {**result, "weight": result["weight"].bfloat16()})
    print("adamw_8bit", weight.abs().mean().item())


def main():
    dora()
    gradients("dropout", dict(lora_dropout=PROBABILITY), 22)
    gradients("dora_dropout", dict(use_dora=True, lora_dropout=PROBABILITY), 23)
    adamw_8bit()


if __name__ == "__main__":
    main()
