"""What the report counts: scores of every system on the same rows, in groups, and what changed from one to the next."""

import itertools
import statistics
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from rapidfuzz.distance import LCSseq

from dialsum_trl.core.settings.defaults import BOOTSTRAP
from dialsum_trl.data.predictions import System
from dialsum_trl.metrics.qualities import hangul_share, mask_fidelity, no_repetition
from dialsum_trl.metrics.rouge import RougeConfig, RougeReport, bootstrap_interval, score
from dialsum_trl.metrics.tokens import tokenize


@dataclass(frozen=True)
class Change:
    """Difference of the ROUGE mean to another system on the same rows, with its paired 95 % interval."""

    since: str
    delta: float
    interval: tuple[float, float]

    @classmethod
    def between(cls, one: "Scored", other: "Scored", bootstrap: int) -> "Change":
        """From `one` to `other`."""
        gained = other.means - one.means
        return cls(one.name, float(gained.mean()), bootstrap_interval(gained, bootstrap))

    @property
    def verdict(self) -> str:
        """ "better", "worse", or "unclear" when the interval holds 0."""
        return "better" if self.interval[0] > 0 else "worse" if self.interval[1] < 0 else "unclear"


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
    change: Change | None = None  # since the system before it; None for the first

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
        scored.append(replace(one, change=Change.between(scored[-1], one, bootstrap)) if scored else one)
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
    names = {topic for topic in topics if topic}
    groups = [_group(name, [topic == name for topic in topics], scored) for name in names]
    return sorted(groups, key=lambda group: (-group.rows, group.name))


def by_length(scored: list[Scored], lengths: list[int], unit: str, parts: int = 4) -> list[Group]:
    """Groups of equal size by the length of the dialogue, the shortest first."""
    cuts = np.unique(np.quantile(lengths, np.linspace(0, 1, parts + 1)).round().astype(int))
    groups = []
    for index, (low, high) in enumerate(itertools.pairwise(cuts)):
        last = index == len(cuts) - 2
        inside = [low <= length and (length <= high if last else length < high) for length in lengths]
        if any(inside):
            groups.append(_group(f"{low} to {high if last else high - 1} {unit}", inside, scored))
    return groups or [_group(f"{lengths[0]} {unit}", [True] * len(lengths), scored)]


def _group(name, inside, scored):
    chosen = np.array(inside)
    return Group(name, int(chosen.sum()), [float(system.means[chosen].mean()) for system in scored])


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
    cut_left, cut_right = _spans(left), _spans(right)
    tokens = [[text[a:b] for a, b in spans] for text, spans in ((left, cut_left), (right, cut_right))]
    shared: tuple[set[int], set[int]] = set(), set()
    blocks = LCSseq.opcodes(*tokens)
    for block in blocks:
        if block.tag == "equal":
            shared[0].update(range(block.src_start, block.src_end))
            shared[1].update(range(block.dest_start, block.dest_end))
    return _pieces(left, cut_left, shared[0]), _pieces(right, cut_right, shared[1])


def _spans(text):
    """The span of each morpheme in `text`, without the spaces between them."""
    spans, end = [], 0
    for token in tokenize(text, "mecab", "atomic"):
        start = text.find(token, end)
        if start >= 0:
            end = start + len(token)
            spans.append((start, end))
    return spans


def _pieces(text, spans, shared):
    """Spaces between two tokens go with them when both are alike; other uncovered text counts as shared."""
    marks = [True] * len(text)
    for index, (start, end) in enumerate(spans):
        marks[start:end] = [index in shared] * (end - start)
        if index and index not in shared and index - 1 not in shared:
            before = spans[index - 1][1]
            marks[before:start] = [False] * (start - before)
    pieces, start = [], 0
    for position in range(1, len(text) + 1):
        if position == len(text) or marks[position] != marks[start]:
            pieces.append(Piece(text[start:position], marks[start]))
            start = position
    return pieces
