"""Rows into packs without changing what an optimizer step sees.

A step of the padded path sees `rows_a_step` rows (64 in the design) as micro-batches of equal row count. Here the same
rows, in the same order of the same seed, are dealt into as many micro-batches of nearly equal *token* count, and each
becomes one row of documents back to back without padding (a few tokens at its end keep the length a multiple of 128).
The loss is the mean over the step's supervised tokens either way, so loss, gradient and learning curve stay those of
the padded path.

The order of all epochs is known before training starts: so is the largest micro-batch, which is what memory must hold.
"""

from dataclasses import dataclass

MULTIPLE = 128


def padded(tokens: int) -> int:
    """The length of a pack of that many tokens."""
    return -(-tokens // MULTIPLE) * MULTIPLE


def deal(lengths: list[int], groups: int) -> list[list[int]]:
    """Positions of the rows in each group, for a small largest token sum: longest row first, to the lightest group.

    Every group gets a row; with fewer rows than groups the rows are one group each.
    """
    groups = min(groups, len(lengths))
    members, sums = [[] for _ in range(groups)], [0] * groups
    for position in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        lightest = min(range(groups), key=sums.__getitem__)
        members[lightest].append(position)
        sums[lightest] += lengths[position]
    return [sorted(group) for group in members]


@dataclass
class Schedule:
    """Which rows form which micro-batch, in every epoch.

    Args:
        lengths: tokens of each row.
        rows_a_step: rows of an optimizer step over all processes.
        micro_batches: micro-batches of a step over all processes; a multiple of `processes`.
        seed: as the trainer's; epoch e is shuffled with seed + e, as accelerate's seedable sampler does.
    """

    lengths: list[int]
    rows_a_step: int
    micro_batches: int
    processes: int = 1
    seed: int = 42

    def epoch(self, epoch: int) -> list[list[int]]:
        """Row numbers of every micro-batch of an epoch. The last step may have fewer rows, and then fewer groups."""
        import torch

        generator = torch.Generator().manual_seed(self.seed + epoch)
        order = torch.randperm(len(self.lengths), generator=generator).tolist()
        batches = []
        for start in range(0, len(order), self.rows_a_step):
            rows = order[start : start + self.rows_a_step]
            if len(rows) < self.processes:  # every process needs one: start over, as accelerate does
                rows += (order * self.processes)[: self.processes - len(rows)]
            groups = min(self.micro_batches, len(rows) // self.processes * self.processes)
            batches += [[rows[i] for i in group] for group in deal([self.lengths[row] for row in rows], groups)]
        return batches

    def batches_an_epoch(self) -> int:
        """Micro-batches of an epoch over all processes."""
        steps, rest = divmod(len(self.lengths), self.rows_a_step)
        last = min(self.micro_batches, max(rest, self.processes) // self.processes * self.processes) if rest else 0
        return steps * self.micro_batches + last

    def longest(self, epochs: int) -> list[int]:
        """Row numbers of the longest pack of these epochs, over all processes."""
        batches = (batch for epoch in range(epochs) for batch in self.epoch(epoch))
        return max(batches, key=lambda batch: sum(self.lengths[row] for row in batch))

    def largest(self, epochs: int) -> int:
        """Tokens of the longest pack of these epochs, filler included."""
        return padded(sum(self.lengths[row] for row in self.longest(epochs)))


class ScheduleSampler:
    """The batch sampler of a `Schedule`; trainers call `set_epoch` before each epoch."""

    batch_size = None  # varies: accelerate then deals whole batches to the processes
    drop_last = False

    def __init__(self, schedule: Schedule):
        self.schedule, self.current = schedule, 0

    def set_epoch(self, epoch: int) -> None:
        self.current = epoch

    def __len__(self) -> int:
        return self.schedule.batches_an_epoch()

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
        import numpy as np
        import torch

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
