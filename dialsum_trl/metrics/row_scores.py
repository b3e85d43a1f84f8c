"""Scores that are one number a row: BERTScore and BLEURT (`generation.model_scores`), and NIKL's total."""

from dataclasses import dataclass, field

import numpy as np

from dialsum_trl.metrics.rouge import RougeConfig, bootstrap_interval, score


@dataclass(frozen=True)
class RowScores:
    """One score of every row; `per_row`: x 100, `(n,)`; `config`: what it depends on."""

    name: str
    config: str
    per_row: np.ndarray = field(repr=False, compare=False)
    interval: tuple[float, float] | None = None  # 95 % bootstrap interval of the mean

    @classmethod
    def of(cls, name: str, config: str, per_row: np.ndarray, bootstrap: int) -> "RowScores":
        """With the interval of `bootstrap` resamples; 0 gives none."""
        return cls(name, config, per_row, bootstrap_interval(per_row, bootstrap) if bootstrap else None)

    @property
    def mean(self) -> float:
        return float(self.per_row.mean())

    def to_dict(self, per_row: bool = False) -> dict:
        """JSON-ready; `per_row` adds the scores of the rows."""
        found = {"name": self.name, "mean": round(self.mean, 4), "config": self.config}
        found["interval95_of_mean"] = [round(end, 4) for end in self.interval] if self.interval else None
        return found | ({"per_row": self.per_row.round(4).tolist()} if per_row else {})


TOTAL = "NIKL total"


def with_total(
    scores: list[RowScores], predictions: list[str], references: list[list[str]], combined: str, bootstrap: int
) -> list[RowScores]:
    """`scores`, and where they are BERTScore and BLEURT, ROUGE-1 on NIKL's tokens and the mean of the three.

    Args:
        combined: "mean" or "max" over the references of a row.
    """
    if len(scores) < 2:
        return scores
    config = RougeConfig("nikl", references=combined)
    rouge1 = score(predictions, references, config, bootstrap=0, floor_line=None).per_row[:, 0]
    parts = [RowScores.of("ROUGE-1", str(config), rouge1, bootstrap), *scores]
    mean = np.mean([part.per_row for part in parts], axis=0)
    return [*parts, RowScores.of(TOTAL, "mean of " + ", ".join(part.name for part in parts), mean, bootstrap)]


def row_score_table(scores: list[RowScores]) -> str:
    """A line for each score: its name, mean, interval and configuration."""
    width = max(len(one.name) for one in scores)
    spans = ["{:.2f} - {:.2f}".format(*one.interval) if one.interval else "" for one in scores]
    return "\n".join(
        f"{one.name:{width}}  {one.mean:6.2f}  {span:15} {one.config}" for one, span in zip(scores, spans, strict=True)
    )
