"""Shared memory and registers of every Triton kernel on every card, compiled ahead of time without a GPU.

    python -m benchmarks.kernel_limits                                  # all of it, about half an hour of one core
    python -m benchmarks.kernel_limits --cards 75 86 --ranks 64 --head_sizes 96

The functions that launch the kernels run on the CPU with the tiles of a card, and each launch is compiled for it: the
same tiles, constants and alignments as at run time. A kernel fits where its shared memory is within a block's limit;
where the tiles' rule finds none, it is routed to another path (`tiles.problem`). What registers do not hold goes to
local memory: `spilled` bytes per thread.
"""

import argparse
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

from benchmarks.as_card import SHARED
from benchmarks.record import write_json
from dialsum_trl.core.cards import Device
from dialsum_trl.kernels import slot_attention, tiles
from dialsum_trl.kernels.fused import triton_ops as ops

CARDS = {75: 40, 80: 108, 86: 28, 89: 24, 90: 132, 100: 148, 120: 170}  # capability -> processors of such a card
RANKS, HEAD_SIZES = (4, 16, 32, 64, 128, 256), (64, 80, 96, 128, 256)
# hidden and MLP widths, query and key heads of families: Llama 3B, EXAONE 2.4B, Gemma 2 9B, Qwen 7B and Llama 8B
WIDTHS = ((3072, 8192, 24, 8), (2560, 7168, 32, 8), (3584, 14336, 16, 8), (3584, 18944, 28, 4), (4096, 14336, 32, 8))
ROWS, DTYPE, KEYS = 64, torch.float16, (17, 23)


@dataclass(frozen=True)
class Compiled:
    """A launch: the kernel's name, and what its program takes on a card."""

    kernel: str
    shared: int  # bytes a block
    registers: int  # a thread
    spilled: int  # bytes a thread


def device_of(card: int) -> Device:
    """A device of that capability."""
    capability = divmod(card, 10)
    return Device(capability, CARDS[card], SHARED[capability])


@contextmanager
def compiling_for(card: int) -> Iterator[list[Compiled]]:
    """Within it launches of Triton kernels on CPU tensors are compiled for `card`, into the list that it yields."""
    compiled = []
    target = SimpleNamespace(
        get_current_target=lambda: GPUTarget("cuda", card, 32),
        get_current_device=lambda: card,
        get_current_stream=lambda device: 0,
    )

    def launch(kernel: JITFunction, grid: tuple) -> Callable:
        def run(*args, **options):
            built = kernel.run(*args, grid=grid, warmup=True, **options)
            registers, spilled = resources(built.asm["cubin"])
            compiled.append(Compiled(kernel.fn.__name__, built.metadata.shared, registers, spilled))

        return run

    before = driver._active
    with (
        tempfile.TemporaryDirectory() as cache,
        patch.dict(os.environ, {"TRITON_CACHE_DIR": cache}),
        patch.object(JITFunction, "__getitem__", launch),
        patch.object(tiles, "device_of", lambda device: device_of(card)),
    ):
        driver.set_active(target)
        try:
            yield compiled
        finally:
            driver._active = before


def resources(cubin: bytes) -> tuple[int, int]:
    """(registers, bytes of local memory) of a thread, as `cuobjdump` reads them."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
        text = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    found = {name: int(value) for name, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", text)}
    return found["REG"], found["STACK"] + found["LOCAL"]


def fused_layers(rank: int, widths: tuple[int, int, int, int] = WIDTHS[0]) -> None:
    """Launches what one adapter of that rank needs on all projections, forward and backward, dropout and none."""
    hidden, mlp, _, _ = widths
    padded = max(16, tiles.power_of_two(rank))
    for adapters, k in ((3, hidden), (2, hidden), (1, hidden), (1, mlp)):
        extra = max(64, tiles.power_of_two(adapters * padded))
        wide, a = torch.empty(ROWS, k + extra, dtype=DTYPE), [torch.empty(rank, k) for _ in range(adapters)]
        for p in (0.05, 0.0):
            ops.lora_down(wide, a, padded, 2.0, p, KEYS)
        x = torch.empty(ROWS, k, dtype=DTYPE)
        if k == mlp:
            ops.swiglu_backward(wide, torch.empty(ROWS, 2 * k, dtype=DTYPE), a, padded, 2.0, 0.05, KEYS)
        elif adapters == 1:
            ops.lora_backward(wide, x, None, a, padded, 2.0, 0.05, KEYS, out=torch.empty_like(x))
        else:
            norm = torch.empty(ROWS), torch.empty(k, dtype=DTYPE)
            ops.lora_backward(wide, x, norm, a, padded, 2.0, 0.05, KEYS)
            ops.lora_backward(wide[:, k:], x, norm, a, padded, 2.0, 0.05, KEYS, low_only=True)
    four_bit(rank, hidden, extra=max(64, tiles.power_of_two(3 * padded)), padded=padded)


def four_bit(rank: int, k: int, extra: int, padded: int) -> None:
    """Launches the dequantization of nf4 with nested scales into a wide weight."""
    nested = SimpleNamespace(code=torch.empty(256), absmax=torch.empty(4), blocksize=256)
    state = SimpleNamespace(
        nested=True, code=torch.empty(16), absmax=torch.empty(8, dtype=torch.uint8), blocksize=64, state2=nested,
        offset=torch.empty(1),
    )  # fmt: skip
    out, base = torch.empty(8, k + extra, dtype=DTYPE), torch.empty(4 * k, 1, dtype=torch.uint8)
    ops.load_weight(out, 0, k, base, state, torch.empty(8, rank), 1, padded)


def rows_of(widths: tuple[int, int, int, int]) -> None:
    """Launches what depends on a family's widths alone."""
    hidden, mlp, _, _ = widths
    x, weight = torch.empty(ROWS, hidden, dtype=DTYPE), torch.empty(hidden, dtype=DTYPE)
    _, rstd = ops.rms_norm(x, weight, 1e-5, 64)
    ops.rms_norm_backward(x, x, weight, rstd, x)
    ops.swiglu(torch.empty(ROWS, 2 * mlp, dtype=DTYPE), 64)


