"""Tiles of the Triton kernels: the first of a kernel's choices, fastest first, that the device has shared memory for.

Each choice is weighed by a bound on what Triton's compiler takes; `benchmarks/kernel_limits.py` compiles all kernels
for all cards without a GPU and compares. From Ampere on loads are pipelined into `stages - 1` buffers; Turing has
none. The matrix units of Hopper and of Blackwell's servers read their operands from shared memory.
"""

from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import torch

from dialsum_trl.core.cards import Device, fuses

PAIR = 2  # bytes of a bfloat16 or float16; A of an adapter is float32
LARGEST_RANK = 256


class Tile(NamedTuple):
    """Rows and columns of a tile, how many of the ranks (or queries) a program works on, warps, pipeline stages."""

    rows: int
    columns: int
    ranks: int
    warps: int
    stages: int


TURING_LORA = Tile(rows=32, columns=64, ranks=16, warps=8, stages=1)  # the smallest: without pipelines


@cache
def device_of(device: torch.device) -> Device:
    """The CUDA device that tiles are chosen by."""
    return Device.of(torch.cuda.get_device_properties(device))


def power_of_two(size: int) -> int:
    """The smallest power of two that is not below `size`."""
    return 1 << (size - 1).bit_length()


def _pipelines(device: Device) -> bool:
    return device.capability >= (8, 0)


def _from_shared(device: Device) -> bool:
    return device.capability[0] in (9, 10)


def _first(choices: Iterable[tuple[Tile, int]], device: Device) -> Tile | None:
    return next((tile for tile, needed in choices if needed <= device.shared), None)


def _blocks(rank: int, most: int) -> list[int]:
    """Powers of two from the rank, at most `most`, down to 16, the least that matrix units take."""
    block = min(rank, most)
    return [block >> shift for shift in range(block.bit_length()) if block >> shift >= 16]


@cache
def lora_down(device: Device, adapters: int, rank: int) -> Tile | None:
    """x (T, K) times A of several adapters: products of (rows, columns) with (columns, ranks) of each."""

    def needed(tile: Tile) -> int:
        x, a = tile.rows * tile.columns * PAIR, tile.ranks * tile.columns * 4
        if not _pipelines(device):
            return 2 * max(x, a)
        operands = adapters * a // 2 if _from_shared(device) else 0
        return (tile.stages - 1) * (x + adapters * a) + x + operands

    loops = ((128, 3), (128, 2), (64, 3), (64, 2), (32, 2))
    blocks = [block for block in _blocks(rank, 64) if adapters * block <= 128]
    tiles = [
        Tile(rows=64, columns=columns, ranks=block, warps=8, stages=stages)
        for block in blocks
        for columns, stages in loops
    ]
    tiles = tiles if _pipelines(device) else [TURING_LORA]
    return _first([(tile, needed(tile)) for tile in tiles], device)


def _gradient_bytes(device: Device, adapters: int, tile: Tile) -> int:
    a, x = adapters * tile.ranks * tile.columns, tile.rows * tile.columns
    if not _pipelines(device):
        return 4 * a + 2 * PAIR * x
    return PAIR * (a + 3 * x + 2 * tile.ranks * tile.rows)


@cache
def lora_backward(device: Device, adapters: int, rank: int) -> Tile | None:
    """Gradients of A (ranks, columns) of several adapters, summed over rows; their sums stay in registers."""
    tiles = [
        Tile(rows=32, columns=columns, ranks=block, warps=8, stages=2)
        for block in _blocks(rank, 128) for columns in (128, 64)
        if adapters * block * columns <= 64 * 256  # 64 registers of each of 256 threads
    ]  # fmt: skip
    tiles = tiles if _pipelines(device) else [TURING_LORA]
    return _first([(tile, _gradient_bytes(device, adapters, tile)) for tile in tiles], device)


@cache
def swiglu_backward(device: Device, rank: int) -> Tile | None:
    """As `lora_backward` for the one adapter after the MLP's gate; all ranks at once, for its input is overwritten."""
    widest, stages = (128, 2) if _pipelines(device) else (64, 1)
    columns = [columns for columns in (128, 64, 32) if columns <= widest and rank * columns <= 64 * 128]
    warps = 8 if rank > 128 else 4
    tiles = [Tile(rows=16, columns=each, ranks=rank, warps=warps, stages=stages) for each in columns]
    return _first([(tile, _gradient_bytes(device, 1, tile)) for tile in tiles], device)


def slot_attention(device: Device, queries: int, size: int, itemsize: int) -> Tile | None:
    """Attention of a decoding step: blocks of a key head's queries (`ranks`) over blocks of its entries (`rows`)."""
    width = max(16, power_of_two(size))

    def needed(tile: Tile) -> int:
        keys, query = tile.rows * width * itemsize, tile.ranks * width
        if not _pipelines(device):
            return 2 * keys + 4 * query
        operands = 2 * query * itemsize if _from_shared(device) and tile.ranks >= 64 else 0
        return 2 * (tile.stages - 1) * keys + itemsize * (query + tile.ranks * tile.rows) + operands

    plain_units = itemsize == 4 or not _pipelines(device)  # products without matrix units live in registers
    blocks = _blocks(max(16, power_of_two(queries)), 16 if plain_units else 64 if width <= 128 else 32)
    loops = ((32, 2), (16, 2)) if plain_units else ((64, 3), (64, 2), (32, 2))
    tiles = [
        Tile(rows=rows, columns=width, ranks=block, warps=4, stages=stages)
        for block in blocks
        for rows, stages in loops
    ]
    return _first([(tile, needed(tile)) for tile in tiles], device)


def problem(device: Device, rank: int) -> str | None:
    """Why the fused layers' kernels cannot run with adapters of this padded rank, as one clause; or None."""
    if not fuses(device.capability):
        return "Triton's kernels need compute capability 7.5, this GPU has {}.{}".format(*device.capability)
    if rank > LARGEST_RANK:
        return f"a LoRA rank above {LARGEST_RANK}"
    wanted = (lora_down(device, 3, rank), lora_backward(device, 3, rank), swiglu_backward(device, rank))
    if None in wanted:
        return f"a LoRA rank of {rank} on a GPU with {device.shared >> 10} KiB of shared memory a block"
    return None
