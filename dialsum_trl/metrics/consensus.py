"""Minimum Bayes risk: of several summaries of a dialogue, the one that agrees most with the others.

Kumar and Byrne, "Minimum Bayes-Risk Decoding for Statistical Machine Translation" (2004), with ROUGE as utility.
"""

from dataclasses import dataclass

import numpy as np

from dialsum_trl.core.errors import InputError
from dialsum_trl.metrics.overlap import pairwise
from dialsum_trl.metrics.rouge import DEFAULT, RougeConfig


@dataclass(frozen=True)
class Consensus:
    """The choice for one dialogue: `utility` is its mean ROUGE (R-1/2/L F1 x 100) against the other candidates."""

    text: str
    index: int
    utility: float
    rejected: tuple[int, ...]  # candidates left out because of their length


def mbr(
    candidates: list[list[str]],
    weights: list[float] | None = None,
    config: RougeConfig = DEFAULT,
    length_ratio: float | None = 2.0,
) -> list[Consensus]:
    """Chooses one candidate per dialogue.

    Args:
        candidates: for each dialogue its candidates, in the same order of systems.
        weights: how much the agreement with each system counts; default: all alike. Needs as many candidates in every
            row as there are weights.
        config: the tokens of the utility.
        length_ratio: candidates shorter than the median length (in tokens) divided by this, or longer than the median
            times this, neither win nor vote; None keeps all. Empty candidates never win or vote beside others.

    Returns:
        One `Consensus` per dialogue. Equal utilities go to the earlier candidate.

    Raises:
        InputError: a row without a list of candidates, or weights that do not fit.
    """
    _check(candidates, weights, length_ratio)
    return [_choose(row, weights, config, length_ratio) for row in candidates]


def utilities(tokens: list[tuple[str, ...]], weights: np.ndarray) -> np.ndarray:
    """Weighted mean of R-1/2/L F1 x 100 of each candidate against the other ones, `(n,)`; 0 for a single candidate."""
    scores = 100 * pairwise(tokens, tokens).mean(axis=0)
    votes = np.tile(weights, (len(tokens), 1))
    np.fill_diagonal(votes, 0)
    total = votes.sum(axis=1)
    return np.divide((scores * votes).sum(axis=1), total, out=np.zeros(len(tokens)), where=total > 0)


def agreements(row: list[str], config: RougeConfig = DEFAULT) -> list[float]:
    """Each candidate's mean ROUGE (R-1/2/L F1, 0 to 1) against the other candidates of its dialogue."""
    return (utilities([config.tokens(text) for text in row], np.ones(len(row))) / 100).tolist()


def _choose(row: list[str], weights: list[float] | None, config: RougeConfig, length_ratio: float | None) -> Consensus:
    tokens = [config.tokens(text) for text in row]
    lengths = np.array([len(sequence) for sequence in tokens])
    usable = lengths > 0
    if length_ratio is not None and usable.any():
        median = np.median(lengths[usable])
        usable &= (lengths >= median / length_ratio) & (lengths <= median * length_ratio)
    kept = np.flatnonzero(usable) if usable.any() else np.arange(len(row))
    voting = np.ones(len(row)) if weights is None else np.asarray(weights, dtype=float)
    found = utilities([tokens[index] for index in kept], voting[kept])
    best = int(np.argmax(found.round(9)))  # equal up to rounding is equal: the earlier one
    rejected = tuple(int(index) for index in range(len(row)) if index not in kept)
    return Consensus(row[kept[best]], int(kept[best]), float(found[best]), rejected)


def _check(candidates: list[list[str]], weights: list[float] | None, length_ratio: float | None) -> None:
    for number, row in enumerate(candidates, start=1):
        if isinstance(row, str) or not row:
            raise InputError(f"row {number} has no list of candidates; give each row one or more texts")
        if weights is not None and len(row) != len(weights):
            raise InputError(f"row {number} has {len(row)} candidates for {len(weights)} weights; give one each")
    if weights is not None and (min(weights, default=0) < 0 or not sum(weights) > 0 or not np.isfinite(weights).all()):
        raise InputError(f"weights {weights} must be finite, 0 or more, and not all 0")
    if length_ratio is not None and not length_ratio >= 1:
        raise InputError(f"the length ratio {length_ratio} must be 1 or more (2: half to twice the median length)")
