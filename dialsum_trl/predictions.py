"""What a system leaves in its folder: `submission.csv`, the same summaries row by row, and how they were made."""

import json
from dataclasses import dataclass
from pathlib import Path

from dialsum_trl.errors import InputError
from dialsum_trl.files import write_text

SUBMISSION, ROWS, SCORES = "submission.csv", "predictions.jsonl", "scores.json"


@dataclass(frozen=True)
class System:
    """Summaries of one system. `tokens` and `hit_limit` are known where a model of ours generated them."""

    name: str
    summaries: dict[str, str]  # fname -> summary
    tokens: dict[str, int]
    hit_limit: dict[str, bool]
    how: dict  # content of scores.json, {} where there is none


def write_rows(folder, fnames, texts, tokens=None, hit_limit=None, scores=None) -> None:
    """Writes `predictions.jsonl`: `{"fname", "summary", "tokens", "hit_limit", "rouge1", "rouge2", "rougeL"}` a row.

    Args:
        tokens, hit_limit: one a row: length in tokens, and whether the token limit cut it off; None if not known.
        scores: `rouge.RougeReport` of these rows, or None.
    """
    lines = []
    for index, (fname, text) in enumerate(zip(fnames, texts, strict=True)):
        row = {"fname": fname, "summary": text}
        if tokens is not None:
            row |= {"tokens": tokens[index], "hit_limit": hit_limit[index]}
        if scores is not None:
            figures = scores.per_row[index].round(4).tolist()
            row |= dict(zip(("rouge1", "rouge2", "rougeL"), figures, strict=True))
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    write_text(Path(folder) / ROWS, "".join(lines))


def read_system(name: str, path) -> System:
    """Reads a folder of `predict`, `ensemble` or `decoding_sweep`, or a CSV or JSONL of `fname,summary`.

    Raises:
        InputError: there are no predictions, or they cannot be read.
    """
    from dialsum_trl.submission import read_predictions
    from dialsum_trl.tables import read_table

    path = Path(path)
    if not path.is_dir():
        return System(name, read_predictions(path), {}, {}, {})
    if not (path / SUBMISSION).exists():
        raise InputError(f"{path}: holds no {SUBMISSION}; give a folder of recipes/predict.py or a file fname,summary")
    tokens, hit_limit, how = {}, {}, {}
    if (path / ROWS).exists():
        for row in read_table(path / ROWS):
            if "tokens" in row.values:
                tokens[row.values["fname"]] = row.values["tokens"]
                hit_limit[row.values["fname"]] = row.values["hit_limit"]
    if (path / SCORES).exists():
        try:
            how = json.loads((path / SCORES).read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{path / SCORES}: is damaged ({error}); run the prediction again") from None
    return System(name, read_predictions(path / SUBMISSION), tokens, hit_limit, how)
