"""Pairs whose rejected side shows in its form: told by the characters that differ, without reading what they say."""

import math
import re
from collections import Counter

LONGEST = 5  # characters of a run; a mask counts as one
MASK = re.compile(r"#[A-Za-z]+\d*#")
DROPPED = 0.1  # of the pairs that are told, in each round


def _runs(text: str) -> Counter:
    """The runs of up to five characters, a mask being one, with the text's beginning and end as characters."""
    symbols = ["\x02", *(part for part in re.split(rf"({MASK.pattern})|", text) if part), "\x03"]
    return Counter(
        tuple(symbols[start : start + length])
        for length in range(1, LONGEST + 1)
        for start in range(len(symbols) - length + 1)
    )


def _differences(chosen: str, rejected: str) -> dict[tuple, int]:
    """Runs that one side has more often: 1 of the chosen, -1 of the rejected."""
    more = _runs(chosen)
    more.subtract(_runs(rejected))
    return {run: 1 if count > 0 else -1 for run, count in more.items() if count}


def told(differences: list[dict[tuple, int]]) -> list[float]:
    """How surely the other pairs tell the chosen side of each (above 0) or mistake it (below 0), by naive Bayes."""
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
    """Which of these `(chosen, rejected)` to keep, so that of those kept no more than half are told by the others.

    Returns:
        Indices of the kept pairs, in order. Those told most surely are left out, a tenth of them at a time.
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
