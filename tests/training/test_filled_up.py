"""An epoch whose rows do not divide by the processes' batches: which rows are there only to fill the batches up."""

import pytest
from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import BatchSampler, SequentialSampler

from dialsum_trl.training.row_loss import own_rows


@pytest.mark.parametrize("split_batches", [False, True])
@pytest.mark.parametrize("processes", [2, 3, 8])
@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("rows", [1, 2, 5, 13, 16, 33, 40])
def test_without_the_rows_that_fill_up_each_row_is_seen_once_in_an_epoch(rows, batch, processes, split_batches):
    seen, steps = [], set()
    for process in range(processes):
        sampler = BatchSampler(SequentialSampler(range(rows)), batch * (processes if split_batches else 1), False)
        batches = list(BatchSamplerShard(sampler, processes, process, split_batches))
        own = own_rows(rows, batch, process, processes)
        seen += [row for each in batches[:-1] for row in each] + batches[-1][:own]
        steps.add(len(batches))
        assert len(batches[-1]) == batch >= own
    assert sorted(seen) == list(range(rows)) and len(steps) == 1
