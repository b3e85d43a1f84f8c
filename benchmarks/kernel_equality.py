"""Kernels with the tiles of several cards on this GPU, each against its specification: relative differences.

python -m benchmarks.kernel_equality
"""

import json

import torch
from torch.nn.attention import current_flash_attention_impl

from benchmarks.as_card import SHARED
from benchmarks.record import write_result
from dialsum_trl.core.cards import Device
from dialsum_trl.kernels import attention, tiles
from dialsum_trl.kernels.efficient_attention import efficient, efficient_backward
from dialsum_trl.kernels.fused import torch_ops, triton_ops

KEYS, ROWS, WIDTH = (17, 23), 640, 1024


def apart(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Norm of the difference over the norm."""
    return float((found.float() - wanted.float()).norm() / wanted.float().norm())


def adapters(rank: int, count: int) -> dict:
    """Relative differences of the low-rank kernels for `count` adapters of that rank."""
    torch.manual_seed(0)
    padded = max(16, tiles.power_of_two(rank))
    extra = max(64, tiles.power_of_two(count * padded))
    a = [torch.randn(rank, WIDTH, device="cuda") / 32 for _ in range(count)]
    wide = torch.randn(ROWS, WIDTH + extra, device="cuda").half()
    for j in range(count):  # no gradient reaches the ranks that only pad
        wide[:, WIDTH + j * padded + rank : WIDTH + (j + 1) * padded] = 0
    x, more = torch.randn(2, ROWS, WIDTH, device="cuda").half(), torch.randn(ROWS, 2 * WIDTH, device="cuda").half()
    found = []
    for ops in (triton_ops, torch_ops):
        down, back, gated, gate_up = wide.clone(), wide.clone(), wide.clone(), more.clone()
        low = ops.lora_down(down, a, padded, 2.0, 0.1, KEYS)
        grad = ops.lora_backward(back, x[0], None, a, padded, 2.0, 0.1, KEYS)
        found.append([low, down, grad, back[:, :WIDTH]])
        if count == 1:
            found[-1] += [ops.swiglu_backward(gated, gate_up, a, padded, 2.0, 0.1, KEYS), gate_up]
    return {"largest": round(max(apart(*pair) for pair in zip(*found, strict=True)), 6)}


def documents(size: int, dtype: torch.dtype, forward=efficient, backward=efficient_backward) -> dict:
    """A kernel for packs against attention of each document alone in float64: largest differences."""
    torch.manual_seed(0)
    bounds = torch.tensor([0, 300, 300, 301, 640, 1000], dtype=torch.int32, device="cuda")
    sides = [torch.randn(1000, heads, size, device="cuda").to(dtype) for heads in (8, 2, 2)]
    grad, scale = torch.randn(1000, 8, size, device="cuda").to(dtype), size**-0.5
    out, saved = forward(*sides, bounds, 360, scale)
    found = [out, *backward(grad, *sides, out, saved, bounds, 360, scale)]
    usual, attention.kernel_of = attention.kernel_of, lambda query: "documents"
    exact = [side.double() for side in sides]
    out, saved = attention.attend(*exact, bounds, 360, scale)
    wanted = [out, *attention.attend_backward(grad.double(), *exact, out, saved, bounds, 360, scale)]
    attention.kernel_of = usual
    return {
        "largest": max(float((a.double() - b).abs().max()) for a, b in zip(found, wanted, strict=True)),
        "relative": round(max(apart(*pair) for pair in zip(found, wanted, strict=True)), 8),
    }


def main() -> list[dict]:
    rows = []

    def keep(**row) -> None:
        rows.append(row)
        print(json.dumps(row), flush=True)

    for dtype in (torch.float32, torch.float16):
        for size in (64, 80, 96, 128, 256):
            keep(variant=f"efficient attention, {dtype}, head size {size}", **documents(size, dtype))
    attention.newer_flash()
    name = current_flash_attention_impl() or "FA2"
    for size in (64, 128, 256):
        found = documents(size, torch.bfloat16, attention.attend, attention.attend_backward)
        keep(variant=f"flash attention {name}, torch.bfloat16, head size {size}", **found)
    for capability in ((9, 0), (8, 6), (7, 5)):
        device = Device(capability, 132, SHARED[capability])
        tiles.device_of = lambda _, device=device: device
        for rank in (4, 64, 256):
            for count in (1, 3):
                keep(variant=f"rank {rank}, {count} adapters, tiles of {capability}", **adapters(rank, count))
    write_result("kernel_equality", rows)
    print("EQUALITY " + json.dumps(rows), flush=True)
    return rows


if __name__ == "__main__":
    main()
