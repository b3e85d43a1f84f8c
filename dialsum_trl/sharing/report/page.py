"""The page: figures put into words and tables. Every text from a file or a model is escaped by the template."""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from dialsum_trl.data.lengths import LIMITS, share_over
from dialsum_trl.sharing.chart import training_curves
from dialsum_trl.sharing.report import plots
from dialsum_trl.sharing.report.figures import Group, Scored, differences, extremes

FOLDER = Path(__file__).parent
FIGURES = {"rouge", "model_scores", "hit_limit", "differences"}  # of a scores.json, which are no settings


@dataclass(frozen=True)
class Run:
    """A training run: its name, the trainer's log, its record (`dialsum.json`), the folder of its own tokenizer."""

    name: str
    history: list[dict]
    record: dict
    tokenizer: str | None = None

    @property
    def plots(self) -> list[Markup]:
        """Loss, ROUGE on dev rows and reward: what was logged at two steps or more."""
        return [
            plots.curves(f"{title}, {self.name}", series)
            for title, series in training_curves(self.history).items()
            if len({step for line in series.values() for step, _ in line}) > 1
        ]


@dataclass(frozen=True)
class Lengths:
    """Lengths of prompt + summary (of the prompt alone where there is none). `max_length`: the limit of the runs."""

    name: str
    unit: str
    values: list[int]
    max_length: int | None

    @property
    def shares(self) -> list[tuple[int, float]]:
        """Percent of the rows over each of `LIMITS` tokens."""
        return [(limit, share_over(self.values, limit)) for limit in LIMITS] if self.unit == "tokens" else []

    @property
    def truncated(self) -> float | None:
        """Percent of the rows that lose middle turns in these runs."""
        return share_over(self.values, self.max_length) if self.max_length and self.unit == "tokens" else None

    @property
    def median(self) -> int:
        return round(statistics.median(self.values))

    @property
    def plot(self) -> Markup:
        limits = [(limit, f"{limit}: {share:.2f} % over") for limit, share in self.shares]
        return plots.histogram(self.values, self.unit, limits)


def render(rows: Dataset, scored: list[Scored], focus: Scored, runs: list[Run], **shown: object) -> str:
    """The HTML document.

    Args:
        rows: of `data.dialogues.read_dialogues`, all with references.
        scored: the systems, in the order given.
        focus: the system whose best and worst rows are shown.
        shown: `title`, `note`, `test_name` (of the file), `versions`; `total`: the best system's `Comparison` with the
            first, None where that is the best; `others`: system -> its `RowScores`, empty where none were asked for;
            `parts`: heading -> `Group`s; `audits`: name and `Audit` of each data file; `leaks`: what training rows give
            away of these rows, None without a training file; `lengths`.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((FOLDER / "page.html.jinja").read_text(encoding="utf-8"))
    best = max(scored, key=lambda one: one.report.mean)
    low, high = best.report.references_per_row
    floor = best.report.floor
    means = [(one.name, one.report.mean, one.report.interval) for one in scored]
    return template.render(
        **shown,
        rows=rows,
        scored=scored,
        focus=focus,
        runs=runs,
        style=Markup((FOLDER / "style.css").read_text(encoding="utf-8")),
        references=f"{low if low == high else f'{low} to {high}'} reference{'s' if high > 1 else ''} each",
        best=best,
        floor=floor,
        dialogues=[
            (f"The {len(found)} {which}", [card(rows, index, focus, scored) for index in found])
            for which, found in zip(("best", "worst"), extremes(focus), strict=True)
        ],
        settings=settings(scored, runs),
        made=time.strftime("%Y-%m-%d %H:%M"),
        span=lambda interval, form="%.2f": f"{form % interval[0]} to {form % interval[1]}",
        heat=lambda mean: round(min(70, max(0, 0.7 * mean))),
        shade=shade,
        interval_plot=plots.intervals(means, floor.mean, f"constant line {floor.mean:.2f}"),
    )


def shade(mean: float, groups: list[Group]) -> int:
    """Percent of colour for one cell: none for the lowest mean of all groups and systems, most for the highest."""
    means = [value for group in groups for value in group.means]
    low, high = min(means), max(means)
    return round(65 * (mean - low) / (high - low)) if high > low else 30


def card(rows: Dataset, index: int, focus: Scored, scored: list[Scored]) -> dict:
    """One dialogue with its reference, the summary of `focus`, and those of the other systems."""
    row = rows[index]
    reference, *more = row["summaries"]
    missing, extra = differences(reference, focus.texts[index])
    return {
        "fname": row["fname"],
        "topic": row["topic"],
        "scores": focus.report.per_row[index].tolist(),
        "mean": float(focus.means[index]),
        "turns": [_turn(line) for line in row["dialogue"].split("\n")],
        "reference": missing,
        "more_references": more,
        "summary": extra,
        "others": [(one.name, one.texts[index], float(one.means[index])) for one in scored if one is not focus],
    }


def settings(scored: list[Scored], runs: list[Run]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Headings with their settings: how every system was made, and how every run was trained."""
    found = [
        (one.name, _items({key: value for key, value in one.how.items() if key not in FIGURES}))
        for one in scored
        if set(one.how) - FIGURES
    ]
    for run in runs:
        shown = {key: run.record.get(key) for key in ("method", "base_model", "dtype", "quantization", "instructions")}
        found.append((f"training of {run.name}", _items({**shown, **run.record.get("settings", {})})))
    return found


def _items(values: dict) -> list[tuple[str, str]]:
    items = []
    for key, value in values.items():
        if isinstance(value, dict):
            value = [f"{name} {part}" for name, part in value.items() if part is not None]
        if value not in (None, "", False, []):
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            items.append((key.replace("_", " "), text))
    return items


def _turn(line: str) -> tuple[str, str]:
    head, colon, text = line.partition(": ")
    return (head, text) if colon and head.startswith("#") else ("", line)
