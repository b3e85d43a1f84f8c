"""Which rows share a pack, and in which order (torch's random order stays)."""

from dataclasses import dataclass

import torch

from dialsum_trl.core.settings.defaults import SEED

MULTIPLE = 128


def padded(tokens: int) -> int:
    """The length of a pack of that many tokens."""
    return -(-tokens // MULTIPLE) * MULTIPLE


def balance(lengths: list[int], groups: int) -> list[list[int]]:
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
        """Row numbers of every micro-batch of an epoch; each row is in one.

        The last step may have fewer rows, and then fewer groups. Where it has fewer rows than there are processes, the
        others get copies of the first rows, whose labels are ignored: `len(lengths)` + the row's number.
        """
        count = len(self.lengths)
        generator = torch.Generator().manual_seed(self.seed + epoch)
        order = torch.randperm(count, generator=generator).tolist()
        batches = []
        for start in range(0, len(order), self.rows_per_step):
            rows = order[start : start + self.rows_per_step]
            if len(rows) < self.processes:
                rows += [count + row for row in (order * self.processes)[: self.processes - len(rows)]]
            groups = balance([self.lengths[row % count] for row in rows], self._groups(len(rows)))
            batches += [[rows[i] for i in group] for group in groups]
        return batches

    def batches_per_epoch(self) -> int:
        """Micro-batches of an epoch over all processes."""
        steps, rest = divmod(len(self.lengths), self.rows_per_step)
        return steps * self._groups(self.rows_per_step) + (self._groups(rest) if rest else 0)

    def _groups(self, rows: int) -> int:
        """Micro-batches of a step of that many rows: as many for every process, and none of them empty."""
        return min(self.micro_batches, max(rows, self.processes) // self.processes * self.processes)

    def longest(self, epochs: int) -> list[int]:
        """Row numbers of the longest pack of these epochs, over all processes."""
        count = len(self.lengths)
        batches = ([row % count for row in batch] for epoch in range(epochs) for batch in self.epoch(epoch))
        return max(batches, key=lambda batch: sum(self.lengths[row] for row in batch))

    def largest(self, epochs: int) -> int:
        """Tokens of the longest pack of these epochs, filler included."""
        return padded(sum(self.lengths[row] for row in self.longest(epochs)))
