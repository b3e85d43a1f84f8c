"""Seconds to choose among 499 x 16 candidates, tokenization included, and agreement of the utility with `rouge_score`.

python -m benchmarks.mbr_speed [--smoke]
"""

import argparse
import random
from pathlib import Path

from benchmarks.korean_texts import summaries
from benchmarks.record import RESULTS, record, timed
from dialsum_trl.metrics.consensus import mbr
from dialsum_trl.metrics.overlap import pairwise
from dialsum_trl.metrics.rouge import DEFAULT, METRICS


def main(argv: list[str] | None = None) -> dict:
    """Measures in one process, dictionary loading included, and records the figures."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--smoke", action="store_true", help="5 rows and 40 pairs, to test this script")
    parser.add_argument("--output_dir", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    rows, pairs = (5, 40) if args.smoke else (499, 1000)
    rng = random.Random(0)
    candidates = [summaries(rng, 16) for _ in range(rows)]
    mean_length = sum(len(text) for row in candidates for text in row) / (rows * 16)
    _, *first = timed(mbr, candidates)
    _, *second = timed(mbr, candidates)
    return record(
        "mbr_speed",
        variant="consensus.mbr, mecab, mean of R-1/2/L",
        shape=f"{rows} dialogues x 16 candidates, {mean_length:.0f} characters a candidate",
        packages=["mecab-ko", "python-mecab-ko-dic", "rapidfuzz", "rouge-score", "numpy"],
        figures={
            "first_call": dict(zip(("seconds", "cpu_seconds"), first, strict=True)),
            "second_call": dict(zip(("seconds", "cpu_seconds"), second, strict=True)),
            "pairs_compared_with_rouge_score": pairs,
            "largest_difference_to_rouge_score": largest_difference(rng, candidates, pairs),
        },
        folder=args.output_dir,
    )


def largest_difference(rng: random.Random, candidates: list[list[str]], pairs: int) -> float:
    """Of R-1, R-2 and R-L F1 (0 to 1) between `pairs` random pairs of candidates."""
    from rouge_score.rouge_scorer import RougeScorer

    class Mecab:
        tokenize = staticmethod(DEFAULT.tokens)

    scorer = RougeScorer(list(METRICS), tokenizer=Mecab())
    largest = 0.0
    for _ in range(pairs):
        left, right = rng.sample(rng.choice(candidates), 2)
        expected = scorer.score(right, left)
        found = pairwise([DEFAULT.tokens(left)], [DEFAULT.tokens(right)])[:, 0, 0]
        largest = max(
            largest, *(abs(value - expected[metric].fmeasure) for value, metric in zip(found, METRICS, strict=True))
        )
    return float(largest)


if __name__ == "__main__":
    main()
