"""What the report counts: scores of every system on the same rows, in groups, and what changed from one to the next."""

import itertools
import statistics
from dataclasses import dataclass, replace
from functools import cached_property
from operator import itemgetter

import numpy as np
import pandas as pd
from rapidfuzz.distance import LCSseq

from dialsum_trl.core.settings.defaults import BOOTSTRAP
from dialsum_trl.data.predictions import System
from dialsum_trl.metrics.qualities import hangul_share, mask_fidelity, no_repetition
from dialsum_trl.metrics.rouge import Comparison, RougeConfig, RougeReport, score
from dialsum_trl.metrics.tokens import tokenize


@dataclass(frozen=True)
class Scored:
    """One system on the rows of the report. Shares are percent; None where they are not known."""

    name: str
    texts: list[str]
    report: RougeReport
    length_ratio: float  # characters of the summary over those of the reference, mean over rows
    masks: float
    no_repetition: float
    hangul: float
    hit_limit: float | None
    tokens: float | None
    how: dict
    change: Comparison | None = None  # since the system before it; None for the first

    @cached_property
    def means(self) -> np.ndarray:
        """ROUGE mean of each row, `(n,)`."""
        return self.report.per_row.mean(axis=1)


def score_systems(systems: list[System], rows, config: RougeConfig, bootstrap: int = BOOTSTRAP) -> list[Scored]:
    """Scores each system on `rows` (of `data.read_dialogues`, all with references), in the order given."""
    scored: list[Scored] = []
    for system in systems:
        texts = [system.summaries[name] for name in rows["fname"]]
        lengths = [statistics.mean(map(len, references)) for references in rows["summaries"]]
        one = Scored(
            system.name,
            texts,
            score(texts, rows["summaries"], config, bootstrap),
            length_ratio=statistics.mean(len(text) / length for text, length in zip(texts, lengths, strict=True)),
            masks=100 * statistics.mean(mask_fidelity(texts, dialogue=rows["dialogue"])),
            no_repetition=100 * statistics.mean(no_repetition(texts)),
            hangul=100 * statistics.mean(hangul_share(texts)),
            hit_limit=_mean(system.hit_limit, rows["fname"], 100),
            tokens=_mean(system.tokens, rows["fname"]),
            how=system.how,
        )
        scored.append(
            replace(one, change=Comparison.between(scored[-1].report, one.report, bootstrap)) if scored else one
        )
    return scored


def _mean(values: dict[str, float], names: list[str], factor: float = 1) -> float | None:
    """Over these rows alone: the system may have summarized more."""
    found = [values[name] for name in names if name in values]
    return factor * statistics.mean(found) if found else None


@dataclass(frozen=True)
class Group:
    """Some of the rows, and each system's ROUGE mean on them."""

    name: str
    rows: int
    means: list[float]


def by_topic(scored: list[Scored], topics: list[str | None]) -> list[Group]:
    """One group per topic, the most frequent first; empty when no row has one."""
    groups = _groups(scored, [topic or None for topic in topics])
    return sorted(groups, key=lambda group: (-group.rows, group.name))


def by_length(scored: list[Scored], lengths: list[int], unit: str, parts: int = 4) -> list[Group]:
    """Groups of about equal size by the length of the dialogue, the shortest first."""
    ranks = pd.Series(lengths).rank(method="min", pct=True)  # equal lengths stay together
    part = (parts * (ranks - 1e-9)).astype(int)
    groups = _groups(scored, part.tolist())
    ends = pd.Series(lengths).groupby(part).agg(["min", "max"]).itertuples(index=False)
    return [replace(group, name=f"{low} to {high} {unit}") for group, (low, high) in zip(groups, ends, strict=True)]


def _groups(scored: list[Scored], keys: list) -> list[Group]:
    """One group per key, in the order of the keys; rows whose key is None are left out."""
    means = pd.DataFrame({number: system.means for number, system in enumerate(scored)})
    return [Group(name, len(rows), rows.mean().tolist()) for name, rows in means.groupby(pd.Series(keys, dtype=object))]


def extremes(scored: Scored, count: int = 10) -> tuple[list[int], list[int]]:
    """Row numbers of the `count` best and the `count` worst rows by ROUGE mean, most extreme first; no row twice."""
    order = np.argsort(-scored.means, kind="stable").tolist()
    count = min(count, max(1, len(order) // 2))
    return order[:count], order[-count:][::-1] if len(order) > 1 else []


@dataclass(frozen=True)
class Piece:
    """A stretch of text and whether the other text has it too, in the same order."""

    text: str
    shared: bool


def differences(left: str, right: str) -> tuple[list[Piece], list[Piece]]:
    """Both texts in pieces, cut where they begin or cease to agree.

    What agrees is the longest common subsequence of morphemes, masks whole: what ROUGE-L counts.
    """
    cut = [_cut(text) for text in (left, right)]
    found = LCSseq.opcodes(*([piece.strip() for piece in pieces] for pieces in cut))
    marks = [[False] * len(pieces) for pieces in cut]
    for block in found:
        if block.tag == "equal":
            marks[0][block.src_start : block.src_end] = [True] * (block.src_end - block.src_start)
            marks[1][block.dest_start : block.dest_end] = [True] * (block.dest_end - block.dest_start)
    return tuple(
        [Piece("".join(piece for piece, _ in run), shared) for shared, run in itertools.groupby(pairs, itemgetter(1))]
        for pairs in (list(zip(*each, strict=True)) for each in zip(cut, marks, strict=True))
    )


def _cut(text: str) -> list[str]:
    """The text in pieces of one morpheme and what follows it, which give the text back."""
    starts, end = [], 0
    for token in tokenize(text, "mecab", "atomic"):
        if (start := text.find(token, end)) >= 0:
            starts.append(start)
            end = start + len(token)
    return [text[start:end] for start, end in itertools.pairwise([0, *starts[1:], len(text)]) if start < end]
