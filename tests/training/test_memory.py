"""The memory plan: within the budget, never slower with more of it, and honest when nothing fits."""

import os
from itertools import pairwise

import pytest
from transformers import Qwen3Config

from dialsum_trl.core.launcher import prepare_allocator
from dialsum_trl.training.plan.memory import GIB, Shape, plain_tokens, plan

# Llama-3.2-3B and Llama-3-8B in nf4 with rank 16.
SMALL = Shape(28, 3072, 24, 8, 128, 8192, 128256, True, 0.516, 16)
LARGE = Shape(32, 4096, 32, 8, 128, 14336, 128256, False, 0.516, 16)
CHOICES = [1, 2, 3, 4, 6, 8, 16, 32, 64]


def largest(count: int) -> int:
    """About what 64 real rows a step give."""
    return max(1024, 24576 // count)


@pytest.mark.parametrize("shape", [SMALL, LARGE])
@pytest.mark.parametrize("budget", [8, 10, 16, 24, 40, 80])
def test_a_plan_stays_within_its_budget(shape, budget):
    chosen = plan(shape, largest, CHOICES, budget)
    assert chosen.gib <= budget
    assert chosen.tokens == largest(chosen.micro_batches)
    assert len(chosen.keep) == shape.layers


def test_more_memory_is_never_slower():
    seconds = [plan(SMALL, largest, CHOICES, budget).seconds for budget in (4, 5, 6, 8, 12, 16, 24, 40, 80)]
    assert all(after <= before * 1.01 for before, after in pairwise(seconds))


def test_with_little_memory_layers_are_redone_and_with_much_they_are_kept():
    tight, free = plan(SMALL, largest, CHOICES, 5), plan(SMALL, largest, CHOICES, 80)
    assert "layer" in tight.keep and not tight.resident
    assert set(free.keep) == {"all"} and free.resident and free.micro_batches == 1


def test_no_plan_where_the_base_alone_does_not_fit():
    assert plan(LARGE, largest, CHOICES, 5) is None


# (what layers keep, tokens) -> GiB allocated on an H100, 3B shape, adapters without optimizer
MEASURED = {
    ("layer", 3712): 3.25, ("layer", 8448): 4.35, ("layer", 21120): 7.35,
    ("mlp", 7808): 8.85, ("all", 7680): 15.35, ("all", 20864): 37.45,
}  # fmt: skip


@pytest.mark.parametrize("case", MEASURED)
def test_the_estimate_is_near_what_a_gpu_allocated(case):
    keep, tokens = case
    bytes_ = SMALL.fixed(False) - 8 * SMALL.adapter_parameters + SMALL.working() * tokens
    bytes_ += 2 * 32768 * tokens * 0.14 + SMALL.layers * SMALL.kept(keep) * tokens
    assert bytes_ / GIB == pytest.approx(MEASURED[case], rel=0.06)


def test_the_line_for_the_user_names_budget_micro_batches_and_what_is_redone():
    line = plan(SMALL, largest, CHOICES, 8).line()
    assert line.startswith("Plan for 8.0 GiB:") and "micro-batches" in line and "redo" in line


def test_a_shape_is_read_from_a_config():
    shape = Shape.of(Qwen3Config(head_dim=128, num_attention_heads=32, num_key_value_heads=8), 8, "4bit")
    assert (shape.heads, shape.keys, shape.rank) == (4096, 1024, 8)


def test_the_users_allocator_settings_win(monkeypatch):
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", "max_split_size_mb:64")
    prepare_allocator()
    assert os.environ["PYTORCH_ALLOC_CONF"] == "max_split_size_mb:64"
    monkeypatch.delenv("PYTORCH_ALLOC_CONF")
    prepare_allocator()
    assert os.environ["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"


def test_plain_layers_get_larger_micro_batches_from_more_memory_and_half_of_it_at_most():
    small, large = plain_tokens(SMALL, 8), plain_tokens(SMALL, 80)
    assert 2500 < small < large  # 2,500: the design's eight rows, which were measured to fit 8 GiB
    saved = 2 * SMALL.layers * SMALL.hidden * large
    assert saved + SMALL.fixed(resident=False) < 40 * GIB
