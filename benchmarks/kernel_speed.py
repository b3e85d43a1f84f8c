"""Microseconds of the low-rank and gated kernels by tile, and by warps that share a processor, at a family's widths.

    python -m benchmarks.kernel_speed                      # one GPU: EXAONE-4.0-1.2B and Mistral-7B, about two minutes
    python -m benchmarks.kernel_speed --shape gemma3_4b

Forward: tiles of `lora_down`. Backward: how many warps of one kernel a processor gets (`triton_ops.WARPS`). The row of
what the package chooses comes first in its group. One step's tokens, rank 16, dropout 0.05.
"""

import argparse

import torch
import triton

from benchmarks.record import write_result
from benchmarks.shapes import SHAPES
from dialsum_trl.kernels import tiles
from dialsum_trl.kernels.fused import triton_ops as ops
from dialsum_trl.kernels.tiles import Tile

TOKENS, RANK, KEYS = 20480, 16, (17, 23)
DOWN = (Tile(64, 128, 16, 8, 3), Tile(64, 64, 16, 8, 3), Tile(64, 64, 16, 4, 3), Tile(32, 128, 16, 4, 3),
        Tile(32, 64, 16, 4, 4))  # fmt: skip
WARPS = (16, 8, 24, 32)


def kernels(sizes: dict) -> dict:
    """Name -> (launch, bytes that it must move) of a family's layer; backward kernels change their inputs."""
    hidden, inner = sizes["hidden_size"], sizes["intermediate_size"]
    found = {}
    for name, count, k in (("qkv", 3, hidden), ("out", 1, hidden), ("gate_up", 2, hidden), ("down", 1, inner)):
        a = [torch.randn(RANK, k, device="cuda") / 64 for _ in range(count)]
        wide = torch.randn(TOKENS, k + 64, device="cuda", dtype=torch.bfloat16)
        x = torch.randn(TOKENS, k, device="cuda", dtype=torch.bfloat16)
        settings = a, RANK, 2.0, 0.05, KEYS
        found[f"lora_down {name}"] = lambda wide=wide, s=settings: ops.lora_down(wide, *s), 2 * TOKENS * k
        copied = lambda wide=wide, s=settings, x=x: ops.lora_down(wide, *s, source=x)  # noqa: E731
        found[f"lora_down {name}, copied"] = copied, 4 * TOKENS * k
        if name == "down":
            gates = torch.randn(TOKENS, 2 * k, device="cuda", dtype=torch.bfloat16)
            run = lambda wide=wide, s=settings, gates=gates: ops.swiglu_backward(wide, gates, *s)  # noqa: E731
            found["swiglu_backward"] = run, 10 * TOKENS * k
        else:
            run = lambda wide=wide, s=settings, x=x: ops.lora_backward(wide, x, None, *s)  # noqa: E731
            found[f"lora_backward {name}"] = run, 6 * TOKENS * k
    return found


def main(argv: list[str] | None = None) -> list[dict]:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=["exaone4_1b", "mistral_7b"])
    results = []
    for shape in parser.parse_args(argv).shape:
        for name, (run, moved) in kernels(SHAPES[shape][1]).items():
            for choice in DOWN if name.startswith("lora_down") else WARPS:
                if isinstance(choice, Tile):
                    tiles.lora_down = lambda *_, choice=choice: choice
                else:
                    ops.WARPS = choice
                seconds = triton.testing.do_bench(run, warmup=10, rep=30, return_mode="median") / 1e3
                row = {"variant": f"{name}, {choice}", "shape": shape, "microseconds": round(seconds * 1e6, 1)}
                results.append(row | {"terabytes_per_second": round(moved / seconds / 1e12, 2)})
                print(results[-1], flush=True)
    write_result("kernel_speed", results)
    return results


if __name__ == "__main__":
    main()
