"""The arithmetic of docs/scaling.md."""

import pytest

from benchmarks.network import LINKS, efficiency, load
from dialsum_trl.training.estimate import known_shape
from dialsum_trl.training.plan.memory import GIB

LLAMA_3B, LLAMA_8B = "Bllossom/llama-3.2-Korean-Bllossom-3B", "MLP-KTLim/llama-3-Korean-Bllossom-8B"


@pytest.fixture
def shape():
    return known_shape(LLAMA_3B, "main", 16, "4bit")


def test_the_adapter_gradients_of_the_3b_are_97_megabytes(shape):
    # two processes: an all-reduce sends the buffer once
    assert load(shape, "ddp", 2).gradient_bytes == pytest.approx(97.3e6, rel=0.01)
    assert load(shape, "ddp", 2).weight_bytes == 0


def test_a_ring_over_many_sends_at_most_twice_the_gradients(shape):
    assert load(shape, "ddp", 1).gradient_bytes == 0
    assert load(shape, "ddp", 64).gradient_bytes == pytest.approx(2 * 97.3e6, rel=0.02)


def test_split_weights_travel_in_every_micro_batch(shape):
    once, four = (load(shape, "zero3", 8, micro_batches).weight_bytes for micro_batches in (1, 4))
    assert four == 4 * once > 10 * load(shape, "ddp", 8).gradient_bytes


def test_more_processes_hold_less_each_only_where_something_is_split():
    shape = known_shape(LLAMA_8B, "main", 16, "none")
    for kind, falls in (("ddp", False), ("zero2", True), ("zero3", True), ("fsdp", True)):
        two, eight = (load(shape, kind, count).resident_gib for count in (2, 8))
        assert (eight < two) == falls
    whole = load(shape, "ddp", 2).resident_gib
    assert whole == pytest.approx(8.03e9 * 2 / GIB + shape.adapter_parameters * 16 / GIB, rel=0.02)


def test_ten_gigabit_ethernet_carries_the_3b_gradients_in_a_tenth_of_a_second(shape):
    assert load(shape, "ddp", 2).seconds(LINKS["10 Gbit/s"]) == pytest.approx(0.088, rel=0.02)
    assert efficiency(1.0, 0.5, 2) == 1.0
