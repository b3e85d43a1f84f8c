"""Which rows share a pack, and in which order (torch's random order stays)."""

from dataclasses import dataclass

import torch

from dialsum_trl.core.settings.defaults import SEED

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
        rows_per_step: rows of an optimizer step over all processes.
        micro_batches: micro-batches of a step over all processes; a multiple of `processes`.
        seed: as the trainer's; epoch e is shuffled with seed + e, as accelerate's seedable sampler does.
    """

    lengths: list[int]
    rows_per_step: int
    micro_batches: int
    processes: int = 1
    seed: int = SEED

    def epoch(self, epoch: int) -> list[list[int]]:
        """Row numbers of every micro-batch of an epoch. The last step may have fewer rows, and then fewer groups."""
        generator = torch.Generator().manual_seed(self.seed + epoch)
        order = torch.randperm(len(self.lengths), generator=generator).tolist()
        batches = []
        for start in range(0, len(order), self.rows_per_step):
            rows = order[start : start + self.rows_per_step]
            if len(rows) < self.processes:  # every process needs one: start over, as accelerate does
                rows += (order * self.processes)[: self.processes - len(rows)]
            groups = min(self.micro_batches, len(rows) // self.processes * self.processes)
            batches += [[rows[i] for i in group] for group in deal([self.lengths[row] for row in rows], groups)]
        return batches

    def batches_per_epoch(self) -> int:
        """Micro-batches of an epoch over all processes."""
        steps, rest = divmod(len(self.lengths), self.rows_per_step)
        last = min(self.micro_batches, max(rest, self.processes) // self.processes * self.processes) if rest else 0
        return steps * self.micro_batches + last

    def longest(self, epochs: int) -> list[int]:
        """Row numbers of the longest pack of these epochs, over all processes."""
        batches = (batch for epoch in range(epochs) for batch in self.epoch(epoch))
        return max(batches, key=lambda batch: sum(self.lengths[row] for row in batch))

    def largest(self, epochs: int) -> int:
        """Tokens of the longest pack of these epochs, filler included."""
        return padded(sum(self.lengths[row] for row in self.longest(epochs)))
