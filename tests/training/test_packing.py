"""Packs: an optimizer step keeps its rows, and a pack says where its documents begin."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dialsum_trl.training.packing.packs import PackCollator, RowsAndCopies, ScheduleSampler
from dialsum_trl.training.plan.schedule import Schedule, balance, padded

LENGTHS = [20 + (37 * i) % 300 for i in range(150)]


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=80), st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_every_row_is_dealt_once_and_no_group_is_empty(lengths, groups):
    groups_of_rows = balance(lengths, groups)
    assert sorted(row for group in groups_of_rows for row in group) == list(range(len(lengths)))
    assert len(groups_of_rows) == min(groups, len(lengths)) and all(groups_of_rows)


@given(st.lists(st.integers(1, 1000), min_size=4, max_size=80))
@settings(max_examples=60, deadline=None)
def test_groups_differ_by_at_most_one_row_of_tokens(lengths):
    sums = [sum(lengths[row] for row in group) for group in balance(lengths, 4)]
    assert max(sums) - min(sums) <= max(lengths)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_step_sees_the_rows_of_the_padded_path_in_the_order_of_the_seed(processes):
    schedule = Schedule(LENGTHS, rows_per_step=64, micro_batches=4, processes=processes, seed=7)
    order = torch.randperm(150, generator=torch.Generator().manual_seed(7 + 1)).tolist()
    batches = schedule.epoch(1)
    for step in range(2):
        mine = [row for batch in batches[4 * step : 4 * step + 4] for row in batch]
        assert sorted(mine) == sorted(order[64 * step : 64 * step + 64])
    assert len(batches) == schedule.batches_per_epoch() == 12


def test_the_last_step_of_an_epoch_has_as_many_micro_batches_as_its_rows_allow():
    schedule = Schedule([10] * 67, rows_per_step=64, micro_batches=8, processes=2)
    assert schedule.batches_per_epoch() == len(schedule.epoch(0)) == 8 + 2


@given(st.integers(1, 60), st.integers(1, 16), st.integers(1, 4), st.integers(1, 4), st.integers(0, 3))
@settings(max_examples=150, deadline=None)
def test_every_epoch_has_each_row_once_and_as_many_micro_batches_for_every_process(
    rows, rows_per_step, per_process, processes, epoch
):
    schedule = Schedule([10 + row % 7 for row in range(rows)], rows_per_step, per_process * processes, processes)
    batches = schedule.epoch(epoch)
    assert sorted(row for batch in batches for row in batch if row < rows) == list(range(rows))
    assert all(batches) and len(batches) % processes == 0 and len(batches) == schedule.batches_per_epoch()
    if rows_per_step >= processes:  # copies stand in the last step alone, where it has too few rows
        copies = sum(row >= rows for batch in batches for row in batch)
        assert copies == max(0, processes - (rows % rows_per_step or rows_per_step))


def test_a_copy_that_keeps_a_process_busy_has_nothing_to_learn():
    schedule = Schedule([3, 2, 2], rows_per_step=2, micro_batches=2, processes=2)
    rows = RowsAndCopies([{"input_ids": np.arange(size), "labels": np.arange(size)} for size in schedule.lengths])
    last = [rows[row] for batch in schedule.epoch(0)[-2:] for row in batch]
    assert sorted((row["labels"] == -100).all() for row in last) == [False, True]


def test_the_largest_pack_of_all_epochs_is_known_before_training():
    schedule = Schedule(LENGTHS, rows_per_step=64, micro_batches=4)
    sizes = [padded(sum(LENGTHS[r] for r in batch)) for epoch in range(3) for batch in schedule.epoch(epoch)]
    assert schedule.largest(3) == max(sizes)


def test_the_sampler_gives_the_same_epoch_again_and_another_one_after_set_epoch():
    sampler = ScheduleSampler(Schedule(LENGTHS, 64, 4))
    first = list(sampler)
    assert list(sampler) == first and len(sampler) == len(first)
    sampler.set_epoch(1)
    assert list(sampler) != first


def test_a_pack_holds_its_documents_back_to_back_with_positions_edges_and_filler():
    rows = [{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}, {"input_ids": [8, 9], "labels": [8, 9]}]
    pack = PackCollator(pad_id=1, multiple=8)(rows)
    assert pack["input_ids"].tolist() == [[5, 6, 7, 8, 9, 1, 1, 1]]
    assert pack["labels"].tolist() == [[-100, 6, 7, -100, 9, -100, -100, -100]]
    assert pack["position_ids"].tolist() == [[0, 1, 2, 0, 1, 0, 1, 2]]
    assert pack["cu_seq_lens_q"].tolist() == pack["cu_seq_lens_k"].tolist() == [0, 3, 5, 8]
    assert pack["cu_seq_lens_q"].dtype == torch.int32
    assert pack["max_length_q"] == pack["max_length_k"] == 3


def test_a_pack_of_the_right_length_gets_no_filler():
    pack = PackCollator(pad_id=1, multiple=4)([{"input_ids": [1, 2, 3, 4], "labels": [-100, -100, 3, 4]}])
    assert pack["cu_seq_lens_q"].tolist() == [0, 4]
