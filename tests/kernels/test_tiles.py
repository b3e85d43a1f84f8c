"""Tiles fit the cards they are chosen for: every kernel is compiled ahead of time, without a GPU, as it is launched."""

import json

import pytest

from benchmarks.as_card import SHARED
from dialsum_trl.core.cards import Device
from dialsum_trl.kernels import tiles

DEVICES = [Device(capability, 40, shared) for capability, shared in SHARED.items() if capability >= (7, 5)]
RANKS = (16, 32, 64, 128, 256)


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_every_card_has_tiles_for_every_rank_and_head_size(device):
    assert all(tiles.problem(device, rank) is None for rank in RANKS)
    for size in (64, 80, 96, 128, 256):
        assert all(tiles.slot_attention(device, queries, size, 2) for queries in (1, 12, 128))


def test_volta_is_routed_to_the_plain_layers():
    volta = Device((7, 0), 80, SHARED[(7, 0)])
    assert "compute capability 7.5, this GPU has 7.0" in tiles.problem(volta, 16)


def test_a_card_without_shared_memory_for_a_rank_is_routed_to_the_plain_layers():
    assert "LoRA rank of 256 on a GPU with 16 KiB" in tiles.problem(Device((8, 6), 28, 16 * 1024), 256)
    assert "above 256" in tiles.problem(DEVICES[0], 512)


def test_a_smaller_card_gets_smaller_tiles_and_the_h100_keeps_those_it_was_measured_with():
    small, large = (tiles.lora_down(Device(c, 100, SHARED[c]), 3, 64) for c in ((8, 6), (9, 0)))
    assert small.columns * small.ranks < large.columns * large.ranks or small.stages < large.stages
    assert tiles.lora_down(Device((9, 0), 132, SHARED[(9, 0)]), 3, 16) == tiles.Tile(64, 128, 16, 8, 3)


def check_rows(rows, spilled=512):
    assert rows and all(row.get("fits") or "plain layers" in row["routed"] for row in rows), rows
    assert max(row.get("spilled", 0) for row in rows) <= spilled, rows  # bytes of a thread that registers do not hold


def test_the_file_of_results_has_every_kernel_of_every_card_and_each_fits():
    pytest.importorskip("triton")  # Linux only
    from benchmarks.kernel_limits import CARDS, HEAD_SIZES, RANKS, WIDTHS
    from benchmarks.record import RESULTS

    rows = json.loads((RESULTS / "kernel_limits.json").read_text(encoding="utf-8"))["rows"]
    check_rows(rows, spilled=6000)  # heads of 256 outgrow the registers
    cases = [f"rank {rank}" for rank in RANKS] + [f"head size {size}" for size in HEAD_SIZES]
    cases += [f"width {hidden}, {mlp}" for hidden, mlp, *_ in WIDTHS]
    assert {(row["card"], row["case"]) for row in rows} == {(f"sm_{card}", case) for card in CARDS for case in cases}


def test_kernels_of_the_usual_rank_compile_for_the_card_with_the_least_shared_memory():
    pytest.importorskip("triton")
    from benchmarks.kernel_limits import table

    check_rows(table(75, (16,), (), ()))


# Each rank and head size on some card: all of them on all cards take half an hour (`benchmarks.kernel_limits`)
@pytest.mark.slow
@pytest.mark.parametrize(
    ("card", "rank", "size"),
    [(75, 256, 128), (80, 128, 80), (86, 64, 96), (89, 256, 64), (90, 4, 256), (100, 32, 64), (120, 128, 96)],
)
def test_kernels_fit_a_card_at_a_rank_a_head_size_and_all_widths(card, rank, size):
    pytest.importorskip("triton")
    from benchmarks.kernel_limits import WIDTHS, table

    check_rows(table(card, (rank,), (size,), WIDTHS), spilled=6000)
