"""Pairs whose rejected side is recognizable by its form: by the character n-grams that differ, whatever they mean."""

import math
import re
from collections import Counter

from dialsum_trl.data.patterns import ASCII_MASK

LONGEST = 5  # characters of an n-gram; a mask counts as one
DROPPED = 0.1  # of the recognized pairs, in each round


def _runs(text: str) -> Counter:
    """The n-grams of up to five characters; a mask, the beginning and the end of the text count as one each."""
    symbols = ["\x02", *(part for part in re.split(rf"({ASCII_MASK.pattern})|", text) if part), "\x03"]
    return Counter(
        tuple(symbols[start : start + length])
        for length in range(1, LONGEST + 1)
        for start in range(len(symbols) - length + 1)
    )


def _differences(chosen: str, rejected: str) -> dict[tuple, int]:
    """N-grams that one side has more often: 1 if the chosen, -1 if the rejected."""
    more = _runs(chosen)
    more.subtract(_runs(rejected))
    return {run: 1 if count > 0 else -1 for run, count in more.items() if count}


def told(differences: list[dict[tuple, int]]) -> list[float]:
    """Leave-one-out naive Bayes: above 0 if the other pairs recognize the chosen side, below 0 if they mistake it."""
    sides = {1: Counter(), -1: Counter()}
    for pair in differences:
        for run, side in pair.items():
            sides[side][run] += 1
    scores = []
    for pair in differences:
        score = 0.0
        for run, side in pair.items():
            score += math.log((sides[side][run] - 1 + 0.5) / (sides[-side][run] + 0.5))
        scores.append(score)
    return scores


def resistant(pairs: list[tuple[str, str]]) -> list[int]:
    """Which `(chosen, rejected)` pairs to keep, so that at most half of them are recognized by means of the others.

    Returns:
        Indices of the kept pairs, in order. The most surely recognized are dropped, a tenth of them at a time.
    """
    differences = [_differences(*pair) for pair in pairs]
    kept = list(range(len(pairs)))
    while kept:
        scores = told([differences[index] for index in kept])
        seen = sorted((place for place, score in enumerate(scores) if score > 0), key=lambda place: -scores[place])
        mistaken = sum(score < 0 for score in scores)
        if len(seen) <= mistaken:
            break
        out = set(seen[: max(1, int(DROPPED * len(seen)))])
        kept = [index for place, index in enumerate(kept) if place not in out]
    return kept