def heads_of(size: int, widths: tuple[int, int, int, int] = WIDTHS[0]) -> None:
    """Launches what depends on heads: rotation, with norms and without, and the slots of beam 4 and of 16 samples."""
    _, _, queries, keys = widths
    qkv = torch.empty(ROWS, (queries + 2 * keys) * size, dtype=DTYPE)
    angles, weight = torch.empty(ROWS, size, dtype=DTYPE), torch.empty(size, dtype=DTYPE)
    grads = [torch.empty(ROWS, count, size, dtype=DTYPE) for count in (queries, keys, keys)]
    for norms in (None, (weight, weight, 1e-6)):
        ops.rope(qkv, angles, angles, (queries, keys), size, norms)
        ops.rope_backward(*grads, angles, angles, qkv, norms)
        cached, places = torch.empty(ROWS, keys, 4, size, dtype=DTYPE), torch.empty(ROWS, dtype=torch.long)
        ops.rope_into_cache(qkv, angles, angles, (queries, keys), size, norms, cached, cached, places, places)
    for candidates in (1, 4, 16):
        cache = SimpleNamespace(
            visible=torch.empty(8, candidates, 512, dtype=torch.bool), limit=100,
            **{name: torch.empty(8, dtype=torch.long) for name in ("source", "length", "step")},
        )  # fmt: skip
        query, key = torch.empty(8, queries, candidates, size), torch.empty(8, keys, 512, size)
        for dtype in (DTYPE, torch.float32):
            slot_attention.attend(query.to(dtype), (key.to(dtype),) * 2, (key.to(dtype),) * 2, cache, 0.1)


def table(card: int, ranks: tuple[int, ...], head_sizes: tuple[int, ...], families: tuple) -> list[dict]:
    """Figures of each kernel: the most that its launches take of a block and a thread."""
    device, rows = device_of(card), []
    for rank in ranks:
        if reason := tiles.problem(device, max(16, tiles.power_of_two(rank))):
            rows.append({"card": f"sm_{card}", "case": f"rank {rank}", "routed": f"plain layers: {reason}"})
    launches = [(f"rank {rank}", lambda rank=rank: fused_layers(rank)) for rank in ranks]
    launches += [(f"head size {size}", lambda size=size: heads_of(size)) for size in head_sizes]
    launches += [(f"width {widths[0]}, {widths[1]}", lambda widths=widths: rows_of(widths)) for widths in families]
    for case, launch in launches:
        with compiling_for(card) as compiled:
            launch()
        for kernel in sorted({each.kernel for each in compiled}):
            same = [each for each in compiled if each.kernel == kernel]
            shared = max(each.shared for each in same)
            rows.append({
                "card": f"sm_{card}", "case": case, "kernel": kernel, "shared_kib": round(shared / 1024, 1),
                "limit_kib": device.shared // 1024, "fits": shared <= device.shared,
                "registers": max(each.registers for each in same), "spilled": max(each.spilled for each in same),
            })  # fmt: skip
            print(rows[-1], flush=True)
    return rows


def main(argv: list[str] | None = None) -> list[dict]:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--cards", type=int, nargs="+", choices=CARDS, default=list(CARDS))
    parser.add_argument("--ranks", type=int, nargs="*", default=RANKS)
    parser.add_argument("--head_sizes", type=int, nargs="*", default=HEAD_SIZES)
    parser.add_argument("--families", type=int, nargs="*", default=range(len(WIDTHS)), help="numbers of WIDTHS")
    parser.add_argument("--name", default=None, help="writes benchmarks/results/NAME.json")
    args = parser.parse_args(argv)
    families = tuple(WIDTHS[number] for number in args.families)
    rows = []
    for card in args.cards:
        rows += table(card, args.ranks, args.head_sizes, families)
        if args.name:
            write_json(args.name, {"triton": triton.__version__, "rows": rows})
    return rows


if __name__ == "__main__":
    main()
