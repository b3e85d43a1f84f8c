"""Rows into packs without changing what an optimizer step sees.

A step of the padded path sees `rows_per_step` rows (64 in the design) as micro-batches of equal row count. Here the
same rows, in the same order of the same seed, are distributed over as many micro-batches of nearly equal *token*
count, and each becomes one row of documents back to back without padding (a few tokens at its end keep the length a
multiple of 128). The loss is the mean over the step's supervised tokens either way, so loss, gradient and learning
curve stay those of the padded path.

The order of all epochs is known before training starts: so is the largest micro-batch, which is what memory must hold.
"""

import numpy as np
import torch
from torch.utils.data import DataLoader

from dialsum_trl.training.plan.schedule import MULTIPLE, Schedule


class ScheduleSampler:
    """The batch sampler of a `Schedule`; trainers call `set_epoch` before each epoch."""

    batch_size = None  # varies: accelerate then gives whole batches to the processes
    drop_last = False

    def __init__(self, schedule: Schedule):
        self.schedule, self.current = schedule, 0

    def set_epoch(self, epoch: int) -> None:
        self.current = epoch

    def __len__(self) -> int:
        return self.schedule.batches_per_epoch()

    def __iter__(self):
        return iter(self.schedule.epoch(self.current))


class PackCollator:
    """Rows {"input_ids", "labels"} to one pack, as a model with packed attention takes it.

    input_ids, labels, position_ids: (1, T). The label of a document's first token is -100, because labels are shifted
    and the token before it belongs to another document. cu_seq_lens_q and .._k: int32 edges of the documents; the
    filler at the end is a document of its own.

    Args:
        pad_id: token of the filler.
        multiple: T is a multiple of this.
    """

    def __init__(self, pad_id: int, multiple: int = MULTIPLE):
        self.pad_id, self.multiple = pad_id, multiple

    def __call__(self, rows: list[dict]) -> dict:
        ids = [np.asarray(row["input_ids"], dtype=np.int64) for row in rows]
        labels = [np.asarray(row["labels"], dtype=np.int64) for row in rows]
        filler = -sum(map(len, ids)) % self.multiple
        if filler:
            ids.append(np.full(filler, self.pad_id))
            labels.append(np.full(filler, -100))
        lengths = np.array([len(document) for document in ids])
        ends = lengths.cumsum()
        starts = ends - lengths
        labels = np.concatenate(labels)
        labels[starts] = -100
        edges = torch.from_numpy(np.append(0, ends).astype(np.int32))
        longest = int(lengths.max())
        return {
            "input_ids": torch.from_numpy(np.concatenate(ids))[None],
            "labels": torch.from_numpy(labels)[None],
            "position_ids": torch.from_numpy(np.arange(ends[-1]) - starts.repeat(lengths))[None],
            "cu_seq_lens_q": edges,
            "cu_seq_lens_k": edges,
            "max_length_q": longest,
            "max_length_k": longest,
        }


class RowsAndCopies:
    """Rows by the numbers of a `Schedule`: from the number of rows on they are copies without labels."""

    def __init__(self, rows: list[dict]):
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict:
        row = self.rows[number % len(self.rows)]
        return row if number < len(self.rows) else {**row, "labels": np.full_like(row["labels"], -100)}


def pack_loader(trainer, sampler: ScheduleSampler) -> DataLoader:
    """The packs of `trainer.train_dataset`: rows from memory, since the GPU waits while the host collates."""
    if [len(ids) for ids in trainer.train_dataset["input_ids"]] != sampler.schedule.lengths:
        raise RuntimeError("the trainer changed the rows after they were scheduled")
    columns, args = trainer.train_dataset.with_format("numpy"), trainer.args
    pairs = zip(columns["input_ids"], columns["labels"], strict=True)
    return DataLoader(
        RowsAndCopies([{"input_ids": ids, "labels": labels} for ids, labels in pairs]),
        batch_sampler=sampler,
        collate_fn=trainer.data_collator,
        num_workers=args.dataloader_num_workers,
        pin_memory=args.dataloader_pin_memory,
        persistent_workers=args.dataloader_persistent_workers,
        prefetch_factor=args.dataloader_prefetch_factor,
        multiprocessing_context=args.dataloader_multiprocessing_context,
        in_order=args.dataloader_in_order,
    )
