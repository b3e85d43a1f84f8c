"""How well a classifier that only counts characters tells the chosen side of a pair from the rejected one."""

import random
from collections import Counter

import numpy as np

Pair = tuple[str, str]


def runs(text: str, longest: int = 5) -> Counter:
    """The runs of one to `longest` characters of a text with its beginning and end."""
    text = f"\x02{text}\x03"
    return Counter(text[i : i + size] for size in range(1, longest + 1) for i in range(len(text) - size + 1))


def logistic(features: np.ndarray, labels: np.ndarray, penalty: float = 1.0, steps: int = 150) -> np.ndarray:
    """Weights of a logistic regression with an L2 penalty, by accelerated gradient descent."""
    rate = 1 / (0.25 * np.linalg.norm(features, 2) ** 2 + penalty)
    weights = ahead = np.zeros(features.shape[1])
    momentum = 1.0
    for _ in range(steps):
        gradient = features.T @ (1 / (1 + np.exp(-features @ ahead)) - labels) + penalty * ahead
        following, after = ahead - rate * gradient, (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = following + (momentum - 1) / after * (following - weights)
        weights, momentum = following, after
    return weights


def accuracy_of_pairs(train: list[Pair], held_out: list[Pair]) -> float:
    """The share of held-out pairs whose chosen side gets the higher score; a tie counts half."""
    differences = [_difference(pair) for pair in train]
    seen = Counter(run for difference in differences for run in difference)
    columns = {run: column for column, run in enumerate(run for run, count in seen.items() if count > 1)}
    matrix = _matrix(differences, columns)
    signs = np.where(np.arange(len(train)) % 2, -1.0, 1.0)  # both classes: every other pair is turned round
    scores = _matrix([_difference(pair) for pair in held_out], columns) @ logistic(matrix * signs[:, None], signs > 0)
    return float(np.mean(np.where(np.abs(scores) < 1e-9, 0.5, scores > 0)))


def accuracy_of_texts(train: list[Pair], held_out: list[Pair]) -> float:
    """The share of held-out texts that are rightly called chosen or rejected, each seen alone."""
    texts = [runs(text, 4) for pair in train for text in pair]
    seen = Counter(run for text in texts for run in text)
    columns = {run: column for column, run in enumerate(run for run, count in seen.items() if count > 2)}

    def rows(texts):
        matrix = _matrix(texts, columns)
        return matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-9)

    weights = logistic(rows(texts), np.tile([True, False], len(train)), penalty=0.05)
    called = rows([runs(text, 4) for pair in held_out for text in pair]) @ weights > 0
    return float(np.mean(called == np.tile([True, False], len(held_out))))


def held_out_accuracy(pairs: list[Pair], accuracy=accuracy_of_pairs, folds: int = 4) -> float:
    """The accuracy over all pairs, each judged by a classifier that was trained on the other folds."""
    pairs = random.Random(0).sample(pairs, len(pairs))
    parts = [pairs[fold::folds] for fold in range(folds)]
    rest = [[pair for other in parts if other is not part for pair in other] for part in parts]
    return sum(accuracy(train, part) * len(part) for train, part in zip(rest, parts, strict=True)) / len(pairs)


def _difference(pair: Pair) -> dict[str, int]:
    more = runs(pair[0])
    more.subtract(runs(pair[1]))
    return {run: count for run, count in more.items() if count}


def _matrix(counts: list[dict[str, int]], columns: dict[str, int]) -> np.ndarray:
    matrix = np.zeros((len(counts), len(columns)))
    for row, entry in zip(matrix, counts, strict=True):
        for run, count in entry.items():
            if run in columns:
                row[columns[run]] = count
    return matrix
