"""How long the rows of a file are, in tokens of a model or in characters: percentiles, shares, a histogram."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

from rich.console import Console
from rich.table import Table
from rich.text import Text

LIMITS = (512, 1024)  # tokens that shares of longer rows are given for
PERCENTILES = (50, 90, 95, 99)
_BAR = 40  # characters of the longest bar


@dataclass(frozen=True)
class Measure:
    """`prompt` and `summary` give one length per text, in `unit`."""

    unit: str
    prompt: Callable[[list[str]], list[int]]
    summary: Callable[[list[str]], list[int]]

    def both(self, dialogues: list[str], summaries: list[str]) -> list[int]:
        """Lengths of prompt and summary together."""
        return [sum(pair) for pair in zip(self.prompt(dialogues), self.summary(summaries), strict=True)]


def _characters(texts: list[str]) -> list[int]:
    return list(map(len, texts))


CHARACTERS = Measure("characters", _characters, _characters)


def percentile(values: list[int], percent: float) -> int:
    """The smallest value that at least `percent` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def in_parts(measure: Callable[[list[str]], list[int]], texts: Iterable[str]) -> list[int]:
    """Lengths of texts of which a few are in memory."""
    texts, lengths = iter(texts), []
    while part := list(islice(texts, 1000)):
        lengths += measure(part)
    return lengths


def print_lengths(console: Console, rows: Iterable[dict], how: Measure, max_length: int) -> None:
    """Prints percentiles, the shares over 512, 1024 and `max_length`, and a histogram of whole rows."""
    prompts = in_parts(how.prompt, (row["dialogue"] for row in rows))
    lines = [("prompt" if how.unit == "tokens" else "dialogue", prompts)]
    whole = prompts
    if all(row["summaries"] for row in rows):
        summaries = in_parts(how.summary, (row["summaries"][0] for row in rows))
        whole = [prompt + summary for prompt, summary in zip(prompts, summaries, strict=True)]
        lines += [("summary", summaries), ("both", whole)]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(how.unit)
    for name in ("mean", *(f"p{percent}" for percent in PERCENTILES), "max"):
        table.add_column(name, justify="right")
    for name, values in lines:
        shown = [percentile(values, percent) for percent in PERCENTILES]
        table.add_row(name, f"{sum(values) / len(values):.0f}", *map(str, shown), str(max(values)))
    console.print(table)
    if how.unit == "tokens":
        shares = [f"{limit}: {share_over(whole, limit):.2f} %" for limit in dict.fromkeys((*LIMITS, max_length))]
        console.print(f"rows over {', '.join(shares)}")
    print_histogram(console, whole)


def share_over(values: list[int], limit: int) -> float:
    """Percent of the values that are above `limit`."""
    return 100 * sum(value > limit for value in values) / len(values)


def print_histogram(console: Console, values: list[int], bins: int = 10) -> None:
    """One bar per range of lengths, ASCII in a pipe that cannot do better."""
    step = _round_step(max(values) / bins)
    counts = [0] * (max(values) // step + 1)
    for value in values:
        counts[value // step] += 1
    block = "█" if console.encoding.lower().startswith("utf") else "#"
    width = len(str(step * len(counts)))
    for index, count in list(enumerate(counts))[min(values) // step :]:
        bar = block * math.ceil(_BAR * count / max(counts))
        label = f"{index * step:>{width}}-{(index + 1) * step - 1:<{width}} "
        console.print(Text.assemble((label, "dim"), (bar, "cyan"), f" {count:,}"))


def _round_step(rough: float) -> int:
    """The next of 1, 2, 5, 10, 20, 50, ... that is not below `rough`."""
    scale = 10 ** max(0, math.floor(math.log10(max(rough, 1))))
    return int(next(scale * factor for factor in (1, 2, 5, 10) if scale * factor >= rough))
