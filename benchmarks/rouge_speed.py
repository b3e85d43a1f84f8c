"""Seconds to score 499 summaries against three references each on Mecab tokens, and by `rouge_score`'s pure Python.

python -m benchmarks.rouge_speed [--smoke]
"""

import argparse
import random
from pathlib import Path

from benchmarks.korean_texts import summaries
from benchmarks.record import RESULTS, record, timed
from dialsum_trl.metrics.rouge import METRICS, RougeConfig, score
from dialsum_trl.metrics.tokens import TOKENIZERS


def main(argv: list[str] | None = None) -> dict:
    """Measures in one process, tokenization and dictionary loading included, and records the figures."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--smoke", action="store_true", help="20 rows, to test this script")
    parser.add_argument("--output_dir", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    rows = 20 if args.smoke else 499
    rng = random.Random(0)
    texts = [summaries(rng, 4) for _ in range(rows)]
    predictions, references = [row[0] for row in texts], [row[1:] for row in texts]

    report, *cold = timed(score, predictions, references, RougeConfig())
    _, *warm = timed(score, predictions, references, RougeConfig())
    expected, *pure = timed(pure_python, predictions, references)
    return record(
        "rouge_speed",
        variant="rouge.score, mecab, 1000 bootstrap resamples, constant-line floor",
        shape=f"{rows} rows x 3 references, {sum(map(len, predictions)) / rows:.0f} characters per summary",
        packages=["mecab-ko", "python-mecab-ko-dic", "rapidfuzz", "rouge-score", "numpy"],
        figures={
            "first_call": dict(zip(("seconds", "cpu_seconds"), cold, strict=True)),
            "second_call": dict(zip(("seconds", "cpu_seconds"), warm, strict=True)),
            "rouge_score_pure_python": dict(zip(("seconds", "cpu_seconds"), pure, strict=True)),
            "largest_difference_to_rouge_score": max(abs(getattr(report, m) - expected[m]) for m in METRICS),
        },
        folder=args.output_dir,
    )


def pure_python(predictions, references) -> dict[str, float]:
    """The same means by `rouge_score` itself with the same tokenizer, without interval and floor."""
    from rouge_score.rouge_scorer import RougeScorer

    class Mecab:
        tokenize = staticmethod(TOKENIZERS["mecab"].load(False))

    scorer = RougeScorer(list(METRICS), tokenizer=Mecab())
    total = dict.fromkeys(METRICS, 0.0)
    for text, row in zip(predictions, references, strict=True):
        for reference in row:
            for metric, found in scorer.score(reference, text).items():
                total[metric] += 100 * found.fmeasure / len(row) / len(predictions)
    return total


if __name__ == "__main__":
    main()
