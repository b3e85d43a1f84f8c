"""ROUGE's arithmetic: R-1, R-2 and R-L F1 of every pair of token sequences.

ROUGE-N and ROUGE-L as in Lin, "ROUGE: A Package for Automatic Evaluation of Summaries" (2004). Longest common
subsequences come from rapidfuzz (C++); the tests hold every score equal to `rouge_score`'s to 1e-9.
"""

import itertools
from collections import Counter

import numpy as np
from rapidfuzz.distance import LCSseq
from rapidfuzz.process import cdist


def pairwise(left: list[tuple[str, ...]], right: list[tuple[str, ...]]) -> np.ndarray:
    """R-1, R-2 and R-L F1 (0 to 1) of every pair of token sequences: float array `(3, len(left), len(right))`."""
    ids: dict[str, int] = {}
    texts = [[ids.setdefault(token, len(ids)) for token in tokens] for tokens in (*left, *right)]
    lengths = np.array([len(text) for text in texts], dtype=float)
    # a text of characters is the form that rapidfuzz compares fastest; equal tokens are equal characters
    strings = ["".join(map(chr, text)) for text in texts]
    common = cdist(strings[: len(left)], strings[len(left) :], scorer=LCSseq.similarity, dtype=np.int32)
    unigrams = _overlap([Counter(text) for text in texts], len(left))
    bigrams = _overlap([Counter(itertools.pairwise(text)) for text in texts], len(left))
    pairs = np.maximum(lengths - 1, 0)
    return np.stack(
        [
            _f1(unigrams, lengths[: len(left)], lengths[len(left) :]),
            _f1(bigrams, pairs[: len(left)], pairs[len(left) :]),
            _f1(common.astype(float), lengths[: len(left)], lengths[len(left) :]),
        ]
    )


def _overlap(counters: list[Counter], split: int) -> np.ndarray:
    """Clipped n-gram matches `(split, len(counters) - split)`."""
    columns = {gram: i for i, gram in enumerate(dict.fromkeys(itertools.chain.from_iterable(counters)))}
    counts = np.zeros((len(counters), len(columns)), dtype=np.int32)
    for row, counter in zip(counts, counters, strict=True):
        row[[columns[gram] for gram in counter]] = list(counter.values())
    return np.array([np.minimum(row, counts[split:]).sum(axis=1) for row in counts[:split]], dtype=float)


def _f1(matches: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """rouge_score's `fmeasure` of precision and recall, 0 where either side is empty."""
    precision = matches / np.maximum(left[:, None], 1)
    recall = matches / np.maximum(right[None, :], 1)
    total = precision + recall
    return np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
