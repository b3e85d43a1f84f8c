"""What a system leaves in its folder: `submission.csv`, the same summaries row by row, and how they were made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.files import write_json, write_text
from dialsum_trl.core.json_file import read_json
from dialsum_trl.data.submission import read_predictions, write_submission
from dialsum_trl.data.tables import read_table
from dialsum_trl.data.unicode_forms import in_forms_of

SUBMISSION, ROWS, SCORES = "submission.csv", "predictions.jsonl", "scores.json"


@dataclass(frozen=True)
class System:
    """Summaries of one system. `tokens` and `hit_limit` are known where a model of ours generated them."""

    name: str
    summaries: dict[str, str]  # fname -> summary
    tokens: dict[str, int]
    hit_limit: dict[str, bool]
    how: dict  # content of scores.json, {} where there is none

    def named_as(self, fnames: list[str]) -> System:
        """The same with names in the Unicode form that `fnames` has them in."""
        parts = {"summaries": self.summaries, "tokens": self.tokens, "hit_limit": self.hit_limit}
        return replace(self, **{
            part: dict(zip(in_forms_of(fnames, values), values.values(), strict=True)) for part, values in parts.items()
        })  # fmt: skip


def write_predictions(
    folder: str | Path,
    fnames: list[str],
    texts: list[str],
    how: dict,
    *,
    generated: Sequence | None = None,
    scores: object | None = None,
    template: str | Path | None = None,
) -> Path:
    """Writes the three files of a system and returns the path of its submission.

    A line of `predictions.jsonl` holds fname, summary and what is known of tokens, hit_limit, rouge1, rouge2, rougeL.

    Args:
        texts: one summary per row, as submitted.
        how: settings that made them, for `scores.json`.
        generated: one `generation.Summary` per row, where a model wrote them.
        scores: `metrics.RougeReport` of these rows, where there are references.
        template: as in `submission.write_submission`.
    """
    folder, lines = Path(folder), []
    for index, (fname, text) in enumerate(zip(fnames, texts, strict=True)):
        row = {"fname": fname, "summary": text}
        if generated is not None:
            row |= {"tokens": generated[index].tokens, "hit_limit": generated[index].hit_limit}
        if scores is not None:
            row |= dict(zip(("rouge1", "rouge2", "rougeL"), scores.per_row[index].round(4).tolist(), strict=True))
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    write_submission(folder / SUBMISSION, fnames, texts, template=template)
    write_text(folder / ROWS, "".join(lines))
    limit = {"hit_limit": sum(s.hit_limit for s in generated) / len(generated)} if generated else {}
    write_json(folder / SCORES, {**how, "rouge": scores.to_dict() if scores else None, **limit})
    return folder / SUBMISSION


def submission_of(path: Path) -> Path:
    """The submission in a system's folder; any other path is one itself."""
    if not path.is_dir():
        return path
    if not (path / SUBMISSION).exists():
        raise InputError(f"{path}: holds no {SUBMISSION}; give a folder of recipes/predict.py or a file fname,summary")
    return path / SUBMISSION


def read_system(name: str, path: str | Path) -> System:
    """Reads a folder of `predict`, `ensemble` or `decoding_sweep`, or a CSV or JSONL of `fname,summary`.

    Raises:
        InputError: there are no predictions, or they cannot be read.
    """
    path = Path(path)
    submission = submission_of(path)
    if not path.is_dir():
        return System(name, read_predictions(path), {}, {}, {})
    tokens, hit_limit, how = {}, {}, {}
    if (path / ROWS).exists():
        for row in read_table(path / ROWS):
            if "tokens" in row.values:
                fname = row.values["fname"]
                tokens[fname], hit_limit[fname] = row.values["tokens"], row.values["hit_limit"]
    if (path / SCORES).exists():
        how = read_json(path / SCORES, "run the prediction again")
    return System(name, read_predictions(submission), tokens, hit_limit, how)
